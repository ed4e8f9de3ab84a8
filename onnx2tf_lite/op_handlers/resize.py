"""Resize and GridSample.

TFLite resizes two axes with three coordinate rules; where that is exactly what the node asks for, it is used.
Everything else is one constant interpolation matrix (or GATHER) per axis, and where extents are only known at run time,
GATHER at coordinates computed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Expr
from ..ir.graph import Value, constant, content_of
from ._coordinates import COORDINATES, NEAREST, Axis, F, matrix
from ._loops import scalar
from .registry import Unsupported, const, op
from .sampling import TAPS

Axes = dict[int, Axis]
# coordinate rule -> (align_corners, half_pixel_centers) of the TFLite kernels
LINEAR_FLAGS = {"half_pixel": (False, True), "pytorch_half_pixel": (False, True), "half_pixel_symmetric": (False, True),
                "asymmetric": (False, False), "align_corners": (True, False)}  # fmt: skip


@op("Resize")
def resize(x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None, *,
           antialias: int = 0, axes: Sequence[int] | None = None, coordinate_transformation_mode: str = "half_pixel",
           cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
           keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
           nearest_mode: str = "round_prefer_floor") -> Value:  # fmt: skip
    """x -> x with ``axes`` (default all) scaled by ``scales`` or to ``sizes``."""
    chosen = [b.axis_of(a, x.rank) for a in (range(x.rank) if axes is None else axes)]
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    grid = _axes(x, chosen, scales, sizes, keep_aspect_ratio_policy)
    if crop:
        corners = const(roi, "roi")
        assert corners is not None
        grid = {a: replace(g, roi=(corners[i], corners[i + len(chosen)])) for i, (a, g) in enumerate(grid.items())}
    else:
        grid = {a: g for a, g in grid.items() if g.size != g.out or not _unit(g)}
    how = _How(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    if mode != "nearest" and x.dtype.kind != "f":
        return b.cast(_resized(b.cast(x, np.float32), grid, how, extrapolation_value if crop else None), x.dtype)
    return _resized(x, grid, how, extrapolation_value if crop else None)


class _How:
    """The attributes that say how an axis is interpolated."""

    def __init__(self, mode: str, rule: str, nearest: str, a: float, exclude_outside: bool, antialias: bool):
        self.mode, self.rule, self.nearest, self.a = mode, rule, nearest, a
        self.exclude_outside, self.antialias = exclude_outside, antialias

    def coordinates(self, axis: Axis) -> np.ndarray:
        return np.asarray(COORDINATES[self.rule](np.arange(axis.out, dtype=np.float32), axis), np.float32)

    def indices(self, axis: Axis) -> np.ndarray:
        places = NEAREST[self.nearest](self.coordinates(axis), np.floor)
        return np.clip(places, 0, axis.size - 1).astype(np.int32)

    def matrix(self, axis: Axis) -> np.ndarray:
        shrink = min(float(axis.scale), 1.0) if self.antialias else 1.0
        return matrix(self.coordinates(axis), axis.size, self.mode, self.a, self.exclude_outside, shrink)


# ------------------------------------------------------------------------------------------------ extents


def _unit(axis: Axis) -> bool:
    return isinstance(axis.scale, np.floating) and axis.scale == 1


def _axes(x: Value, chosen: Sequence[int], scales: Value | None, sizes: Value | None, policy: str) -> Axes:
    extents = [x.shape[a] for a in chosen]
    if sizes is not None and sizes.size != 0:
        wanted = b.dims_of(sizes)
        if policy != "stretch":
            return _keeping_ratio(chosen, extents, wanted, policy)
        return {a: Axis(n, out, _ratio(out, n)) for a, n, out in zip(chosen, extents, wanted, strict=True)}
    if scales is None:
        raise Unsupported("neither scales nor sizes are given", "give one of them")
    factors: Any = scales.data if scales.is_constant else content_of(scales)
    if factors is None:
        return _computed(chosen, extents, scales)
    factors = np.asarray(factors, np.float32).ravel()
    return {a: Axis(n, _scaled(n, f), f) for a, n, f in zip(chosen, extents, factors, strict=True)}


def _ratio(out: Any, size: Any) -> Any:
    """out / size: a number, an exact integer factor, or None where only run time knows."""
    if isinstance(out, int) and isinstance(size, int):
        return F(F(out) / F(size))
    factor = dims.exact_div(out, size)
    if isinstance(factor, int):
        return F(factor)
    divisor = dims.exact_div(size, out)
    return F(1 / divisor) if isinstance(divisor, int) else None


def _scaled(size: Dim, factor: np.float32) -> Dim:
    """floor(size * factor); of a symbolic size, for a factor that is a small fraction."""
    if isinstance(size, int):
        return int(np.floor(F(size) * factor))
    fraction = Fraction(float(factor)).limit_denominator(64)
    if F(fraction.numerator) / F(fraction.denominator) != factor:
        raise Unsupported(f"scale {factor} of an extent that is only known at run time is not a simple fraction",
                          "fix the input shape, or resize to explicit sizes")  # fmt: skip
    return dims.floordiv(size * fraction.numerator, fraction.denominator)


def _computed(chosen: Sequence[int], extents: Sequence[Dim], scales: Value) -> Axes:
    """Scales that are only known at run time: so are extents."""
    outs = b.dims_of(b.cast(b.floor(b.cast(b.dims_value(extents), np.float32) * scales), np.int32))
    parts = [b.reshape(p, ()) for p in b.split(scales, [1] * len(chosen), 0)]
    return {a: Axis(n, out, p) for a, n, out, p in zip(chosen, extents, outs, parts, strict=True)}


def _keeping_ratio(chosen: Sequence[int], extents: Sequence[Any], wanted: Sequence[Any], policy: str) -> Axes:
    if not dims.is_static([*extents, *wanted]):
        raise Unsupported(f"keep_aspect_ratio_policy {policy} with extents that are only known at run time",
                          "fix the input shape")  # fmt: skip
    pick = min if policy == "not_larger" else max
    scale = pick(F(w) / F(n) for w, n in zip(wanted, extents, strict=True))
    return {a: Axis(n, int(np.floor(scale * F(n) + F(0.5))), scale) for a, n in zip(chosen, extents, strict=True)}


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
    """One axis: GATHER for nearest, a constant matrix else; at run-time coordinates where extents are symbolic."""
    if isinstance(g.size, Expr) or isinstance(g.out, Expr) or isinstance(g.scale, Value):
        return _at_run_time(x, axis, g, how)
    if how.mode == "nearest":
        return b.gather(x, how.indices(g), axis)
    before, after = dims.product(x.shape[:axis]), dims.product(x.shape[axis + 1 :])
    y = b.matmul(constant(how.matrix(g)[None]), b.reshape(x, (before, g.size, after)))
    return b.reshape(y, (*x.shape[:axis], g.out, *x.shape[axis + 1 :]))


def _at_run_time(x: Value, axis: int, g: Axis, how: _How) -> Value:
    """The same with coordinates, indices and weights that the program computes."""
    if how.antialias or how.rule == "tf_crop_and_resize":
        raise Unsupported(f"{how.mode} resizing ({how.rule}) of an extent that is only known at run time",
                          "fix the input shape, e.g. with --overwrite-input-shape")  # fmt: skip
    place = _places(g, how)
    if how.mode == "nearest":
        return b.gather(x, _index(NEAREST[how.nearest](place, b.floor), g.size), axis)
    taps, weights = zip(*TAPS[how.mode](place, how.a), strict=True)
    if how.exclude_outside:
        inside = [b.cast(b.equal(tap, _clamped(tap, g.size)), np.float32) for tap in taps]
        weights = tuple(w * i for w, i in zip(weights, inside, strict=True))
        total = reduce(b.add, weights)
        weights = tuple(w / total for w in weights)
    along = tuple(g.out if i == axis else 1 for i in range(x.rank))
    pixels = [b.gather(x, _index(tap, g.size), axis) for tap in taps]
    return reduce(b.add, [p * b.reshape(w, along) for p, w in zip(pixels, weights, strict=True)])


def _places(g: Axis, how: _How) -> Value:
    size, out = b.cast(scalar(g.size), np.float32), b.cast(scalar(g.out), np.float32)
    i = b.iota(g.out, np.float32)
    if how.rule == "align_corners":
        return i * ((size - 1.0) / b.maximum(out - 1.0, 1.0))
    place = COORDINATES[how.rule](i, Axis(size, out, g.scale if g.scale is not None else out / size))
    return place * b.cast(b.greater(out, 1.0), np.float32) if how.rule == "pytorch_half_pixel" else place


def _clamped(place: Value, size: Dim) -> Value:
    return b.minimum(b.maximum(place, 0), b.cast(scalar(size - 1), place.dtype))


def _index(place: Value, size: Dim) -> Value:
    return _clamped(b.cast(place, np.int32), size)


def _extrapolated(y: Value, grid: Axes, how: _How, value: float) -> Value:
    """tf_crop_and_resize: results whose place lies outside the image are ``value``."""
    inside = np.ones((1,) * y.rank, bool)
    for axis, g in grid.items():
        places = how.coordinates(g)
        mask = (places >= 0) & (places <= g.size - 1)
        inside = inside & mask.reshape([-1 if a == axis else 1 for a in range(y.rank)])
    return y if inside.all() else b.where(constant(inside), y, np.asarray(value, y.dtype))


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
    y = b.channels_first(b.emit(kind, flat, size=space if x.rank == 4 else (1, *space), align_corners=flags[0],
                                half_pixel_centers=flags[1]))  # fmt: skip
    return y if x.rank == 4 else b.reshape(y, (*y.shape[:2], y.shape[3]))


def _linear_flags(grid: Axes, how: _How) -> tuple[bool, bool] | None:
    if how.mode != "linear" or how.rule not in LINEAR_FLAGS:
        return None
    if how.rule == "pytorch_half_pixel" and any(g.out == 1 for g in grid.values()):
        return None
    if how.rule == "align_corners" or all(_is_ratio(g) for g in grid.values()):
        return LINEAR_FLAGS[how.rule]
    return None


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
    i = np.arange(g.out, dtype=np.float32)
    scale = F(g.size - 1) / F(g.out - 1) if corners and g.out > 1 else F(g.size) / F(g.out)
    place = np.floor((i + F(0.5)) * scale) if half else np.floor(i * scale + F(0.5)) if corners else np.floor(i * scale)
    return bool(np.array_equal(np.clip(place, 0, g.size - 1), how.indices(g)))
