"""Several operations that one layer of Keras is, found at the last of them."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Op, Value
from .layers import operand
from .recurrent import recurrent
from .steps import Form, KerasLayer, Step

CLOSE = 1e-6  # of the factor and the summand of a BatchNormalization, which were computed in another order


def with_constant(value: Value, kind: str) -> tuple[Value, np.ndarray] | None:
    """The tensor and the constant [C] along the last axis of the operation of this ``kind`` that makes ``value``."""
    maker = value.made_by(kind)
    return None if maker is None or maker.attrs.get("activation") else per_channel(maker)


def per_channel(op: Op) -> tuple[Value, np.ndarray] | None:
    """Operands of a sum or product of a tensor and a constant [C] along its last axis."""
    for x, c in ((operand(op), operand(op, 1)), (operand(op, 1), operand(op))):
        if c.data is not None and x.data is None and c.rank and x.rank and c.data.size == c.shape[-1] == x.shape[-1]:
            return x, c.data.reshape(-1)
    return None


def batch_normalization(op: Op) -> Step | None:
    """x * a + b of a BatchNormalization that was kept."""
    kept = op.origin.batchnorm if op.origin else None
    summed = per_channel(op)
    scaled = with_constant(summed[0], "MUL") if summed else None
    if kept is None or summed is None or scaled is None:
        return None
    (_, b), (x, a) = summed, scaled
    factor = kept.scale / np.sqrt(kept.variance + np.float32(kept.epsilon))
    same = [(a, factor), (b, kept.bias - kept.mean * factor)]
    if any(u.shape != v.shape or np.abs(u - v).max() > CLOSE * max(1, np.abs(v).max()) for u, v in same):
        return None
    weights = [kept.scale, kept.bias, kept.mean, kept.variance]
    return KerasLayer("BatchNormalization", [x], {"epsilon": kept.epsilon}, weights)


def layer_normalization(op: Op) -> Step | None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis."""
    summed = per_channel(op)
    scaled = with_constant(summed[0], "MUL") if summed else None
    product = scaled[0].made_by("MUL") if scaled else None
    if summed is None or scaled is None or product is None:
        return None
    centred, inverse = operand(product), operand(product, 1)
    difference, root = centred.made_by("SUB"), inverse.made_by("RSQRT")
    spread = operand(root).made_by("ADD") if root else None
    if difference is None or spread is None or operand(spread, 1).data is None:
        return None
    x, epsilon = operand(difference), operand(spread, 1).data
    variance = operand(spread).made_by("MEAN")
    square = operand(variance).made_by("SQUARE") if variance else None
    mean = operand(difference, 1).made_by("MEAN")
    if square is None or mean is None or operand(square) is not centred or operand(mean) is not x:
        return None
    over = [m.attrs for m in (mean, variance) if m is not None]
    if (
        any(tuple(a["axes"]) != (x.rank - 1,) or not a["keepdims"] for a in over)
        or epsilon is None
        or epsilon.size != 1
    ):
        return None
    config = {"axis": -1, "epsilon": float(epsilon.reshape(())[()])}
    return KerasLayer("LayerNormalization", [x], config, [scaled[1], summed[1]])


PATTERNS: dict[str, tuple[Form, ...]] = {"ADD": (batch_normalization, layer_normalization), "WHILE": (recurrent,)}


def pattern(op: Op) -> Step | None:
    """The layer that ``op`` is the last operation of."""
    return next((step for form in PATTERNS.get(op.kind.name, ()) if (step := form(op)) is not None), None)
