"""Resize and GridSample.

TFLite resizes two axes with three coordinate rules; where that is exactly what the node asks for, it is used.
Everything else is one constant interpolation matrix (or GATHER) per axis, and where extents, scales or the region are
only known at run time, GATHER at coordinates computed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Expr
from ..ir.graph import Value, constant, content_of
from ._coordinates import COORDINATES, KERNELS, NEAREST, SPANNING, Axis, F, Number, matrix
from ._loops import scalar
from .registry import UnsupportedError, fixed, op
from .sampling import TAPS

Axes = dict[int, Axis]
# coordinate rule -> (align_corners, half_pixel_centers) of the TFLite kernels
LINEAR_FLAGS = {
    "half_pixel": (False, True),
    "pytorch_half_pixel": (False, True),
    "half_pixel_symmetric": (False, True),
    "asymmetric": (False, False),
    "align_corners": (True, False),
}


@op("Resize")
def resize(x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None, *,
           antialias: int = 0, axes: Sequence[int] | None = None, coordinate_transformation_mode: str = "half_pixel",
           cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
           keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
           nearest_mode: str = "round_prefer_floor") -> Value:  # fmt: skip
    """x -> x with ``axes`` (default all) scaled by ``scales`` or to ``sizes``."""
    chosen = [b.axis_of(a, x.rank) for a in (range(x.rank) if axes is None else axes)]
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    how = _How(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    grid = _axes(x, chosen, scales, sizes, keep_aspect_ratio_policy)
    if crop and roi is not None:
        ends = _numbers(roi)
        grid = {a: replace(g, roi=(ends[i], ends[i + len(chosen)])) for i, (a, g) in enumerate(grid.items())}
    grid = {a: how.agreed(g) for a, g in grid.items() if not _unchanged(g)}
    outside = extrapolation_value if crop else None
    if mode != "nearest" and x.dtype.kind != "f":
        return b.cast(_resized(b.cast(x, np.float32), grid, how, outside), x.dtype)
    return _resized(x, grid, how, outside)


def _numbers(vector: Value) -> list[Number]:
    """The elements: float32, or scalar values where only run time knows them."""
    if vector.data is not None:
        return [F(v) for v in vector.data.ravel()]
    return [
        b.reshape(b.cast(p, np.float32), ())
        for p in b.split(vector, [1] * fixed(vector.shape[0], "the number of axes"), 0)
    ]


def _unchanged(g: Axis) -> bool:
    """True for an axis that is copied: every element, or the only one there is."""
    whole = g.roi == (0, 1) and isinstance(g.scale, np.floating) and g.scale == 1
    return g.size == g.out and (g.size == 1 or whole)


class _How:
    """The attributes that say how an axis is interpolated."""

    def __init__(self, mode: str, rule: str, nearest: str, a: float, exclude_outside: bool, antialias: bool):
        self.mode, self.rule, self.nearest, self.a = mode, rule, nearest, a
        self.exclude_outside, self.antialias = exclude_outside, antialias

    def coordinates(self, axis: Axis) -> np.ndarray:
        known = replace(axis, size=F(axis.size), out=F(axis.out), width=F(axis.width))
        places = COORDINATES[self.rule](b.places(axis.out).astype(np.float32), known, np)
        return np.broadcast_to(np.asarray(places, np.float32), (axis.out,))

    def indices(self, axis: Axis) -> np.ndarray:
        places = NEAREST[self.nearest](self.coordinates(axis), np.floor)
        return np.asarray(np.clip(places, 0, axis.size - 1), np.int32)

    def matrix(self, axis: Axis) -> np.ndarray:
        shrink = min(float(axis.scale), 1.0) if self.antialias else 1.0
        return matrix(self.coordinates(axis), axis.size, self.mode, self.a, self.exclude_outside, shrink)

    def agreed(self, axis: Axis) -> Axis:
        """The axis if all readings of ONNX agree on it.

        "length_resized" is ``scale * size`` in ONNX's expected results and reference implementation, and the number of
        results in ONNX Runtime.  Where only run time knows whether these differ, it is the former.
        """
        if self.rule not in SPANNING or isinstance(axis.scale, Value) or axis.width == axis.out:
            return axis
        rounded = replace(axis, width=axis.out)
        if axis.width is not None:
            places = self.indices if (self.mode, self.rule) == ("nearest", "align_corners") else self.coordinates
            if np.array_equal(places(axis), places(rounded)):
                return rounded
        raise UnsupportedError(
            f"{self.rule} with scale {axis.scale:.6g} of an extent of {axis.size} has two meanings: the "
            f"result is {axis.scale:.6g} * {axis.size} long, whole or not, in ONNX's expected results, "
            f"but {axis.out} in ONNX Runtime",
            "resize to explicit sizes, or fix an input shape for which it is whole",
        )


def _is_known(g: Axis) -> bool:
    return not any(isinstance(v, (Expr, Value)) or v is None for v in (g.size, g.out, g.scale, *g.roi))


# ------------------------------------------------------------------------------------------------ extents


def _axes(x: Value, chosen: Sequence[int], scales: Value | None, sizes: Value | None, policy: str) -> Axes:
    extents = [x.shape[a] for a in chosen]
    if sizes is not None and sizes.size != 0:
        if policy != "stretch":
            return _keeping_ratio(chosen, extents, sizes, policy)
        wanted = b.dims_of(sizes)
        return {a: Axis(n, out, _ratio(out, n), out) for a, n, out in zip(chosen, extents, wanted, strict=True)}
    if scales is None:
        raise UnsupportedError("neither scales nor sizes are given", "give one of them")
    factors = scales.data if scales.is_constant else content_of(scales)
    if factors is None or not dims.is_static(factors.ravel()):
        return _computed(chosen, extents, scales)
    return {a: _scaled(n, f) for a, n, f in zip(chosen, extents, np.asarray(factors, F).ravel(), strict=True)}


def _ratio(out: Dim, size: Dim) -> Number:
    """out / size: a number, an exact integer factor, or None where only run time knows."""
    if isinstance(out, int) and isinstance(size, int):
        return F(F(out) / F(size))
    if size == 0:
        raise UnsupportedError("an axis without elements gets a size of run time", "give x elements along it")
    factor = dims.exact_div(out, size)
    if isinstance(factor, int):
        return F(factor)
    divisor = dims.exact_div(size, out)
    return F(1 / divisor) if isinstance(divisor, int) else None


def _scaled(size: Dim, factor: np.float32) -> Axis:
    """floor(size * factor) results; of a symbolic size, for a factor that is a small fraction."""
    if isinstance(size, int):
        width = F(size) * factor
        return Axis(size, int(np.floor(width)), factor, width)
    fraction = Fraction(float(factor)).limit_denominator(64)
    if F(fraction.numerator) / F(fraction.denominator) != factor:
        raise UnsupportedError(
            f"scale {factor} of an extent that is only known at run time is not a simple fraction",
            "fix the input shape, or resize to explicit sizes",
        )
    out = dims.floordiv(size * fraction.numerator, fraction.denominator)
    return Axis(size, out, factor, out if _ratio(out, size) == factor else None)


def _computed(chosen: Sequence[int], extents: Sequence[Dim], scales: Value) -> Axes:
    """Scales that are only known at run time: so are extents."""
    outs = b.dims_of(b.cast(b.floor(b.cast(b.dims_value(extents), np.float32) * scales), np.int32))
    return {a: Axis(n, out, p, None) for a, n, out, p in zip(chosen, extents, outs, _numbers(scales), strict=True)}


def _keeping_ratio(chosen: Sequence[int], extents: Sequence[Dim], sizes: Value, policy: str) -> Axes:
    """One scale for all axes, by which they come close to ``sizes``; a half is rounded up."""
    have, want = (b.cast(v, np.float32) for v in (b.dims_value(extents), sizes))
    scale = b.reduce("REDUCE_MIN" if policy == "not_larger" else "REDUCE_MAX", want / have, [0])
    outs = b.dims_of(b.cast(b.floor(have * scale + 0.5), np.int32))
    factor = scale if scale.data is None else F(scale.data)
    widths = [F(n) * factor if scale.is_constant else None for n in extents]  # type: ignore[arg-type]
    return {a: Axis(n, out, factor, w) for a, n, out, w in zip(chosen, extents, outs, widths, strict=True)}


# ------------------------------------------------------------------------------------------------ choice of form


def _resized(x: Value, grid: Axes, how: _How, outside: float | None) -> Value:
    y = _by_kernel(x, grid, how) if outside is None else None
    if y is not None:
        return y
    last = x.rank > 2  # convolutions are channels-last: so is the interpolation
    y = b.channels_last(x) if last else x
    for axis, g in grid.items():
        place = axis if not last or axis == 0 else x.rank - 1 if axis == 1 else axis - 1
        y = _along(y, place, g, how)
    y = b.channels_first(y) if last else y
    return y if outside is None else _extrapolated(y, grid, how, outside)


def _along(x: Value, axis: int, g: Axis, how: _How) -> Value:
    """One axis: GATHER for nearest, a constant matrix else; at coordinates of run time where not all is known."""
    if not _is_known(g):
        return _at_run_time(x, axis, g, how)
    if how.mode == "nearest":
        return b.gather(x, how.indices(g), axis)
    return _weighed(x, axis, constant(how.matrix(g)))


def _weighed(x: Value, axis: int, weights: Value) -> Value:
    """weights[out, extent] along ``axis``."""
    before, after = dims.product(x.shape[:axis]), dims.product(x.shape[axis + 1 :])
    flat = b.reshape(x, (before, x.shape[axis], after))
    y = b.matmul(b.reshape(weights, (1, *weights.shape)), flat)
    return b.reshape(y, (*x.shape[:axis], weights.shape[0], *x.shape[axis + 1 :]))


def _at_run_time(x: Value, axis: int, g: Axis, how: _How) -> Value:
    """The same with coordinates, indices and weights that the program computes."""
    place = _places(g, how)
    if how.mode == "nearest":
        return b.gather(x, _index(NEAREST[how.nearest](place, b.floor), g.size), axis)
    if how.antialias:
        return _filtered(x, axis, g, how, place)
    taps, weights = zip(*TAPS[how.mode](place, how.a), strict=True)
    if how.exclude_outside:
        inside = [b.cast(b.equal(tap, _clamped(tap, g.size)), np.float32) for tap in taps]
        weights = tuple(w * i for w, i in zip(weights, inside, strict=True))
        total = reduce(b.add, weights)
        weights = tuple(w / total for w in weights)
    along = tuple(g.out if i == axis else 1 for i in range(x.rank))
    pixels = [b.gather(x, _index(tap, g.size), axis) for tap in taps]
    return reduce(b.add, [p * b.reshape(w, along) for p, w in zip(pixels, weights, strict=True)])


def _filtered(x: Value, axis: int, g: Axis, how: _How, place: Value) -> Value:
    """Antialias: the kernel, wider where the image shrinks, over the axis and as many edge elements as it reaches."""
    kernel, half = KERNELS[how.mode]
    shrink = b.minimum(b.lift(_scale(g), F), F(1))
    (reach,) = (0,) if how.exclude_outside else b.dims_of(b.cast(b.ceil(half / shrink), np.int32) + 1)
    taps = b.iota(g.size + 2 * reach) - scalar(reach)
    distance = b.reshape(b.cast(taps, np.float32), (1, -1)) - b.reshape(place, (-1, 1))
    weights = kernel(distance * shrink, how.a, b)
    total = b.reduce("SUM", weights, [1], keepdims=True)
    return _weighed(b.gather(x, _index(taps, g.size), axis), axis, weights / total)


def _scale(g: Axis) -> Number:
    return g.scale if g.scale is not None else b.cast(scalar(g.out), np.float32) / b.cast(scalar(g.size), np.float32)


def _places(g: Axis, how: _How) -> Value:
    size, out = (b.cast(scalar(d), np.float32) for d in (g.size, g.out))
    scale = _scale(g)
    width = size * scale if g.width is None else out
    axis = Axis(size, out, scale, width, roi=tuple(b.lift(r, F) for r in g.roi))  # type: ignore[arg-type]
    return b.broadcast_to(COORDINATES[how.rule](b.iota(g.out, np.float32), axis, b), (g.out,))


def _clamped(place: Value, size: Dim) -> Value:
    return b.minimum(b.maximum(place, 0), b.cast(scalar(size - 1), place.dtype))


def _index(place: Value, size: Dim) -> Value:
    return _clamped(b.cast(place, np.int32), size)


def _extrapolated(y: Value, grid: Axes, how: _How, value: float) -> Value:
    """tf_crop_and_resize: results whose place lies outside the image are ``value``."""
    mask = constant(np.ones((1,) * y.rank, bool))
    for axis, g in grid.items():
        place = b.lift(how.coordinates(g)) if _is_known(g) else _places(g, how)
        inside = b.logical_and(b.greater_equal(place, F(0)), b.less_equal(place, b.cast(scalar(g.size - 1), F)))
        if inside.data is None or not inside.data.all():
            mask = b.logical_and(mask, b.reshape(inside, tuple(g.out if a == axis else 1 for a in range(y.rank))))
    return y if mask.size == 1 and mask.data is not None else b.where(mask, y, np.asarray(value, y.dtype))


# ------------------------------------------------------------------------------------------------ TFLite's kernels


def _by_kernel(x: Value, grid: Axes, how: _How) -> Value | None:
    """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR over the last one or two axes where that is the same; else None."""
    if x.rank not in (3, 4) or not grid or min(grid) < 2 or how.antialias or x.dtype.kind != "f":
        return None
    flags = _linear_flags(grid, how) if how.mode == "linear" else _nearest_flags(grid, how)
    if flags is None or (how.mode == "linear" and how.exclude_outside):
        return None
    space = tuple(grid[a].out if a in grid else x.shape[a] for a in range(2, x.rank))
    flat = b.channels_last(x if x.rank == 4 else b.reshape(x, (*x.shape[:2], 1, x.shape[2])))
    kind = "RESIZE_BILINEAR" if how.mode == "linear" else "RESIZE_NEAREST_NEIGHBOR"
    size = space if x.rank == 4 else (1, *space)
    y = b.channels_first(b.emit(kind, flat, size=size, align_corners=flags[0], half_pixel_centers=flags[1]))
    return y if x.rank == 4 else b.reshape(y, (*y.shape[:2], y.shape[3]))


def _linear_flags(grid: Axes, how: _How) -> tuple[bool, bool] | None:
    if how.mode != "linear" or how.rule not in LINEAR_FLAGS:
        return None
    if how.rule == "pytorch_half_pixel" and any(g.out == 1 for g in grid.values()):
        return None
    exact = all(g.width == g.out if how.rule == "align_corners" else _is_ratio(g) for g in grid.values())
    return LINEAR_FLAGS[how.rule] if exact else None


def _is_ratio(g: Axis) -> bool:
    """True where the scale is out / size, which is what TFLite computes."""
    return g.scale is None or (not isinstance(g.scale, Value) and _ratio(g.out, g.size) == g.scale)


def _nearest_flags(grid: Axes, how: _How) -> tuple[bool, bool] | None:
    candidates = [(False, False), (False, True), (True, False)] if how.mode == "nearest" else []
    return next((f for f in candidates if all(_same_nearest(g, how, *f) for g in grid.values())), None)


def _same_nearest(g: Axis, how: _How, corners: bool, half: bool) -> bool:
    if isinstance(g.size, Expr) or isinstance(g.out, Expr):
        if not _is_ratio(g):
            return False
        if how.rule == "asymmetric":
            return how.nearest == "floor" and not (corners or half)
        whole = isinstance(g.scale, np.floating) and g.scale == np.trunc(g.scale)  # no place is half way then
        fits = how.nearest == "round_prefer_ceil" or (how.nearest == "round_prefer_floor" and whole)
        return half and how.rule == "half_pixel" and fits
    i = b.places(g.out).astype(np.float32)
    scale = F(g.size - 1) / F(g.out - 1) if corners and g.out > 1 else F(g.size) / F(g.out)
    place = np.floor((i + F(0.5)) * scale) if half else np.floor(i * scale + F(0.5)) if corners else np.floor(i * scale)
    return bool(np.array_equal(np.clip(place, 0, g.size - 1), how.indices(g)))
