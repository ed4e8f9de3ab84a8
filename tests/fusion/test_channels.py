"""Shuffles and slices that go into weights: the same numbers, and where they stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.fusion.splits import together
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Origin, Value, copy_graph

from .programs import (
    assert_close,
    conv,
    conv_3d,
    dense,
    depthwise,
    every_tensor,
    kinds,
    pool,
    program,
    random_feeds,
    transposed,
    two,
    vector,
)
from .test_rules import case, check

X = (1, 6, 6, 4)
SHUFFLE = "RESHAPE TRANSPOSE RESHAPE"


def shuffle(x: Value, *split: int, perm: Sequence[int] = (1, 0)) -> Value:
    """The last axis seen as ``split``, permuted."""
    lead = x.rank - 1
    apart = b.reshape(x, (*x.shape[:-1], *split))
    return b.reshape(b.transpose(apart, (*range(lead), *(lead + a for a in perm))), x.shape)


def flat_shuffle(x: Value) -> Value:
    """With the places of the image merged, as the layout leaves it."""
    return b.reshape(b.transpose(b.reshape(x, (36, 2, 4)), (0, 2, 1)), x.shape)


def halves(x: Value) -> Sequence[Value]:
    c = int(x.shape[-1])  # type: ignore[arg-type]
    return [b.narrow(x, -1, 0, c // 2), b.narrow(x, -1, c // 2, c // 2)]


def heads(x: Value) -> Sequence[Value]:
    """q, k and v of one product, as [heads, positions, features] each."""
    seen = b.transpose(b.reshape(x, (2, 6, 3, 2, 8)), (2, 0, 3, 1, 4))
    return [b.exp(b.reshape(b.narrow(seen, 0, i, 1), (2, 2, 6, 8))) for i in range(3)]


FUSED = [
    case("into-conv", lambda x: shuffle(conv(x, 8), 2, 4), "CONV_2D", X),
    case("into-conv-flat", lambda x: flat_shuffle(conv(x, 8, 1)), "CONV_2D", X),
    case("of-three-axes", lambda x: shuffle(conv(x, 12), 2, 3, 2, perm=(2, 0, 1)), "CONV_2D", X),
    case("pixel-shuffle", lambda x: b.emit("DEPTH_TO_SPACE", shuffle(conv(x, 8), 2, 4), block=2),
         "CONV_2D DEPTH_TO_SPACE", X),
    case("into-fully-connected", lambda x: shuffle(dense(x, 8), 2, 4), "FULLY_CONNECTED", X),
    case("through-an-activation", lambda x: shuffle(b.gelu(conv(x, 8)), 2, 4), "CONV_2D GELU", X),
    case("through-a-sum", lambda x: shuffle(conv(x, 8) + conv(b.exp(x), 8), 2, 4), "EXP CONV_2D CONV_2D ADD", X),
    case("through-a-square", lambda x: shuffle((lambda y: y * y)(conv(x, 8)), 2, 4), "CONV_2D MUL", X),
    case("through-a-slope", lambda x: shuffle(b.emit("PRELU", conv(x, 8), b.lift(vector(8).reshape(1, 1, 8))), 2, 4),
         "CONV_2D PRELU", X),
    case("through-depthwise", lambda x: shuffle(depthwise(conv(x, 8), 1), 2, 4), "CONV_2D DEPTHWISE_CONV_2D", X),
    case("from-behind", lambda x: conv(shuffle(x, 2, 2), 3), "CONV_2D", X),
    case("from-behind-twice", lambda x: (lambda y: two(conv(y, 3), dense(y)))(shuffle(x, 2, 2)),
         "CONV_2D FULLY_CONNECTED", X),
    case("part-from-behind", lambda x: (lambda p, q: two(conv(q, 3, 1), b.exp(p)))(*halves(shuffle(x, 2, 4))),
         "RESHAPE SLICE TRANSPOSE SLICE RESHAPE CONV_2D EXP RESHAPE", (1, 6, 6, 8)),
    case("both-parts-from-behind", lambda x: (lambda p, q: two(conv(q, 3), conv(p, 5)))(*halves(shuffle(x, 4, 4))),
         "RESHAPE SLICE RESHAPE CONV_2D SLICE RESHAPE CONV_2D", (1, 6, 6, 16)),
    case("part-of-a-shuffle", lambda x: b.exp(b.narrow(shuffle(x, 2, 4), -1, 2, 4)),
         "RESHAPE SLICE TRANSPOSE EXP RESHAPE", (1, 6, 6, 8)),
    case("slices-of-conv", lambda x: two(*halves(conv(x, 64))), "CONV_2D CONV_2D", X),
    case("slices-of-an-activation-fused", lambda x: two(*halves(b.relu(conv(x, 64)))), "CONV_2D CONV_2D", X),
    case("slices-of-transposed", lambda x: two(*halves(transposed(x, 64))), "TRANSPOSE_CONV TRANSPOSE_CONV", X),
    case("slices-of-conv_3d", lambda x: two(*halves(conv_3d(x, 64))), "CONV_3D CONV_3D", (1, 5, 5, 5, 2)),
    case("slices-of-depthwise", lambda x: two(*halves(depthwise(conv(x, 64), 1))),
         "CONV_2D DEPTHWISE_CONV_2D CONV_2D DEPTHWISE_CONV_2D", X),
    case("slices-of-pointwise-conv", lambda x: two(*halves(conv(x, 32, 1))), "CONV_2D CONV_2D", X),
    case("a-slice-alone", lambda x: b.narrow(conv(x, 96), -1, 32, 32), "CONV_2D", X),
    case("split-of-dense", lambda x: b.mul(*b.split(dense(x, 32), (16, 16), 3)),
         "FULLY_CONNECTED FULLY_CONNECTED MUL", X),
    case("heads-of-one-product", lambda x: heads(dense(x, 48)), " ".join(["FULLY_CONNECTED RESHAPE TRANSPOSE EXP"] * 3),
         (2, 6, 4)),
]  # fmt: skip
NEAR = [
    case("shuffle-of-an-input", lambda x: b.exp(shuffle(x, 2, 2)), "RESHAPE TRANSPOSE EXP RESHAPE", X),
    case("shuffle-read-elsewhere", lambda x: (lambda y: two(shuffle(y, 2, 4), b.exp(y)))(conv(x, 8)),
         f"CONV_2D {SHUFFLE} EXP", X),
    case("shuffle-that-moves-places", lambda x: b.reshape(b.transpose(b.reshape(conv(x, 8), (1, 2, 2, 4, 8)),
         (0, 2, 1, 3, 4)), (1, 4, 4, 8)), f"CONV_2D {SHUFFLE}", X),
    case("shuffle-of-groups", lambda x: shuffle(conv(x, 8, groups=2), 2, 4), f"CONV_2D {SHUFFLE}", X),
    case("shuffle-before-groups", lambda x: conv(shuffle(x, 2, 2), 8, groups=2), f"{SHUFFLE} CONV_2D", X),
    case("part-of-a-column", lambda x: conv(b.narrow(shuffle(x, 2, 4), -1, 1, 4), 3), f"{SHUFFLE} SLICE CONV_2D",
         (1, 6, 6, 8)),
    case("part-of-three-axes", lambda x: conv(b.narrow(shuffle(x, 2, 2, 2, perm=(2, 0, 1)), -1, 4, 4), 3),
         f"{SHUFFLE} SLICE CONV_2D", (1, 6, 6, 8)),
    case("part-before-groups", lambda x: conv(b.narrow(shuffle(x, 2, 4), -1, 4, 4), 4, groups=2),
         "RESHAPE SLICE TRANSPOSE RESHAPE CONV_2D", (1, 6, 6, 8)),
    case("shuffle-behind-softmax", lambda x: b.exp(shuffle(b.softmax(conv(x, 8)), 2, 4)),
         "CONV_2D SOFTMAX RESHAPE TRANSPOSE EXP RESHAPE", X),
    case("shuffle-behind-a-pool", lambda x: b.exp(shuffle(pool("MAX", conv(x, 8, 1)), 2, 4)),
         "CONV_2D MAX_POOL_2D RESHAPE TRANSPOSE EXP RESHAPE", X),
    case("slices-that-overlap", lambda x: (lambda y: two(b.narrow(y, -1, 0, 32), b.narrow(y, -1, 16, 32)))(conv(x, 48)),
         "CONV_2D SLICE SLICE", X),
    case("slices-of-few-channels", lambda x: two(*halves(conv(x, 16, 1))), "CONV_2D SLICE SLICE", X),
    case("slices-of-few-channels-over-a-window", lambda x: two(*halves(conv(x, 32))), "CONV_2D SLICE SLICE", X),
    case("slices-of-rows", lambda x: (lambda y: two(b.narrow(y, 1, 0, 2), b.narrow(y, 1, 2, 2)))(conv(x, 16)),
         "CONV_2D SLICE SLICE", X),
    case("slices-of-what-others-read", lambda x: (lambda y: [*halves(y), b.exp(y)])(conv(x, 32)),
         "CONV_2D SLICE SLICE EXP", X),
    case("slices-of-groups", lambda x: two(*halves(conv(x, 32, groups=2))), "CONV_2D SLICE SLICE", X),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*FUSED, *NEAR])
def test_left(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


@pytest.mark.parametrize("function", [lambda x: shuffle(conv(x, 8), 2, 4), lambda x: two(*halves(conv(x, 64)))])
def test_a_layer_that_is_to_be_kept(function: Callable[..., Any]) -> None:
    graph = program(function, X)
    (layer,) = [op for op in graph.ops if op.kind.weights is not None]
    layer.origin = Origin("mine", "Conv", (), ())
    before = kinds(graph)
    fuse(graph, frozenset(["mine"]))
    assert kinds(graph) == before


SPLITS = [
    case("halves", lambda x: two(*halves(x)), "SPLIT", X),
    case("unequal", lambda x: two(b.narrow(x, 1, 0, 2), b.narrow(x, 1, 2, 4)), "SPLIT_V", X),
    case("in-another-order", lambda x: two(b.exp(b.narrow(x, 1, 4, 2)), b.exp(b.narrow(x, 1, 0, 4))),
         "SPLIT_V EXP EXP", X),
    case("of-a-split", lambda x: b.mul(*b.split(x, (2, 2), 3)), "SPLIT MUL", X),
    case("part-that-is-missing", lambda x: two(b.narrow(x, 1, 0, 2), b.narrow(x, 1, 2, 2)), "SLICE SLICE", X),
    case("parts-that-overlap", lambda x: two(b.narrow(x, 1, 0, 4), b.narrow(x, 1, 2, 4)), "SLICE SLICE", X),
    case("of-two-axes", lambda x: two(b.narrow(x, 1, 0, 3), b.narrow(x, 2, 3, 3)), "SLICE SLICE", X),
    case("one-of-two", lambda x: b.exp(b.split(x, (2, 2), 3)[0]), "SLICE EXP", X),
    case("truth", lambda x: two(*halves(b.less(x, 0.0))), "LESS SLICE SLICE", X),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", SPLITS)
def test_together(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    graph = program(function, *inputs)
    split = copy_graph(graph)
    fuse(split)
    together(split)
    assert [o.kind.name for o in split.ops] == expected.split()
    feeds = random_feeds(graph)
    want, got = every_tensor(graph, feeds), every_tensor(split, feeds)
    for name, tensor in got.items():
        np.testing.assert_array_equal(tensor, want[name])


STEPS: list[Callable[[Value], Value]] = [
    lambda x: conv(x, 12, 1),
    lambda x: conv(x, 8),
    lambda x: dense(x, 12),
    lambda x: depthwise(x, 1, 2),
    lambda x: shuffle(x, 2, int(x.shape[-1]) // 2),  # type: ignore[arg-type]
    lambda x: shuffle(x, int(x.shape[-1]) // 2, 2),  # type: ignore[arg-type]
    lambda x: b.tanh(x),
    lambda x: x * vector(int(x.shape[-1])),  # type: ignore[arg-type]
    lambda x: pool("AVERAGE", x, 2),
    lambda x: b.mul(*b.split(conv(x, 32, 1), (16, 16), 3)),
    lambda x: (
        (lambda left, right: b.concat([left, conv(right, 4, 1)], 3))(*b.split(shuffle(x, 2, 4), (4, 4), 3))
        if x.shape[-1] == 8
        else x
    ),
    lambda x: b.concat([b.narrow(x, 3, 0, 2), x], 3) if int(x.shape[-1]) % 2 == 0 else x,  # type: ignore[arg-type]
]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(STEPS) - 1), min_size=2, max_size=7))
def test_random_networks(choices: list[int]) -> None:
    def network(x: Value) -> Value:
        for i in choices:
            x = STEPS[i](x) if min(x.shape[1:3]) > 3 else conv(x, 8, 1)  # type: ignore[type-var]
        return b.exp(b.neg(b.abs_(x)))

    graph = program(network, (1, 14, 14, 4))
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    want, got = every_tensor(graph, feeds), every_tensor(fused, feeds)
    size = max(float(np.abs(t).max()) for t in want.values())
    for name, tensor in got.items():
        assert_close(tensor, want[name], f"{name} of {[str(o) for o in fused.ops]}", size)
    left = [str(o) for o in fused.ops]
    fuse(fused)
    assert [str(o) for o in fused.ops] == left
