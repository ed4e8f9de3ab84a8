"""Numbers that no reader tells apart: an activation is flat far out, and a range that reaches there wastes its steps.

A SiLU of -270 is as much nothing as one of -10: where a tensor goes into such functions alone, its range ends where
they become flat.  This is what int8 versions of networks with SiLU fail of otherwise, since their convolutions make
large negative numbers (in YOLOX-nano from -270 on beside 33).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np

from ..ir.graph import Graph, Op, Value
from ..ir.kinds import KINDS
from ..ir.traits import REALS, Int8
from .plan import Range

SILU: Range = (-10, inf)  # as ``Traits.saturates`` of an operator
Readers = Mapping[Value, Sequence[Op]]


def limits(graph: Graph) -> dict[str, Range]:
    """By the names of tensors, the numbers beyond which no reader tells them apart."""
    readers = graph.consumers()
    found = {v.name: _told_apart(v, graph, readers) for v in readers if v.dtype == np.float32}
    return {name: ends for name, ends in found.items() if ends != REALS}


def _told_apart(value: Value, graph: Graph, readers: Readers) -> Range:
    """The numbers of ``value`` that its readers tell apart."""
    if value in graph.outputs or not readers.get(value):
        return REALS
    seen = [_seen(value, op, graph, readers) for op in readers[value]]
    return min(r[0] for r in seen), max(r[1] for r in seen)


def _seen(value: Value, op: Op, graph: Graph, readers: Readers) -> Range:
    """The numbers of ``value`` that ``op`` tells apart."""
    if op.kind.saturates != REALS:
        return op.kind.saturates
    if op.is_a("ADD"):
        return _clamped(op) or REALS
    if op.is_a("MUL") and (other := _other(value, op)) is not None:
        if other.data is not None:
            return _scaled(_told_apart(op.outputs[0], graph, readers), other.data)
        return _least_open(value, other), inf
    if op.kind.int8 is Int8.MOVES and len(op.outputs) == 1:
        return _told_apart(op.outputs[0], graph, readers)
    return REALS


def _other(value: Value, op: Op) -> Value | None:
    """What a product multiplies ``value`` with, if that is not ``value``."""
    others = [v for v in op.inputs if v is not value]
    return others[0] if len(others) == 1 else None


def _scaled(ends: Range, factor: np.ndarray) -> Range:
    """What a range of products with a positive ``factor`` means for the other operand."""
    if not factor.size or factor.min() <= 0:
        return REALS
    low, high = (np.asarray(end) / factor.astype(np.float64) for end in ends)
    return float(low.min()), float(high.max())


def _least_open(value: Value, gate: Value) -> float:
    """The number of ``value`` below which a ``gate``, made of it perhaps times a constant, lets nothing through."""
    op = gate.producer
    if op is None or not op.inputs or op.inputs[0] is None:
        return -inf
    low, source = -inf, op.inputs[0]
    if op.is_a("LOGISTIC"):
        low = SILU[0]
    elif op.is_a("ADD") and (ends := _clamped(op)) is not None and not KINDS[op.attrs["activation"]].limits[0]:
        low = ends[0]
    if source is value:
        return low
    scaling = source.made_by("MUL")
    if scaling is None or (factor := _other(value, scaling)) is None or factor.data is None:
        return -inf
    return _scaled((low, inf), factor.data)[0] if len(scaling.inputs) == 2 and value in scaling.inputs else -inf


def _clamped(op: Op) -> Range | None:
    """Of a sum with constants that a fused activation cuts off: what it cuts off whichever constant is added."""
    activation = op.attrs.get("activation")
    known = [v.data for v in op.inputs if v is not None and v.data is not None]
    if activation is None or len(known) != 1 or not known[0].size:
        return None
    low, high = KINDS[activation].limits
    return low - float(known[0].max()), high - float(known[0].min())
