"""Where +inf, -inf and NaN can be, and where it can be told that they are not.

Two analyses over the traits of operators.  *Forward*: between which numbers a float tensor lies, and which of ``"+-n"``
(+inf, -inf, NaN) it can hold.  *Backward*: which of them a reader can tell from what a clamping kernel makes of them
(the largest finite float32).  An elementwise operator is asked itself, by its numpy meaning at the ends of what its
operands can be; every other one by ``Kind.special``.  Numbers of a model are taken to stay below ``LARGE``: a sum of
them is finite, an exponential is not, and a quotient is if its divisor cannot be 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..ir import intervals
from ..ir.graph import Graph, Op, Value
from ..ir.orders import LAST_AXIS, Elementwise
from ..ir.traits import DOTS, Elements, Special
from ..record import record

INF, LARGE = float("inf"), 1e9
LARGEST = float(np.finfo(np.float32).max)  # what a kernel that clamps makes of infinity
POINTS = {"+": INF, "-": -INF, "n": float("nan")}
INSTEAD = {"+": LARGEST, "-": -LARGEST, "n": 0.0}
NONE, ALL = frozenset[str](), frozenset("+-n")
TINY = 1e-20  # a quotient by the largest number, where that by infinity is 0


@record
class Span:
    """What a tensor can hold: numbers between ``low`` and ``high``, and the ``special`` ones of ``"+-n"``."""

    low: float = -LARGE
    high: float = LARGE
    special: frozenset[str] = frozenset()

    @property
    def points(self) -> list[float]:
        """The values that decide: both ends, zero between them, and what is special."""
        zero = [0.0] if self.low < 0 < self.high else []
        return [*dict.fromkeys([self.low, *zero, self.high]), *(POINTS[s] for s in sorted(self.special))]

    def __or__(self, other: Span) -> Span:
        return Span(min(self.low, other.low), max(self.high, other.high), self.special | other.special)


def span_of(numbers: np.ndarray) -> Span:
    """The span of some numbers; beyond float32 is infinite."""
    if not numbers.size:
        return Span(0.0, 0.0)
    low, high, special = float(numbers.min()), float(numbers.max()), NONE
    if not (low >= -LARGEST and high <= LARGEST):
        marks = {"+": numbers > LARGEST, "-": numbers < -LARGEST, "n": np.isnan(numbers)}
        special = frozenset(s for s, where in marks.items() if where.any())
        finite = numbers[np.abs(numbers) <= LARGEST]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Span(max(low, -LARGE), min(high, LARGE), special)


class Spans:
    """The spans of the values of a graph and of the bodies below it, in program order.

    ``suspects``: inputs of the model that may hold more than numbers.
    """

    def __init__(self, graph: Graph, suspects: Mapping[Value, Span] = MappingProxyType({})):
        self.known = dict(suspects)
        self.asked: dict[object, Span] = {}
        self._walk(graph)

    def of(self, value: Value) -> Span:
        """The span of a value that has been computed; a bool is 0 or 1, an integer anything."""
        if value not in self.known:
            if value.data is not None and value.dtype.kind in "fiub":
                self.known[value] = span_of(value.data)
            else:
                self.known[value] = Span(0, 1) if value.dtype.kind == "b" else Span()
        return self.known[value]

    def _walk(self, graph: Graph) -> None:
        for op in graph.ops:
            if op.kind.elements is Elements.DELEGATED:
                self._enter(op, bodies(op))
            elif any(map(_float, op.outputs)):
                span = self._elementwise(op) if itself(op) else self._other(op)
                self.known.update(dict.fromkeys(filter(_float, op.outputs), span))

    def _enter(self, op: Op, bodies: Sequence[Graph]) -> None:
        """A body sees the last operands; the state of a loop also sees itself, until nothing new comes of that."""
        loop = all(len(g.inputs) == len(op.inputs) for g in bodies) and len(op.inputs) == len(op.outputs)
        special = [self._special(v) if loop else NONE for v in op.inputs[: len(op.outputs)]]
        special += [NONE] * (len(op.outputs) - len(special))
        while True:
            for body in bodies:
                outer = special if loop else [self._special(v) for v in op.inputs[len(op.inputs) - len(body.inputs) :]]
                self.known.update({v: Span(special=s) for v, s in zip(body.inputs, outer, strict=True) if _float(v)})
                self._walk(body)
            made = [[self._special(v) for v in g.outputs] for g in bodies if len(g.outputs) == len(op.outputs)]
            wider = [NONE.union(*each) for each in zip(special, *made, strict=True)]
            if wider == special:
                break
            special = wider
        self.known.update({v: Span(special=s) for v, s in zip(op.outputs, special, strict=True) if _float(v)})

    def _special(self, value: Value | None) -> frozenset[str]:
        return self.of(value).special if value is not None and _float(value) else NONE

    def _elementwise(self, op: Op) -> Span:
        values = operands(op)
        key = _key(op, [self.of(v) for v in values])
        if key not in self.asked:
            span = span_of(_results(op, dict(zip(values, _corners([self.of(v) for v in values]), strict=True))))
            low, high = op.kind.limits
            if _monotone(op, [self.of(v) for v in values]):
                low, high = max(low, span.low), min(high, span.high)
            self.asked[key] = Span(max(low, -LARGE), min(high, LARGE), span.special)
        span = self.asked[key]
        return Span(span.low, 0, span.special) if _below_zero(op) else span

    def _other(self, op: Op) -> Span:
        """By ``Kind.special`` and, where elements only move or add up, by the interval rule."""
        special = op.kind.special
        read = [v for v in op.inputs if v is not None and not (v.is_constant and special == DOTS)]  # no weights
        floats = [self.of(v) for v in read if _float(v)]
        result = _by_table(special, [s.special for s in floats])
        if by_rows(op) and not self.full(op.inputs[0]) and not floats[0].special & {"+", "n"}:
            result.discard("n")
        if _padded_window(op, self):
            result.discard("-")
        low, high = op.kind.limits
        moved = op.kind.elements in (Elements.COPIED, Elements.PICKED)
        if op.kind.interval is not None and (moved or len(op.inputs) == 1):  # a sum, a mean
            span = op.kind.interval(op, *((s.low, s.high) for s in map(self.of, read)))
            span = span[0] if isinstance(span, list) else span
            low, high = max(low, span[0]), min(high, span[1])
        if _exponentials(op):
            low = max(low, 1)
        return Span(max(low, -LARGE), min(high, LARGE), frozenset(result))

    def full(self, value: Value | None) -> bool:
        """True where a whole row along the last axis can be -inf."""
        if value is None or "-" not in self.of(value).special:
            return False
        if value.data is not None:
            return bool(np.isneginf(np.atleast_1d(value.data)).all(-1).any())
        op = value.producer
        parts = [v for v in operands(op) if "-" in self.of(v).special] if op is not None and itself(op) else []
        return len(parts) != 1 or self.full(parts[0])


def _columns(special: Special) -> dict[str, str]:
    return {"+": special.plus, "-": special.minus, "n": special.nan}


def _by_table(special: Special, operands: Sequence[frozenset[str]]) -> set[str]:
    """What is among the results, by what is among each operand."""
    there = NONE.union(*operands)
    if not there:
        return set()
    result = set[str]().union(*(column for sign, column in _columns(special).items() if sign in there))
    return result.union(special.clash) if sum(len(s & {"+", "-"}) for s in operands) > 1 else result


def itself(op: Op) -> bool:
    """True where the operator's own meaning can be asked, element by element."""
    return isinstance(op.kind.layout, Elementwise) and op.kind.evaluate is not None and len(op.outputs) == 1


def _made(value: Value | None, kind: str) -> Op | None:
    """The operation of this kind that made ``value``, seen through views."""
    while value is not None and value.producer is not None and value.producer.kind.is_view:
        value = value.producer.inputs[0]
    return value.made_by(kind) if value is not None else None


def _padded_window(op: Op, spans: Spans) -> bool:
    """True for a maximum over windows of numbers with -inf around them: every window has a number."""
    pad = _made(op.inputs[0], "PADV2") if op.is_a("MAX_POOL_2D") else None
    return pad is not None and "-" not in spans.of(operands(pad)[0]).special


def _exponentials(op: Op) -> bool:
    """True for a softmax by hand: the sum of exp(x - max x) has a term that is 1."""
    exponential = _made(op.inputs[0], "EXP") if op.is_a("SUM") else None
    shift = _made(exponential.inputs[0], "SUB") if exponential is not None else None
    return shift is not None and _below_zero(shift)


def _below_zero(op: Op) -> bool:
    """True for x - max x."""
    most = _made(op.inputs[1], "REDUCE_MAX") if op.is_a("SUB") else None
    return most is not None and most.inputs[0] is op.inputs[0]


def bodies(op: Op) -> list[Graph]:
    """The graphs that ``op`` carries."""
    return [a for a in op.attrs.values() if isinstance(a, Graph)]


def _float(value: Value) -> bool:
    return value.dtype.kind == "f"


def by_rows(op: Op) -> bool:
    """The softmaxes: -inf makes NaN only where it fills a row."""
    return op.kind.layout is LAST_AXIS and "n" in op.kind.special.minus


def tests(op: Op) -> bool:
    """True for a comparison that is made because of infinities or NaN: with infinity, or of a value with itself."""
    if op.kind.elements is not Elements.COMPARED:
        return False
    constants = [v.data for v in op.inputs if v is not None and v.data is not None and v.dtype.kind == "f"]
    same = len(op.inputs) == 2 and op.inputs[0] is op.inputs[1]
    return same or any(np.isinf(c).any() for c in constants)


def operands(op: Op) -> list[Value]:
    """The values that ``op`` reads, each once."""
    return list(dict.fromkeys(v for v in op.inputs if v is not None))


def _key(op: Op, spans: Sequence[Span], *rest: object) -> object:
    """What decides the answer of an elementwise operator."""
    pattern = tuple(op.inputs.index(v) for v in op.inputs)
    return op.kind.name, pattern, str(sorted(op.attrs.items())), tuple(spans), rest


def _corners(spans: Sequence[Span]) -> list[np.ndarray]:
    """Every combination of the deciding values, an array for each operand."""
    grids = np.meshgrid(*(np.asarray(s.points, np.float64) for s in spans), indexing="ij")
    return [g.ravel() for g in grids]


def _results(op: Op, numbers: Mapping[Value, np.ndarray]) -> np.ndarray:
    """The operator's meaning for numbers in its operands."""
    evaluate = op.kind.evaluate
    assert evaluate is not None
    arrays = [numbers[v].astype(bool) if v.dtype.kind == "b" else numbers[v] for v in op.inputs if v is not None]
    with np.errstate(all="ignore"):
        return np.asarray(evaluate({**op.attrs, "dtype": np.dtype(np.float64)}, *arrays))


_GRID = np.concatenate([-np.logspace(9, -6, 100), [0.0], np.logspace(-6, 9, 100)])


def _monotone(op: Op, spans: Sequence[Span]) -> bool:
    """True where the ends of the operands give the ends of the result."""
    if op.kind.interval is not None or len(spans) > 1:
        return op.kind.interval not in (None, intervals.modulo)
    with np.errstate(invalid="ignore"):
        steps = np.diff(_results(op, {operands(op)[0]: np.clip(_GRID, spans[0].low, spans[0].high)}))
    return bool(np.all(steps >= 0) or np.all(steps <= 0))


class Visible:
    """Which of ``"+-n"`` the readers of a value can tell from the numbers that a clamping kernel gives instead.

    ``suspicion``: only what the model itself asks for, by a comparison with infinity or of a value with itself.
    """

    def __init__(self, graph: Graph, spans: Spans, suspicion: bool = False):
        self.spans, self.suspicion = spans, suspicion
        self.of: dict[Value, frozenset[str]] = {}
        self.asked: dict[object, frozenset[str]] = {}
        self._walk(graph)

    def _walk(self, graph: Graph) -> None:
        if not self.suspicion:
            for value in graph.outputs:
                self._mark(value, ALL)
        for op in reversed(graph.ops):
            for body in bodies(op):
                self._walk(body)
            for value in operands(op):
                if _float(value) and value.data is None:
                    self._mark(value, self._through(op, value))

    def _mark(self, value: Value, seen: frozenset[str]) -> None:
        if seen:
            self.of[value] = self.of.get(value, NONE) | seen

    def _through(self, op: Op, value: Value) -> frozenset[str]:
        if op.kind.elements is Elements.DELEGATED:
            return NONE if self.suspicion else ALL
        after = NONE.union(*(self.of.get(v, NONE) for v in op.outputs))
        used = not _float(op.outputs[0]) and (tests(op) or not self.suspicion)
        if not after and not used:
            return NONE
        if itself(op):
            return self._told(op, value, after)
        if op.kind.elements in (Elements.COPIED, Elements.PICKED):
            return after
        if op.kind.special == DOTS:  # a contraction: its kernel clamps, and mixes everything
            return NONE if self.suspicion else after & {"n"}
        if by_rows(op):
            full = self.suspicion or self.spans.full(value)
            return (ALL if full else ALL - {"-"}) if "n" in after else NONE
        return frozenset(s for s, column in _columns(op.kind.special).items() if after & set(column))

    def _told(self, op: Op, value: Value, after: frozenset[str]) -> frozenset[str]:
        """What ``op`` gives otherwise for the special number than for what stands in its place."""
        values = operands(op)
        spans = [self.spans.of(v) for v in values]
        key = _key(op, spans, values.index(value), after)
        if key not in self.asked:
            fixed = [Span(0, 0) if v is value else s for v, s in zip(values, spans, strict=True)]
            corners = dict(zip(values, _corners(fixed), strict=True))

            def results(number: float) -> np.ndarray:
                return _results(op, {**corners, value: np.full_like(corners[value], number)})

            differ = [s for s in "+-n" if _differ(results(POINTS[s]), results(INSTEAD[s]), after)]
            self.asked[key] = frozenset(differ)
        return self.asked[key]


def _differ(special: np.ndarray, number: np.ndarray, after: frozenset[str]) -> bool:
    """True where a reader to whom ``after`` is visible can tell the one result from the other."""
    if special.dtype.kind != "f":
        return bool((special != number).any())
    for sign, there in {"+": np.isposinf(special), "-": np.isneginf(special), "n": np.isnan(special)}.items():
        if sign in after and (there & (special != number) & ~(np.isnan(special) & np.isnan(number))).any():
            return True
    both = np.isfinite(special) & np.isfinite(number)
    apart = np.abs(np.where(both, special, 0) - np.where(both, number, 0))
    return bool((apart > TINY).any())
