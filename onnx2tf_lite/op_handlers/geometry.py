"""AffineGrid, DeformConv, Col2Im, MaxRoiPool.  Axis names: N batch, C channels, S space, K kernel places, P places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Shape
from ..ir.graph import Value
from . import _maths as m
from ._loops import scalar
from .matmul import product
from .registry import UnsupportedError, op
from .sampling import TAPS, _inside, _weighted, number

F32 = np.dtype(np.float32)
LOWEST = -m.MAX


def _on_axis(vector: Value, axis: int, rank: int) -> Value:
    """A vector along one of ``rank`` axes."""
    return b.reshape(vector, [-1 if a == axis else 1 for a in range(rank)])


@op("AffineGrid")
def affine_grid(theta: Value, size: Value, *, align_corners: int = 0) -> Value:
    """theta[N,r,r+1] applied to (x, y, .., 1) of every place of an image of ``size`` [N,C,*S] -> [N,*S,r]."""
    n, _, *space = b.dims_of(size)
    columns = [b.fill((*space, 1), np.float32(1))]
    for axis, extent in enumerate(space):
        i = b.iota(extent, F32)
        if align_corners:
            place = i * (2.0 / b.maximum(b.lift(number(extent) - 1.0, F32), 1.0)) - 1.0
        else:
            place = (i * 2.0 + 1.0) / number(extent) - 1.0
        columns.insert(0, b.broadcast_to(_on_axis(place, axis, len(space) + 1), (*space, 1)))
    base = b.reshape(b.concat(columns, -1), (1, dims.product(space), len(space) + 1))
    return b.reshape(b.matmul(base, theta, adj_y=True), (n, *space, len(space)))


@op("DeformConv")
def deform_conv(x: Value, w: Value, offset: Value, bias: Value | None = None, mask: Value | None = None, *,
                dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
                offset_group: int = 1, pads: Sequence[int] | None = None,
                strides: Sequence[int] | None = None) -> Value:  # fmt: skip
    """x[N,C,*S], w[O,C/group,*K], offset[N,offset_group*prod(K)*r,*P], mask[N,offset_group*prod(K),*P] -> [N,O,*P].

    Every kernel place of every output reads the image between pixels; what lies outside counts as zero.
    """
    (n, c, *space), (o, *_), out = x.shape, w.shape, offset.shape[2:]
    kernel = kernel_shape or w.shape[2:]
    if not dims.is_static(kernel):
        raise UnsupportedError("a kernel of unknown extents", "give the attribute kernel_shape")
    w = b.pinned(w, (o, dims.floordiv(c, group), *kernel))
    rank, taps_count = len(space), dims.product(kernel)
    batch, width = n * offset_group, dims.floordiv(c, offset_group)
    places = taps_count * dims.product(out)
    shifts = b.split(b.reshape(offset, (batch, taps_count, rank, *out)), [1] * rank, 2)
    steps = np.indices([dims.evaluate(k, {}) for k in kernel]).reshape(rank, -1)
    taps = []
    for a, (shift, size) in enumerate(zip(shifts, space, strict=True)):
        stride, dilation, low = (v[a] if v else d for v, d in ((strides, 1), (dilations, 1), (pads, 0)))
        start = _on_axis(b.iota(out[a], F32) * float(stride) - float(low), 1 + a, 1 + rank)
        base = b.expand_rank(start + _on_axis(b.lift(steps[a] * dilation, F32), 0, 1 + rank), rank + 2)
        place = b.reshape(b.reshape(shift, (batch, taps_count, *out)) + base, (batch, places))
        taps.append([_inside(tap, size, "zeros", False) for tap in TAPS["linear"](place, 0.0)])
    image = b.reshape(b.transpose(b.reshape(x, (batch, width, -1)), (0, 2, 1)), (batch, dims.product(space), width))
    pixels = _weighted(image, space, taps, b.mul, b.add)
    if mask is not None:
        pixels = pixels * b.reshape(mask, (batch, places, 1))
    pixels = b.reshape(pixels, (n, offset_group, taps_count, dims.product(out), width))
    columns = b.reshape(b.transpose(pixels, (0, 3, 2, 1, 4)), (n, dims.product(out), taps_count, c))
    inputs = b.split(columns, [dims.floordiv(c, group)] * len(b.parts(group)), -1)
    weights = b.split(w, [dims.floordiv(o, group)] * group, 0)
    y = b.concat([_matrix_product(*pair) for pair in zip(inputs, weights, strict=True)], -1)
    y = y if bias is None else y + bias
    return b.reshape(b.transpose(y, (0, 2, 1)), (n, o, *out))


def _matrix_product(columns: Value, w: Value) -> Value:
    """columns[N,P,K,C], w[O,C,*K] -> [N,P,O]."""
    n, p, k, c = columns.shape
    weights = b.transpose(b.reshape(w, (w.shape[0], c, k)), (2, 1, 0))
    return product(b.reshape(columns, (n, p, k * c)), b.reshape(weights, (k * c, w.shape[0])))


@op("Col2Im")
def col2im(
    x: Value,
    image: Value,
    block: Value,
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:
    """x[N,C*prod(block),L] -> [N,C,*image]: blocks added up where they overlap."""
    size, window = b.dims_of(image), b.dims_of(block)
    rank, count = len(size), dims.product(window)
    n, channels, length = x.shape[0], dims.floordiv(x.shape[1], count), x.shape[2]
    lows, highs = (pads[:rank], pads[rank:]) if pads else ([0] * rank, [0] * rank)
    room = [d + low + high for d, low, high in zip(size, lows, highs, strict=True)]
    flat: Value | None = None
    for a in range(rank):
        step, dilation = (strides or [1] * rank)[a], (dilations or [1] * rank)[a]
        moves = dims.floordiv(room[a] - dilation * (window[a] - 1) - 1, step) + 1
        place = _on_axis(b.iota(window[a]) * dilation, a, 2 * rank) + _on_axis(b.iota(moves) * step, rank + a, 2 * rank)
        flat = place if flat is None else flat * scalar(room[a]) + place
    updates = b.transpose(b.reshape(x, (n * channels, count, length)), (1, 2, 0))
    places, rows = b.reshape(flat, (count * length, 1)), b.reshape(updates, (count * length, n * channels))
    total = b.scatter_nd(places, rows, (dims.product(room), n * channels))
    total = b.slice_(b.reshape(total, (*room, n * channels)), (*lows, 0), (*size, n * channels))
    return b.reshape(b.move_axis(total, -1, 0), (n, channels, *size))


@op("MaxRoiPool")
def max_roi_pool(x: Value, rois: Value, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0) -> Value:
    """x[N,C,H,W], rois[R,5] as batch x1 y1 x2 y2 -> [R,C,*pooled_shape]; a bin without pixels is 0."""
    r, (h, w) = rois.shape[0], x.shape[2:]
    batch, x1, y1, x2, y2 = b.split(rois, [1] * 5, 1)
    image = b.gather(b.channels_last(x), b.reshape(b.cast(batch, np.int32), (r,)))
    inside_h = _bins(y1, y2, spatial_scale, h, pooled_shape[0])
    inside_w = _bins(x1, x2, spatial_scale, w, pooled_shape[1])
    rows = b.pack([_peak(image, mask, 1, (r, h, 1, 1)) for mask in inside_h], 1)
    cells = b.pack([_peak(rows, mask, 2, (r, 1, w, 1)) for mask in inside_w], 2)
    return b.channels_first(b.where(b.greater(cells, LOWEST), cells, 0.0))


def _peak(values: Value, mask: Value, axis: int, shape: Shape) -> Value:
    return b.reduce("REDUCE_MAX", b.where(b.reshape(mask, shape), values, LOWEST), [axis])


def _bins(start: Value, end: Value, scale: float, size: Dim, count: int) -> list[Value]:
    """For each bin [R,size]: is the pixel in it?"""
    first, last = (m.with_sign(b.floor(b.abs_(v * scale) + 0.5), v) for v in (start, end))
    extent = b.maximum(last - first + 1.0, 1.0) * (1 / count)
    pixel = b.reshape(b.iota(size, F32), (1, size))
    return [
        b.logical_and(
            b.greater_equal(pixel, b.floor(extent * float(i)) + first),
            b.less(pixel, b.ceil(extent * float(i + 1)) + first),
        )
        for i in range(count)
    ]
