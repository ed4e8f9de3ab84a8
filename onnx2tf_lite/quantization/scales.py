"""From the range of a tensor to the parameters of its integers (TFLite's quantisation specification)."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Quant
from .recipes import I8, I16

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)  # of the largest weight
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


def of_weights(weights: np.ndarray, axis: int | None, floor: np.ndarray | float = TINY) -> Quant:
    """Symmetric int8 parameters of weights, for each element of ``axis`` or for all; no scale is below ``floor``."""
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.atleast_1d(np.abs(weights).max(axis=others)).astype(np.float64)
    scale = np.maximum(np.maximum(largest / 127, floor), TINY).astype(np.float32)
    return Quant(scale, np.zeros(scale.size, np.int64), I8, axis)


def of_few_bits(weights: np.ndarray, axis: int, bits: int) -> Quant:
    """Symmetric parameters of weights for each element of ``axis``, in so few ``bits`` that cutting off the largest may
    serve all others: of some shares of it the one with the least squared error."""
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    top = (1 << (bits - 1)) - 1
    whole = np.maximum(np.abs(rows).max(1, keepdims=True) / top, TINY)
    best, least = whole, np.full(len(rows), np.inf)
    for share in SHARES:
        error = np.square(rows - np.clip(np.round(rows / (share * whole)), -top, top) * share * whole).sum(1)
        best = np.where((error < least)[:, None], share * whole, best)
        least = np.minimum(error, least)
    scale = best[:, 0].astype(np.float32)
    return Quant(scale, np.zeros(scale.size, np.int64), I8, axis, bits)
