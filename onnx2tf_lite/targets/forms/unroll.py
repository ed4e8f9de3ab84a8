"""Loops that are counted, written out: a recurrent layer as its steps one behind the other."""

from __future__ import annotations

import numpy as np

from ...ir import build as b
from ...ir import rewrite
from ...ir.graph import Graph, Op, Value, building, current_graph
from ...ir.rules import Match, rule

MOST = 512  # steps
OPERATIONS = 20_000  # that a program may grow by


def unroll(graph: Graph) -> None:
    """Every WHILE whose turns are counted by constants; the others stay, and the verdict says so."""
    rewrite.each(graph, lambda op: _steps(op) if _is_loop(op) else None)


def loops(graph: Graph) -> dict[Op, bool]:
    """Every WHILE, and whether :func:`unroll` writes it out."""
    found: dict[Op, bool] = {}
    with building(Graph("steps")) as scratch:
        for op in (op for part in rewrite.graphs(graph) for op in part.ops if _is_loop(op)):
            found[op] = _steps(op) is not None
            scratch.ops.clear()
    return found


def _is_loop(op: Op) -> bool:
    return op.attrs.keys() >= {"condition", "body"}


def _steps(op: Op) -> list[Value] | None:
    """The final state; None where a condition is not known before it runs, and nothing is left behind then."""
    condition, body, ops = op.attrs["condition"], op.attrs["body"], current_graph().ops
    if not (_plain(condition) and _plain(body)):
        return None
    before, state = len(ops), [v for v in op.inputs if v is not None]
    for _ in range(MOST + 1):
        (going,) = _inlined(condition, state)
        if going.data is None or len(ops) - before > OPERATIONS:
            break
        if not going.data.item():
            return state
        state = _inlined(body, state)
    del ops[before:]
    return None


def _plain(body: Graph) -> bool:
    """Nothing in it asks for extents at run time, or holds bodies of its own."""
    return not body.definitions and not any(isinstance(a, Graph) for op in body.ops for a in op.attrs.values())


def _inlined(body: Graph, given: list[Value]) -> list[Value]:
    """The operations of a body, on these values; what is constant is folded."""
    values: dict[Value, Value] = dict(zip(body.inputs, given, strict=True))
    for op in body.ops:
        operands = [None if v is None else values.get(v, v) for v in op.inputs]
        if op.is_a("IDENTITY") and operands[0] is not None:  # it sets results of a body apart from what it is given
            values[op.outputs[0]] = operands[0]
            continue
        attrs = {name: values.get(a, a) if isinstance(a, Value) else a for name, a in op.attrs.items()}
        for old, new in zip(op.outputs, b.emit_all(op.kind.name, operands, **attrs), strict=True):
            new.quant = old.quant
            values[old] = new
    return [values.get(v, v) for v in body.outputs]


@rule("DYNAMIC_UPDATE_SLICE(x, row, const(at))")
def rows(m: Match) -> Value | None:
    """rows that were written one by one as CONCATENATION

    Together they are the whole result.
    """
    found: dict[int, Value] = {}
    value, shape = m.root.outputs[0], m.root.outputs[0].shape
    while (op := value.made_by("DYNAMIC_UPDATE_SLICE")) is not None:
        below, row, at = op.inputs
        assert below is not None and row is not None and at is not None
        if at.data is None or row.shape != (1, *shape[1:]) or np.any(at.data[1:]):
            return None
        found.setdefault(int(at.data[0]), row)
        value = below
    return b.concat([found[i] for i in range(len(found))], 0) if sorted(found) == list(range(shape[0])) else None  # type: ignore[arg-type]


@rule("GATHER(x, const(i))")
def step(m: Match) -> Value | None:
    """GATHER of one place as SLICE

    The place is known.
    """
    if m.i.data is None or m.i.size != 1 or m.root.attrs["batch_dims"]:
        return None
    return b.reshape(b.narrow(m.x, m.root.attrs["axis"], int(m.i.data.item()), 1), m.root.outputs[0].shape)
