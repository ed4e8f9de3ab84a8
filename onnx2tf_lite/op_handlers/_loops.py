"""Bodies of IF and WHILE.

A body sees only its own inputs.  What it reads from outside becomes an operand of the operation: values explicitly, and
extents, where no input of the body has them as an axis, as one more i32 vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Shape
from ..ir.graph import Graph, Value, building, constant, current_graph

Seen = list[Any]  # values, or None where an optional one is absent
Step = Callable[[Value, list[Value], Seen], Sequence[Value]]


@contextmanager
def nested(body: str | Graph) -> Iterator[Graph]:
    """A body being built, new or once more; names and symbols stay unique over all graphs of the program."""
    parent = current_graph()
    if isinstance(body, str):
        body = Graph(parent.fresh_name(body if parent.name == "main" else f"{parent.name}/{body}"))
    graph, graph.counter = body, parent.counter
    try:
        with building(graph):
            yield graph
    finally:
        parent.counter = graph.counter


def add_inputs(graph: Graph, like: Sequence[Value], growing: bool = False) -> list[Value]:
    """Inputs of ``graph`` with the shapes and dtypes of ``like``; ``growing`` ones have any number of rows."""

    def shape(v: Value) -> Shape:
        return (graph.fresh_symbol("rows"), *v.shape[1:]) if growing else v.shape

    return [graph.add_input(f"{graph.name}/{graph.fresh_name('in')}", shape(v), v.dtype) for v in like]


def _extents(attribute: object) -> Iterator[Dim]:
    if isinstance(attribute, tuple):
        for entry in attribute:
            yield from _extents(entry)
    elif isinstance(attribute, dims.Expr):
        yield attribute


def _readable(graph: Graph) -> set[str]:
    values = [*graph.inputs, *(v for op in graph.ops for v in op.outputs)]
    return {str(d) for v in values for d in v.shape} | set(graph.definitions)


def unreadable(graph: Graph) -> set[str]:
    """Symbols that operations of ``graph`` need at run time and that nothing in it tells."""
    needed = {s for op in graph.ops for a in op.attrs.values() for s in dims.symbols(_extents(a))}
    return needed - _readable(graph)


def share_extents(graphs: Sequence[Graph]) -> list[Value]:
    """One more input for each body if one needs it: the extents that it cannot read.  The new operands."""
    missing = sorted(set().union(*map(unreadable, graphs)))
    if not missing:
        return []
    vector = b.dims_value([dims.symbol(s) for s in missing])
    for graph in graphs:
        (inner,) = add_inputs(graph, [vector])
        graph.definitions.update({s: (inner, i) for i, s in enumerate(missing) if s not in _readable(graph)})
    return [vector]


def while_loop(
    state: Sequence[Value], condition: Graph, body: Graph, shapes: Sequence[Shape] | None = None
) -> list[Value]:
    """Append a WHILE; ``shapes`` of the results where they are not those of ``state``."""
    extra = share_extents([condition, body])
    body.outputs += body.inputs[len(body.inputs) - len(extra) :]
    shapes = [*(shapes or [v.shape for v in state]), *(v.shape for v in extra)]
    operands = [*state, *extra]
    results = [(s, v.dtype) for s, v in zip(shapes, operands, strict=True)]
    return b.emit_all("WHILE", operands, condition=condition, body=body, results=results)[: len(state)]


def iterate(count: Dim, state: Sequence[Value], invariants: Sequence[Value | None], step: Step) -> list[Value]:
    """The state after ``state = step(i, state, invariants)`` for i (an i32 scalar) = 0 .. count - 1.

    Invariants that are constants reach the step as they are, the others through inputs of the body.
    """
    passed = [v for v in invariants if v is not None and not v.is_constant]
    start = [constant(np.int32(0)), *state, *passed]
    with nested("while") as body:
        i, *rest = add_inputs(body, start)
        inner = dict(zip(passed, rest[len(state) :], strict=True))
        seen = [inner.get(v, v) if v is not None else None for v in invariants]
        body.outputs = [i + 1, *step(i, rest[: len(state)], seen), *inner.values()]
    with nested("until") as test:
        inputs = add_inputs(test, start)
        test.outputs = [b.less(inputs[0], scalar(count))]
    return while_loop(start, test, body)[1 : 1 + len(state)]


def scalar(dim: Dim) -> Value:
    """A dim as an i32 scalar."""
    return b.reshape(b.dims_value([dim]), ())


def put(buffer: Value, index: Value, row: Value) -> Value:
    """``buffer`` with ``row`` at ``index`` along its first axis."""
    start = b.concat([b.reshape(index, (1,)), np.zeros(buffer.rank - 1, np.int32)], 0)
    return b.emit("DYNAMIC_UPDATE_SLICE", buffer, b.reshape(row, (1, *row.shape)), start)


def zeros(shape: Shape, dtype: DTypeLike = np.float32) -> Value:
    """Zeros: a constant where that is small, else made at run time."""
    dtype = np.dtype(dtype)
    if dims.is_static(shape) and dims.product(shape) <= 4096:  # type: ignore[operator]
        return constant(np.zeros([int(d) for d in shape], dtype))  # type: ignore[arg-type]
    return b.fill(shape, dtype.type(0))
