"""Conversion between real numbers and affine integers, and rounding to such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Attrs, Op, Quant, Value
from ..intervals import fits
from ..kind import Result, define
from ..orders import ELEMENTWISE, AnyOrder, Orders
from ..traits import PASSES, REALS, Bits, Elements, real, whole
from .shapes import same


def _quantized(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return inputs[0].shape, attrs["quant"].dtype


def _real(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return inputs[0].shape, np.dtype(np.float32)


class _PerAxis(AnyOrder):
    """Any order; the axis of per-channel parameters is renumbered."""

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        quant: Quant = op.attrs["quant"]
        return op.attrs | {"quant": quant.along(None if quant.axis is None else orders[0].index(quant.axis))}


def _carried(quant: Quant, stored: Value) -> str:
    if not fits((int(quant.zero_point.min()), int(quant.zero_point.max())), quant.dtype):
        return "the zero point is outside the stored dtype"
    return "" if stored.quant is not None else f"{stored} does not carry its quantisation"


def _operand(op: Op) -> str:
    assert op.inputs[0] is not None
    return _carried(op.attrs["quant"], op.inputs[0])


def _dynamic(x: np.ndarray) -> np.ndarray:
    """``x`` in 256 steps over its range extended to 0 (ONNX DynamicQuantizeLinear-11)."""
    low, high = min(x.min(initial=0), 0), max(x.max(initial=0), 0)
    scale = np.float32((high - low) / np.float32(255)) or np.float32(1)
    zero = np.clip(np.round(-low / scale), 0, 255)
    return np.asarray((np.clip(np.round(x / scale) + zero, 0, 255) - zero) * scale, x.dtype)


# The result of QUANTIZE and the operand of DEQUANTIZE carry the parameters of ``quant`` in the file.
_ENCODED = whole(None, Bits.WRONG, elements=Elements.ENCODED)
define(
    "QUANTIZE",
    _quantized,
    _ENCODED.but(trap=lambda op: _carried(op.attrs["quant"], op.outputs[0])),
    layout=_PerAxis(),
    types="",
    max_rank=8,
    options=("QuantizeOptions", {}),
    versions="2:qi16",
    evaluate=lambda attrs, x: attrs["quant"].stored(x),
)
define(
    "DEQUANTIZE",
    _real,
    _ENCODED.but(trap=_operand),
    layout=_PerAxis(),
    types="",
    max_rank=8,
    options=("DequantizeOptions", {}),
    versions="2:qi8 3:qi16|f16 5:@per_channel 6:@narrow",
    features={
        "per_channel": lambda op: op.attrs["quant"].axis is not None,
        "narrow": lambda op: op.attrs["quant"].bits is not None,
    },
    evaluate=lambda attrs, x: attrs["quant"].real(x),
)
# x as 8 bits of the range that it has at run time leave it.  Kernels of linear operators that read int8 weights beside a
# float operand do it themselves; what is left of it is replaced by arithmetic (ir.dynamic_range).
define(
    "DYNAMIC_QUANT",
    same,
    real(PASSES, REALS, None),
    layout=ELEMENTWISE,
    types="f32",
    max_rank=8,
    operator=None,
    evaluate=lambda attrs, x: _dynamic(x),
)
