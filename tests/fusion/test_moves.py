"""Pads that nothing looks at, axes of one element, layers of single places, and division that rounds down."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Value, copy_graph

from .programs import assert_close, conv, dense, depthwise, kinds, pads, program, random_feeds, run, two
from .test_rules import case, check

X = (1, 8, 8, 3)
LINE = (1, 1, 8, 192)
ROW = (1, 1, 8, 3)


def causal(x: Value, cut: int, stride: int = 1, layer: Callable[..., Value] = conv) -> Value:
    """Padded on both sides of height, with ``cut`` rows at the end left out."""
    y = layer(b.pad(x, ((0, 0), (4, 4), (0, 0), (0, 0))), dilation=2, stride=stride)
    return b.narrow(y, 1, 0, y.shape[1] - cut)  # type: ignore[operator]


def chomp(x: Value) -> Value:
    """The same of one dimension, as it is written behind a RESHAPE."""
    y = conv(b.pad(x, ((0, 0), (0, 0), (2, 2), (0, 0))), w=b.lift(np.ones((4, 1, 3, 3), np.float32)))
    return b.relu(b.narrow(b.reshape(y, (1, 10, 4)), 1, 0, 8))


def padded_line(x: Value, low: int = 4, high: int = 4, fill: float | None = None, columns: int = 0) -> Value:
    """An image of one row, padded before and behind as the line that it is."""
    length, channels = (int(d) for d in x.shape[2:])  # type: ignore[arg-type]
    y = b.pad(b.exp(b.reshape(x, (length, channels))), ((low, high), (0, columns)), *() if fill is None else (fill,))
    return b.reshape(y, (1, 1, length + low + high, channels + columns))


def row(x: Value, dilation: int = 2, layer: str = "CONV_2D") -> Value:
    """A layer that looks at three places of a line."""
    attrs: dict[str, object] = {"multiplier": 1, "dilated": True} if layer == "DEPTHWISE_CONV_2D" else {}
    w = np.arange(9 * int(x.shape[-1]), dtype=np.float32).reshape(3, 1, 3, -1) - 8  # type: ignore[arg-type]
    attrs |= {"padding": "VALID", "strides": (1, 1), "dilations": (1, dilation), "activation": None}
    return b.emit(layer, x, b.lift(w[:1] if "multiplier" in attrs else w), None, **attrs)


def one_place(x: Value, layer: Callable[[Value], Value], perm: tuple[int, ...] = (0, 2, 1, 3)) -> Value:
    return b.exp(layer(b.transpose(x, perm)))


def line(x: Value) -> Value:
    """An image of one row, [1, 1, 8, 192], as [1, 8, 192]."""
    return b.reshape(x, (1, 8, 192))


def normalised_line(x: Value) -> Value:
    """By the mean over the line, seen without the axis of the rows, and back."""
    y = line(b.exp(x))
    return b.sin(b.reshape(y - b.reduce("MEAN", y, (1,), True), LINE))


FUSED = [
    case("smaller-operand", lambda x, y: b.reshape(line(x) * b.exp(y), LINE), "EXP RESHAPE MUL", LINE, (1, 8, 1)),
    case("smaller-operand-of-an-axis-that-is-split", lambda x, y: b.reshape(b.reshape(x, (1536,)) / b.exp(y), LINE),
         "EXP RESHAPE DIV", LINE, (1,)),
    case("mean", lambda x: b.exp(b.reduce("MEAN", line(x), (1,))), "MEAN EXP RESHAPE", LINE),
    case("mean-of-all", lambda x: b.exp(b.reduce("MEAN", b.reshape(x, (1536,)), (0,))), "MEAN EXP RESHAPE", LINE),
    case("normalised-line", normalised_line, "EXP MEAN RESHAPE SUB SIN", LINE),
    case("causal", lambda x: causal(x, 4), "PAD CONV_2D", X),
    case("causal-depthwise", lambda x: causal(x, 4, 1, depthwise), "PAD DEPTHWISE_CONV_2D", X),
    case("causal-with-a-stride", lambda x: causal(x, 2, 2), "PAD CONV_2D", X),
    case("causal-in-one-dimension", chomp, "PAD CONV_2D RESHAPE", (1, 1, 8, 3)),
    case("cut-on-both-sides", lambda x: b.narrow(conv(b.pad(x, pads(2, 2))), 1, 1, 8), "PAD CONV_2D", X),
    case("cut-until-same", lambda x: b.narrow(b.narrow(conv(b.pad(x, pads(2, 2))), 1, 1, 8), 2, 1, 8), "CONV_2D", X),
    case("line-padded-before-it-is-an-image", lambda x: b.relu(b.narrow(row(padded_line(x)), 2, 0, 8)),
         "EXP PAD CONV_2D", ROW),
    case("line-padded-and-cut-as-a-line", lambda x: b.relu(b.narrow(b.reshape(row(padded_line(x)), (12, 3)), 0, 0, 8)),
         "EXP PAD CONV_2D RESHAPE", ROW),
    case("line-padded-as-same", lambda x: row(padded_line(x, 2, 2)), "EXP CONV_2D", ROW),
    case("line-padded-for-depthwise", lambda x: b.narrow(row(padded_line(x), 2, "DEPTHWISE_CONV_2D"), 2, 0, 8),
         "EXP PAD DEPTHWISE_CONV_2D", ROW),
    case("line-padded-for-a-maximum", lambda x: b.emit("MAX_POOL_2D", padded_line(x, 1, 1, -np.inf), kernel=(1, 3),
         strides=(1, 1), padding="VALID", activation=None), "EXP MAX_POOL_2D", ROW),
    case("unit-axes-between-reshapes", lambda x: b.reshape(b.transpose(b.reshape(x, (8, 1, 8, 3)), (3, 1, 0, 2)),
         (3, 64)), "RESHAPE TRANSPOSE RESHAPE", X),
    case("only-unit-axes-move", lambda x: b.exp(b.reshape(b.transpose(b.reshape(x, (8, 1, 8, 3)), (1, 0, 2, 3)),
         (8, 24))), "EXP RESHAPE", X),
    case("layer-of-one-place", lambda x: one_place(x, lambda y: conv(y, 1, 1)), "CONV_2D TRANSPOSE EXP", X),
    case("dense-of-one-place", lambda x: one_place(x, lambda y: dense(y, 2)), "FULLY_CONNECTED TRANSPOSE EXP", X),
]  # fmt: skip
NEAR = [
    case("smaller-operand-of-a-small-tensor", lambda x, y: b.reshape(x, (1, 8, 6)) * b.exp(y), "RESHAPE EXP MUL",
         (1, 1, 8, 6), (1, 8, 1)),
    case("larger-operand", lambda x, y: line(x) * b.exp(y), "RESHAPE EXP MUL", LINE, (5, 8, 192)),
    case("smaller-operand-of-a-part-of-an-axis", lambda x, y: b.reshape(x, (1, 8, 2, 96)) * b.exp(y),
         "RESHAPE EXP MUL", LINE, (1, 1, 2, 1)),
    case("mean-of-a-part-of-an-axis", lambda x: b.reduce("MEAN", b.reshape(x, (1, 8, 2, 96)), (3,)),
         "RESHAPE MEAN", LINE),
    case("smaller-operand-where-an-equal-one-is-added-too",
         lambda x, y, z: (lambda r: two(r * b.exp(y), r + b.sin(z)))(line(x)),
         "RESHAPE EXP MUL SIN ADD", LINE, (1, 8, 1), (1, 8, 192)),
    case("smaller-operand-where-a-layer-reads-too",
         lambda x, y: (lambda z: two(z * b.exp(y), b.matmul(z, z, adj_y=True)))(line(x)),
         "RESHAPE EXP MUL BATCH_MATMUL", LINE, (1, 8, 1)),
    case("more-cut-than-padded", lambda x: b.narrow(conv(b.pad(x, pads(1, 1))), 1, 2, 5), "CONV_2D SLICE", X),
    case("channels-cut", lambda x: b.narrow(conv(b.pad(x, pads(2, 2))), 3, 0, 2), "PAD CONV_2D SLICE", X),
    case("cut-of-no-pads", lambda x: b.narrow(conv(x), 1, 0, 2), "CONV_2D SLICE", X),
    case("line-padded-and-read-elsewhere", lambda x: (lambda y: two(row(y), b.sin(y)))(padded_line(x)),
         "EXP RESHAPE PAD RESHAPE CONV_2D SIN", ROW),
    case("line-padded-and-split", lambda x: conv(b.reshape(b.pad(b.exp(b.reshape(x, (8, 3))), ((4, 4), (0, 0))),
         (1, 4, 4, 3))), "EXP RESHAPE PAD RESHAPE CONV_2D", ROW),
    case("line-padded-to-one-element", lambda x: conv(b.reshape(b.pad(b.exp(x), ((0, 0), (0, 0), (1, 0))),
         (1, 3, 4, 1))), "EXP PAD RESHAPE CONV_2D", (3, 4, 0)),
    case("no-unit-axis", lambda x: b.reshape(b.transpose(b.reshape(x, (4, 2, 8, 3)), (3, 1, 0, 2)), (3, 64)),
         "RESHAPE TRANSPOSE RESHAPE", X),
    case("a-window", lambda x: one_place(x, lambda y: conv(y, 1, 3)), "TRANSPOSE CONV_2D EXP", X),
    case("a-stride", lambda x: one_place(x, lambda y: conv(y, 1, 1, 2)), "TRANSPOSE CONV_2D EXP", X),
    case("channels-that-move", lambda x: one_place(x, lambda y: conv(y, 1, 1), (0, 3, 2, 1)),
         "TRANSPOSE CONV_2D EXP", X),
    case("more-made-than-read", lambda x: one_place(x, lambda y: dense(y, 5)), "TRANSPOSE FULLY_CONNECTED EXP", X),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*FUSED, *NEAR])
def test_left(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(*(st.integers(0, 4),) * 4, st.integers(1, 3), st.integers(1, 2), st.integers(1, 3))
def test_random_pads(low: int, high: int, begin: int, end: int, k: int, dilation: int, stride: int) -> None:
    def function(x: Value) -> Value:
        y = conv(b.pad(x, ((0, 0), (low, high), (0, 0), (0, 0))), k=k, dilation=dilation, stride=stride)
        n = int(y.shape[1])  # type: ignore[arg-type]
        first = min(begin, n - 1)
        return b.narrow(y, 1, first, max(n - first - end, 1))

    graph = program(function, (1, 9, 9, 3))
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    assert_close(run(fused, feeds)["y0"], run(graph, feeds)["y0"], "y0")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(*(st.integers(0, 4),) * 3, st.integers(0, 2), st.integers(1, 2))
def test_random_pads_of_a_line(low: int, high: int, end: int, columns: int, dilation: int) -> None:
    def function(x: Value) -> Value:
        y = row(padded_line(x, low, high, columns=columns), dilation)
        return b.narrow(y, 2, 0, max(int(y.shape[2]) - end, 1))  # type: ignore[arg-type]

    graph = program(function, (1, 1, 9, 3))
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    assert_close(run(fused, feeds)["y0"], run(graph, feeds)["y0"], "y0")
    assert "RESHAPE" not in kinds(fused)


def divided(x: Value, y: Any, *, sign: Any = None, remainder: Any = None) -> Value:
    """As PyTorch writes floor division of whole numbers; ``sign`` and ``remainder`` of other divisors."""
    q = b.div(x, y)
    negative = b.less(y if sign is None else sign, np.int32(0)) if isinstance(y, Value) else np.asarray(y) < 0
    differ = b.not_equal(b.less(x, np.int32(0)), negative if sign is None else sign)
    left = b.floor_mod(x, y if remainder is None else remainder)
    return b.where(b.logical_and(differ, b.logical_not(b.equal(left, np.int32(0)))), b.sub(q, np.int32(1)), q)


NUMBERS = np.array([*itertools.product(range(-13, 14), (-7, -3, -1, 1, 2, 6))], np.int32).T


def test_floor_division() -> None:
    shape = NUMBERS.shape[1:]
    graph = program(lambda x, y: divided(x, y), (shape, np.int32), (shape, np.int32))
    fuse(graph)
    assert kinds(graph) == ["FLOOR_DIV"]
    got = run(graph, {"x0": NUMBERS[0], "x1": NUMBERS[1]})["y0"]
    np.testing.assert_array_equal(got, NUMBERS[0] // NUMBERS[1])


@pytest.mark.parametrize("by", [-5, -1, 2, 6])
def test_floor_division_by_a_constant(by: int) -> None:
    graph = program(lambda x: divided(x, np.int32(by)), (NUMBERS.shape[1:], np.int32))
    fuse(graph)
    assert kinds(graph) == ["FLOOR_DIV"]
    np.testing.assert_array_equal(run(graph, {"x0": NUMBERS[0]})["y0"], NUMBERS[0] // by)


@pytest.mark.parametrize("wrong", [{"sign": np.bool_(True)}, {"remainder": np.int32(5)}])
def test_what_is_no_floor_division(wrong: dict[str, Any]) -> None:
    graph = program(lambda x: divided(x, np.int32(6), **wrong), (NUMBERS.shape[1:], np.int32))
    before = run(graph, {"x0": NUMBERS[0]})["y0"]
    fuse(graph)
    assert "SELECT_V2" in kinds(graph)
    np.testing.assert_array_equal(run(graph, {"x0": NUMBERS[0]})["y0"], before)
