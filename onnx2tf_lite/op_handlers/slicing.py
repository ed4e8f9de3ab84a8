"""Windows of a tensor: Slice, Pad, CenterCropPad.  All bounds are dims, clipped to the extents they cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value, constant, content_of, current_graph
from ..ir.kinds.reduction import AT_RUN_TIME
from .reductions import at_run_time, integers, run_time_axes
from .registry import UnsupportedError, fixed, op
from .shapes import scalar

FAR = 2**31 - 1  # exporters write the largest integer for "to the end"
Pads = Sequence[tuple[Dim, Dim]]


def positive(dim: Dim) -> Dim:
    """max(dim, 0); elements of run-time tensors may be negative, extents are not."""
    if isinstance(dim, int) or _read(dim):
        return dims.maximum(dim, 0)
    return dim if dims.nonnegative(dim) else 0 if dims.nonnegative(-dim) else dims.maximum(dim, 0)


def _clipped(dim: Dim, high: Dim, far: int) -> Dim:
    """``dim`` within [0, high], where no extent reaches ``far``."""
    if isinstance(dim, int) and (dim <= 0 or dim >= far):
        return high if dim > 0 else 0
    dim = positive(dim)
    return dim if dims.nonnegative(high - dim) else high if dims.nonnegative(dim - high) else dims.minimum(dim, high)


def _read(dim: Dim) -> bool:
    """True for what is read from a run-time tensor."""
    return not dims.symbols([dim]).isdisjoint(current_graph().definitions)


def _sign_known(dim: Dim) -> bool:
    """True where a dim is certainly >= 0 or certainly < 0; elements of run-time tensors may be either."""
    return isinstance(dim, int) or (not _read(dim) and (dims.nonnegative(dim) or dims.nonnegative(-1 - dim)))


def _rows(axes: Value, rank: int) -> Value:
    """For each of ``rank`` axes where it stands in ``axes``, the last time (as ONNX Runtime reads them), or -1."""
    found = b.equal(b.reshape(b.iota(rank), (rank, 1)), b.reshape(run_time_axes(axes, rank), (1, -1)))
    return b.reduce("REDUCE_MAX", b.where(found, b.iota(axes.size), np.int32(-1)), [1])


def _spread(values: Value, rows: Value, default: b.Operand) -> Value:
    """``values[rows]``; ``default`` where there is no row."""
    return b.where(b.less(rows, 0), default, b.gather(_narrowed(values), b.maximum(rows, 0)))


def _narrowed(bound: Value) -> Value:
    return b.cast(bound if bound.dtype == np.int32 else b.minimum(b.maximum(bound, -FAR), FAR), np.int32)


# ------------------------------------------------------------------------------------------------ slicing


def _far(x: Value, axis: int) -> int:
    """What no extent along ``axis`` reaches: no runtime holds more elements than 31 bits count."""
    return max(FAR // max(prod(d for i, d in enumerate(x.shape) if i != axis and isinstance(d, int)), 1), 1)


def _places(bound: Value, extents: Sequence[Dim], last: Sequence[Dim], far: Sequence[int]) -> Sequence[Dim]:
    """Starts or ends of a walk forward, negative ones counted from the end, clipped to [0, last]."""
    content = content_of(bound)
    if content is not None and all(map(_sign_known, content)):
        places = [
            p if dims.nonnegative(p) or (isinstance(p, int) and p <= -f) else p + d
            for p, d, f in zip(content, extents, far, strict=True)
        ]
        return [_clipped(p, d, f) for p, d, f in zip(places, last, far, strict=True)]
    place = b.where(b.less(bound, 0), bound + b.cast(b.dims_value(extents), bound.dtype), bound)
    return b.dims_of(b.minimum(b.maximum(place, 0), b.cast(b.dims_value(last), bound.dtype)))


@op("Slice")
def slice_(x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None) -> Value:
    """A walk back is a walk forward over the reversed axis, where element i lies at -1 - i."""
    (count,) = starts.shape
    if not isinstance(count, int):
        raise UnsupportedError("the number of axes is only known at run time", "make starts a constant")
    if not at_run_time(axes) and not at_run_time(steps):
        at = [b.axis_of(a, x.rank) for a in integers(axes, "axes") or range(count)]
        return _walked(x, starts, ends, at, integers(steps, "steps") or [1] * count)
    rows = _rows(constant(np.arange(count)) if axes is None else axes, x.rank)
    extents = b.dims_value(x.shape)
    begin = b.maximum(_spread(starts, rows, np.int32(0)), -extents)
    step = _spread(constant(np.ones(count, np.int32)) if steps is None else steps, rows, np.int32(1))
    touched = range(x.rank) if rows.data is None else np.flatnonzero(rows.data >= 0)
    shape = tuple(current_graph().fresh_symbol("slice") if i in touched else d for i, d in enumerate(x.shape))
    return b.emit(f"STRIDED_SLICE{AT_RUN_TIME}", x, begin, _spread(ends, rows, extents), step, shape=shape)


def _walked(x: Value, starts: Value, ends: Value, at: Sequence[int], strides: Sequence[int]) -> Value:
    back = np.array([s < 0 for s in strides])
    if back.any():
        starts, ends = (b.where(back, -1 - v, v) for v in (starts, ends))
        x = b.reverse(x, [a for a, s in zip(at, strides, strict=True) if s < 0])
    extents = [x.shape[a] for a in at]
    first = [positive(d - 1) if s < 0 else d for d, s in zip(extents, strides, strict=True)]
    begin: list[Dim] = [0] * x.rank
    end, step = list(x.shape), [1] * x.rank
    far = [_far(x, a) for a in at]
    bounds = zip(at, _places(starts, extents, first, far), _places(ends, extents, extents, far), strides, strict=True)
    for a, low, high, s in bounds:
        begin[a], end[a], step[a] = low, high, abs(s)
    size = [
        dims.ceildiv(e, s) if a == 0 else positive(dims.ceildiv(e - a, s))
        for a, e, s in zip(begin, end, step, strict=True)
    ]
    if 0 in size:
        return b.fill(size, 0, x.dtype)
    return b.slice_(x, begin, size) if set(step) == {1} else b.strided_slice(x, begin, end, step)


# ------------------------------------------------------------------------------------------------ padding


def _reflected(i: Value, n: Value) -> Value:
    """0 1 2 3 2 1 0 1 ..., period 2 (n - 1)."""
    period = b.maximum((n - 1) * 2, 1)
    folded = b.floor_mod(i, period)
    return b.minimum(folded, period - folded)


# where element i of the padded axis comes from; i counts from the first element of the operand
SOURCES: dict[str, Callable[[Value, Value], Value]] = {
    "edge": lambda i, n: b.minimum(b.maximum(i, 0), n - 1),
    "wrap": b.floor_mod,
    "reflect": _reflected,
}


@op("Pad")
def pad(
    x: Value, pads: Value, value: Value | None = None, axes: Value | None = None, *, mode: str = "constant"
) -> Value:
    """Negative pads crop, before anything is padded."""
    x, both = cropped(x, _amounts(x, pads, axes))
    if mode == "constant":
        return b.pad(x, both, 0 if value is None else b.reshape(value, ()))
    if mode not in SOURCES:
        raise UnsupportedError(f"pad mode {mode!r} is unknown")
    if mode == "reflect" and all(_mirrors(d, p) for d, pair in zip(x.shape, both, strict=True) for p in pair):
        return b.mirror_pad(x, both) if any(any(pair) for pair in both) else x
    for axis, (before, after) in enumerate(both):
        if (before, after) != (0, 0):
            n = x.shape[axis]
            place = b.iota(n + before + after) - scalar(before, np.int32)
            x = b.gather(x, SOURCES[mode](place, scalar(n, np.int32)), axis)
    return x


def _amounts(x: Value, pads: Value, axes: Value | None) -> Pads:
    """What to add before and after each axis."""
    if pads.rank == 1 and pads.size == 0:
        return [(0, 0)] * x.rank
    count = fixed(dims.floordiv(pads.size, 2), "the number of axes")
    if at_run_time(axes):
        rows = _rows(axes, x.rank)
        sides = [b.dims_of(_spread(side, rows, np.int32(0))) for side in b.split(pads, [count, count], 0)]
        return list(zip(*sides, strict=True))
    amounts = b.dims_of(pads)
    both: list[tuple[Dim, Dim]] = [(0, 0)] * x.rank
    for i, a in enumerate(integers(axes, "axes") or range(count)):
        both[b.axis_of(a, x.rank)] = amounts[i], amounts[i + count]
    return both


def _mirrors(extent: Dim, amount: Dim) -> bool:
    """True where MIRROR_PAD does it: amount < extent (for a symbolic one the kernel checks)."""
    return not isinstance(amount, int) or not isinstance(extent, int) or amount < extent


def cropped(x: Value, pads: Pads) -> tuple[Value, Pads]:
    """What negative pads leave of ``x``, and the pads with 0 for them."""
    cut = [(positive(-p), positive(-q)) for p, q in pads]
    grown = [(positive(p), p + q + c + e - positive(p)) for (p, q), (c, e) in zip(pads, cut, strict=True)]
    size = [d - c - e for d, (c, e) in zip(x.shape, cut, strict=True)]
    return b.slice_(x, [c for c, _ in cut], size), grown  # so that the extents add up to d + p + q again


@op("CenterCropPad")
def center_crop_pad(x: Value, shape: Value, *, axes: Sequence[int] | None = None) -> Value:
    """Cut or pad both sides alike; the odd element is cut or padded at the end."""
    wanted = list(x.shape)
    for a, d in zip(range(x.rank) if axes is None else axes, b.dims_of(shape), strict=True):
        wanted[b.axis_of(a, x.rank)] = d
    more = [w - d for w, d in zip(wanted, x.shape, strict=True)]
    begin = [dims.floordiv(positive(-m), 2) for m in more]
    x = b.slice_(x, begin, [d - positive(-m) for d, m in zip(x.shape, more, strict=True)])
    low = [dims.floordiv(positive(m), 2) for m in more]
    return b.pad(x, [(a, positive(m) - a) for a, m in zip(low, more, strict=True)])
