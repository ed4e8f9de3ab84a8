"""Conversion between real numbers and affine integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Quant, Value
from ..kind import Result, define
from ..orders import AnyOrder

# Kernels that copy elements whatever they stand for
COPIES = frozenset({"RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "GATHER", "GATHER_ND", "TILE",
                    "BROADCAST_TO", "REVERSE_V2", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "IDENTITY"})  # fmt: skip


def quantize(x: np.ndarray, q: Quant) -> np.ndarray:
    """Stored integers of real numbers: round half to even, then saturate (ONNX QuantizeLinear)."""
    shape = [1] * x.ndim
    if q.axis is not None:
        shape[q.axis] = -1
    info = np.iinfo(q.dtype)
    scale, zero = (np.reshape(v, shape) if q.axis is not None else v.reshape(()) for v in (q.scale, q.zero_point))
    stored = np.round(x / scale.astype(x.dtype)) + zero
    return np.clip(stored, info.min, info.max).astype(q.dtype)


def dequantize(x: np.ndarray, q: Quant) -> np.ndarray:
    """Real numbers of stored integers."""
    shape = [1] * x.ndim
    if q.axis is not None:
        shape[q.axis] = -1
    scale, zero = (np.reshape(v, shape) if q.axis is not None else v.reshape(()) for v in (q.scale, q.zero_point))
    return ((x.astype(np.int64) - zero) * scale.astype(np.float32)).astype(np.float32)


def _quantized(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return inputs[0].shape, attrs["quant"].dtype


def _real(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return inputs[0].shape, np.dtype(np.float32)


class _PerAxis(AnyOrder):
    """Any order; the axis of per-channel parameters is renumbered."""

    def attrs(self, op: Any, orders: Any) -> dict[str, Any]:
        quant: Quant = op.attrs["quant"]
        return op.attrs | {"quant": quant.along(None if quant.axis is None else orders[0].index(quant.axis))}


# The result of QUANTIZE and the operand of DEQUANTIZE carry the parameters of ``quant`` in the file.
define("QUANTIZE", _quantized, layout=_PerAxis(), options=("QuantizeOptions", {}), versions="2:qi16", max_rank=8,
       evaluate=lambda attrs, x: quantize(x, attrs["quant"]))  # fmt: skip
define("DEQUANTIZE", _real, layout=_PerAxis(), options=("DequantizeOptions", {}), versions="2:qi8 3:qi16|f16", max_rank=8,
       evaluate=lambda attrs, x: dequantize(x, attrs["quant"]))  # fmt: skip
