"""Slices of slices are one, and elements that lie apart are brought together before they are copied.

The kernels of SLICE and STRIDED_SLICE take as long for a single element as for a run: every second element of the last
axis costs eight times a TRANSPOSE of all of them (benchmarks/kernels.py).
"""

from __future__ import annotations

from ..ir import build as b
from ..ir.dims import Dim, Shape
from ..ir.graph import Attrs, Value
from ..ir.orders import ALONE
from ..ir.rules import Match, rule
from .splits import part

LEAST = 1 << 12  # elements of a tensor of which one operation more is worth the while
MAX_RANK = 5  # of what is sliced, so that it can be seen with one axis more


@rule("SLICE(inner := shared(SLICE(x)))")
def merge_slices(m: Match) -> Value | None:
    """two SLICEs in one

    x[a:][c:] = x[a + c:].
    """
    first, attrs = m.op("inner").attrs["begin"], m.root.attrs
    return b.slice_(m.x, [a + c for a, c in zip(first, attrs["begin"], strict=True)], attrs["size"])


@rule("STRIDED_SLICE(inner := shared(STRIDED_SLICE|SLICE(x)))", "SLICE(inner := shared(STRIDED_SLICE(x)))")
def merge_strided(m: Match) -> Value | None:
    """two STRIDED_SLICEs in one

    x[a::s][c::t] = x[a + s c::s t], where both walk forward.  The one before is not read in full any more.
    """
    inner, outer = walk(m.op("inner").attrs), walk(m.root.attrs)
    if min(s for _, s in (*inner, *outer)) < 1:
        return None
    begin = [a + s * c for (a, s), (c, _) in zip(inner, outer, strict=True)]
    strides = [s * t for (_, s), (_, t) in zip(inner, outer, strict=True)]
    end = [a + (d - 1) * s + 1 for a, d, s in zip(begin, m.root.outputs[0].shape, strides, strict=True)]
    return b.strided_slice(m.x, begin, end, strides)


@rule("SLICE(joined := shared(CONCATENATION(..., activation=None)))")
def part_of_joined(m: Match) -> Value | None:
    """SLICE of one operand of a CONCATENATION

    [x, y][len(x) + a:len(x) + c] = y[a:c].
    """
    place, operation, start = part(m.root), m.op("joined"), 0
    if place is None or place[0] != operation.attrs["axis"]:
        return None
    axis, begin, size = place
    for operand in operation.uses():
        extent = operand.shape[axis]
        if not isinstance(extent, int) or begin < start:
            return None
        if begin + size <= start + extent:
            return b.narrow(operand, axis, begin - start, size)
        start += extent
    return None


def walk(attrs: Attrs) -> list[tuple[Dim, int]]:
    """Where a slice begins, and its stride, by axis."""
    return list(zip(attrs["begin"], attrs.get("strides", (1,) * len(attrs["begin"])), strict=True))


def large(x: Value) -> bool:
    """True for a tensor of known size that is worth a TRANSPOSE."""
    return isinstance(x.size, int) and x.size >= LEAST and 2 <= x.rank <= MAX_RANK


def row(x: Value, index: Dim) -> Value:
    """``x[..., index]``, by a TRANSPOSE of the last two axes: [..., R, n] -> [..., R]."""
    last = x.rank - 1
    moved = b.transpose(x, (*range(last - 1), last, last - 1))
    return b.reshape(b.narrow(moved, last - 1, index, 1), x.shape[:-1])


@rule("STRIDED_SLICE(x)")
def phase_of_last_axis(m: Match) -> Value | None:
    """every s-th element of the last axis as a row

    x[..., i::s] = transpose(reshape(x, [..., n / s, s]))[..., i, :]; all such slices of a tensor share the TRANSPOSE.
    """
    *outer, (index, step) = walk(m.root.attrs)
    *lead, n = m.x.shape
    shape = m.root.outputs[0].shape
    if not large(m.x) or any(at != (0, 1) for at in outer) or step < 2 or not isinstance(n, int) or n % step:
        return None
    if shape != (*lead, n // step) or not isinstance(index, int) or index >= step:
        return None
    return row(b.reshape(m.x, (*lead, n // step, step)), index)


@rule("SLICE(x)")
def element_of_last_axis(m: Match) -> Value | None:
    """single elements of the last axis as rows

    x[..., i:i+1] = transpose(x)[..., i, :], where the axis is short or several slices share the TRANSPOSE.
    """
    begin, size, shape = m.root.attrs["begin"], m.root.attrs["size"], m.x.shape
    if not large(m.x) or size[-1] != 1 or tuple(size[:-1]) != shape[:-1] or shape[-1] == 1 or shape[-2] == 1:
        return None
    if all(part(reader) is not None for reader in m.view.readers(m.root.outputs[0])):  # one SLICE with those behind it
        return None
    short = isinstance(shape[-1], int) and shape[-1] <= ALONE
    return b.reshape(row(m.x, begin[-1]), size) if short or shares(m, m.x, size) else None


def shares(m: Match, x: Value, size: Shape) -> bool:
    """True where another such slice of ``x`` is to be had of the same TRANSPOSE, or has been."""
    readers = [r for r in m.view.readers(x) if r is not None and r is not m.root]
    swapped = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
    alike = [r for r in readers if r.is_a("SLICE") and r.attrs["size"] == size]
    return bool(alike) or any(r.kind.permutes and r.attrs["perm"] == swapped for r in readers)


RULES = [part_of_joined, merge_slices, merge_strided, phase_of_last_axis, element_of_last_axis]
