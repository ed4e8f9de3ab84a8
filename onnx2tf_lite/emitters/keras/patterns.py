"""Several operations that one layer of Keras is, found at the last of them."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Op, Value
from .cropping import through_reshapes
from .fake_quantize import fake_quantised
from .recurrent import recurrent, turned_back
from .steps import Form, KerasLayer, Step, operand

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
    """(x - mean) / sqrt(variance + epsilon) over one axis, perhaps * scale + bias along it."""
    found = normalised(op)
    if found is not None:
        x, axis, epsilon = found
        return KerasLayer(
            "LayerNormalization", [x], {"axis": axis, "epsilon": epsilon, "center": False, "scale": False}
        )
    summed = along_an_axis(op)
    maker = summed[0].made_by("MUL") if summed and op.is_a("ADD") else None
    scaled = along_an_axis(maker) if maker is not None and not maker.attrs.get("activation") else None
    product = scaled[0].made_by("MUL") if scaled else None
    inner = normalised(product) if product is not None else None
    if summed is None or scaled is None or inner is None:
        return None
    x, axis, epsilon = inner
    weights = [c.reshape(-1) for _, c in (scaled, summed)]
    if any(c.shape[axis] != c.size or c.size != x.shape[axis] for _, c in (scaled, summed)):
        return None
    return KerasLayer("LayerNormalization", [x], {"axis": axis, "epsilon": epsilon}, weights)


def along_an_axis(op: Op) -> tuple[Value, np.ndarray] | None:
    """A tensor and the constant beside it, of the same rank."""
    for x, c in ((operand(op), operand(op, 1)), (operand(op, 1), operand(op))):
        if c.data is not None and x.data is None and 0 < c.rank <= x.rank:
            return x, c.data.reshape((1,) * (x.rank - c.rank) + c.data.shape)
    return None


def normalised(op: Op) -> tuple[Value, int, float] | None:
    """Tensor, axis and epsilon of a MUL that brings it to mean 0 and variance 1 along the axis."""
    if not op.is_a("MUL") or op.attrs.get("activation"):
        return None
    centred, inverse = operand(op), operand(op, 1)
    difference, root = centred.made_by("SUB"), inverse.made_by("RSQRT")
    spread = operand(root).made_by("ADD") if root else None
    if difference is None or spread is None:
        return None
    x, epsilon = operand(difference), operand(spread, 1).data
    variance, mean = operand(spread).made_by("MEAN"), operand(difference, 1).made_by("MEAN")
    square = operand(variance).made_by("SQUARE") if variance else None
    if square is None or mean is None or variance is None or epsilon is None or epsilon.size != 1:
        return None
    axes = tuple(mean.attrs["axes"])
    same = axes == tuple(variance.attrs["axes"]) and mean.attrs["keepdims"] and variance.attrs["keepdims"]
    if operand(square) is not centred or operand(mean) is not x or not same or len(axes) != 1 or not axes[0]:
        return None
    return (x, int(axes[0]), float(epsilon.reshape(())[()])) if isinstance(x.shape[axes[0]], int) else None


PATTERNS: dict[str, tuple[Form, ...]] = {
    "ADD": (batch_normalization, layer_normalization),
    "DEQUANTIZE": (fake_quantised,),
    "MUL": (layer_normalization,),
    "RESHAPE": (through_reshapes,),
    "TRANSPOSE": (turned_back,),
    "WHILE": (recurrent,),
}


def pattern(op: Op) -> Step | None:
    """The layer that ``op`` is the last operation of."""
    return next((step for form in PATTERNS.get(op.kind.name, ()) if (step := form(op)) is not None), None)
