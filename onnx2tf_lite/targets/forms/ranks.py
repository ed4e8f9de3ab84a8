"""Fewer axes: neighbouring ones that an operator does not tell apart become one, and a TRANSPOSE several smaller."""

from __future__ import annotations

from ...ir import rewrite
from ...ir.graph import Graph, Op, Value
from ...legalize.ranks import collapse
from .. import device
from ..table import Device, Fact

#: Devices whose tables limit the number of axes.
LIMITED = ("gpu", "micro", "edgetpu")


def limit(graph: Graph, name: str) -> None:
    """Compute with as many axes as the table of a device allows each operator where that can be; what cannot stays,
    and the verdict says so."""
    table = device(name)
    rewrite.each(graph, lambda op: _merged(op, table))


def _merged(op: Op, table: Device) -> list[Value] | None:
    values = [v for v in (*op.inputs, *op.outputs) if v is not None]
    facts = [f for f in table.facts_of(op.kind.operator or "") if any(_exceeds(v, f) for v in values)]
    try:
        return collapse(op, min(f.axes for f in facts)) if facts else None
    except ValueError:
        return None


def _exceeds(value: Value, fact: Fact) -> bool:
    leading = value.shape[: -fact.axes] if fact.axes else ()
    return any(d != 1 for d in leading) if fact.units else bool(leading)
