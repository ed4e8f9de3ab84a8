"""Long sums in steps.

TFLite's kernels add float32 numbers one after the other: over a million of them the sum is so large that what is added
is mostly rounded away, and a mean is wrong by more than 1e-4 of itself.  Axis by axis, no sum is longer than an axis.
"""

from __future__ import annotations

from math import isqrt, prod

import numpy as np

from ..ir import build, rewrite
from ..ir.graph import Graph, Op, Value
from ..ir.traits import TOTALS

LONG = 1 << 17  # terms, of which the sum is good to 2e-5
MOST = 1 << 31  # elements of an axis, from where on no kernel runs: a model may claim any number


def split(graph: Graph) -> Graph:
    """Reduce along one axis after the other, in place, where all together have more than :data:`LONG` elements."""
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            if (extents := _long(op)) is not None:
                op.inputs = [_begun(op, extents)]
            part.ops.append(op)
    return graph


def _long(op: Op) -> dict[int, int] | None:
    """The extents of the axes of a long sum or mean, but for those of 1."""
    total = op.kind.empty is not None and op.kind.special == TOTALS and "axes" in op.attrs
    if not total or op.inputs[0] is None or op.inputs[0].dtype != np.float32:
        return None
    extents = {axis: op.inputs[0].shape[axis] for axis in op.attrs["axes"]}
    known = {axis: d for axis, d in extents.items() if isinstance(d, int)}
    long = len(known) == len(extents) and prod(known.values()) > LONG
    return {axis: d for axis, d in known.items() if d > 1} if long else None


def _begun(op: Op, extents: dict[int, int]) -> Value:
    """What is left for the operation itself: its longest axis, the others are 1."""
    (x,) = op.inputs
    assert x is not None
    *others, longest = sorted(extents, key=extents.__getitem__)
    for axis in others:
        x = build.reduce(op.kind.name, _halfway(op.kind.name, x, axis, extents[axis]), [axis], keepdims=True)
    return _halfway(op.kind.name, x, longest, extents[longest])


def _halfway(kind: str, x: Value, axis: int, extent: int) -> Value:
    """An axis that is too long itself as a rectangle, of which the rows are reduced."""
    if not LONG < extent < MOST:
        return x
    rows = next(d for d in range(isqrt(extent), 0, -1) if extent % d == 0)
    if rows == 1:
        return x
    rectangle = build.reshape(x, (*x.shape[:axis], rows, extent // rows, *x.shape[axis + 1 :]))
    return build.reduce(kind, rectangle, [axis + 1])
