"""Operators that ONNX has too, or that are a few of its operators, under ONNX Runtime's names."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ...ir import build as b
from ...ir.dims import Dim
from ...ir.graph import Value
from ..indexing import gather_nd, unique
from ..reductions import integers
from ..registry import UnsupportedError
from ..registry import op as any_op
from ..sampling import Tap, _weighted, grid_sample, number
from ..shapes import range_, trilu
from ..signal import transform
from ..slicing import pad
from ._domain import op, table

table(
    GatherND=lambda x, index: gather_nd(x, index),
    GridSample=grid_sample,
    Pad=lambda x, pads, value=None, *, mode="constant": pad(x, b.reshape(pads, (-1,)), value, mode=mode),
    Range=lambda start, limit, delta=None: range_(start, limit, _one(start) if delta is None else delta),
    Trilu=trilu,
)


def _one(like: Value) -> Value:
    return b.lift(1, like.dtype)


@op("ExpandDims")
def expand_dims(x: Value, axis: Value) -> Value:
    """A unit axis before ``axis`` of the result; -1 is behind the last."""
    (at,) = integers(axis, "axis") or [0]
    at = b.axis_of(at, x.rank + 1)
    return b.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


@op("Unique")
def unique_in_order(x: Value) -> list[Value | None]:
    """Distinct elements of x[J] in the order of their first places, for each element which one it is, their counts."""
    values, _, inverse, counts = unique(x, sorted=0)
    return [values, inverse, counts]


@op("CDist")
def cdist(x: Value, y: Value, *, metric: str = "sqeuclidean") -> Value:
    """Distances of the rows of x[M,K] and y[N,K], by x^2 + y^2 - 2 x y as ONNX Runtime computes them."""
    if metric not in ("euclidean", "sqeuclidean"):
        raise UnsupportedError(
            f"metric {metric!r}: no kernel of ONNX Runtime defines it", "use euclidean or sqeuclidean"
        )
    rows = b.reduce("SUM", b.square(x), [1], keepdims=True)
    columns = b.reshape(b.reduce("SUM", b.square(y), [1]), (1, y.shape[0]))
    square = b.relu(rows + columns - b.matmul(x, y, adj_y=True) * 2.0)
    return b.sqrt(square) if metric == "euclidean" else square


# ------------------------------------------------------------------------------------------------ transforms


def _fourier(x: Value, rank: int, inverse: bool, normalized: int, onesided: int) -> Value:
    """One-sided transform of the last axis of x[..., J, parts]."""
    if rank != 1 or normalized or not onesided:
        raise UnsupportedError("only one-sided, unscaled transforms of one axis are defined", "use signal_ndim 1")
    return transform(x, None, x.rank - 2, inverse, True)


@op("Rfft")
def rfft(x: Value, *, normalized: int = 0, onesided: int = 1, signal_ndim: int = 1) -> Value:
    """x[..., J] real -> [..., J/2 + 1, 2]."""
    return _fourier(b.reshape(x, (*x.shape, 1)), signal_ndim, False, normalized, onesided)


@op("Irfft")
def irfft(x: Value, *, signal_ndim: int, normalized: int = 0, onesided: int = 1) -> Value:
    """x[..., J/2 + 1, 2] -> [..., J] real, divided by J."""
    y = _fourier(x, signal_ndim, True, normalized, onesided)
    return b.reshape(y, y.shape[:-1])


# ------------------------------------------------------------------------------------------------ CropAndResize


def _places(low: Value, high: Value, extent: Dim, count: Dim) -> Value:
    """[R, count] places from low to high (both included; 0..1 is the whole extent); one place lies in their middle."""
    last = number(extent) - 1.0
    if count == 1:
        return (low + high) * 0.5 * last
    steps = b.reshape(b.iota(count, np.float32), (1, count)) * (high - low) * last / (number(count) - 1.0)
    return low * last + steps


def _taps(place: Value, extent: Dim, mode: str) -> list[Tap]:
    inside = b.clip(place, 0.0, number(extent) - 1.0)
    if mode == "nearest":
        return [(b.floor(inside + 0.5), None)]  # a half goes up, unlike in ROUND
    low = b.floor(inside)
    return [(low, 1.0 - (inside - low)), (b.minimum(low + 1.0, number(extent) - 1.0), inside - low)]


@op("CropAndResize")
def crop_and_resize(
    x: Value, rois: Value, batch: Value, size: Value, *, extrapolation_value: float = 0.0, mode: str = "bilinear"
) -> Value:
    """x[N,C,H,W], rois[R,4] as y1 x1 y2 x2 in 0..1, batch[R], size[2] -> [R,C,*size]."""
    r, (n, c, h, w), counts = rois.shape[0], x.shape, b.dims_of(size)
    y1, x1, y2, x2 = b.split(rois, [1] * 4, 1)
    pairs = (_places(y1, y2, h, counts[0]), (r, -1, 1)), (_places(x1, x2, w, counts[1]), (r, 1, -1))
    grid = [b.broadcast_to(b.reshape(p, shape), (r, *counts)) for p, shape in pairs]
    base = b.broadcast_to(b.reshape(b.cast(batch, np.float32), (r, 1, 1)), (r, *counts))
    axes: list[list[Tap]] = [[(base, None)], *(_taps(g, extent, mode) for g, extent in zip(grid, (h, w), strict=True))]
    flat = [[_flat(tap) for tap in taps] for taps in axes]
    image = b.reshape(b.channels_last(x), (1, n * h * w, c))
    y = b.reshape(_weighted(image, (n, h, w), flat, b.mul, b.add), (r, *counts, c))
    within = [b.equal(g, b.clip(g, 0.0, number(e) - 1.0)) for g, e in zip(grid, (h, w), strict=True)]
    kept = b.reshape(b.logical_and(*within), (r, *counts, 1))
    return b.channels_first(b.where(kept, y, np.float32(extrapolation_value)))


def _flat(tap: Tap) -> Tap:
    return b.reshape(tap[0], (1, -1)), None if tap[1] is None else b.reshape(tap[1], (1, -1))


# ------------------------------------------------------------------------------------------------ blocked channels


POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
BLOCKED = (*POOLS, "Conv", "ReorderInput", "ReorderOutput", "Upsample")


@any_op(*BLOCKED, domain="com.microsoft.nchwc")
def blocked(*inputs: Value, **attributes: Any) -> NoReturn:
    """Channels in blocks of 8 or 16, as suits the processor that the model was optimised on; it does not say which."""
    raise UnsupportedError(
        "its layout depends on the processor that the model was optimised for",
        "save the optimised model at ORT_ENABLE_EXTENDED, or without the optimizer NchwcTransformer",
    )
