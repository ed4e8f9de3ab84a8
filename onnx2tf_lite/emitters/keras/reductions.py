"""Means, sums, maxima and minima over some axes, as layers that pool all of an axis."""

from __future__ import annotations

import numpy as np

from ...ir import dims
from ...ir.graph import Op
from .cropping import reshaped
from .steps import Form, KerasLayer, Node, Step, operand


def _pooled(name: str, x: Node, op: Op) -> Step | None:
    """``x``, of the shape of the operand, with its axes pooled: those of an image as they lie, others merged into one,
    as the first or the last one behind the batch."""
    shape, y = operand(op).shape, op.outputs[0]
    rank, axes = len(shape), tuple(sorted(op.attrs["axes"]))
    if not axes or not axes[0]:
        return None
    images = {tuple(range(1, rank - 1)): "channels_last", tuple(range(2, rank)): "channels_first"}
    if rank in (3, 4, 5) and axes in images:
        config = {"data_format": images[axes], "keepdims": bool(op.attrs["keepdims"])}
        return KerasLayer(f"Global{name}Pooling{rank - 2}D", [x], config)
    others = [i for i in range(1, rank) if i not in axes]
    count, rest = (dims.product([shape[i] for i in group]) for group in (axes, others))
    last = axes != tuple(range(1, len(axes) + 1))
    if last and [*others, *axes] != list(range(1, rank)):
        moved = (0, *others, *axes)
        x, shape = KerasLayer("Permute", [x], {"dims": moved[1:]}), tuple(shape[i] for i in moved)
    merged = reshaped(x, shape, (shape[0], *((rest, count) if last else (count, rest))))
    if merged is None:
        return None
    config = {"data_format": "channels_first" if last else "channels_last"}
    return reshaped(KerasLayer(f"Global{name}Pooling1D", [merged], config), (shape[0], rest), y.shape)  # type: ignore[return-value]


def _reduction(name: str) -> Form:
    return lambda op: _pooled(name, operand(op), op) if operand(op).dtype == np.float32 else None


def total(op: Op) -> Step | None:
    """SUM: the mean times the number of elements."""
    pooled = mean(op)
    count = dims.product([operand(op).shape[i] for i in op.attrs["axes"]])
    return KerasLayer("Rescaling", [pooled], {"scale": float(count)}) if pooled and isinstance(count, int) else None


def smallest(op: Op) -> Step | None:
    """REDUCE_MIN: what is largest of the negative."""
    if operand(op).dtype != np.float32:
        return None
    pooled = _pooled("Max", KerasLayer("Rescaling", [operand(op)], {"scale": -1.0}), op)
    return KerasLayer("Rescaling", [pooled], {"scale": -1.0}) if pooled else None


mean, largest = _reduction("Average"), _reduction("Max")
