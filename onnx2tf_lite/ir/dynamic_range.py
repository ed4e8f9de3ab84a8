"""Quantisation to 8 bits by the range that a tensor has at run time (ONNX DynamicQuantizeLinear-11), as arithmetic."""

from __future__ import annotations

import numpy as np

from . import build as b
from .graph import Value


def parameters(x: Value) -> tuple[Value, Value]:
    """Scale and zero point f32[] of the range of ``x`` extended to 0, by which it goes from 0 to 255."""
    low = b.minimum(b.reduce("REDUCE_MIN", x, range(x.rank)), np.float32(0))
    high = b.maximum(b.reduce("REDUCE_MAX", x, range(x.rank)), np.float32(0))
    span = high - low
    scale = b.where(b.equal(span, np.float32(0)), np.float32(1), span / np.float32(255))
    return scale, b.clip(b.round_(-low / scale), 0.0, 255.0)


def rounded(x: Value, scale: Value, zero: Value) -> Value:
    """The whole numbers f32, 0 to 255, that stand for ``x``."""
    return b.clip(b.round_(x / scale) + zero, 0.0, 255.0)


def requantised(x: Value) -> Value:
    """``x`` as what 8 bits leave of it: what the operator DYNAMIC_QUANT means."""
    scale, zero = parameters(x)
    return (rounded(x, scale, zero) - zero) * scale
