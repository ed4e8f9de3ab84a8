"""Numbers that no reader tells apart: an activation is flat far out, and a range that reaches there wastes its steps.

A SiLU of -270 is as much nothing as one of -10: where a tensor goes into such functions alone, its range ends where
they become flat.  This is what int8 versions of networks with SiLU fail of otherwise, since their convolutions make
large negative numbers (in YOLOX-nano from -270 on beside 33).
"""

from __future__ import annotations

from math import inf

import numpy as np

from ..ir.graph import Graph, Op, Value
from ..ir.kinds import KINDS
from ..ir.traits import REALS, Int8
from .plan import Range

SILU: Range = (-10, inf)  # as ``Traits.saturates`` of an operator


def limits(graph: Graph) -> dict[str, Range]:
    """By the names of tensors, the numbers beyond which no reader tells them apart."""
    readers = graph.consumers()
    found: dict[str, Range] = {}
    for value, ops in readers.items():
        if value.dtype != np.float32 or value in graph.outputs:
            continue
        seen = [_seen(value, op, readers, graph) for op in ops]
        low, high = min(r[0] for r in seen), max(r[1] for r in seen)
        if (low, high) != (-inf, inf):
            found[value.name] = low, high
    return found


def _seen(value: Value, op: Op, readers: dict[Value, list[Op]], graph: Graph) -> Range:
    """The numbers of ``value`` that ``op`` tells apart."""
    if op.kind.saturates != REALS:
        return SILU if _gates(value, op, readers) else op.kind.saturates
    if op.is_a("ADD") and (clamped := _clamped(op)) is not None:
        return clamped
    if op.is_a("MUL") and any(v is not None and _is_gate(value, v) for v in op.inputs):
        return SILU
    if op.kind.int8 is Int8.MOVES and len(op.outputs) == 1 and op.outputs[0] not in graph.outputs:
        after = [_seen(op.outputs[0], reader, readers, graph) for reader in readers.get(op.outputs[0], ())]
        return (min(r[0] for r in after), max(r[1] for r in after)) if after else (-inf, inf)
    return -inf, inf


def _is_gate(value: Value, gate: Value) -> bool:
    op = gate.made_by("LOGISTIC")
    return op is not None and op.inputs[0] is value


def _gates(value: Value, op: Op, readers: dict[Value, list[Op]]) -> bool:
    """True for a LOGISTIC that is multiplied with its own operand."""
    return op.is_a("LOGISTIC") and any(value in reader.inputs for reader in readers.get(op.outputs[0], ()))


def _clamped(op: Op) -> Range | None:
    """Of a sum with constants that a fused activation cuts off: what it cuts off whichever constant is added."""
    activation = op.attrs.get("activation")
    known = [v.data for v in op.inputs if v is not None and v.data is not None]
    if activation is None or len(known) != 1 or not known[0].size:
        return None
    low, high = KINDS[activation].limits
    return low - float(known[0].max()), high - float(known[0].min())
