"""Zeros between the elements of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

from . import build as b
from . import dims
from .graph import Value


def dilate(x: Value, factors: Sequence[int], first: int = 2) -> Value:
    """``factor - 1`` zeros between the elements of each axis from ``first`` on."""
    for axis, factor in enumerate(factors, first):
        if factor > 1:
            shape, n = x.shape, x.shape[axis]
            before, after = dims.product(shape[:axis]), dims.product(shape[axis + 1 :])
            spread = b.pad(b.reshape(x, (before, n, 1, after)), ((0, 0), (0, 0), (0, factor - 1), (0, 0)))
            spread = b.reshape(spread, (*shape[:axis], n * factor, *shape[axis + 1 :]))
            x = b.narrow(spread, axis, 0, (n - 1) * factor + 1)
    return x
