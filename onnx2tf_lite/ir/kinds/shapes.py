"""Result shapes that many operators share.  Operands broadcast as in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from .. import dims
from ..dims import Dim, Expr, Shape
from ..graph import Attrs, Value
from ..kind import Result

BOOL = np.dtype(bool)


def broadcast(*shapes: Shape) -> Shape:
    """The numpy broadcast of ``shapes``; ValueError where extents are known to differ."""
    return reduce(_broadcast_two, shapes)


def _broadcast_two(a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(_broadcast_dim(x, y, a, b) for x, y in zip(a, b, strict=True))


def _broadcast_dim(x: Dim, y: Dim, a: Shape, b: Shape) -> Dim:
    if x == y or y == 1:
        return x
    if x == 1:
        return y
    if isinstance(x, int) and isinstance(y, int):
        raise ValueError(f"shapes [{dims.show(a)}] and [{dims.show(b)}] do not broadcast")
    # valid models have x == y, or one of them 1
    if isinstance(x, Expr) and isinstance(y, Expr):
        return next((dim for dim in (x, y) if _never_one(dim)), dims.maximum(x, y))
    return x if isinstance(x, int) else y


def _never_one(dim: Expr) -> bool:
    return dims.common_factor([dim]) > 1 or dims.nonnegative(dim - 2)


def same(inputs: Sequence[Value], attrs: Attrs) -> Result:
    """Shape and dtype of the first operand."""
    return inputs[0].shape, inputs[0].dtype


def joined(inputs: Sequence[Value], attrs: Attrs) -> Result:
    """Broadcast shape; ValueError for operands of several dtypes."""
    if any(v.dtype != inputs[0].dtype for v in inputs):
        raise ValueError(f"operands of different dtypes: {', '.join(str(v) for v in inputs)}")
    return broadcast(*(v.shape for v in inputs)), inputs[0].dtype


def compared(inputs: Sequence[Value], attrs: Attrs) -> Result:
    """Broadcast shape, bool."""
    return joined(inputs, attrs)[0], BOOL


def like(inputs: Sequence[Value], shape: Sequence[Dim]) -> Result:
    """``shape`` with the dtype of the first operand."""
    return tuple(shape), inputs[0].dtype
