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
from .registry import UnsupportedError, const, op, table

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

QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")


def _of_size(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """The same for either sign, by the size of a number."""
    return lambda x: b.sign(x) * function(b.abs_(x))


_down = _of_size(b.floor)
#: by its name, in either case
ROUNDING: dict[str, Callable[[Value], Value]] = {
    "ROUND": b.round_,
    "HALF_EVEN": b.round_,
    "CEIL": b.ceil,
    "FLOOR": b.floor,
    "UP": _of_size(b.ceil),
    "DOWN": _down,
    "ROUND_TO_ZERO": _down,
    "HALF_UP": _of_size(lambda x: b.floor(x + 0.5)),
    "HALF_DOWN": _of_size(lambda x: b.ceil(x - 0.5)),
}


def _quant(
    x: Value, scale: Value, zero: Value, width: Value, *, signed: int = 1, narrow: int = 0, rounding_mode: str = "ROUND"
) -> Value:
    """(round(clip(x / scale + zero)) - zero) * scale, of ``width`` bits, the lowest number left out if ``narrow``.

    One signed bit is the sign, 0 counting as positive.
    """
    mode = rounding_mode.upper()
    if mode not in ROUNDING:
        raise UnsupportedError(f"rounding_mode {rounding_mode!r}", f"use one of {', '.join(ROUNDING)}")
    bits = np.asarray(const(width, "the bit width"), np.float32)
    bits = bits.reshape(-1)[0] if (bits == bits.reshape(-1)[0]).all() else bits
    highest = np.asarray(2.0 ** (bits - (1 if signed else 0)) - 1 - (0 if signed else narrow), np.float32)
    lowest = np.asarray(-(2.0 ** (bits - 1)) + narrow if signed else 0 * bits, np.float32)
    ends = lowest.tolist(), highest.tolist()
    of_bytes = ends in ((-128, 127), (0, 255)) and ROUNDING[mode] is b.round_
    if of_bytes and zero.data is not None and zero.size == scale.size == 1:  # what int8 kernels are made of
        middle = constant(zero.data.reshape(()).astype(np.int8 if signed else np.uint8))
        scale = b.reshape(scale, ())
        return dequantize_linear(quantize_linear(x, scale, middle), scale, middle)
    steps = x / scale + zero
    if signed and not bits.ndim and bits == 1:
        return (b.where(b.greater_equal(steps, 0), np.float32(1), np.float32(-1)) - zero) * scale
    return (ROUNDING[mode](b.minimum(b.maximum(steps, lowest), highest)) - zero) * scale


def _bipolar_quant(x: Value, scale: Value) -> Value:
    """The scale with the sign of x, 0 counting as positive."""
    return b.where(b.greater_equal(x, 0), np.float32(1), np.float32(-1)) * scale


for _domain in QONNX:
    table(_domain, Quant=_quant, IntQuant=_quant, BipolarQuant=_bipolar_quant)
