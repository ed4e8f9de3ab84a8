"""Integer kernels: which form, and that they give the integers that the float program gives.

The expectation is always the same program run with float kernels between DEQUANTIZE and QUANTIZE.  The kernels without
a delegate round twice (to a power of two after a 31-bit multiplication), so they may be one step off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.fusion import fuse, qdq
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.editor import rewrite
from onnx2tf_lite.ir.graph import Graph, Op, Quant, Value, constant, copy_graph
from onnx2tf_lite.ir.rules import rule
from tests.models import golden

from .programs import F32, conv_3d, every_tensor, kinds, pads, pool, program, random_feeds, run, two, vector
from .quantised import (
    HALF,
    I8,
    I16,
    I32,
    IN,
    OUT,
    SW,
    U8,
    UIN,
    UOUT,
    X,
    assert_within,
    case,
    conv,
    dense,
    depthwise,
    flips,
    join,
    layer,
    moved,
    one_beyond,
    prepared,
    quant,
    residual,
    resized,
    stored,
    through,
    transposed,
)

FORMED = [
    case("conv", layer(conv), "CONV_2D"),
    case("conv-per-channel", layer(lambda x: conv(x, scales=SW)), "CONV_2D"),
    case("conv-uint8", layer(conv, UOUT, UIN), "CONV_2D"),
    case("conv-uint8-weights", layer(lambda x: conv(x, w=stored((6, 3, 3, 4), quant(0.01, 128, U8), 1, 255))),
         "CONV_2D"),
    case("conv-weights-with-a-zero-point", layer(lambda x: conv(x, w=stored((6, 3, 3, 4), quant(0.01, 3), -100, 127))),
         "CONV_2D"),
    case("conv-weights-beyond-int8", layer(lambda x: conv(x, w=stored((6, 3, 3, 4), quant(0.01, 30)))),
         "CONCATENATION CONV_2D"),
    case("conv-weights-far-beyond-int8", layer(lambda x: conv(x, w=stored((6, 3, 3, 4), quant(0.01, 0, U8), 0, 255))),
         "CONCATENATION CONV_2D"),
    case("conv-one-weight-beyond-int8", layer(lambda x: conv(x, w=one_beyond())), "SLICE CONCATENATION CONV_2D"),
    case("fully_connected-beyond-int8", layer(lambda x: b.fully_connected(x, stored((5, 4), quant(0.02, -60)))),
         "SLICE CONCATENATION FULLY_CONNECTED"),
    case("transpose_conv-beyond-int8", layer(lambda x: transposed(x, stored((3, 2, 2, 4), quant(0.02, 90)))),
         "CONCATENATION TRANSPOSE_CONV"),
    case("conv-relu", layer(lambda x: b.relu(conv(x))), "CONV_2D"),
    case("conv-relu6", layer(lambda x: b.relu6(conv(x))), "CONV_2D"),
    case("conv-pad-same", layer(lambda x: conv(b.pad(x, pads(1, 1)))), "CONV_2D"),
    case("conv-pad", layer(lambda x: conv(b.pad(x, pads(2, 1)))), "PAD CONV_2D"),
    case("conv-groups", layer(lambda x: conv(x, groups=2)), "CONV_2D"),
    case("conv-float-bias-that-fits", layer(lambda x: conv(x, c=constant(F32([1, 2, -3, 0.5, 0, 7])))), "CONV_2D"),
    case("depthwise", layer(depthwise), "DEPTHWISE_CONV_2D"),
    case("transpose_conv", layer(transposed), "TRANSPOSE_CONV"),
    case("fully_connected", layer(dense), "FULLY_CONNECTED"),
    case("fully_connected-without-bias", layer(lambda x: b.matmul(x, stored((4, 5), quant(0.02)))), "FULLY_CONNECTED"),
    case("fully_connected-per-channel", layer(lambda x: b.fully_connected(x, stored((6, 4), quant(SW, 0, I8, 0)))),
         "FULLY_CONNECTED"),
    case("add", lambda x: through(b.relu(b.add(through(x), through(x, quant(0.07, 3)))), OUT), "QUANTIZE ADD"),
    case("sub", lambda x: through(b.sub(through(x), through(x, quant(0.07, 3))), OUT), "QUANTIZE SUB"),
    case("mul", lambda x: through(b.mul(through(x), through(x, quant(0.07, 3))), quant(0.2, 1)), "QUANTIZE MUL"),
    case("mul-constant", layer(lambda x: b.mul(x, stored((4,), quant(0.01)))), "MUL"),
    case("batch_matmul", layer(lambda x: b.matmul(x, b.transpose(x, (0, 1, 3, 2))), quant(1.5)),
         "TRANSPOSE BATCH_MATMUL"),
    case("mean", layer(lambda x: b.reduce("MEAN", x, (1, 2), True)), "MEAN", (1, 8, 8, 64)),
    case("average_pool", layer(lambda x: pool("AVERAGE", x), IN), "AVERAGE_POOL_2D"),
    case("max_pool", layer(lambda x: b.relu(pool("MAX", x)), IN), "MAX_POOL_2D"),
    case("max_pool-other-scale", layer(lambda x: pool("MAX", x)), "MAX_POOL_2D QUANTIZE"),
    case("logistic", layer(b.logistic, HALF), "LOGISTIC"),
    case("logistic-other-scale", layer(b.logistic, quant(1 / 200, -128)), "LOGISTIC QUANTIZE"),
    case("logistic-little-finer-scale", layer(b.logistic, quant(1 / 300, -128)), "LOGISTIC QUANTIZE"),
    case("tanh-other-scale", layer(b.tanh, quant(1 / 127)), "TANH QUANTIZE"),
    case("softmax", layer(lambda x: b.softmax(x), HALF), "SOFTMAX"),
    case("tanh", layer(b.tanh, quant(1 / 128)), "TANH"),
    case("leaky_relu", layer(lambda x: b.leaky_relu(x, 0.1)), "LEAKY_RELU"),
    case("relu", layer(b.relu), "RELU"),
    case("elu", layer(b.elu), "ELU"),
    case("hard_swish", layer(b.hard_swish), "HARD_SWISH"),
    case("resize_nearest", layer(resized("NEAREST_NEIGHBOR"), IN), "RESIZE_NEAREST_NEIGHBOR"),
    case("resize_bilinear", layer(resized("BILINEAR"), IN), "RESIZE_BILINEAR"),
    case("movement", layer(moved, IN), "SLICE RESHAPE TRANSPOSE"),
    case("movement-into-float", lambda x: b.transpose(through(x), (0, 3, 1, 2)), "TRANSPOSE"),
    case("movement-of-uint8", lambda x: b.dequantize(b.reshape(b.quantize(x, UIN), (64, 4)), UIN), "RESHAPE"),
    case("conv-moved-then-stored", layer(lambda x: b.transpose(conv(x), (0, 3, 1, 2))), "CONV_2D TRANSPOSE"),
    case("concat-one-scale", lambda x: b.concat([through(x), b.dequantize(b.quantize(b.neg(x), IN), IN)], 3),
         "NEG QUANTIZE CONCATENATION"),
    case("concat-other-scales", lambda x: through(join(3, IN, OUT)(x), quant(0.2)),
         "QUANTIZE QUANTIZE QUANTIZE CONCATENATION"),
    case("maximum", lambda x: through(b.maximum(through(x), stored((4,), IN)), IN), "MAXIMUM"),
    case("same-parameters", layer(lambda x: conv(through(x))), "CONV_2D"),
    case("other-parameters", layer(lambda x: x), "QUANTIZE"),
    case("residual", lambda x: residual(through(x)), "CONV_2D ADD"),
]  # fmt: skip


# Kernels that rescale 8-bit numbers with few bits to spare (x * 0.9 to an integer, then half of that to an integer;
# XNNPACK with an 8-bit factor; MEAN truncates), and the share of elements that comes out one step off.
@pytest.mark.parametrize("function, inputs, expected", FORMED)
def test_forms(function: Any, inputs: Any, expected: str) -> None:
    real, integer = prepared(program(function, *inputs))
    if expected.count("QUANTIZE") > 2 or "NEG" in expected:  # the order among the inputs' QUANTIZEs does not matter
        assert Counter(kinds(integer)) == Counter(expected.split())
    else:
        assert kinds(integer) == expected.split()
    assert all(
        o.outputs[0].dtype == I8 and o.outputs[0].quant for o in integer.ops if o.kind.name not in ("DEQUANTIZE", "NEG")
    )
    feeds = random_feeds(real)
    step = integer.ops[-1].attrs["quant"].scale.item()
    for runtime in ("plain", "default"):
        want, got = run(real, feeds, "plain"), run(integer, feeds, runtime)
        assert_within(step, got["y0"], want["y0"], 1, flips(expected), runtime)


@pytest.mark.parametrize("function, inputs, expected", FORMED)
def test_placements_stay_truthful(function: Any, inputs: Any, expected: str) -> None:
    """Real numbers that only exist as integers any more are found there."""
    real, integer = prepared(program(function, *inputs))
    feeds = random_feeds(real)
    want, got = every_tensor(real, feeds), every_tensor(integer, feeds)
    assert "y0" in got
    for name, tensor in got.items():
        assert tensor.dtype == want[name].dtype, name
        value = integer.placements[name].value
        source = value.producer.inputs[0] if value.quant is None and value.producer else value
        step = source.quant.scale.item() if source is not None and source.quant else 1e-4
        if tensor.dtype.kind != "f":
            step = 1
        assert_within(step, tensor, want[name], 1, flips(expected), name)


WIDE = constant(vector(6) * F32(1e9))

LEFT = [
    case("weights-along-input-channels", layer(lambda x: conv(x, w=stored((6, 3, 3, 4), quant(SW[:4], 0, I8, 3)))),
         "DEQUANTIZE CONV_2D QUANTIZE"),
    case("conv-groups-beyond-int8",
         layer(lambda x: conv(x, w=stored((6, 3, 3, 2), quant(0.01, 150, U8), 0, 255), groups=2)),
         "DEQUANTIZE CONV_2D QUANTIZE"),
    case("depthwise-beyond-int8", layer(lambda x: depthwise(x, stored((1, 3, 3, 8), quant(0.01, 0, U8), 0, 255), 0.01)),
         "DEQUANTIZE DEPTHWISE_CONV_2D QUANTIZE"),
    case("float-weights", layer(lambda x: conv(x, w=constant(np.ones((6, 3, 3, 4), F32)))),
         "DEQUANTIZE CONV_2D QUANTIZE"),
    case("bias-beyond-int32", layer(lambda x: conv(x, c=WIDE)), "DEQUANTIZE CONV_2D QUANTIZE"),
    case("logistic-finer-scale", layer(b.logistic, quant(1 / 600, -128)), "DEQUANTIZE LOGISTIC QUANTIZE"),
    case("logistic-of-coarse-steps", layer(b.logistic, quant(2**-15, 0, I16), quant(31, 0, I16)),
         "DEQUANTIZE LOGISTIC QUANTIZE"),
    case("average_pool-other-scale", layer(lambda x: pool("AVERAGE", x)), "DEQUANTIZE AVERAGE_POOL_2D QUANTIZE"),
    case("division", lambda x: through(b.div(through(x), stored((4,), IN, 20, 127)), OUT), "DEQUANTIZE DIV QUANTIZE"),
    case("no-kernel", layer(b.sin), "DEQUANTIZE SIN QUANTIZE"),
    case("conv_3d", layer(conv_3d), "DEQUANTIZE CONV_3D QUANTIZE", (1, 5, 5, 5, 2)),
    case("int16-result", layer(conv, quant(0.001, 0, I16)), "DEQUANTIZE CONV_2D QUANTIZE"),
    case("add-of-a-float", lambda x: through(b.add(through(x), vector(4)), OUT), "DEQUANTIZE ADD QUANTIZE"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", LEFT)
def test_stays_float(function: Any, inputs: Any, expected: str) -> None:
    real, integer = prepared(program(function, *inputs))
    assert kinds(integer) == expected.split()
    feeds = random_feeds(real)
    for runtime in ("plain", "default"):
        want, got = run(real, feeds, runtime), run(integer, feeds, runtime)
        np.testing.assert_array_equal(got["y0"], want["y0"])


W16, U16 = quant(0.0017, 0, I16), quant(0.0017, 32768, np.dtype(np.uint16))
WIDE_OUT, UNSIGNED_OUT = quant(0.0009, 0, I16), quant(0.0009, 32768, U16.dtype)


def other(x: Value) -> Value:
    return through(x, quant(0.0011, 0, I16))


FORMED_16 = [
    case("conv", layer(conv, WIDE_OUT, W16), "CONV_2D"),
    case("depthwise", layer(depthwise, WIDE_OUT, W16), "DEPTHWISE_CONV_2D"),
    case("add", lambda x: through(b.add(through(x, W16), other(x)), WIDE_OUT), "QUANTIZE ADD"),
    case("add-of-powers-of-two",
         lambda x: through(b.add(through(x, quant(2**-10, 0, I16)), through(x, quant(2**-11, 0, I16))),
                           quant(2**-9, 0, I16)), "QUANTIZE QUANTIZE ADD"),
    case("mul", lambda x: through(b.mul(through(x, W16), other(x)), WIDE_OUT), "QUANTIZE MUL"),
    case("logistic", layer(b.logistic, quant(2**-15, 0, I16), W16), "LOGISTIC"),
    case("logistic-of-almost-nothing", layer(b.logistic, quant(2**-15, 0, I16), quant(1e-15, 0, I16)),
         "QUANTIZE LOGISTIC"),
    case("tanh-of-almost-nothing", layer(b.tanh, quant(2**-15, 0, I16), quant(3e-14, 0, I16)), "QUANTIZE TANH"),
    case("depth_to_space", layer(lambda x: b.emit("DEPTH_TO_SPACE", x, block=2), W16, W16),
         "RESHAPE TRANSPOSE RESHAPE"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", FORMED_16)
def test_forms_of_16_bits(function: Any, inputs: Any, expected: str) -> None:
    """Kernels of 16 bits know the factor of a result to 15 bits, so that large results are a step off, or two."""
    real, integer = prepared(program(function, *inputs))
    assert Counter(kinds(integer)) == Counter(expected.split())
    assert all(o.outputs[0].dtype == I16 for o in integer.ops if o.kind.name != "DEQUANTIZE")
    feeds = random_feeds(real)
    want, got = run(real, feeds, "plain"), run(integer, feeds, "plain")
    assert_within(integer.ops[-1].attrs["quant"].scale.item(), got["y0"], want["y0"], 2, 1, "plain")


def moved_16(q: Quant) -> Callable[[Value], Value]:
    return lambda x: b.dequantize(b.reshape(b.quantize(x, q), (64, 4)), q)


@pytest.mark.parametrize(
    "signed, unsigned", [(layer(conv, WIDE_OUT, W16), layer(conv, UNSIGNED_OUT, U16)), (moved_16(W16), moved_16(U16))],
    ids=["conv", "movement"],
)  # fmt: skip
def test_uint16_is_int16_and_32768(signed: Any, unsigned: Any) -> None:
    (_, one), (_, other) = prepared(program(signed, X)), prepared(program(unsigned, X))
    assert kinds(one) == kinds(other)
    feeds = random_feeds(one)
    np.testing.assert_array_equal(run(one, feeds)["y0"], run(other, feeds)["y0"])


def test_uint16_outside_is_a_sum() -> None:
    _, integer = prepared(program(lambda x: b.quantize(x, U16), X))
    assert kinds(integer) == ["QUANTIZE", "CAST", "ADD", "CAST"]
    feeds = random_feeds(integer)
    np.testing.assert_array_equal(run(integer, feeds)["y0"], U16.stored(feeds["x0"]))


def dynamic(x: Value) -> Value:
    return b.emit("DYNAMIC_QUANT", x)


HYBRID = [
    case("conv", lambda x: conv(dynamic(x), c=constant(vector(6))), "CONV_2D"),
    case("conv-padded", lambda x: conv(b.pad(dynamic(x), pads(2, 1)), c=constant(vector(6))), "PAD CONV_2D"),
    case("conv-weights-beyond-int8", lambda x: conv(dynamic(x), stored((6, 3, 3, 4), quant(0.01, 30)),
                                                    constant(vector(6))), "CONCATENATION CONV_2D"),
    case("depthwise", lambda x: depthwise(dynamic(x)), "DEPTHWISE_CONV_2D"),
    case("fully_connected", lambda x: b.fully_connected(dynamic(x), stored((5, 4), quant(0.02))), "FULLY_CONNECTED"),
    case("moved", lambda x: b.fully_connected(b.reshape(dynamic(x), (64, 4)), stored((5, 4), quant(0.02))),
         "FULLY_CONNECTED"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", HYBRID)
def test_kernels_that_quantise_their_operand_as_it_comes(function: Any, inputs: Any, expected: str) -> None:
    """Within what one rounding of every operand to the 127 steps of the largest one can add up to."""
    real = program(function, *inputs)
    fuse(real)
    hybrid = copy_graph(real)
    qdq(hybrid)
    assert [k for k in kinds(hybrid) if k != "RESHAPE"] == expected.split()[1:-1]
    linear = next(o for o in hybrid.ops if o.kind.weights is not None)
    assert linear.inputs[1].dtype == I8 and linear.inputs[0].dtype == F32
    feeds = random_feeds(hybrid)
    exact = copy_graph(real)
    rewrite(exact, [rule("DYNAMIC_QUANT(x)")(lambda m: m.x)])
    want = run(exact, feeds)["y0"]
    weights = np.abs(linear.inputs[1].quant.real(linear.inputs[1].data))
    total = weights.sum(tuple(i for i in range(weights.ndim) if i != linear.kind.weights.outputs)).max()
    bound = total * np.abs(feeds["x0"]).max() / 127
    for runtime in ("plain", "default"):
        assert 0 < np.abs(run(hybrid, feeds, runtime)["y0"] - want).max() < bound, runtime


def test_rounding_by_a_range_that_no_kernel_does_is_arithmetic() -> None:
    real = program(lambda x: b.sin(dynamic(x)), X)
    qdq(real)
    assert "DYNAMIC_QUANT" not in kinds(real)
    x = random_feeds(real)["x0"]
    scale = F32(max(x.max(), 0) - min(x.min(), 0)) / F32(255)
    zero = np.round(-min(x.min(), 0) / scale)
    seen = (np.clip(np.round(x / scale) + zero, 0, 255) - zero) * scale
    np.testing.assert_allclose(run(real, {"x0": x})["y0"], np.sin(seen), atol=1e-5)


def test_a_result_with_a_float_reader_stays_float() -> None:
    _, integer = prepared(program(lambda x: (lambda y: two(through(y, OUT), b.tanh(y)))(conv(through(x))), X))
    assert [o.outputs[0].dtype.name for o in integer.ops if o.kind.name == "CONV_2D"] == ["float32"]


@pytest.mark.parametrize("old, new, exact", [(8, 16, "-ch"), (33, 257, "c"), (1, 33, "-ch"), (7, 50, ""), (20, 30, "")])
@pytest.mark.parametrize("corners, half", [(False, False), (True, False), (False, True)], ids=["", "corners", "half"])
def test_resizing_by_the_integer_kernel_only_where_its_positions_are_exact(
    old: int, new: int, exact: str, corners: bool, half: bool
) -> None:
    """The builtin kernel adds rounded distances up: 33 x 33 to 257 x 257 it would be tens of steps off."""
    graph = program(layer(lambda x: b.emit("RESIZE_BILINEAR", x, size=(new, new), align_corners=corners,
                                           half_pixel_centers=half), IN), (1, old, old, 3))  # fmt: skip
    real, integer = prepared(graph)
    wanted = ("c" if corners else "h" if half else "-") in exact
    inner = "RESIZE_BILINEAR" if wanted else "DEQUANTIZE RESIZE_BILINEAR QUANTIZE"
    assert kinds(integer) == f"QUANTIZE {inner} DEQUANTIZE".split()
    feeds = random_feeds(real)
    for runtime in ("plain", "default"):
        assert_within(
            IN.scale.item(), run(integer, feeds, runtime)["y0"], run(real, feeds)["y0"], 1, 0.25, runtime
        )  # ties


@pytest.mark.parametrize("operand, result, own", [(UIN, UOUT, I8), (U16, UNSIGNED_OUT, I16)], ids=["8 bits", "16 bits"])
def test_integers_without_a_sign_are_found_among_those_with_one(operand: Quant, result: Quant, own: np.dtype) -> None:
    """The kernel's are those of the ONNX tensor less the middle one, which the map of the file says."""

    def tensor(*quants: Quant) -> tuple[Graph, str]:
        graph = program(lambda x: b.tanh(through(conv(through(x, quants[0])), quants[1])), X)
        return graph, next(
            o.outputs[0].name for o in graph.ops if o.kind.name == "QUANTIZE" and o.attrs["quant"] is quants[1]
        )

    graph, name = tensor(operand, result)
    _, integer = prepared(graph)
    place = integer.placements[name]
    assert place.unsigned and place.value.dtype == own and place.value.producer.kind.name == "CONV_2D"
    signed, other = tensor(operand.as_signed(), result.as_signed())
    feeds = random_feeds(integer)
    got, want = every_tensor(integer, feeds)[name], every_tensor(prepared(signed)[1], feeds)[other].astype(int)
    assert got.dtype == result.dtype and want.min() < 0
    np.testing.assert_array_equal(got, want - np.iinfo(own).min)
    np.testing.assert_array_equal(place.restore(place.store(got, {}), {}), got)


def test_uint8_boundaries() -> None:
    """A uint8 input and output of the model keep their integers; one QUANTIZE at each edge."""
    graph = program(lambda x: b.quantize(conv(b.dequantize(x, UIN)), UOUT), (X, np.uint8))
    real, integer = prepared(graph)
    assert kinds(integer) == ["QUANTIZE", "CONV_2D", "QUANTIZE"]
    assert [v.dtype for v in (*integer.inputs, *integer.outputs)] == [U8, U8]
    feeds = random_feeds(real)
    for runtime in ("plain", "default"):
        assert_within(1, run(integer, feeds, runtime)["y0"], run(real, feeds)["y0"], 1, 0.05, runtime)


def test_uint8_around_float_operations_stays_uint8() -> None:
    _, integer = prepared(program(lambda x: b.quantize(b.sin(b.dequantize(x, UIN)), UOUT), (X, np.uint8)))
    assert kinds(integer) == ["DEQUANTIZE", "SIN", "QUANTIZE"]


@pytest.mark.parametrize("scale, version", [(0.2, 2), (0.001, 3)])
def test_version_of_a_product(scale: float, version: int) -> None:
    product = program(lambda x: through(b.mul(through(x), through(x, OUT)), quant(scale)), X)
    (op,) = [o for o in prepared(product)[1].ops if o.kind.name == "MUL"]
    assert op.kind.version(op) == version


def test_weights_are_the_model_s_integers() -> None:
    integers = np.random.default_rng(0).integers(-128, 128, (6, 3, 3, 4)).astype(np.int8)
    w = b.dequantize(constant(integers), quant(SW, 0, I8, 0))
    _, graph = prepared(program(layer(lambda x: conv(x, w, scales=SW)), X))
    (op,) = [o for o in graph.ops if o.kind.name == "CONV_2D"]
    _, weights, c = op.inputs
    np.testing.assert_array_equal(weights.data, integers)
    assert c.dtype == I32 and c.quant.axis == 0
    np.testing.assert_allclose(c.quant.scale, IN.scale * SW)


# ------------------------------------------------------------------------------------------------ a real model


def real_result(op: Op, arrays: list[np.ndarray], step: float) -> np.ndarray:
    """The operation on real numbers in float64, in units of the result's step."""
    x, *rest = arrays
    kind = op.kind.name
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        w, c = rest
        k, s = w.shape[1], op.attrs["strides"][0]
        if op.attrs["padding"] == "SAME":
            total = max((-(-x.shape[1] // s) - 1) * s + k - x.shape[1], 0)
            x = np.pad(x, pads(total // 2, total - total // 2))
        n = (x.shape[1] - k) // s + 1
        taps = (
            (i, j, x[:, i : i + (n - 1) * s + 1 : s, j : j + (n - 1) * s + 1 : s]) for i in range(k) for j in range(k)
        )
        y = c + sum(t @ w[:, i, j].T if kind == "CONV_2D" else t * w[0, i, j] for i, j, t in taps)
    elif kind == "QUANTIZE":  # ONNX divides in float32
        return x.astype(F32) / F32(step)
    elif kind == "FULLY_CONNECTED":
        y = x @ rest[0].T + rest[1]
    elif kind == "MEAN":
        y = x.mean(op.attrs["axes"], keepdims=op.attrs["keepdims"])
    else:
        y = {"ADD": lambda: x + rest[0], "PAD": lambda: np.pad(x, op.attrs["pads"]),
             "RESHAPE": lambda: x.reshape(len(x), -1)}[kind]()  # fmt: skip
    return (np.maximum(y, 0) if op.attrs.get("activation") == "RELU" else y) / step


@pytest.mark.parametrize("model", golden.parameters(golden.named("real/mobilenet_v2_qdq")))
def test_mobilenet_v2(model: golden.Model) -> None:
    """Everything between the edges is integer, and every kernel gives what float64 arithmetic on its operands gives.

    That is the strongest statement that holds: one element of the first layer on the wrong side of a tie, which is
    within float32's accuracy, ends as several steps in the scores, also between two float implementations.
    """
    import onnx

    from onnx2tf_lite import compile
    from tests.harness import prepare

    integers = [stage for stage in compile.BRANCHES["integer"] if stage[0] == "int8"]
    graph = compile.run(prepare(onnx.load(model.path)), [*compile.STAGES, *integers])
    left = Counter((o.kind.name, o.outputs[0].dtype.name) for o in graph.ops)
    integer = {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 10, "PAD": 3, "MEAN": 1, "RESHAPE": 1,
               "FULLY_CONNECTED": 1, "QUANTIZE": 1}  # fmt: skip
    assert left == {**{(kind, "int8"): n for kind, n in integer.items()}, ("DEQUANTIZE", "float32"): 1}
    feeds = {graph.inputs[0].name: model.feeds()[0]["image"].transpose(0, 2, 3, 1)}
    copy = copy_graph(graph)
    copy.outputs = [o.outputs[0] for o in copy.ops]
    copy.output_names = [f"t{i}" for i in range(len(copy.ops))]
    for runtime, share in (("plain", 0.05), ("default", 0)):
        arrays = dict(zip(copy.outputs, run(copy, feeds, runtime).values(), strict=True)) | {
            copy.inputs[0]: feeds["image"]
        }

        def real(v: Value, arrays: dict[Value, np.ndarray] = arrays) -> np.ndarray:
            array = (v.data if v.data is not None else arrays[v]).astype(np.float64)
            return array if v.quant is None else (array - v.quant.zero_point) * v.quant.scale.astype(np.float64)

        for op in copy.ops[:-1]:
            (y,) = op.outputs
            exact = real_result(op, [real(v) for v in op.inputs if v is not None], float(y.quant.scale.item()))
            want = np.clip(np.round(exact) + y.quant.zero_point.item(), -128, 127)
            assert_within(1, arrays[y], want, 1, share, f"{runtime} {op}")
