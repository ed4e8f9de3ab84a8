"""Where an element of a resized axis comes from (ONNX Resize-19), in float32 as ONNX Runtime computes it.

The formulas work on numpy arrays and, for extents that only run time knows, on IR values: ``m`` is the module that has
``maximum``, ``where``, ``less`` and their like for either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..ir.emit import places
from ..record import record

F = np.float32
Number = Any  # float32, an array of them, or a value of the IR: what the formulas compute with


class Maths(Protocol):
    """numpy, or ``ir.build``."""

    def where(self, condition: Number, x: Number, y: Number, /) -> Number:
        """x where the condition holds, else y."""

    def less(self, x: Number, y: Number, /) -> Number:
        """x < y."""

    def less_equal(self, x: Number, y: Number, /) -> Number:
        """x <= y."""

    def greater(self, x: Number, y: Number, /) -> Number:
        """x > y."""

    def maximum(self, x: Number, y: Number, /) -> Number:
        """The larger one."""


@record
class Axis:
    """One resized axis: ``size`` in, ``out`` results, ``scale`` as given or out / size, region ``roi``.

    ``width`` is the length that the corners of the result span: ``out``, or ``scale * size`` where scales are given.
    That need not be whole: ONNX's own expected results are computed so, ONNX Runtime always takes ``out``.
    """

    size: Number
    out: Number
    scale: Number
    width: Number
    roi: tuple[Number, Number] = (F(0), F(1))


def _half_pixel(i: Number, a: Axis, m: Maths) -> Number:
    return (i + F(0.5)) / a.scale - F(0.5)


def _pytorch(i: Number, a: Axis, m: Maths) -> Number:
    return m.where(m.greater(a.out, F(1)), _half_pixel(i, a, m), F(0))


def _symmetric(i: Number, a: Axis, m: Maths) -> Number:
    adjustment = a.out / (a.scale * a.size)
    return (F(1) - adjustment) * (a.size / F(2)) + _half_pixel(i, a, m)


def _corners(i: Number, a: Axis, m: Maths) -> Number:
    return i * ((a.size - F(1)) / m.maximum(a.width - F(1), F(1)))


def _crop(i: Number, a: Axis, m: Maths) -> Number:
    start, end = a.roi
    last = a.size - F(1)
    spread = i * (end - start) * last / m.maximum(a.width - F(1), F(1))
    return m.where(m.greater(a.width, F(1)), start * last + spread, (start + end) * F(0.5) * last)


COORDINATES: dict[str, Callable[[Number, Axis, Maths], Number]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _pytorch,
    "align_corners": _corners,
    "asymmetric": lambda i, a, m: i / a.scale,
    "tf_half_pixel_for_nn": lambda i, a, m: (i + F(0.5)) / a.scale,
    "tf_crop_and_resize": _crop,
}
SPANNING = ("align_corners", "tf_crop_and_resize")  # the rules that ask for the width

# nearest_mode as a composition of floor and ceil, so that it reads the same for numpy and for the IR
NEAREST: dict[str, Callable[[Number, Number], Number]] = {
    "floor": lambda x, f: f(x),
    "ceil": lambda x, f: -f(-x),
    "round_prefer_floor": lambda x, f: -f(-(x - F(0.5))),
    "round_prefer_ceil": lambda x, f: f(x + F(0.5)),
}


def linear(t: Number, a: float, m: Maths) -> Number:
    """The triangle of half-width 1."""
    return m.maximum(1 - m.maximum(t, -t), 0)


def cubic(t: Number, a: float, m: Maths) -> Number:
    """Keys' kernel of half-width 2 with parameter ``a``."""
    t = m.maximum(t, -t)
    near = (t * (a + 2) - (a + 3)) * t * t + 1
    far = ((t * a - 5 * a) * t + 8 * a) * t - 4 * a
    return m.where(m.less_equal(t, 1), near, m.where(m.less(t, 2), far, 0))


KERNELS: dict[str, tuple[Callable[[Number, float, Maths], Number], int]] = {"linear": (linear, 1), "cubic": (cubic, 2)}


def matrix(
    coordinates: np.ndarray, size: int, mode: str, a: float = -0.75, exclude_outside: bool = False, shrink: float = 1.0
) -> np.ndarray:
    """[out, size]: row i holds the weights of the result at ``coordinates[i]``.

    ``shrink`` < 1 widens the kernel (antialias).  Taps outside the image are clamped to its edge, or left out
    (``exclude_outside``); the sum is 1.
    """
    kernel, half = KERNELS[mode]
    reach = int(np.ceil(half / shrink))
    taps = np.floor(coordinates).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel((taps - coordinates.astype(np.float64)[:, None]) * shrink, a, np)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < size), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    rows = places(len(coordinates), size)[:, None]
    result = np.zeros((len(coordinates), size))
    np.add.at(result, (rows, np.clip(taps, 0, size - 1)), weights)
    return result.astype(np.float32)
