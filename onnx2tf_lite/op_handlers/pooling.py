"""Pools.  Axis names: N batch, C channels, then space; every pool is a plain window over each channel.

TFLite has 2-D pools without dilation.  A 1-D pool is one of height 1; a 3-D pool is one over H, W and one over D, since
both maximum and sum are separable; a dilated one combines shifted strided slices, axis by axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.graph import Value, constant
from ._windows import Window, padded, same_pads, window
from .registry import UnsupportedError, current_node, op

Ints = Sequence[int] | None


def _strided(x: Value, axis: int, start: int, count: dims.Dim, stride: int) -> Value:
    """``count`` elements along ``axis`` from ``start`` on, ``stride`` apart."""
    begin = [start if i == axis else 0 for i in range(x.rank)]
    end = [start + (count - 1) * stride + 1 if i == axis else d for i, d in enumerate(x.shape)]
    return b.strided_slice(x, begin, end, [stride if i == axis else 1 for i in range(x.rank)])


def _by_slices(x: Value, win: Window, combine: Callable[[Value, Value], Value]) -> Value:
    """Pool of a padded [N, C, *space] by combining shifted slices."""
    for axis, (count, k, s, d) in enumerate(zip(win.outputs(), win.kernel, win.strides, win.dilations, strict=True), 2):
        x = reduce(combine, [_strided(x, axis, i * d, count, s) for i in range(k)])
    return x


def _by_kernel(kind: str, x: Value, win: Window, padding: str = "VALID") -> Value:
    """Pool of a padded [N, C, *space] by a TFLite kernel."""
    y = b.channels_last(x)
    n, *space, c = y.shape
    kernel, strides = win.kernel, win.strides

    def pool(value: Value, k: Sequence[int], s: Sequence[int]) -> Value:
        return b.emit(kind, value, kernel=tuple(k), strides=tuple(s), padding=padding, activation=None)

    if len(space) == 1:
        y = pool(b.reshape(y, (n, 1, *space, c)), (1, *kernel), (1, *strides))
        y = b.reshape(y, (n, y.shape[2], c))
    elif len(space) == 2:
        y = pool(y, kernel, strides)
    elif len(space) == 3:
        d = space[0]
        y = pool(b.reshape(y, (n * d, *space[1:], c)), kernel[1:], strides[1:])
        plane = y.shape[1:3]
        y = pool(b.reshape(y, (n, d, dims.product(plane), c)), (kernel[0], 1), (strides[0], 1))
        y = b.reshape(y, (n, y.shape[1], *plane, c))
    else:
        raise UnsupportedError(f"a pool over {len(space)} axes has no TFLite form", "1 to 3 spatial axes are possible")
    return b.channels_first(y)


# ------------------------------------------------------------------------------------------------ maximum


@op("MaxPool")
def max_pool(
    x: Value,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    pads: Ints = None,
    storage_order: int = 0,
    strides: Ints = None,
) -> list[Value | None]:
    """x[N,C,*space] -> [N,C,*out], and on request the flat i64 index of each maximum."""
    win = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    indices = _max_indices(padded(x, win.all_pads, lowest), x, win, storage_order) if current_node().wants(1) else None
    if win.same and not win.dilated:
        return [_by_kernel("MAX_POOL_2D", x, win, "SAME"), indices]
    full = padded(x, win.all_pads, lowest)
    return [_by_slices(full, win, b.maximum) if win.dilated else _by_kernel("MAX_POOL_2D", full, win), indices]


def _max_indices(full: Value, x: Value, win: Window, column_major: int) -> Value:
    """Place of the first maximum in each window, then its flat index in ``x``."""
    offsets = list(np.ndindex(*win.kernel))
    counts, axes = win.outputs(), range(len(win.kernel))
    views = []
    for offset in offsets:
        view = full
        for a in axes:
            view = _strided(view, 2 + a, offset[a] * win.dilations[a], counts[a], win.strides[a])
        views.append(view)
    best = b.arg("ARG_MAX", b.pack(views, axis=-1), -1)
    place = b.reshape(b.iota(x.shape[0] * x.shape[1]), (*x.shape[:2], *(1 for _ in axes)))
    flat = place * b.reshape(b.dims_value([dims.product(x.shape[2:])]), ())
    for a in axes:
        shift = np.array([o[a] * win.dilations[a] for o in offsets], np.int32)
        start = b.iota(counts[a]) * win.strides[a] - b.reshape(b.dims_value([win.pads[a][0]]), ())
        coordinate = b.gather(constant(shift), best) + b.reshape(start, tuple(counts[a] if i == a else 1 for i in axes))
        inner = x.shape[2 : 2 + a] if column_major else x.shape[3 + a :]
        flat = flat + coordinate * b.reshape(b.dims_value([dims.product(inner)]), ())
    return b.cast(flat, np.int64)


@op("MaxUnpool")
def max_unpool(
    x: Value,
    indices: Value,
    output_shape: Value | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    """Zeros with the elements of ``x`` at flat ``indices`` of the output."""
    rank = len(kernel_shape)
    low, strides = tuple(pads or (0,) * 2 * rank), tuple(strides or (1,) * rank)
    space = [
        (n - 1) * s + k - low[i] - low[i + rank]
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel_shape, strict=True))
    ]
    shape = (*x.shape[:2], *space)
    flat = b.scatter_nd(b.reshape(indices, (-1, 1)), b.reshape(x, (-1,)), (dims.product(shape),))
    y = b.reshape(flat, shape)
    return y if output_shape is None else _unpooled_into(y, b.dims_of(output_shape))


def _unpooled_into(y: Value, shape: dims.Shape) -> Value:
    """A larger ``output_shape`` only adds zeros at the end of each axis (onnx.reference, ONNX's own tests)."""
    return b.pad(y, [(0, want - have) for want, have in zip(shape, y.shape, strict=True)])


# ------------------------------------------------------------------------------------------------ means


def _sum_or_mean(x: Value, win: Window) -> Value:
    """Mean of every window of a padded tensor over all kernel positions."""
    if win.dilated:
        return _by_slices(x, win, b.add) * (1 / int(np.prod(win.kernel)))
    return _by_kernel("AVERAGE_POOL_2D", x, win)


def _coverage(win: Window, include_pad: bool) -> Value | None:
    """Share of kernel positions that count, per window: [1, 1, *out]; None where all do."""
    counted = win.pads if include_pad else ((0, 0),) * len(win.pads)
    ignored = tuple((low - a, high - z) for (low, high), (a, z) in zip(win.all_pads, counted, strict=True))
    if all(p == (0, 0) for p in ignored):
        return None
    size = tuple(n + a + z for n, (a, z) in zip(win.size, counted, strict=True))
    if not dims.is_static(size):
        return _sum_or_mean(padded(b.fill((1, 1, *size), np.float32(1)), ignored), win)
    share = np.ones((1, 1), np.float32)
    axes = zip(size, ignored, win.outputs(), win.kernel, win.strides, win.dilations, strict=True)
    for n, (low, _), count, k, s, d in axes:
        place = b.places(count, k)[:, None] * s + np.arange(k) * d - low
        share = share[..., None] * ((place >= 0) & (place < n)).mean(1, dtype=np.float32)
    return constant(share)


@op("AveragePool")
def average_pool(
    x: Value,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    """x[N,C,*space] -> [N,C,*out]; with ``count_include_pad`` explicit pads count, what ceil_mode adds never does."""
    win = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if not count_include_pad and not win.dilated and (win.same or win.all_pads == same_pads(win)):
        return _by_kernel("AVERAGE_POOL_2D", x, win, "SAME")
    mean = _sum_or_mean(padded(x, win.all_pads), win)
    share = _coverage(win, bool(count_include_pad))
    return mean if share is None else mean / share


@op("LpPool")
def lp_pool(
    x: Value,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    p: int = 2,
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    """(sum |x|^p)^(1/p) over each window; pads add nothing."""
    win = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    mean = _sum_or_mean(padded(_to_power(x, p), win.all_pads), win)
    return _root(mean * int(np.prod(win.kernel)), p)


def _to_power(x: Value, p: int) -> Value:
    return b.abs_(x) if p == 1 else b.square(x) if p == 2 else b.power(b.abs_(x), float(p))


def _root(x: Value, p: int) -> Value:
    return x if p == 1 else b.sqrt(x) if p == 2 else b.power(x, 1 / p)


# ------------------------------------------------------------------------------------------------ whole images


def _global(kind: str, x: Value) -> Value:
    return b.reduce(kind, x, range(2, x.rank), keepdims=True)


@op("GlobalAveragePool")
def global_average_pool(x: Value) -> Value:
    """Mean over space, kept as unit axes."""
    return _global("MEAN", x)


@op("GlobalMaxPool")
def global_max_pool(x: Value) -> Value:
    """Maximum over space, kept as unit axes."""
    return _global("REDUCE_MAX", x)


@op("GlobalLpPool")
def global_lp_pool(x: Value, *, p: int = 2) -> Value:
    """(sum |x|^p)^(1/p) over space, kept as unit axes."""
    return _root(_global("SUM", _to_power(x, p)), p)
