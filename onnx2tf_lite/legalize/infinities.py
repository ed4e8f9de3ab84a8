"""Infinities and NaN as ONNX means them, on every runtime.

The builtin ADD, SUB, MUL and DIV clamp their result to the finite float32 (XNNPACK and TensorFlow do not), MAXIMUM and
MINIMUM hand on NaN from their second operand only, XNNPACK's EXP of NaN is 0 (docs/kernels.md).  Where a result can be
special *and* a reader can tell (:mod:`.specials`), the operation gets a form that is right everywhere:

    a + b   SELECT(b is infinite, b, a + b), likewise for a; STABLEHLO_ADD, which does not clamp
            but is slow, where infinities of both signs can meet
    a * b   likewise where the other one is positive, else STABLEHLO_MULTIPLY
    a / b   SELECT(q >= the largest number, inf, SELECT(q <= the smallest, -inf, q))

Nothing is added where no infinity can come: not for a mask of constants that leaves a number in every row of a softmax.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Value
from ..ir.kinds.reduction import AT_RUN_TIME
from ..ir.kinds.shapes import broadcast
from ..ir.traits import Lapse
from . import guards
from .specials import LARGEST, NONE, Span, Spans, Visible, tests

PLUS, MINUS = np.float32(np.inf), np.float32(-np.inf)
TOP = np.float32(LARGEST)
SIGNS = frozenset("+-")
ADD = "STABLEHLO_ADD"  # kernels that do not clamp
MULTIPLY = "STABLEHLO_MULTIPLY"
#: The operation, and what is both special and seen of its result -> its result; None where it is right as it is.
Form = Callable[[Op, Spans, frozenset[str]], "Value | None"]


def restore(graph: Graph) -> None:
    """Give every operation whose special results are seen the form that has them, in place."""
    parts = [graph, *graph.subgraphs()]
    spans = Spans(graph)
    if guards.drop(parts, spans):
        spans = Spans(graph)
    if any(tests(op) for part in parts for op in part.ops):
        asked = Visible(graph, spans, suspicion=True)
        if suspects := {v: Span(special=asked.of[v]) for v in graph.inputs if v in asked.of}:
            spans = Spans(graph, suspects)
    if not any(spans.of(v).special for g in parts for op in g.ops if op.kind.lapse for v in op.outputs):
        return
    seen = Visible(graph, spans)
    for part in parts:
        _rewrite(part, spans, seen)


def _rewrite(graph: Graph, spans: Spans, seen: Visible) -> None:
    for op in rewrite.walk(graph):
        form = FORMS.get(op.kind.lapse)
        told = spans.of(op.outputs[0]).special & seen.of.get(op.outputs[0], NONE) if form else NONE
        made = None
        if form is not None and told and op.outputs[0].dtype == np.float32:
            made = form(op, spans, told)
        if made is None:
            graph.ops.append(op)
        else:
            _stand_in(made, op.outputs[0])


def _stand_in(made: Value, value: Value) -> None:
    """``value`` is from now on what ``made`` was."""
    producer = made.producer
    assert producer is not None
    producer.outputs, value.producer = [value], producer


def _both(op: Op) -> tuple[Value, Value]:
    x, y = op.inputs[:2]
    assert x is not None and y is not None
    return x, y


def _infinite(x: Value, signs: frozenset[str]) -> Value:
    """Where ``x``, which can be infinite by ``signs`` only, is infinite."""
    return b.equal(b.abs_(x), PLUS) if len(signs) > 1 else b.equal(x, PLUS if "+" in signs else MINUS)


def _added(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    x, y = _both(op)
    subtract = op.kind.lapse is Lapse.DIFFERENCE
    signs = [spans.of(v).special & SIGNS for v in (x, y)]
    if not any(signs) or not told & SIGNS:
        return None
    if all(signs) and (subtract or len(signs[0] | signs[1]) > 1):
        return _unclamped(ADD, x, b.neg(y) if subtract else y)
    result = b.sub(x, y) if subtract else b.add(x, y)
    for infinite, value, other in ((signs[1], y, x), (signs[0], x, y)):
        if infinite:
            there = _infinite(value, infinite)
            if "n" in spans.of(other).special:
                there = b.logical_and(there, b.equal(other, other))
            result = b.where(there, b.neg(value) if subtract and value is y else value, result)
    return result


def _multiplied(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    x, y = _both(op)
    for value, other in ((x, y), (y, x)):
        infinite = spans.of(value).special & SIGNS
        if infinite and told & SIGNS:
            scaled = spans.of(other).low > 0 and not spans.of(other).special
            return b.where(_infinite(value, infinite), value, b.mul(x, y)) if scaled else _unclamped(MULTIPLY, x, y)
    return None


def _unclamped(kind: str, x: Value, y: Value) -> Value:
    shape = broadcast(x.shape, y.shape)
    return b.emit(kind, b.broadcast_to(x, shape), b.broadcast_to(y, shape))


def _divided(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    result = b.div(*_both(op))
    if "-" in told:
        result = b.where(b.less_equal(result, -TOP), MINUS, result)
    if "+" in told:
        result = b.where(b.greater_equal(result, TOP), PLUS, result)
    return result if told & SIGNS else None


def _nan(x: Value) -> Value:
    return b.not_equal(x, x)


def _larger(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    x, y = _both(op)
    if "n" not in spans.of(x).special & told:
        return None
    if "n" not in spans.of(y).special:
        return b.emit(op.kind.name, y, x)
    return b.where(_nan(x), x, b.emit(op.kind.name, x, y))


def _restored(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    (x,) = op.inputs
    assert x is not None
    return b.where(_nan(x), x, b.emit(op.kind.name, x)) if "n" in spans.of(x).special & told else None


def _reduced(op: Op, spans: Spans, told: frozenset[str]) -> Value | None:
    x, *axes = op.inputs
    assert x is not None
    if "n" not in spans.of(x).special & told:
        return None
    there = b.emit(f"REDUCE_ANY{AT_RUN_TIME}" if axes else "REDUCE_ANY", _nan(x), *axes, **op.attrs)
    return b.where(there, np.float32(np.nan), b.emit(op.kind.name, x, *axes, **op.attrs))


FORMS: dict[Lapse | None, Form] = {
    Lapse.SUM: _added,
    Lapse.DIFFERENCE: _added,
    Lapse.PRODUCT: _multiplied,
    Lapse.QUOTIENT: _divided,
    Lapse.FIRST: _larger,
    Lapse.NAN: _restored,
    Lapse.AMONG: _reduced,
}
