"""Reading an image at computed places: GridSample and RoiAlign.

Channels-last, one GATHER of whole pixels per tap.  Axis names: N batch, C channels, S space, P places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from ._loops import scalar
from .registry import UnsupportedError, op

Tap = tuple[Value, Value | None]  # whole-number place along an axis (float) and its weight; None is 1


def number(dim: Dim) -> Value | float:
    """An extent for float arithmetic."""
    return float(dim) if isinstance(dim, int) else b.cast(scalar(dim), np.float32)


# ------------------------------------------------------------------------------------------------ GridSample


def _cubic_taps(place: Value, a: float) -> list[Tap]:
    low = b.floor(place)
    t = place - low

    def near(u: Value) -> Value:
        return ((u * (a + 2) - (a + 3)) * u) * u + 1.0

    def far(u: Value) -> Value:
        return ((u * a - 5 * a) * u + 8 * a) * u - 4 * a

    weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
    return [(low + float(i), w) for i, w in zip((-1, 0, 1, 2), weights, strict=True)]


def _linear_taps(place: Value, a: float) -> list[Tap]:
    low = b.floor(place)
    return [(low, 1.0 - (place - low)), (low + 1.0, place - low)]


# interpolation of GridSample and Resize: taps of a place; ``a`` is the parameter of Keys' kernel
TAPS: dict[str, Callable[[Value, float], list[Tap]]] = {
    "linear": _linear_taps,
    "bilinear": _linear_taps,
    "cubic": _cubic_taps,
    "bicubic": _cubic_taps,
    "nearest": lambda x, a: [(b.round_(x), None)],
}


@op("GridSample")
def grid_sample(
    x: Value, grid: Value, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Value:
    """x[N,C,*S], grid[N,*P,len(S)] in -1..1, last axis first -> [N,C,*P]."""
    space, places = x.shape[2:], grid.shape[1:-1]
    parts = b.split(grid, [1] * len(space), -1)[::-1]
    taps = []
    for part, size in zip(parts, space, strict=True):
        n = number(size)
        g = b.reshape(part, (grid.shape[0], dims.product(places)))
        place = (g + 1.0) * (0.5 * (n - 1.0)) if align_corners else ((g + 1.0) * n - 1.0) * 0.5
        taps.append([_inside(tap, size, padding_mode, bool(align_corners)) for tap in TAPS[mode](place, -0.75)])
    image = b.channels_last(x)
    image = b.reshape(image, (x.shape[0], dims.product(space), x.shape[1]))
    total = _weighted(image, space, taps, lambda pixels, weight: pixels * weight, b.add)
    return b.channels_first(b.reshape(total, (x.shape[0], *places, x.shape[1])))


def _inside(tap: Tap, size: Dim, padding: str, corners: bool) -> Tap:
    """The tap moved into the image; outside of it, it weighs nothing ("zeros")."""
    place, weight = tap
    last = number(size) - 1.0
    if padding == "reflection":
        period = b.maximum(b.lift(2.0 * last, np.float32), 1.0) if corners else 2.0 * number(size)
        folded = b.floor_mod(place, period)
        return b.minimum(folded, period - folded - (0.0 if corners else 1.0)), weight
    clipped = b.clip(place, 0.0, last)
    if padding == "border":
        return clipped, weight
    mask = b.cast(b.equal(clipped, place), np.float32)
    return clipped, mask if weight is None else weight * mask


def _weighted(
    image: Value,
    space: Sequence[Dim],
    taps: Sequence[Sequence[Tap]],
    weigh: Callable[[Value, Value], Value],
    join: Callable[[Value, Value], Value],
) -> Value:
    """image[N,prod(S),C] at every combination of one tap per axis, places [N,P]: weighed and joined to [N,P,C]."""
    total: Value | None = None
    for corner in product(*taps):
        index, weight = None, None
        for (place, w), size in zip(corner, space, strict=True):
            whole = b.cast(place, np.int32)
            index = whole if index is None else index * scalar(size) + whole
            weight = w if weight is None else weight if w is None else weight * w
        pixels = b.gather(image, index, axis=1, batch_dims=1)
        if weight is not None:
            pixels = weigh(pixels, b.reshape(weight, (*weight.shape, 1)))
        total = pixels if total is None else join(total, pixels)
    assert total is not None
    return total


# ------------------------------------------------------------------------------------------------ RoiAlign


@op("RoiAlign")
def roi_align(
    x: Value,
    rois: Value,
    batch: Value,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:
    """x[N,C,H,W], rois[R,4] as x1 y1 x2 y2, batch[R] -> [R,C,output_height,output_width]."""
    if sampling_ratio <= 0:
        raise UnsupportedError(
            "sampling_ratio 0 makes the number of samples depend on the data", "export with a fixed one"
        )
    r, (n, c, h, w) = rois.shape[0], x.shape
    half = coordinate_transformation_mode == "half_pixel"
    x1, y1, x2, y2 = b.split(rois * spatial_scale - (0.5 if half else 0.0), [1] * 4, 1)
    taps = []
    for low, high, size, out in ((y1, y2, h, output_height), (x1, x2, w, output_width)):
        extent = high - low if half else b.maximum(high - low, 1.0)
        steps = (b.places(out * sampling_ratio).astype(np.float32) + 0.5) / (sampling_ratio * out)
        taps.append((low + extent * steps[None].astype(np.float32), number(size)))
    (ys, height), (xs, width) = taps
    shape = (r, ys.shape[1], xs.shape[1])
    grid = [b.broadcast_to(b.reshape(ys, (r, -1, 1)), shape), b.broadcast_to(b.reshape(xs, (r, 1, -1)), shape)]
    sides = [_roi_taps(b.reshape(g, (1, -1)), size) for g, size in zip(grid, (height, width), strict=True)]
    base = b.broadcast_to(b.reshape(b.cast(batch, np.float32), (r, 1, 1)), shape)
    pixels = b.reshape(b.channels_last(x), (1, n * h * w, c))
    axes: list[list[Tap]] = [[(b.reshape(base, (1, -1)), None)], *sides]
    join = b.maximum if mode == "max" else b.add  # ONNX Runtime: max goes over the weighted corners
    samples = _weighted(pixels, (n, h, w), axes, lambda p, weight: p * weight, join)
    samples = b.reshape(samples, (r * output_height, sampling_ratio, output_width, sampling_ratio * c))
    return _pooled(
        samples, r, output_height, output_width, sampling_ratio, c, "REDUCE_MAX" if mode == "max" else "MEAN"
    )


def _pooled(samples: Value, r: Dim, out_h: int, out_w: int, ratio: int, c: Dim, kind: str) -> Value:
    rows = b.reduce(kind, samples, [1])
    cells = b.reshape(rows, (r, out_h, out_w, ratio, c))
    return b.channels_first(b.reduce(kind, cells, [3]))


def _roi_taps(place: Value, size: Value | float) -> list[Tap]:
    """Two neighbours; a sample more than one pixel outside the image counts as 0, the others are moved inside."""
    last = size - 1.0
    counts = b.logical_and(b.greater_equal(place, -1.0), b.less_equal(place, b.lift(size, np.float32)))
    inside = b.clip(place, 0.0, last)
    low = b.floor(inside)
    share, mask = inside - low, b.cast(counts, np.float32)
    return [(low, (1.0 - share) * mask), (b.minimum(low + 1.0, last), share * mask)]
