"""Slices of single elements: their kernels take as long for one of them as for a run.

Single elements, or every second one, of the axis that lies innermost are brought together by a TRANSPOSE in the end
(``fusion/slices.py``), or copied one by one where that is cheaper.  The problem counts them as one more order in which
their tensor is wanted, by those operations and in that case alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Value
from ..ir.orders import ALONE
from ..ir.traits import Elements
from .candidates import Vertex
from .problem import CF, CL, Pin


def takes_single(node: Vertex, label: int) -> bool:
    """True where an operation takes, in the order that ``label`` stands for, elements that lie apart."""
    op, candidate = node.op, node.candidates[label]
    if op is None or candidate is None or 0 not in node.ports or op.kind.elements is not Elements.COPIED:
        return False
    x, results = op.inputs[0], op.outputs
    inner = None if x is None else next((a for a in reversed(candidate.orders[0]) if x.shape[a] != 1), None)
    if x is None or inner is None or any(y.rank != x.rank for y in results):
        return False
    stride = op.attrs.get("strides", (1,) * x.rank)[inner]
    return stride not in (1, -1) or any(y.shape[inner] == 1 for y in results)


def scattered(nodes: Sequence[Vertex], weight: Callable[[Value], int]) -> list[tuple[int, list[Pin]]]:
    """What such operations cost, as values of the problem; ``weight``: bytes.  Where the label makes no difference to
    one of them it is left out."""
    pins, bytes_ = dict[Value, list[Pin]](), dict[Value, int]()
    for index, node in enumerate(nodes):
        single = [takes_single(node, label) for label in (CF, CL)]
        if single[CF] == single[CL] or node.op is None:
            continue
        base, _ = node.ports[0]
        pins.setdefault(base, [Pin(index, ("together", "together"))])
        pins[base].append(Pin(index, ("apart", "together") if single[CF] else ("together", "apart")))
        bytes_[base] = bytes_.get(base, 0) + ALONE * sum(map(weight, node.op.outputs))
    return [(min(weight(base), bytes_[base]), found) for base, found in pins.items()]
