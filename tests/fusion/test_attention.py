"""Where factors, summands and guards of attention and normalisation go, and random attention in every spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Value, copy_graph

from .programs import F32, assert_close, conv, dense, every_tensor, program, random_feeds, vector, weights
from .test_rules import case, check

Q = (1, 2, 8, 3)  # [N, heads, positions, features]
NORM = "MEAN SUB SQUARE MEAN ADD RSQRT MUL"


def norm(x: Value) -> Value:
    centred = x - b.reduce("MEAN", x, (x.rank - 1,), True)
    return centred * b.rsqrt(b.reduce("MEAN", b.square(centred), (x.rank - 1,), True) + 1e-5)


def guarded(x: Value) -> Value:
    return b.where(b.not_equal(x, x), 0.0, x)


def heads(x: Value, count: int = 2) -> Value:
    return b.transpose(b.reshape(x, (*x.shape[:2], count, -1)), (0, 2, 1, 3))


def scores(x: Value, y: Value) -> Value:
    return b.matmul(x, y, adj_y=True)


def last_of_three(x: Value) -> Value:
    n = norm(x) * vector(3) + vector(3, 5)
    return dense(n) + b.fully_connected(n, weights(5, 3, seed=4), vector(5))


FUSED = [
    case("into-weights", lambda x: scores(dense(x, 3), b.exp(x)) * 0.5, "EXP FULLY_CONNECTED BATCH_MATMUL"),
    case("into-weights-of-the-other", lambda x: b.div(scores(b.exp(x), dense(x, 3)), 8.0),
         "EXP FULLY_CONNECTED BATCH_MATMUL"),
    case("into-weights-of-heads", lambda x, y: scores(heads(dense(x, 6)), y) * 0.5,
         "FULLY_CONNECTED RESHAPE TRANSPOSE BATCH_MATMUL", (1, 8, 3), Q),
    case("on-the-smaller-operand", lambda x, y: scores(x, y) * 0.5, "MUL BATCH_MATMUL", Q, Q),
    case("both-scales-on-one", lambda x, y: scores(x * 0.5, y * 0.25), "MUL BATCH_MATMUL", Q, Q),
    case("both-scales-behind-reshapes", lambda x, y: scores(b.reshape(x * 0.5, Q), b.reshape(y * 0.25, Q)),
         "MUL RESHAPE RESHAPE BATCH_MATMUL", (1, 16, 3), (2, 8, 3)),
    case("onto-the-weights-of-the-other", lambda x: scores(dense(x, 3), b.exp(x) * 0.5),
         "EXP FULLY_CONNECTED BATCH_MATMUL"),
    case("behind-a-gate", lambda x: conv(b.mul(x, b.logistic(x) * 0.25)), "LOGISTIC MUL CONV_2D"),
    case("guard-by-rows", lambda x: guarded(b.softmax(x)), "SOFTMAX SLICE NOT_EQUAL SELECT_V2"),
    case("normalisation", lambda x: dense(norm(x) * vector(3) + vector(3)), f"{NORM} FULLY_CONNECTED"),
    case("normalisation-without-summand", lambda x: dense(norm(x) * vector(3)), f"{NORM} FULLY_CONNECTED"),
    case("normalisation-of-two-readers", last_of_three, f"{NORM} FULLY_CONNECTED FULLY_CONNECTED ADD"),
]  # fmt: skip
NEAR = [
    case("no-weights-on-either-side", lambda x: scores(b.sin(x) * 0.5, b.exp(x)), "SIN MUL EXP BATCH_MATMUL"),
    case("a-factor-per-feature", lambda x: scores(dense(x, 3), b.exp(x) * vector(3)),
         "FULLY_CONNECTED EXP MUL BATCH_MATMUL"),
    case("a-gate-per-channel", lambda x: conv(b.mul(x, b.logistic(x) * vector(3))), "LOGISTIC MUL MUL CONV_2D"),
    case("a-gate-that-others-read", lambda x: (lambda g: conv(b.mul(x, g), 3, 1) + g)(b.logistic(x) * 0.25),
         "LOGISTIC MUL MUL CONV_2D ADD"),
    case("fewer-scores-than-features", lambda x, y: scores(x, y) * 0.5, "BATCH_MATMUL MUL", (1, 2, 64), (1, 2, 64)),
    case("a-factor-per-column", lambda x, y: scores(x, y) * vector(8), "BATCH_MATMUL MUL", Q, Q),
    case("a-factor-of-zero", lambda x, y: scores(x, y) * 0.0, "BATCH_MATMUL MUL", Q, Q),
    case("scores-that-others-read", lambda x, y: (lambda s: s * 0.5 + s)(scores(x, y)), "BATCH_MATMUL MUL ADD", Q, Q),
    case("guard-of-no-softmax", lambda x: guarded(b.exp(x)), "EXP NOT_EQUAL SELECT_V2"),
    case("summand-of-no-normalisation", lambda x: dense(b.exp(x) * vector(3) + vector(3)),
         "EXP MUL ADD FULLY_CONNECTED"),
    case("normalisation-that-others-read", lambda x: (lambda n: dense(n, 3) + n)(norm(x) * vector(3) + vector(3)),
         f"{NORM} MUL ADD FULLY_CONNECTED ADD"),
    case("a-factor-per-row", lambda x: dense(norm(x) * vector(8).reshape(8, 1)), f"{NORM} MUL FULLY_CONNECTED"),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*FUSED, *NEAR])
def test_left(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


SPELLINGS: dict[str, list[Callable[..., Value]]] = {
    "before": [lambda x: x, lambda x: norm(x), lambda x: norm(x) * vector(6, 3) + vector(6, 4)],
    "query": [lambda q: q, lambda q: q * F32(0.7), lambda q: b.div(q, 3.0), lambda q: q + vector(3)],
    "key": [lambda k: k, lambda k: k * F32(0.7), lambda k: b.reshape(k * 0.3, k.shape)],
    "scale": [lambda s: s, lambda s: s * F32(0.4), lambda s: b.div(s, 1.7)],
    "mask": [lambda s: s, lambda s: s + vector(7).reshape(1, 1, 1, 7)],
    "guard": [lambda s: s, guarded],
    "after": [lambda y: y, lambda y: y * F32(1.5), lambda y: y + vector(6)],
}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(*(st.sampled_from(range(len(s))) for s in SPELLINGS.values())), st.booleans())
def test_random_attention(choices: tuple[int, ...], swapped: bool) -> None:
    before, query, key, scale, mask, guard, after = (s[i] for s, i in zip(SPELLINGS.values(), choices, strict=True))

    def attention(x: Value) -> Value:
        n = before(x)
        q, k, v = (heads(b.fully_connected(n, weights(6, 6, seed=i), vector(6, i))) for i in range(3))
        k = key(k)
        pairs = b.matmul(query(q), b.transpose(k, (0, 1, 3, 2))) if swapped else scores(query(q), k)
        y = b.matmul(guard(b.softmax(mask(scale(pairs)))), v)
        return after(b.reshape(b.transpose(y, (0, 2, 1, 3)), x.shape)) + x

    graph = program(attention, (2, 7, 6))
    fused = copy_graph(graph)
    fuse(fused)
    assert len(fused.ops) <= len(graph.ops) + (guard is guarded)
    feeds = random_feeds(graph)
    want, got = every_tensor(graph, feeds), every_tensor(fused, feeds)
    size = max(float(np.abs(t).max()) for t in want.values() if t.dtype == F32)
    for name, tensor in got.items():
        assert_close(tensor, want[name], name, size)
    left = [str(o) for o in fused.ops]
    fuse(fused)
    assert [str(o) for o in fused.ops] == left
