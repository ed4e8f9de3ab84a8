"""Every rule: the program that it leaves, the same numbers in every tensor that is left, and the near misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.fusion import forms, fuse
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.editor import rewrite
from onnx2tf_lite.ir.graph import Graph, Quant, Value, constant, copy_graph
from onnx2tf_lite.ir.rules import Match, rule

from .programs import (
    F32,
    assert_close,
    attrs,
    conv,
    conv_3d,
    dense,
    depthwise,
    every_tensor,
    kinds,
    pads,
    pool,
    program,  # fmt: skip
    random_feeds,
    run,
    transposed,
    two,
    vector,
    weights,
)

X = (1, 8, 8, 3)
LOWEST = np.finfo(F32).min
N = dims.symbol("n")


def check(graph: Graph, expected: str, sizes: dict[str, int] | None = None) -> Graph:
    """A fused copy: ``expected`` is left, no tensor that is left has changed, a second run does nothing."""
    fused = copy_graph(graph)
    fuse(fused)
    assert kinds(fused) == expected.split()
    feeds = random_feeds(graph, sizes)
    for runtime in ("plain", "default"):
        want, got = run(graph, feeds, runtime), run(fused, feeds, runtime)
        for name in want:
            assert_close(got[name], want[name], f"{runtime} {name}")
    everything = every_tensor(graph, feeds, sizes=sizes)
    for name, tensor in every_tensor(fused, feeds, sizes=sizes).items():
        assert_close(tensor, everything[name], f"placement of {name}")
    before = [(o.kind.name, dict(o.attrs), list(o.inputs)) for o in fused.ops]
    fuse(fused)
    assert [(o.kind.name, dict(o.attrs), list(o.inputs)) for o in fused.ops] == before
    return fused


def places(*lead: int) -> np.ndarray:
    """Index vectors that count through axes of these extents."""
    return np.stack(np.unravel_index(np.arange(np.prod(lead)), lead), -1).astype(np.int32)


def case(name: str, function: Callable[..., Any], expected: str, *inputs: Any) -> Any:
    return pytest.param(function, inputs or (X,), expected, id=name)


FUSED = [
    # activations
    *(case(f"{name}-into-{after}", lambda x, f=f, a=a: a(f(x)), kind) for name, a, after, f, kind in [
        ("relu", b.relu, "conv", conv, "CONV_2D"),
        ("relu6", b.relu6, "depthwise", depthwise, "DEPTHWISE_CONV_2D"),
        ("relu_n1_to_1", lambda x: b.clip(x, -1, 1), "transpose_conv", transposed, "TRANSPOSE_CONV"),
        ("relu", b.relu, "max_pool", lambda x: pool("MAX", x), "MAX_POOL_2D"),
        ("relu6", b.relu6, "average_pool", lambda x: pool("AVERAGE", x), "AVERAGE_POOL_2D"),
        ("relu", b.relu, "fully_connected", dense, "FULLY_CONNECTED"),
        ("relu", b.relu, "add", lambda x: b.add(x, vector(3)), "ADD"),
        ("relu6", b.relu6, "sub", lambda x: b.sub(vector(3), x), "SUB"),
        ("relu", b.relu, "mul", lambda x: b.mul(x, x), "MUL"),
        ("relu", b.relu, "div", lambda x: b.div(x, b.exp(x)), "EXP DIV"),
    ]),
    case("relu-into-conv_3d", lambda x: b.relu(conv_3d(x)), "CONV_3D", (1, 5, 5, 5, 2)),
    case("maximum-with-zero", lambda x: b.maximum(conv(x), 0.0), "CONV_2D"),
    case("clip-in-two-steps", lambda x: b.minimum(b.maximum(conv(x), 0.0), 6.0), "CONV_2D"),
    case("clip-in-two-steps-upper-first", lambda x: b.maximum(b.minimum(conv(x), 6.0), 0.0), "CONV_2D"),
    case("clip-alone", lambda x: b.maximum(b.minimum(x, 1.0), -1.0), "RELU_N1_TO_1"),
    case("maximum-alone", lambda x: b.maximum(x, 0.0), "RELU"),
    case("relu-of-relu6", lambda x: b.relu(b.relu6(x)), "RELU6"),
    case("relu6-of-fused-relu", lambda x: b.relu6(b.relu(conv(x))), "CONV_2D"),
    case("clip-without-a-name", lambda x: b.minimum(b.maximum(conv(x), 0.0), 1.0), "CONV_2D MINIMUM"),
    # pads
    case("same-odd-kernel", lambda x: conv(b.pad(x, pads(1, 1))), "CONV_2D"),
    case("same-stride-2-even-extent", lambda x: conv(b.pad(x, pads(0, 1)), stride=2), "CONV_2D"),
    case("same-stride-2-odd-extent", lambda x: conv(b.pad(x, pads(1, 1)), stride=2), "CONV_2D", (1, 9, 9, 3)),
    case("same-dilated", lambda x: conv(b.pad(x, pads(2, 2)), dilation=2), "CONV_2D"),
    case("same-even-kernel", lambda x: conv(b.pad(x, pads(0, 1)), k=2), "CONV_2D"),
    case("same-depthwise", lambda x: depthwise(b.pad(x, pads(1, 1))), "DEPTHWISE_CONV_2D"),
    case("same-conv_3d", lambda x: conv_3d(b.pad(x, pads(1, 1, 5))), "CONV_3D", (1, 5, 5, 5, 2)),
    case("same-max_pool-lowest", lambda x: pool("MAX", b.pad(x, pads(1, 1), LOWEST)), "MAX_POOL_2D"),
    case("same-max_pool-inf", lambda x: pool("MAX", b.pad(x, pads(0, 1), -np.inf), 3, 2), "MAX_POOL_2D"),
    case("same-max_pool-positive", lambda x: pool("MAX", b.pad(b.relu(x), pads(1, 1))), "RELU MAX_POOL_2D"),
    case("pad-of-pad", lambda x: b.exp(b.pad(b.pad(x, pads(1, 0)), pads(2, 3))), "PAD EXP"),
    case("pad-of-pad-to-same", lambda x: conv(b.pad(b.pad(x, pads(1, 0)), pads(0, 1))), "CONV_2D"),
    case("filled-pad-of-pad", lambda x: b.pad(b.pad(x, pads(1, 0), 2.0), pads(2, 3), 2.0), "PADV2"),
    # constants into weights
    case("add-into-conv", lambda x: conv(x) + vector(4), "CONV_2D"),
    case("add-into-conv-without-bias", lambda x: conv(x, bias=False) + vector(4), "CONV_2D"),
    case("add-scalar", lambda x: conv(x) + 3.0, "CONV_2D"),
    case("sub-from-constant", lambda x: b.sub(vector(4), conv(x)), "CONV_2D"),
    case("neg", lambda x: b.neg(conv(x)), "CONV_2D"),
    case("mul-into-conv", lambda x: conv(x) * vector(4), "CONV_2D"),
    case("div-into-conv", lambda x: b.div(conv(x), vector(4)), "CONV_2D"),
    case("batch-norm", lambda x: b.relu((conv(x) - vector(4)) * vector(4, 3) + vector(4, 4)), "CONV_2D"),
    case("mul-into-depthwise", lambda x: depthwise(x) * vector(6) + vector(6), "DEPTHWISE_CONV_2D"),
    case("mul-into-transpose_conv", lambda x: transposed(x) * vector(3) + vector(3), "TRANSPOSE_CONV"),
    case("mul-into-conv_3d", lambda x: conv_3d(x) * vector(3) + vector(3), "CONV_3D", (1, 5, 5, 5, 2)),
    case("mul-into-fully_connected", lambda x: b.relu(dense(x) * vector(5) + vector(5)), "FULLY_CONNECTED"),
    case("full-rank-constant", lambda x: conv(x) + vector(4).reshape(1, 1, 1, 4), "CONV_2D"),
    case("factor-before-conv", lambda x: conv(x * vector(3)), "CONV_2D"),
    case("factor-before-depthwise", lambda x: depthwise(x * vector(3)), "DEPTHWISE_CONV_2D"),
    case("scalar-before-grouped", lambda x: conv(x * 0.5, groups=3, out=6), "CONV_2D"),
    case("factor-before-transpose_conv", lambda x: transposed(b.div(x, vector(3))), "TRANSPOSE_CONV"),
    case("factor-before-same", lambda x: conv(b.mul(x, vector(3)), padding="SAME"), "CONV_2D"),
    case("factor-before-fully_connected", lambda x: dense(x * vector(3)), "FULLY_CONNECTED"),
    # constants into each other
    case("sum-of-sums", lambda x: (x + vector(3)) - 2.0, "ADD"),
    case("product-of-products", lambda x: b.div(x * vector(3), 2.0), "MUL"),
    case("affine-of-affine", lambda x: (x * vector(3) + vector(3, 5)) * vector(3, 6) + vector(3, 7), "MUL ADD"),
    case("neutral", lambda x: b.exp(b.div(b.sub((x + 0.0) * 1.0, 0.0), np.ones(3, F32))), "EXP"),
    # forms
    case("global-average-pool", lambda x: pool("AVERAGE", x, 8), "MEAN"),
    case("expectation", lambda x: b.reduce("SUM", x * np.arange(3, dtype=F32), (3,), True), "FULLY_CONNECTED"),
    case("expectation-without-its-axis", lambda x: b.relu(b.reduce("SUM", b.exp(x) * weights(1, 3), (3,))),
         "EXP FULLY_CONNECTED RESHAPE"),
    case("mean-reshape", lambda x: dense(b.reshape(b.reduce("MEAN", x, (1, 2), True), (1, 3))), "MEAN FULLY_CONNECTED"),
    case("matmul", lambda x: b.matmul(x, vector(12).reshape(3, 4)), "FULLY_CONNECTED"),
    case("matmul-adjoint", lambda x: b.matmul(x, vector(12).reshape(4, 3), adj_y=True), "FULLY_CONNECTED"),
    case("matmul-unit-batch", lambda x: b.matmul(x, vector(12).reshape(1, 1, 3, 4)), "FULLY_CONNECTED"),
    case("gemm", lambda x: b.relu(b.matmul(b.reshape(x, (64, 3)), vector(12).reshape(3, 4)) + vector(4)),
         "RESHAPE FULLY_CONNECTED"),
    case("flattened-and-back", lambda x: b.reshape(dense(b.reshape(x, (64, 3))), (1, 8, 8, 5)) + vector(5),
         "FULLY_CONNECTED"),
    case("logistic", lambda x: b.div(1.0, b.exp(b.neg(x)) + 1.0), "LOGISTIC"),
    case("rsqrt", lambda x: b.div(1.0, b.sqrt(b.exp(x))), "EXP RSQRT"),
    case("square", lambda x: b.power(x, 2.0), "SQUARE"),
    case("gathered-in-order", lambda x: b.gather_nd(b.exp(x), places(3, 4).reshape(2, 6, 2)), "EXP RESHAPE", (3, 4, 5)),
    # views
    case("activation-before-reshape", lambda x: b.relu(b.reshape(conv(x), (36, 4))), "CONV_2D RESHAPE"),
    case("function-between-reshapes", lambda x: conv(b.reshape(b.gelu(b.reshape(conv(x), (1, 36, 4))), (1, 6, 6, 4))),
         "CONV_2D GELU CONV_2D"),
    case("constant-of-a-unit-axis", lambda x: b.reshape(b.reshape(x, (8, 8, 3)) * vector(24).reshape(8, 1, 3), X),
         "MUL"),
    case("constant-of-part-of-an-axis", lambda x: b.reshape(dense(x), (1, 8, 8, 5, 1)) * vector(5).reshape(5, 1),
         "FULLY_CONNECTED RESHAPE"),
    case("constant-that-is-written-out", lambda x: b.reshape(conv(x), (1, 6, 6, 2, 2)) + vector(2), "CONV_2D RESHAPE"),
    case("constant-of-merged-axes", lambda x: b.reshape(b.reshape(x, (8, 24)) - vector(24), X), "SUB"),
    case("constant-on-the-left", lambda x: b.reshape(b.sub(vector(24), b.reshape(x, (8, 24))), X), "SUB"),
    case("between-two-reshapes", lambda x, y: b.reshape(b.reshape(x, (64, 3)) + b.reshape(y, (64, 3)), X), "ADD", X, X),
    case("constant-before-transpose", lambda x: b.transpose(conv(x), (0, 3, 1, 2)) * vector(4).reshape(4, 1, 1),
         "CONV_2D TRANSPOSE"),
    case("scalar-before-transposed-heads",
         lambda x: b.transpose(b.reshape(dense(x), (8, 8, 5)), (2, 0, 1)) * 0.5 + 1.0,
         "FULLY_CONNECTED RESHAPE TRANSPOSE"),
    # cleanup
    case("reshapes", lambda x: b.exp(b.reshape(b.reshape(x, (8, 24)), (64, 3))), "EXP RESHAPE"),
    case("reshape-and-back", lambda x: b.exp(b.reshape(b.reshape(x, (8, 24)), X)), "EXP"),
    case("transposes", lambda x: b.transpose(b.transpose(x, (0, 3, 1, 2)), (0, 2, 1, 3)), "TRANSPOSE"),
    case("transpose-and-back", lambda x: b.exp(b.transpose(b.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1))), "EXP"),
    case("lossless-casts", lambda x: b.tanh(b.cast(b.cast(b.cast(x, np.int64), np.int32), F32)),
         "CAST TANH", (X, np.int16)),
    case("cast-and-back", lambda x: b.sign(b.cast(b.cast(x, np.int64), np.int32)), "SIGN", (X, np.int32)),
    case("duplicates", lambda x: b.exp(b.tanh(x)) + b.exp(b.tanh(x)), "TANH EXP ADD"),
    case("duplicate-that-is-an-output", lambda x: two(b.exp(b.tanh(x)), b.tanh(x)), "TANH EXP"),
    case("dead-code", lambda x: (b.exp(x), b.tanh(x))[1], "TANH"),
    case("no-op-that-is-an-output", lambda x: b.emit("IDENTITY", b.exp(x), shape=X), "EXP"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", FUSED)
def test_fuses(function: Any, inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


BIG = weights(300, 3, 3, 8)
NEAR = [
    case("gathered-backwards", lambda x: b.gather_nd(x, places(3, 4)[::-1]), "GATHER_ND", (3, 4, 5)),
    case("gathered-in-part", lambda x: b.gather_nd(x, places(3, 3)), "GATHER_ND", (3, 4, 5)),
    case("gathered-of-more-rows", lambda x: b.gather_nd(x, places(2, 4)), "GATHER_ND", (3, 4, 5)),
    case("relu-of-a-shared-result", lambda x: (lambda y: b.relu(y) + b.exp(y))(conv(x)), "CONV_2D RELU EXP ADD"),
    case("relu-of-an-output", lambda x: (lambda y: two(b.relu(y), y))(conv(x)), "CONV_2D RELU"),
    case("relu-of-a-concatenation", lambda x: b.relu(b.concat([x, x], 3)), "CONCATENATION RELU"),
    case("sum-of-other-axes", lambda x: b.reduce("SUM", x * np.arange(3, dtype=F32), (2, 3)), "MUL SUM"),
    case("sum-with-numbers-for-each-place", lambda x: b.reduce("SUM", x * weights(8, 8, 3), (3,)), "MUL SUM"),
    case("sum-of-a-product-at-run-time", lambda x: b.reduce("SUM", x * b.exp(x), (3,)), "EXP MUL SUM"),
    case("tanh", lambda x: b.tanh(conv(x)), "CONV_2D TANH"),
    case("maximum-not-zero", lambda x: b.maximum(conv(x), 0.5), "CONV_2D MAXIMUM"),
    case("maximum-per-channel", lambda x: b.maximum(x, np.array([0, 0, 1], F32)), "MAXIMUM"),
    case("maximum-that-broadcasts", lambda x: b.maximum(b.reduce("SUM", x, (3,), True), np.zeros((1, 8, 8, 3), F32)),
         "SUM MAXIMUM"),
    case("pads-on-the-other-side", lambda x: conv(b.pad(x, pads(1, 0)), stride=2), "PAD CONV_2D"),
    case("pads-too-wide", lambda x: conv(b.pad(x, pads(2, 2))), "PAD CONV_2D"),
    case("torch-pads-stride-2", lambda x: conv(b.pad(x, pads(1, 1)), stride=2), "PAD CONV_2D"),
    case("pads-on-channels", lambda x: conv(b.pad(x, ((0, 0), (1, 1), (1, 1), (0, 1)))), "PAD CONV_2D"),
    case("average-pool-counts-pads", lambda x: pool("AVERAGE", b.pad(x, pads(1, 1))), "PAD AVERAGE_POOL_2D"),
    case("max-pool-of-zeros", lambda x: pool("MAX", b.pad(x, pads(1, 1))), "PAD MAX_POOL_2D"),
    case("max-pool-of-ones", lambda x: pool("MAX", b.pad(x, pads(1, 1), 1.0)), "PADV2 MAX_POOL_2D"),
    case("fillings-differ", lambda x: b.pad(b.pad(x, pads(1, 0), 1.0), pads(2, 3), 2.0), "PADV2 PADV2"),
    case("pad-after-same", lambda x: conv(b.pad(x, pads(1, 1)), padding="SAME"), "PAD CONV_2D"),
    case("add-not-per-channel", lambda x: conv(x) + vector(6).reshape(1, 1, 6, 1), "CONV_2D ADD"),
    case("add-after-activation", lambda x: b.relu(conv(x)) + vector(4), "CONV_2D ADD"),
    case("constant-over-result", lambda x: b.div(1.0, conv(x)), "CONV_2D DIV"),
    case("mul-of-an-output", lambda x: (lambda y: two(y, y * 2.0))(conv(x)), "CONV_2D MUL"),
    case("shared-big-weights", lambda x: conv(x, 300, w=BIG) * 2.0 + conv(b.exp(x), 300, w=BIG),
         "CONV_2D MUL EXP CONV_2D ADD", (1, 4, 4, 8)),
    case("factor-before-groups", lambda x: conv(x * vector(3), groups=3, out=6), "MUL CONV_2D"),
    case("factor-not-per-channel", lambda x: conv(x * vector(8).reshape(1, 8, 1, 1)), "MUL CONV_2D"),
    case("shared-factor", lambda x: (lambda y: conv(y) + conv(y, k=3, w=weights(4, 3, 3, 3, seed=9)))(x * 2.0),
         "MUL CONV_2D CONV_2D ADD"),
    case("summand-before-conv", lambda x: conv(x + vector(3)), "ADD CONV_2D"),
    case("constant-would-grow", lambda x: (x + vector(3)) + vector(8).reshape(8, 1), "ADD ADD"),
    case("not-quite-one", lambda x: x * F32(1.0000002), "MUL"),
    case("activation-between", lambda x: b.add(b.relu(x + 1.0), -2.0), "ADD ADD"),
    case("pool-not-over-everything", lambda x: pool("AVERAGE", x, 7), "AVERAGE_POOL_2D"),
    case("reshape-that-others-read", lambda x: (lambda y: b.exp(y) + y)(b.reshape(x, (64, 3))), "RESHAPE EXP ADD"),
    case("constant-that-enlarges", lambda x: b.reshape(x, (8, 8, 1, 3)) * vector(6).reshape(2, 3), "RESHAPE MUL"),
    case("constant-that-would-be-written-out-large", lambda x: b.reshape(x, (2, 64, 512)) * vector(64).reshape(64, 1),
         "RESHAPE MUL", (2, 32768)),
    case("constant-behind-a-transpose-of-no-weights", lambda x: b.transpose(b.exp(x), (0, 3, 1, 2)) * 2.0,
         "EXP TRANSPOSE MUL"),
    case("matmul-of-a-batch", lambda x: b.matmul(x, vector(96).reshape(8, 3, 4)), "BATCH_MATMUL"),
    case("matmul-constant-first", lambda x: b.matmul(vector(64).reshape(8, 8), x), "BATCH_MATMUL"),
    case("matmul-adjoint-operand", lambda x: b.matmul(x, vector(16).reshape(8, 2), adj_x=True), "BATCH_MATMUL"),
    case("reshape-of-rows", lambda x: b.reshape(dense(b.reshape(x, (8, 24))), (1, 8, 5)),
         "RESHAPE FULLY_CONNECTED RESHAPE"),
    case("lossy-casts", lambda x: b.cast(b.cast(x, np.int32), F32), "CAST CAST"),
    case("wrapping-casts", lambda x: b.cast(b.cast(x, np.int8), np.int32), "CAST CAST", (X, np.int32)),
    case("cube", lambda x: b.power(x, 3.0), "POW"),
    case("two-outputs-that-are-equal", lambda x: two(b.exp(x), b.exp(x)), "EXP EXP"),
    case("output-that-is-an-input", lambda x: b.emit("IDENTITY", x, shape=X), "IDENTITY"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", NEAR)
def test_near_misses(function: Any, inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


def test_attributes_of_a_fused_convolution() -> None:
    fused = check(program(lambda x: b.relu6(conv(b.pad(x, pads(1, 1)), dilation=1) * 2.0), X), "CONV_2D")
    found = attrs(fused, "CONV_2D")
    assert (found["padding"], found["activation"], found["strides"]) == ("SAME", "RELU6", (1, 1))


@pytest.mark.parametrize("extent, stride, low, same", [(N, 1, 1, True), (2 * N, 2, 0, True), (N, 2, 1, False)], ids=str)
def test_same_with_symbolic_extents(extent: Any, stride: int, low: int, same: bool) -> None:
    """Stride 1 always pads kernel - 1; stride 2 is decided where the extent is known to be even."""
    graph = program(lambda x: conv(b.pad(x, pads(low, 1)), stride=stride), (1, extent, extent, 3))
    check(graph, "CONV_2D" if same else "PAD CONV_2D", {"n": 5, "2*n": 10})


def test_fused_operation_writes_the_last_value_under_its_own_provenance() -> None:
    graph = program(lambda x: b.relu(conv(x)), X)
    convolution, relu = graph.ops
    last = relu.outputs[0]
    fuse(graph)
    assert graph.outputs == [last] and last.producer is graph.ops[0]
    assert graph.ops[0].origin is convolution.origin
    assert set(graph.placements) == {"x0", last.name}


def test_notes_tell_what_was_done_and_the_near_misses() -> None:
    notes = fuse(program(lambda x: b.relu(conv(b.pad(x, pads(1, 1)), stride=2)), X))
    assert "1 x activation into the operation before it" in notes
    assert any("pads ((0,0),(1,1),(1,1),(0,0)) are not SAME's ((0,0),(0,1),(0,1),(0,0))" in n for n in notes)


def test_values_that_define_a_symbol_stay() -> None:
    graph = program(lambda x: b.relu(conv(x)), X)
    graph.definitions["n"] = (graph.ops[0].outputs[0], 0)
    fuse(graph)
    assert kinds(graph) == ["CONV_2D", "RELU"]


def test_an_expectation_is_over_the_last_axis_of_the_product() -> None:
    """Numbers of more axes than what they are multiplied with: axis 1 of the product is axis 0 of that."""
    scaled = lambda x: b.emit("MUL", x, weights(1, 1, 5), activation=None)  # noqa: E731
    graph = program(lambda x: b.reduce("SUM", scaled(x), (1,)), (4, 5))
    rewrite(graph, [forms.expectation])
    assert kinds(graph) == ["MUL", "SUM"]


def test_constants_that_leave_float32_stay_apart() -> None:
    graph = program(lambda x: conv(x, w=constant(np.full((4, 3, 3, 3), 1e30, F32))) * 1e10, X)
    assert any("the constants leave the range of float32" in n for n in fuse(graph))
    assert kinds(graph) == ["CONV_2D", "MUL"]


def test_constants_that_would_become_zero_stay_apart() -> None:
    """(x a) (y a) = (x a a) y, where a a is a number of float32."""
    graph = program(lambda x, y: b.matmul(x * 1e-25, y * 1e-25), (4, 5), (5, 6))
    assert any("the constants leave the range of float32" in n for n in fuse(graph))
    assert kinds(graph) == ["MUL", "MUL", "BATCH_MATMUL"]


def test_quantised_weights_stay_as_they_are() -> None:
    quant = Quant(np.array([0.5], F32), np.array([0]), np.dtype(np.int8))
    w = constant(np.ones((4, 3, 3, 3), F32), quant=quant)
    graph = program(lambda x: conv(x, w=w) * vector(4), X)
    assert any("the weights are quantised" in n for n in fuse(graph))
    assert kinds(graph) == ["CONV_2D", "MUL"]


def test_bodies_are_fused_too() -> None:
    body = program(lambda x: b.relu(conv(x)), X)
    graph = program(lambda x: b.exp(x), X)
    graph.ops[0].attrs["body"] = body
    fuse(graph)
    assert kinds(body) == ["CONV_2D"]


def test_rules_that_undo_each_other_are_a_mistake_and_no_hang() -> None:
    @rule("ABS(x)")
    def there(m: Match) -> Value:
        """there"""
        return b.emit("NEG", m.x)

    @rule("NEG(x)")
    def back(m: Match) -> Value:
        """back"""
        return b.emit("ABS", m.x)

    with pytest.raises(RuntimeError, match=r"rules of the converter undo each other: '(there|back)', '(there|back)'"):
        rewrite(program(lambda x: b.emit("NEG", x), (2, 3)), [there, back])
