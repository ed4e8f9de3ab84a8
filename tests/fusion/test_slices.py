"""Slices that merge, and single elements that become rows: the same numbers, and where nothing is to be won."""

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

from .programs import program, random_feeds, run, two
from .test_rules import case, check

X, WIDE = (1, 8, 8, 3), (1, 40, 40, 6)


def strided(x: Value, start: int, step: int, axis: int = -1) -> Value:
    axis %= x.rank
    at = [(start, step) if i == axis else (0, 1) for i in range(x.rank)]
    return b.strided_slice(x, [a for a, _ in at], x.shape, [s for _, s in at])


def pairs(x: Value) -> Value:
    return b.reshape(x, (*x.shape[:-1], 3, 2))


def halves(x: Value) -> Sequence[Value]:
    y = b.narrow(x, 1, 2, 5)
    return two(b.narrow(y, 1, 0, 2), b.narrow(y, 1, 2, 2))


def joined(x: Value) -> Value:
    return b.concat([b.exp(x), x, b.neg(x)], 1)


FUSED = [
    case("of-one-operand", lambda x: b.narrow(joined(x), 1, 9, 5), "SLICE", X),
    case("one-operand", lambda x: b.sin(b.narrow(joined(x), 1, 16, 8)), "NEG SIN", X),
    case("of-what-others-read", lambda x: (lambda y: two(b.narrow(y, 1, 9, 5), b.sin(y)))(joined(x)),
         "EXP NEG CONCATENATION SLICE SIN", X),
    case("slice-of-slice", lambda x: b.narrow(b.narrow(x, 1, 2, 5), 1, 1, 3), "SLICE", X),
    case("slices-of-two-axes", lambda x: b.narrow(b.narrow(x, 1, 2, 5), 2, 1, 3), "SLICE", X),
    case("slices-that-share-a-slice", halves, "SLICE SLICE", X),
    case("strided-of-strided", lambda x: strided(strided(x, 1, 2, 1), 0, 2, 2), "STRIDED_SLICE", X),
    case("strided-of-one-axis", lambda x: strided(strided(x, 1, 2, 1), 1, 2, 1), "STRIDED_SLICE", X),
    case("strided-of-slice", lambda x: strided(b.narrow(x, 1, 3, 5), 1, 2, 1), "STRIDED_SLICE", X),
    case("slice-of-strided", lambda x: b.narrow(strided(x, 1, 2, 1), 1, 1, 2), "STRIDED_SLICE", X),
    case("every-second-channel", lambda x: two(strided(x, 0, 2), strided(x, 1, 2)),
         "RESHAPE TRANSPOSE SLICE RESHAPE SLICE RESHAPE", WIDE),
    case("one-of-a-pair", lambda x: b.narrow(pairs(x), -1, 1, 1), "RESHAPE TRANSPOSE SLICE RESHAPE", WIDE),
    case("one-of-few", lambda x: b.narrow(x, -1, 1, 1), "TRANSPOSE SLICE RESHAPE", WIDE),
    case("all-single-elements", lambda x: [b.narrow(x, -1, i, 1) for i in range(6)],
         "TRANSPOSE " + " ".join(["SLICE RESHAPE"] * 6), WIDE),
]  # fmt: skip
NEAR = [
    case("of-two-operands", lambda x: b.narrow(joined(x), 1, 6, 5), "EXP NEG CONCATENATION SLICE", X),
    case("of-another-axis", lambda x: b.narrow(joined(x), 2, 1, 5), "EXP NEG CONCATENATION SLICE", X),
    case("walking-back", lambda x: b.strided_slice(strided(x, 1, 2, 1), (0, 3, 0, 0), (1, -1, 8, 3), (1, -1, 1, 1)),
         "STRIDED_SLICE STRIDED_SLICE", X),
    case("a-small-tensor", lambda x: two(strided(x, 0, 2), strided(x, 1, 2)), "STRIDED_SLICE STRIDED_SLICE",
         (1, 8, 8, 6)),
    case("one-single-element", lambda x: b.narrow(x, -1, 1, 1), "SLICE", (1, 40, 40, 13)),
    case("a-part-of-the-rows", lambda x: b.narrow(b.narrow(x, -1, 1, 1), 1, 2, 3), "SLICE", WIDE),
    case("phases-of-another-axis", lambda x: strided(x, 1, 2, 2), "STRIDED_SLICE", WIDE),
    case("a-start-beyond-the-step", lambda x: strided(x, 3, 2), "STRIDED_SLICE", WIDE),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*FUSED, *NEAR])
def test_left(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    check(program(function, *inputs), expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=4))
def test_random_slices(steps: Sequence[tuple[int, int, int]]) -> None:
    def walk(x: Value) -> list[Value]:
        made = [x]
        for axis, start, step in steps:
            before = made[-1]
            if int(before.shape[axis]) > start:  # type: ignore[arg-type]
                made.append(strided(before, start, step, axis))
        return [b.exp(y) for y in made[1:]] or [b.exp(x)]

    graph = program(walk, (1, 20, 24, 18))
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    want, got = run(graph, feeds), run(fused, feeds)
    assert {*got} == {*want}
    for name, tensor in got.items():
        np.testing.assert_array_equal(tensor, want[name])
