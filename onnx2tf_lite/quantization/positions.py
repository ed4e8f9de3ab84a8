"""Numbers that say which elements are read or written: coordinates of an image, corners of regions, extents.

What a rounded coordinate reads is another element, not the same one with noise: of 224 columns 8 bits tell 256 places
apart, and hit none of them exactly.  So what computes them stays float, from the learned layers on; those have noise
like others, and it is tried whether 16 bits of them serve (``coarse``).  What is made of nothing but positions, such as
the shares of neighbours, is as cheap beside the elements, and stays float with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..ir.graph import Graph, Op, Value
from ..ir.orders import Elementwise
from ..ir.traits import Elements

ENDS = (Elements.ENCODED, Elements.DELEGATED)  # parameters of the model's own, loops


@dataclass
class Positions:
    """``ops``: what computes positions, or is made of them alone; ``layers``: learned ones behind which that begins."""

    ops: set[Op] = field(default_factory=set)
    layers: list[Op] = field(default_factory=list)


def positions(graph: Graph) -> Positions:
    """Those of all operands that index something, and of extents that only run time knows."""
    found, seen = Positions(), set[Value]()
    queue = list(_indices(graph))
    while queue:
        value = queue.pop()
        op = value.producer
        if value in seen:
            continue
        seen.add(value)
        if op is None or op.kind.elements in ENDS:
            continue
        if op.kind.weights is not None:
            found.layers.append(op)
        else:
            found.ops.add(op)
            queue += _computed_from(op, value)
    for op in graph.ops:
        given = [v for v in op.uses() if not v.is_constant]
        if given and seen.issuperset(given) and _by_itself(op):
            found.ops.add(op)
            seen.update(op.outputs)
    return found


def _indices(graph: Graph) -> Iterator[Value]:
    yield from (value for value, _ in graph.definitions.values())
    for op in graph.ops:
        yield from (v for i in op.kind.indices if (v := op.inputs[i]) is not None)


def _computed_from(op: Op, value: Value) -> list[Value]:
    """The operands of which a position is computed.  Whole numbers are made of floats by a cast alone: what is chosen
    by its size (ARG_MAX, a comparison) is not computed from it."""
    wanted = "iuf" if value.dtype.kind == "f" or op.kind.elements is Elements.CONVERTED else "iu"
    return [v for v in op.uses() if v.dtype.kind in wanted]


def _by_itself(op: Op) -> bool:
    """True where each element of the result is made of those at one place, and nothing learned takes part."""
    alone = isinstance(op.kind.layout, Elementwise) or op.kind.elements is Elements.COPIED
    return alone and not op.kind.indices
