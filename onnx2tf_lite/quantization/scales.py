"""From the range of a tensor to the parameters of its integers (TFLite's quantisation specification)."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Quant
from .recipes import I8, I16

TINY = 1e-30  # a range that is nothing: of a tensor that is always zero


def of_range(low: float, high: float, dtype: np.dtype) -> Quant:
    """Per-tensor parameters by which ``dtype`` reaches from ``low`` to ``high``; zero is always exact.

    int8 is asymmetric; int16 symmetric, as its kernels want.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype == I16:
        scale, zero = max(high, -low, TINY) / 32767, 0
    else:
        info = np.iinfo(dtype)
        scale = max(high - low, TINY) / (info.max - info.min)
        zero = int(np.clip(round(info.min - low / scale), info.min, info.max))
    return Quant(np.array([scale], np.float32), np.array([zero], np.int64), dtype)


def real_range(quant: Quant) -> tuple[float, float]:
    """The numbers that per-tensor parameters reach."""
    info = np.iinfo(quant.dtype)
    zero, scale = int(quant.zero_point[0]), float(quant.scale[0])
    return (info.min - zero) * scale, (info.max - zero) * scale


def of_weights(weights: np.ndarray, axis: int | None, floor: np.ndarray | float = TINY) -> Quant:
    """Symmetric int8 parameters of weights, for each element of ``axis`` or for all; no scale is below ``floor``."""
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.atleast_1d(np.abs(weights).max(axis=others)).astype(np.float64)
    scale = np.maximum(np.maximum(largest / 127, floor), TINY).astype(np.float32)
    return Quant(scale, np.zeros(scale.size, np.int64), I8, axis)
