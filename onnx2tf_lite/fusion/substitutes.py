"""Operators by others that compute the same, for kernels or devices that lack them: whoever needs one applies it."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Shape
from ..ir.graph import Op, Value
from ..ir.rules import Match, rule

FLOAT = np.dtype(np.float32)


@rule("SQUARE(x)")
def square(m: Match) -> Value | None:
    """SQUARE as a product

    x ** 2 = x * x.
    """
    return b.mul(m.x, m.x) if m.x.dtype == FLOAT else None


@rule("SQUARED_DIFFERENCE(x, y)")
def squared_difference(m: Match) -> Value | None:
    """SQUARED_DIFFERENCE as a difference and a product

    (x - y) ** 2 = (x - y) * (x - y).
    """
    difference = b.sub(m.x, m.y)
    return b.mul(difference, difference)


@rule("HARD_SWISH(x)")
def hard_swish(m: Match) -> Value | None:
    """HARD_SWISH composed

    x * relu6(x + 3) / 6.
    """
    return b.mul(b.mul(m.x, b.relu6(b.add(m.x, np.float32(3)))), np.float32(1 / 6))


@rule("DEPTH_TO_SPACE(x)")
def depth_to_space(m: Match) -> Value | None:
    """DEPTH_TO_SPACE as TRANSPOSE

    [N H, W, B, B C] -> [N H, B, W, B C].
    """
    return blocks(m.root, m.x)


@rule("SPACE_TO_DEPTH(x)")
def space_to_depth(m: Match) -> Value | None:
    """SPACE_TO_DEPTH as TRANSPOSE

    [N H, B, W, B C] -> [N H, W, B, B C].
    """
    return blocks(m.root, m.x)


def blocks(op: Op, x: Value) -> Value:
    """What ``op``, one of the two, makes of ``x``."""
    block, result = op.attrs["block"], op.outputs[0].shape
    if op.is_a("DEPTH_TO_SPACE"):
        n, h, w, c = x.shape
        apart: Shape = (n * h, w, block, dims.floordiv(c, block))
    else:
        n, h, w, c = result
        apart = (n * h, block, w, dims.floordiv(c, block))
    return b.reshape(b.transpose(b.reshape(x, apart), (0, 2, 1, 3)), result)
