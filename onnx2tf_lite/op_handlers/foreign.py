"""Operators that exporters write and ONNX's standard has no more, or never had; each by its published definition.

ONNX Runtime keeps a few of the first releases in ONNX's own domain.  ``Quant`` and ``BipolarQuant`` are QONNX's, which
Brevitas exports: integers of any width, kept as the real numbers that they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir import build as b
from ..ir.graph import Value, constant
from . import _maths as m
from .classical import ML
from .quantization import dequantize_linear, quantize_linear
from .registry import Unsupported, const, op, table

# ------------------------------------------------------------------------------------------------ ONNX's first releases


def _image_scaler(x: Value, *, bias: Sequence[float], scale: float = 1.0) -> Value:
    """x[N,C,H,W] * scale + bias[C]."""
    return b.add(x * float(scale), np.reshape(np.asarray(bias, np.float32), (1, -1, 1, 1)))


table(
    ImageScaler=_image_scaler,
    ScaledTanh=lambda x, *, alpha=1.0, beta=1.0: b.tanh(x * float(beta)) * float(alpha),
    ParametricSoftplus=lambda x, *, alpha=1.0, beta=1.0: m.softplus(x * float(beta)) * float(alpha),
)


@op("ZipMap", domain=ML)
def zip_map(x: Value, *, classlabels_int64s: Sequence[int] = (), classlabels_strings: Sequence[str] = ()) -> Value:
    """The scores [N, C] themselves: TFLite has no maps, and column i is the class of label i."""
    return x


# ------------------------------------------------------------------------------------------------ QONNX

QONNX = ("qonnx.custom_op.general", "onnx.brevitas")
ROUNDING: dict[str, Callable[[Value], Value]] = {
    "ROUND": b.round_,
    "CEIL": b.ceil,
    "FLOOR": b.floor,
    "ROUND_TO_ZERO": lambda x: b.sign(x) * b.floor(b.abs_(x)),
}


def _quant(
    x: Value, scale: Value, zero: Value, width: Value, *, signed: int = 1, narrow: int = 0, rounding_mode: str = "ROUND"
) -> Value:
    """(clip(round(x / scale + zero)) - zero) * scale, of ``width`` bits, the lowest number left out if ``narrow``."""
    if rounding_mode not in ROUNDING:
        raise Unsupported(f"rounding_mode {rounding_mode!r}", f"use one of {', '.join(ROUNDING)}")
    bits = float(np.ravel(const(width, "the bit width"))[0])  # type: ignore[arg-type]
    highest = 2.0 ** (bits - (1 if signed else 0)) - 1
    lowest = -highest - 1 if signed else 0.0
    lowest, highest = (lowest + narrow, highest) if signed else (lowest, highest - narrow)
    of_bytes = (lowest, highest) in ((-128, 127), (0, 255)) and rounding_mode == "ROUND"
    if of_bytes and zero.data is not None and zero.size == scale.size == 1:  # what int8 kernels are made of
        middle = constant(zero.data.reshape(()).astype(np.int8 if signed else np.uint8))
        scale = b.reshape(scale, ())
        return dequantize_linear(quantize_linear(x, scale, middle), scale, middle)
    whole = ROUNDING[rounding_mode](x / scale + zero)
    return (b.clip(whole, lowest, highest) - zero) * scale


def _bipolar_quant(x: Value, scale: Value) -> Value:
    """The scale with the sign of x, 0 counting as positive."""
    return b.where(b.greater_equal(x, 0), np.float32(1), np.float32(-1)) * scale


for _domain in QONNX:
    table(_domain, Quant=_quant, BipolarQuant=_bipolar_quant)
