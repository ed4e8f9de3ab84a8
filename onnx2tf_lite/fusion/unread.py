"""What nobody reads is not computed: a SLICE moves before what makes each element, or each row, by itself.

A classifier reads one token of the last block of a transformer; the products of all others are made for nothing.  The
numbers that are left are the same: each is computed of the same numbers.
"""

from __future__ import annotations

from ..ir import build as b
from ..ir.graph import Value
from ..ir.rules import Match, again, rule
from .splits import Part, part
from .views import part_before

SHARE = 2  # one in so many of the elements at the most: an operation on two tensors needs two SLICEs instead of one


def all_that_is_read(m: Match) -> Part | None:
    """What the root takes of the result ``whole`` before it, where nobody reads anything else of that."""
    place, readers = part(m.root), [*m.view.readers(m.whole)]
    if place is None or m.whole.quant is not None or any(part(r) != place for r in readers):
        return None
    axis, _, size = place
    extent = m.whole.shape[axis]
    return place if isinstance(extent, int) and size * SHARE <= extent else None


def cut(value: Value | None, rank: int, place: Part) -> Value | None:
    """Of an operand what goes with a part of a result of ``rank``; all of one that is broadcast along the axis."""
    axis, begin, size = place
    axis += 0 if value is None else value.rank - rank
    return value if value is None or axis < 0 or value.shape[axis] == 1 else b.narrow(value, axis, begin, size)


@rule("SLICE(whole := shared(elementwise(...)))", above=1)
def of_elements(m: Match) -> Value | None:
    """arithmetic of the part that is read

    f(x, y)[s] = f(x[s], y[s]), but for what is broadcast along the axis.
    """
    place, op = all_that_is_read(m), m.op("whole")
    return None if place is None else again(op, *(cut(v, m.whole.rank, place) for v in op.inputs))


@rule("SLICE(whole := shared(FULLY_CONNECTED|SOFTMAX|LOG_SOFTMAX|MEAN|SUM(x, ...)))", above=1)
def of_rows(m: Match) -> Value | None:
    """products, softmax and means of the rows that are read

    Each works on the last axis, or on its axes, of every row alone: f(x)[s] = f(x[s]) for a part of any other axis.
    """
    place, op = all_that_is_read(m), m.op("whole")
    if place is None or m.x.rank != m.whole.rank or place[0] in op.attrs.get("axes", (m.x.rank - 1,)):
        return None
    return again(op, cut(m.x, m.x.rank, place), *op.inputs[1:])


@rule("SLICE(whole := shared(BATCH_MATMUL(x, y)))", above=1)
def of_products(m: Match) -> Value | None:
    """product of the rows, columns or matrices that are read

    (x y)[i, :] = x[i, :] y and (x y)[:, j] = x y[:, j]; a matrix of a batch is the product of those of that place.
    """
    found, op, rank = all_that_is_read(m), m.op("whole"), m.whole.rank
    if found is None:
        return None
    axis, begin, size = found
    if axis == rank - 2:
        return again(op, b.narrow(m.x, -1 if op.attrs["adj_x"] else -2, begin, size), m.y)
    if axis == rank - 1:
        return again(op, m.x, b.narrow(m.y, -2 if op.attrs["adj_y"] else -1, begin, size))
    return again(op, *(cut(v, rank, found) for v in (m.x, m.y)))


@rule("SLICE(whole := shared(TRANSPOSE|RESHAPE(x)))", above=1)
def of_views(m: Match) -> Value | None:
    """view of the part that is read

    Where a part of an axis is a part of one axis before it; but single elements of the last axis come of a TRANSPOSE
    (``slices``).
    """
    found, view, shape = all_that_is_read(m), m.op("whole"), m.root.outputs[0].shape
    before = None if found is None else part_before(view, *found)
    if before is None or (view.kind.permutes and (before[0], before[2]) == (m.x.rank - 1, 1)):
        return None
    taken, perm = b.narrow(m.x, *before), view.attrs.get("perm")
    return b.transpose(taken, perm) if perm else b.reshape(taken, shape)


RULES = [of_elements, of_rows, of_products, of_views]
