"""Windows of a tensor: Slice, Pad, CenterCropPad.  All bounds are dims, clipped to the extents they cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value, content_of, current_graph
from .reductions import integers
from .registry import Unsupported, op
from .shapes import scalar

FAR = 2**31 - 1  # exporters write the largest integer for "to the end"
Pads = Sequence[tuple[Dim, Dim]]


def positive(dim: Dim) -> Dim:
    """max(dim, 0)."""
    return dim if dims.nonnegative(dim) else dims.maximum(dim, 0)


def _clipped(dim: Dim, high: Dim) -> Dim:
    if isinstance(dim, int) and abs(dim) >= FAR:
        return high if dim > 0 else 0
    dim = positive(dim)
    return dim if dims.nonnegative(high - dim) else high if dims.nonnegative(dim - high) else dims.minimum(dim, high)


def _sign_known(dim: Dim) -> bool:
    """True where a dim is certainly >= 0 or certainly < 0; elements of run-time tensors may be either."""
    read = dims.symbols([dim]) & set(current_graph().definitions)
    return isinstance(dim, int) or (not read and (dims.nonnegative(dim) or dims.nonnegative(-1 - dim)))


def _places(bound: Value, extents: Sequence[Dim]) -> Sequence[Dim]:
    """Starts or ends of a walk forward, negative ones counted from the end, clipped to [0, extent]."""
    content = content_of(bound)
    if content is not None and all(map(_sign_known, content)):
        places = [p if dims.nonnegative(p) or (isinstance(p, int) and p <= -FAR) else p + d
                  for p, d in zip(content, extents, strict=True)]  # fmt: skip
        return [_clipped(p, d) for p, d in zip(places, extents, strict=True)]
    extent = b.cast(b.dims_value(extents), bound.dtype)
    place = b.where(b.less(bound, 0), bound + extent, bound)
    return b.dims_of(b.minimum(b.maximum(place, 0), extent))


@op("Slice")
def slice_(x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None) -> Value:
    """A walk back is a walk forward over the reversed axis, where element i lies at -1 - i."""
    count = int(starts.shape[0])  # type: ignore[arg-type]
    at = [b.axis_of(a, x.rank) for a in integers(axes, "axes") or range(count)]
    strides = integers(steps, "steps") or [1] * count
    if any(s < 0 for s in strides):
        mirror = np.array([s < 0 for s in strides])
        starts, ends = (b.where(mirror, -1 - v, v) for v in (starts, ends))
        x = b.reverse(x, [a for a, s in zip(at, strides, strict=True) if s < 0])
    extents = [x.shape[a] for a in at]
    begin: list[Dim] = [0] * x.rank
    end, step = list(x.shape), [1] * x.rank
    for a, low, high, s in zip(at, _places(starts, extents), _places(ends, extents), strides, strict=True):
        begin[a], end[a], step[a] = low, high, abs(s)
    size = [positive(dims.ceildiv(e - a, s)) for a, e, s in zip(begin, end, step, strict=True)]
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
    """Negative pads crop."""
    amounts = b.dims_of(pads)
    count = len(amounts) // 2
    both: list[tuple[Dim, Dim]] = [(0, 0)] * x.rank
    for i, a in enumerate(integers(axes, "axes") or range(count)):
        both[b.axis_of(a, x.rank)] = amounts[i], amounts[i + count]
    if mode == "constant":
        return pad_constant(x, both, 0 if value is None else b.reshape(value, ()))
    if mode not in SOURCES:
        raise Unsupported(f"pad mode {mode!r} is unknown")
    if mode == "reflect" and all(_mirrors(d, p) for d, pair in zip(x.shape, both, strict=True) for p in pair):
        return b.mirror_pad(x, both) if any(any(pair) for pair in both) else x
    for axis, (before, after) in enumerate(both):
        if (before, after) != (0, 0):
            n = x.shape[axis]
            place = b.iota(n + before + after) - scalar(before, np.int32)
            x = b.gather(x, SOURCES[mode](place, scalar(n, np.int32)), axis)
    return x


def _mirrors(extent: Dim, amount: Dim) -> bool:
    """True where MIRROR_PAD does it: 0 <= amount < extent (for a symbolic one the kernel checks)."""
    return (not isinstance(amount, int) or amount >= 0) and (
        not isinstance(amount, int) or not isinstance(extent, int) or amount < extent
    )


def pad_constant(x: Value, pads: Pads, value: Value | float = 0) -> Value:
    """Constant padding; negative amounts crop."""
    low = [-p if isinstance(p, int) and p < 0 else 0 for p, _ in pads]
    high = [-p if isinstance(p, int) and p < 0 else 0 for _, p in pads]
    x = b.slice_(x, low, [d - a - e for d, a, e in zip(x.shape, low, high, strict=True)])
    grown = [tuple(0 if isinstance(p, int) and p < 0 else p for p in pair) for pair in pads]
    return b.pad(x, grown, value)  # type: ignore[arg-type]


@op("CenterCropPad")
def center_crop_pad(x: Value, shape: Value, *, axes: Sequence[int] | None = None) -> Value:
    """Cut or pad both sides alike; the odd element is cut or padded at the end."""
    wanted = list(x.shape)
    for a, d in zip(range(x.rank) if axes is None else axes, b.dims_of(shape), strict=True):
        wanted[b.axis_of(a, x.rank)] = d
    more = [w - d for w, d in zip(wanted, x.shape, strict=True)]
    x = b.slice_(x, [dims.floordiv(positive(-m), 2) for m in more],
                 [d - positive(-m) for d, m in zip(x.shape, more, strict=True)])  # fmt: skip
    low = [dims.floordiv(positive(m), 2) for m in more]
    return pad_constant(x, [(a, positive(m) - a) for a, m in zip(low, more, strict=True)])
