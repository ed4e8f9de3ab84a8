"""Blocks of space to channels and back, and normalisation across neighbouring channels."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.graph import Value
from .registry import op


@op("DepthToSpace")
def depth_to_space(x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """x[N,C*b*b,H,W] -> [N,C,H*b,W*b]; TFLite's kernel is DCR, CRD reorders the channels first."""
    n, c, h, w = x.shape
    if mode == "CRD":
        outer = dims.floordiv(c, blocksize**2)
        split = b.reshape(x, (n, outer, blocksize**2, h, w))
        x = b.reshape(b.transpose(split, (0, 2, 1, 3, 4)), x.shape)
    return b.channels_first(b.emit("DEPTH_TO_SPACE", b.channels_last(x), block=blocksize))


@op("SpaceToDepth")
def space_to_depth(x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """x[N,C,H*b,W*b] -> [N,b*b*C,H,W]; the inverse of DepthToSpace."""
    y = b.channels_first(b.emit("SPACE_TO_DEPTH", b.channels_last(x), block=blocksize))
    if mode == "DCR":
        return y
    n, c, h, w = y.shape
    split = b.reshape(y, (n, blocksize**2, dims.floordiv(c, blocksize**2), h, w))
    return b.reshape(b.transpose(split, (0, 2, 1, 3, 4)), y.shape)


@op("LRN")
def lrn(x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Value:
    """x / (bias + alpha / size * sum of squares over ``size`` neighbouring channels)^beta."""
    if x.rank == 4 and size % 2:
        numbers = {"bias": float(bias), "alpha": float(alpha) / size, "beta": float(beta)}
        y = b.emit("LOCAL_RESPONSE_NORMALIZATION", b.channels_last(x), radius=size // 2, **numbers)
        return b.channels_first(y)
    low, channels = (size - 1) // 2, x.shape[1]
    pads = [(low, size - 1 - low) if i == 1 else (0, 0) for i in range(x.rank)]
    squares = b.pad(b.square(x), pads)
    terms = [b.narrow(squares, 1, i, channels) for i in range(size)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return x * b.power(total * (alpha / size) + bias, np.float32(-beta))
