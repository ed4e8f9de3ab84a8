"""What Loop, Scan and SequenceMap become: a WHILE, or the iterations one after the other.

The state of the WHILE: iteration, condition, the tensors of the carried values, what the body reads from outside, the
columns (what the scan outputs are collected in), and the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Graph, Value, constant, current_graph
from ._branches import fresh, known, settled, visible
from ._loops import add_inputs, nested, put, while_loop, zeros
from ._structures import Item, Rows, as_rows, form, parts, rebuilt, told
from .lower import Bindings
from .registry import UnsupportedError

UNROLLED = 1000  # iterations that are written out at the most

# (scope of the body, i32 iteration, condition, carried values) -> condition, new carried values and scan elements
Step = Callable[[Bindings, Value, Value, list[Item]], list[Item]]


class ReshapedError(Exception):
    """An iteration changes what carried value ``index`` consists of: it leaves it as ``after``."""

    def __init__(self, index: int, after: Item):
        super().__init__(index)
        self.index, self.after = index, after


def kept(scope: Bindings, items: Sequence[Item]) -> list[str]:
    """Names under which a body finds these."""
    names = [current_graph().fresh_name("kept") for _ in items]
    scope.values.update(zip(names, items, strict=True))
    return names


# ------------------------------------------------------------------------------------------------ written out


def unrolled(scope: Bindings, body: Callable[[Bindings], list[Item]]) -> list[Item]:
    """One iteration in the graph that is being built."""
    return body(Bindings(current_graph(), scope))


def unroll(scope: Bindings, step: Step, carried: list[Item], count: int, condition: Value | None) -> list[Item] | None:
    """Final carried values and scan outputs after ``count`` iterations; None where a condition is not known in time."""
    go_on: Item = constant(np.bool_(True)) if condition is None else condition
    states, elements = list(carried), list[list[Value]]()
    for k in range(count):
        assert isinstance(go_on, Value)
        if not isinstance(flag := known(go_on), (int, np.bool_)):
            return None
        if not flag:
            break
        i, before, given = constant(np.int32(k)), go_on, list(states)
        go_on, *results = unrolled(scope, lambda inner, i=i, c=before, s=given: step(inner, i, c, s))  # type: ignore
        states = results[: len(carried)]
        elements.append([v for v in results[len(carried) :] if isinstance(v, Value)])
    return [*states, *(b.pack(column) for column in zip(*elements, strict=True))]


# ------------------------------------------------------------------------------------------------ scan outputs


class Buffer:
    """As many rows as there are iterations, from the start."""

    def __init__(self, element: Value, rows: Dim):
        self.start = [zeros((rows, *element.shape), element.dtype)]

    growing = False

    def filled(self, state: list[Value], i: Value, element: Value) -> list[Value]:
        return [put(state[0], i, element)]

    def finished(self, state: list[Value], count: Dim) -> Value:
        return state[0]


class Growing:
    """One more row in each iteration; the first, without which the WHILE would begin with nothing, is dropped."""

    def __init__(self, element: Value):
        self.start = [zeros((1, *element.shape), element.dtype)]

    growing = True

    def filled(self, state: list[Value], i: Value, element: Value) -> list[Value]:
        return [b.concat([state[0], b.reshape(element, (1, *element.shape))], 0)]

    def finished(self, state: list[Value], count: Dim) -> Value:
        return b.narrow(state[0], 0, 1, state[0].shape[0] - 1)


class Loose:
    """Rows with extents that only the body knows: their elements one after the other, and the last row's shape.

    Before the first row that has ones: a RESHAPE of nothing finds the number of rows, 0, beside any but zeros.
    """

    def __init__(self, element: Value):
        self.shape = tuple(d if dims.symbols([d]) <= visible() else None for d in element.shape)
        self.start = [zeros((1,), element.dtype), constant(np.ones(element.rank, np.int32))]

    growing = True

    def filled(self, state: list[Value], i: Value, element: Value) -> list[Value]:
        return [b.concat([state[0], b.reshape(element, (element.size,))], 0), b.dims_value(element.shape)]

    def finished(self, state: list[Value], count: Dim) -> Value:
        flat, extents = state
        shape = [e if d is None else d for d, e in zip(self.shape, b.dims_of(extents), strict=True)]
        return b.reshape(b.narrow(flat, 0, 1, flat.shape[0] - 1), (count, *shape))


Column = Buffer | Growing | Loose


def _column(element: Item, rows: Dim | None) -> Column:
    if not isinstance(element, Value):
        raise UnsupportedError(f"a scan output is {told(element)}", "collect tensors")
    if not dims.symbols(element.shape) <= visible():
        return Loose(element)
    return Growing(element) if rows is None else Buffer(element, rows)


# ------------------------------------------------------------------------------------------------ WHILE


def repeat(
    scope: Bindings, step: Step, carried: Sequence[Item], limit: Value | None, condition: Value | None
) -> list[Item]:
    """Final carried values, then the scan outputs [iterations, ...], of a WHILE.

    :raises ReshapedError: where a carried sequence does not keep its length.
    """
    go_on = constant(np.bool_(True)) if condition is None else b.reshape(condition, ())
    start = [v for item in carried for v in parts(item)]
    inner, again, after, elements = _traced(scope, _flat(step, carried), start)
    body = inner.graph
    endless = known(go_on) == 1 and (again is body.inputs[1] or known(again) == 1)
    columns = [_column(e, known(limit) if endless else None) for e in elements]
    outside, captured = zip(*inner.captured.values(), strict=True) if inner.captured else ((), ())
    state = [*start, *outside, *(v for c in columns for v in c.start), *([] if limit is None else [limit])]
    _close(body, [again, *after], captured, columns, elements, [] if limit is None else [limit])
    test, readable = _until(body, limit is not None), visible()
    shapes = [tuple(d if dims.symbols([d]) <= readable else fresh() for d in v.shape) for v in body.inputs]
    count, _, *final = while_loop([constant(np.int32(0)), go_on, *state], test, body, shapes)
    values = iter(final)
    results = [rebuilt(item, values) for item in carried]
    for _ in captured:
        next(values)
    return [*results, *(c.finished([next(values) for _ in c.start], b.dims_of(count)[0]) for c in columns)]


def _close(
    body: Graph,
    after: Sequence[Value],
    captured: Sequence[Value],
    columns: Sequence[Column],
    elements: Sequence[Item],
    limits: Sequence[Value],
) -> None:
    """Give the body the rest of the state as inputs, and the next state as outputs."""
    with nested(body):
        rooms = [[add_inputs(body, [v], c.growing and not k)[0] for k, v in enumerate(c.start)] for c in columns]
        limits = add_inputs(body, limits)
        i = body.inputs[0]
        filled = [v for c, room, e in zip(columns, rooms, elements, strict=True) for v in c.filled(room, i, e)]  # type: ignore[arg-type]
        again, *carried_on = settled(after, body)
        collected = settled(filled, body) if any(isinstance(c, Loose) for c in columns) else filled
        body.outputs = [i + 1, again, *carried_on, *captured, *collected, *limits]


def _flat(step: Step, carried: Sequence[Item]) -> Traced:
    """One iteration on tensors: what is carried as its parts."""

    def iteration(
        inner: Bindings, i: Value, go_on: Value, states: list[Value]
    ) -> tuple[Value, list[Value], list[Item]]:
        values = iter(states)
        again, *results = step(inner, i, go_on, [rebuilt(item, values) for item in carried])
        for k, (before, after) in enumerate(zip(carried, results, strict=False)):
            if form(before) != form(after):
                raise ReshapedError(k, after)
        assert isinstance(again, Value)
        return again, [v for item in results[: len(carried)] for v in parts(item)], results[len(carried) :]

    return iteration


def _until(body: Graph, limited: bool) -> Graph:
    """The condition of the WHILE: what the last iteration said and, as its last state, a limit of iterations."""
    with nested("until") as test:
        i, go_on, *rest = add_inputs(test, body.inputs)
        below = b.less(i, rest[-1]) if limited else None
        test.outputs = [b.emit("IDENTITY", go_on, shape=()) if below is None else b.logical_and(go_on, below)]
    return test


Traced = Callable[[Bindings, Value, Value, list[Value]], tuple[Value, list[Value], list[Item]]]


def _traced(scope: Bindings, step: Traced, start: list[Value]) -> tuple[Bindings, Value, list[Value], list[Item]]:
    """The body lowered for shapes of the state that hold in every iteration; its condition, new state and the rest.

    Extents that an iteration changes are fresh symbols; which ones those are is found by trying.
    """
    changing: set[tuple[int, int]] = set()
    while True:
        with nested("loop") as graph:
            i = graph.add_input(f"{graph.name}/i", (), np.dtype(np.int32))
            go_on = graph.add_input(f"{graph.name}/condition", (), np.dtype(bool))
            states = []
            for k, v in enumerate(start):
                shape = tuple(fresh() if (k, axis) in changing else d for axis, d in enumerate(v.shape))
                states.append(graph.add_input(f"{graph.name}/state{k}", shape, v.dtype))
            inner = Bindings(graph, scope)
            again, after, rest = step(inner, i, go_on, states)
            again = b.reshape(again, ())
        found = {(k, axis) for k, pair in enumerate(zip(states, after, strict=True)) for axis in _changed(*pair)}
        if found <= changing:
            return inner, again, after, rest
        changing |= found


def _changed(before: Value, after: Value) -> list[int]:
    """Axes whose extent an iteration changes."""
    if before.rank != after.rank or before.dtype != after.dtype:
        raise UnsupportedError(
            f"a carried value enters an iteration as {before} and leaves it as {after}",
            "keep rank and dtype of loop state constant",
        )
    return [axis for axis, (d, e) in enumerate(zip(before.shape, after.shape, strict=True)) if d != e]


def grown(before: Item, after: Item) -> Item:
    """A carried sequence that changes its length, as one of any length."""
    if before == () and isinstance(after, (tuple, Rows)) and after:
        first = after[0] if isinstance(after, tuple) else after.stack
        shape = first.shape if isinstance(after, tuple) else first.shape[1:]
        if not dims.symbols(shape) <= visible():
            raise UnsupportedError(
                f"a sequence collects {first}, whose extents are only known inside the loop", "fix the input shapes"
            )
        return Rows(zeros((1, *shape), first.dtype), spare=1)
    if isinstance(before, tuple) and before and isinstance(after, (tuple, Rows)):
        return as_rows(before, "a length that the iterations change")
    raise UnsupportedError(
        f"a carried value enters an iteration as {told(before)} and leaves it as {told(after)}",
        "keep the kind of loop state constant",
    )
