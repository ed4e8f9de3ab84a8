"""Where an element of a resized axis comes from (ONNX Resize-19), in float32 as ONNX Runtime computes it.

The formulas work on numpy arrays and, for extents that only run time knows, on IR values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

F = np.float32
Roi = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One resized axis: ``size`` in, ``out`` results, ``scale`` as given or out / size."""

    size: Any
    out: Any
    scale: Any
    roi: Roi = field(default=(0.0, 1.0))


def _half_pixel(i: Any, a: Axis) -> Any:
    return (i + F(0.5)) / a.scale - F(0.5)


def _pytorch(i: Any, a: Axis) -> Any:
    return _half_pixel(i, a) if a.out != 1 else i * F(0)


def _symmetric(i: Any, a: Axis) -> Any:
    adjustment = a.out / (a.scale * a.size)
    return (F(1) - adjustment) * (a.size / 2) + _half_pixel(i, a)


def _corners(i: Any, a: Axis) -> Any:
    return i * ((a.size - 1) / F(a.out - 1)) if a.out != 1 else i * F(0)


def _crop(i: Any, a: Axis) -> Any:
    start, end = (F(r) for r in a.roi)
    last = F(a.size - 1)
    if a.out == 1:
        return i * F(0) + F(0.5) * (start + end) * last
    return start * last + i * (end - start) * last / F(a.out - 1)


COORDINATES: dict[str, Callable[[Any, Axis], Any]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _pytorch,
    "align_corners": _corners,
    "asymmetric": lambda i, a: i / a.scale,
    "tf_half_pixel_for_nn": lambda i, a: (i + F(0.5)) / a.scale,
    "tf_crop_and_resize": _crop,
}

# nearest_mode as a composition of floor and ceil, so that it reads the same for numpy and for the IR
NEAREST: dict[str, Callable[[Any, Any], Any]] = {
    "floor": lambda x, f: f(x),
    "ceil": lambda x, f: -f(-x),
    "round_prefer_floor": lambda x, f: -f(-(x - F(0.5))),
    "round_prefer_ceil": lambda x, f: f(x + F(0.5)),
}


def linear(t: np.ndarray, a: float) -> np.ndarray:
    """The triangle of half-width 1."""
    return np.maximum(1 - np.abs(t), 0)


def cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel of half-width 2 with parameter ``a``."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


KERNELS = {"linear": (linear, 1), "cubic": (cubic, 2)}


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
    weights = kernel((taps - coordinates.astype(np.float64)[:, None]) * shrink, a)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < size), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    result = np.zeros((len(coordinates), size))
    np.add.at(result, (np.arange(len(coordinates))[:, None], np.clip(taps, 0, size - 1)), weights)
    return result.astype(np.float32)
