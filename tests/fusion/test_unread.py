"""What nobody reads is not computed: the same numbers, and where something else is read, or too little is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Value, copy_graph

from .programs import assert_close, program, random_feeds, run, two, vector, weights
from .test_rules import case, check

X = (1, 9, 8)


def first(x: Value, axis: int = 1, begin: int = 0, size: int = 1) -> Value:
    return b.narrow(x, axis, begin, size)


def normal(x: Value) -> Value:
    centred = x - b.reduce("MEAN", x, (2,), True)
    return centred * b.rsqrt(b.reduce("MEAN", b.square(centred), (2,), True) + 1e-5)


def layer(x: Value, seed: int = 0) -> Value:
    return b.fully_connected(x, weights(8, 8, seed=seed), vector(8))


def attended(x: Value) -> Value:
    q, k, v = (b.transpose(b.reshape(layer(x, i), (1, 9, 2, 4)), (0, 2, 1, 3)) for i in range(3))
    mixed = b.matmul(b.softmax(b.matmul(q, k, adj_y=True)), v)
    return x + layer(b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (1, 9, 8)))


FUSED = [
    case("one-operand", lambda x: first(b.gelu(x)), "SLICE GELU", X),
    case("two-operands", lambda x, y: first(b.mul(x, y)), "SLICE SLICE MUL", X, X),
    case("broadcast", lambda x, y: first(b.mul(x, y)), "RESHAPE SLICE MUL", X, (8,)),
    case("broadcast-along-the-axis", lambda x, y: first(b.mul(x, y)), "SLICE MUL", X, (1, 1, 8)),
    case("a-constant-for-each-row", lambda x: first(x * vector(9).reshape(9, 1), 1, 3, 2), "SLICE MUL", X),
    case("product", lambda x: first(layer(x)), "SLICE FULLY_CONNECTED", X),
    case("softmax", lambda x: first(b.softmax(x)), "SLICE SOFTMAX", X),
    case("mean", lambda x: first(b.reduce("MEAN", x, (2,), True)), "SLICE MEAN", X),
    case("rows-of-a-product", lambda x, y: first(b.matmul(x, y)), "SLICE BATCH_MATMUL", X, (1, 8, 6)),
    case("rows-of-columns", lambda x, y: first(b.matmul(x, y, adj_x=True)), "SLICE BATCH_MATMUL", (1, 8, 9), (1, 8, 6)),
    case("columns-of-a-product", lambda x, y: first(b.matmul(x, y), 2), "SLICE BATCH_MATMUL", X, (1, 8, 6)),
    case("columns-of-rows", lambda x, y: first(b.matmul(x, y, adj_y=True), 2), "SLICE BATCH_MATMUL", X, (1, 6, 8)),
    case("matrices", lambda x, y: first(b.matmul(x, y), 0, 1, 2), "SLICE SLICE BATCH_MATMUL", (4, 9, 8), (4, 8, 6)),
    case("matrices-with-one", lambda x, y: first(b.matmul(x, y), 0, 1, 2), "SLICE BATCH_MATMUL", (4, 9, 8), (1, 8, 6)),
    case("turned", lambda x: first(b.gelu(b.transpose(x, (0, 2, 1))), 2), "SLICE TRANSPOSE GELU", X),
    case("seen-otherwise", lambda x: first(b.reshape(b.exp(x), (1, 9, 2, 4)), 1, 2, 3), "SLICE EXP RESHAPE", X),
    case("read-twice", lambda x: (lambda y: two(b.exp(first(y)), b.sin(first(y))))(b.gelu(x)), "SLICE GELU EXP SIN", X),
    case("normalised", lambda x: first(normal(x)),
         "SLICE MEAN SUB SQUARE MEAN ADD RSQRT MUL", X),
    case("one-token-of-a-block", lambda x: first(attended(x)),
         "FULLY_CONNECTED RESHAPE TRANSPOSE FULLY_CONNECTED RESHAPE TRANSPOSE SLICE FULLY_CONNECTED RESHAPE TRANSPOSE "
         "BATCH_MATMUL SOFTMAX BATCH_MATMUL TRANSPOSE RESHAPE FULLY_CONNECTED ADD", X),
]  # fmt: skip
NEAR = [
    case("more-than-half", lambda x: first(b.gelu(x), 1, 0, 5), "GELU SLICE", X),
    case("another-part-too", lambda x: (lambda y: two(first(y), first(y, 1, 2)))(b.gelu(x)), "GELU SLICE SLICE", X),
    case("all-of-it-too", lambda x: (lambda y: two(first(y), b.sin(y)))(b.gelu(x)), "GELU SLICE SIN", X),
    case("an-output", lambda x: (lambda y: two(first(y), y))(b.gelu(x)), "GELU SLICE", X),
    case("of-the-last-axis", lambda x: first(b.softmax(x), 2), "SOFTMAX SLICE", X),
    case("of-the-axis-of-a-mean", lambda x: first(b.reduce("MEAN", x, (1,)), 1), "MEAN SLICE", X),
    case("across-axes", lambda x: first(b.reshape(b.exp(x), (1, 18, 4)), 1, 1, 3), "EXP RESHAPE SLICE", X),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*FUSED, *NEAR])
def test_left(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


STEPS: Sequence[Callable[[Value], Value]] = [
    b.gelu, b.softmax, normal, attended,
    layer,
    lambda x: x * vector(9).reshape(9, 1),
    lambda x: b.matmul(b.softmax(b.matmul(x, x, adj_y=True)), x),
    lambda x: b.transpose(b.sin(b.transpose(x, (0, 2, 1))), (0, 2, 1)),
    lambda x: b.reshape(b.exp(b.reshape(x, (9, 2, 4)) * np.float32(0.1)), (1, 9, 8)),
    lambda x: x + b.reduce("SUM", x, (2,), True),
    lambda x: x - b.reduce("MEAN", x, (1,), True),
]  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=4), st.integers(1, 2), st.data())
def test_random_chains(steps: list[int], axis: int, data: st.DataObject) -> None:
    extent = X[axis]
    size = data.draw(st.integers(1, extent))
    begin = data.draw(st.integers(0, extent - size))

    def chain(x: Value) -> Value:
        for step in steps:
            x = STEPS[step](x)
        return b.abs_(first(x, axis, begin, size))

    graph = program(chain, X)
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    assert_close(run(fused, feeds)["y0"], run(graph, feeds)["y0"], str(steps))
