"""Affine integers: Quantize, Dequantize, and the operators that compute on stored integers.

Parameters of a constant scale that TFLite has a form for become QUANTIZE / DEQUANTIZE, from which fusion makes integer
kernels; everything else is arithmetic.  QLinear operators are dequantise, compute, quantise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir import dims, dynamic_range
from ..ir.graph import Quant, Value, constant
from ..passes.dynamic_products import OWN_DOMAIN
from .convolution import Ints, conv
from .matmul import matmul
from .registry import UnsupportedError, current_node, op

EXACT = 1 << 24  # float32 holds every integer up to here


def _quant(scale: Value, zero: Value | None, dtype: np.dtype, axis: int, rank: int) -> Quant | None:
    """The parameters as TFLite stores them; None where they are not constants of its kind (blocked, or run-time)."""
    if scale.data is None or (zero is not None and zero.data is None) or dtype.kind not in "iu" or scale.rank > 1:
        return None
    if scale.size != 1 and rank < 1:
        return None
    zeros = np.zeros(scale.data.size, np.int64) if zero is None else np.asarray(zero.data, np.int64).reshape(-1)
    return Quant(scale.data.reshape(-1), zeros, dtype, None if scale.size == 1 else b.axis_of(axis, rank))


def _spread(parameter: Value, x: Value, axis: int, block: int) -> Value:
    """A scale or zero point in a shape that broadcasts with ``x``: scalar, along ``axis``, or per block of it."""
    if parameter.rank == 0 or parameter.size == 1:
        return b.reshape(parameter, ())
    axis = b.axis_of(axis, x.rank)
    if parameter.rank == 1 and not block:
        return b.reshape(parameter, tuple(-1 if i == axis else 1 for i in range(x.rank)))
    extent = x.shape[axis]
    if not isinstance(extent, int):
        raise UnsupportedError(
            "blocked quantisation of an extent that is only known at run time", "fix the input shape"
        )
    return b.gather(parameter, b.places(extent).astype(np.int32) // block, axis)


def _float(x: Value) -> Value:
    """``x`` as float32; constants of narrow types (int4, float8) too."""
    if x.dtype.kind not in "fiub" and not x.is_constant:
        raise UnsupportedError(f"{x.dtype} is no TFLite arithmetic type", "store the tensor as int8")
    return constant(x.data.astype(np.float32)) if x.data is not None else b.cast(x, np.float32)


@op("DequantizeLinear")
def dequantize_linear(
    x: Value, scale: Value, zero: Value | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Value:
    """(x - zero) * scale, per tensor, per axis or per block."""
    quant = None if block_size else _quant(scale, zero, x.dtype, axis, x.rank)
    if quant is not None and x.data is not None:
        return constant(quant.real(x.data), name=x.name, quant=quant)
    if quant is not None and _storable(quant):
        return b.dequantize(x, quant)
    y = _float(x)
    if zero is not None:
        y = y - _spread(_float(zero), x, axis, block_size)
    return y * _spread(_float(scale), x, axis, block_size)


def _storable(quant: Quant) -> bool:
    """Run-time tensors of these parameters have a form in TFLite: per tensor, and symmetric in 16 bits."""
    return quant.as_signed() is not None


@op("QuantizeLinear")
def quantize_linear(
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Value:
    """round-half-even(x / scale) + zero, saturated, per tensor, per axis or per block."""
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if zero is None and output_dtype:
        dtype = current_node().dtypes[0] or dtype
    if dtype.kind not in "iu":
        raise UnsupportedError(f"{dtype} is no TFLite arithmetic type", "quantise to int8, uint8 or int16")
    quant = None if block_size else _quant(scale, zero, dtype, axis, x.rank)
    if quant is not None and _storable(quant) and x.dtype == np.float32:
        return b.quantize(x, quant)
    y = b.round_(_float(x) / _spread(_float(scale), x, axis, block_size))
    if zero is not None:
        y = y + _spread(_float(zero), x, axis, block_size)
    return _saturated(y, dtype)


def _saturated(y: Value, dtype: np.dtype) -> Value:
    info = np.iinfo(dtype)
    return b.cast(b.clip(y, float(info.min), float(info.max)), dtype)


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Value) -> list[Value]:
    """u8 values, scale and zero point from the range of ``x`` extended to 0."""
    scale, zero = dynamic_range.parameters(x)
    u8 = np.dtype(np.uint8)
    return [b.cast(dynamic_range.rounded(x, scale, zero), u8), scale, b.cast(zero, u8)]


@op("DynamicQuant", domain=OWN_DOMAIN)
def dynamic_quant(x: Value) -> Value:
    """DynamicQuantizeLinear and DequantizeLinear: what the pass of that name makes of integer products."""
    return b.emit("DYNAMIC_QUANT", x)


# ------------------------------------------------------------------------------------------------ integer products


def _centred(x: Value, zero: Value | None, shape: Sequence[dims.Dim]) -> Value:
    """x - zero as float32; a vector of zero points in ``shape``."""
    if zero is None:
        return _float(x)
    return _float(x) - (b.reshape(_float(zero), () if zero.size == 1 else tuple(shape)))


def _exact(product: Callable[[Value], Value], x: Value, weight: float, bound: int = 255) -> Value:
    """i32 ``product(x)`` of whole numbers |x| <= bound; ``weight`` bounds the sum of the other factor's absolutes.

    float32 adds whole numbers exactly below 2^24.  Beyond that x is cut into 16 * high + low.
    """
    if weight * bound < EXACT:
        return b.cast(product(x), np.int32)
    if weight * 16 >= EXACT:
        raise UnsupportedError(
            "the integer product has too many terms for exact float arithmetic", "quantise as QDQ instead"
        )
    high = b.floor(x * (1 / 16))
    return b.cast(product(high), np.int32) * 16 + b.cast(product(x - high * 16.0), np.int32)


def _weight(w: Value, terms: dims.Dim, axes: tuple[int, ...]) -> float:
    """Greatest sum of absolutes over the summed ``axes``."""
    if w.data is not None:
        return float(np.abs(w.data).sum(axes).max(initial=0))
    if not isinstance(terms, int):
        raise UnsupportedError(
            "an integer product over an extent that is only known at run time", "fix the input shape"
        )
    return 255.0 * terms


@op("MatMulInteger")
def matmul_integer(x: Value, y: Value, x_zero: Value | None = None, y_zero: Value | None = None) -> Value:
    """(x - x_zero) @ (y - y_zero) in int32; zero points per tensor, per row of x, per column of y."""
    left, right = _centred(x, x_zero, (-1, 1)), _centred(y, y_zero, (1, -1))
    return _exact(lambda v: matmul(v, right), left, _weight(right, right.shape[-2], (-2,)))


@op("ConvInteger")
def conv_integer(x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None, *,
                 auto_pad: str = "NOTSET", dilations: Ints = None, group: int = 1, kernel_shape: Ints = None,
                 pads: Ints = None, strides: Ints = None) -> Value:  # fmt: skip
    """Convolution of x - x_zero with w - w_zero in int32; pads are 0 after centring."""
    left, right = _centred(x, x_zero, ()), _centred(w, w_zero, (-1, *(1,) * (w.rank - 1)))
    weight = _weight(right, dims.product(w.shape[1:]), tuple(range(1, w.rank)))

    def product(v: Value) -> Value:
        return conv(v, right, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides)

    return _exact(product, left, weight)


@op("QLinearMatMul")
def qlinear_matmul(
    x: Value, x_scale: Value, x_zero: Value, y: Value, y_scale: Value, y_zero: Value, scale: Value, zero: Value
) -> Value:
    """Parameters per tensor, per row of x or per column of y."""
    left = dequantize_linear(x, x_scale, x_zero, axis=-2)
    right = dequantize_linear(y, y_scale, y_zero, axis=-1)
    return quantize_linear(matmul(left, right), scale, zero)


@op("QLinearConv")
def qlinear_conv(x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, scale: Value,
                 zero: Value, bias: Value | None = None, **attributes: Any) -> Value:  # fmt: skip
    """Weights per tensor or per output channel; the i32 bias has scale x_scale * w_scale."""
    real = dequantize_linear(w, w_scale, w_zero, axis=0)
    if bias is not None:
        bias = dequantize_linear(bias, b.reshape(x_scale, ()) * w_scale, axis=0)
    return quantize_linear(conv(dequantize_linear(x, x_scale, x_zero), real, bias, **attributes), scale, zero)
