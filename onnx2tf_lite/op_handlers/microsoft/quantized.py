"""Operators on 8- and 16-bit integers: dequantise, compute, quantise.

QUANTIZE and DEQUANTIZE around a float operation are what fusion makes int8 kernels of.  Products whose result is real
stay real: the sums of stored integers are exact in ONNX Runtime, and rounded to float32 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import build as b
from ...ir.graph import Value, constant
from ..convolution import conv
from ..matmul import gemm, matmul
from ..pooling import average_pool, global_average_pool
from ..quantization import dequantize_linear, dynamic_quant, qlinear_conv, quantize_linear
from ..recurrent import lstm
from ..reductions import softmax
from ._domain import channels_last as _channels_last
from ._domain import like, op, table
from .transformer import attention, embed_layer_normalization

table(QuantizeLinear=quantize_linear, DequantizeLinear=dequantize_linear)


def _quantized(y: Value, like: Value, scale: Value, zero: Value | None) -> Value:
    """An absent zero point is 0 of the operands' type."""
    return quantize_linear(y, scale, constant(np.zeros((), like.dtype)) if zero is None else zero)


# ------------------------------------------------------------------------------------------------ one real function


def _mean(x: Value, *, axes: Sequence[int], keepdims: int) -> Value:
    return b.reduce("MEAN", x, axes, keepdims=bool(keepdims))


@like(average_pool)
def _average_pool(x: Value, *, channels_last: int = 0, **attributes: Any) -> Value:
    return _channels_last(lambda image: average_pool(image, **attributes), x, bool(channels_last))


def _global_average_pool(x: Value, *, channels_last: int = 0) -> Value:
    return _channels_last(global_average_pool, x, bool(channels_last))


def _softmax(x: Value, *, opset: int, axis: int = -1) -> Value:
    """Below opset 13 over all axes from ``axis`` on."""
    if opset >= 13:
        return softmax(x, axis=axis)
    lead = x.shape[: b.axis_of(axis, x.rank)]
    return b.reshape(b.softmax(b.reshape(x, (*lead, -1))), x.shape)


def _leaky_relu(x: Value, *, alpha: float = 0.01) -> Value:
    return b.leaky_relu(x, alpha)


# operator -> real function, how many quantised operands it has, how many inputs stand before them
QLINEAR: dict[str, tuple[Callable[..., Value], int, int]] = {
    "QLinearAdd": (lambda x, y: x + y, 2, 0),
    "QLinearMul": (lambda x, y: x * y, 2, 0),
    "QLinearWhere": (lambda condition, x, y: b.where(condition, x, y), 2, 1),
    "QLinearSigmoid": (lambda x: b.logistic(x), 1, 0),
    "QLinearLeakyRelu": (_leaky_relu, 1, 0),
    "QLinearSoftmax": (_softmax, 1, 0),
    "QLinearReduceMean": (_mean, 1, 0),
    "QLinearAveragePool": (_average_pool, 1, 0),
    "QLinearGlobalAveragePool": (_global_average_pool, 1, 0),
}


def _qlinear(function: Callable[..., Value], operands: int, first: int) -> Callable[..., Value]:
    """Inputs: ``first`` plain ones, (x, scale, zero) per operand, scale and zero of the result."""

    @like(function)
    def handler(*inputs: Value | None, **attributes: Any) -> Value:
        plain, rest = inputs[:first], [*inputs[first:], None][: 3 * operands + 2]
        triples = [rest[i : i + 3] for i in range(0, 3 * operands, 3)]
        y = function(*plain, *(dequantize_linear(*triple) for triple in triples), **attributes)  # type: ignore[arg-type]
        return _quantized(y, triples[0][0], *rest[3 * operands :])  # type: ignore[arg-type]

    return handler


table(**{name: _qlinear(*row) for name, row in QLINEAR.items()})


@op("QLinearConcat")
def qlinear_concat(scale: Value, zero: Value, *operands: Value, axis: int) -> Value:
    """(x, scale, zero) per operand, joined."""
    real = [dequantize_linear(*operands[i : i + 3]) for i in range(0, len(operands), 3)]
    return quantize_linear(b.concat(real, axis), scale, zero)


# ------------------------------------------------------------------------------------------------ products


@op("QLinearConv")
@like(conv)
def qlinear_conv_any_order(x: Value, *operands: Value, channels_last: int = 0, **attributes: Any) -> Value:
    """ONNX's QLinearConv, of x[N,H,W,C] with ``channels_last``; the weights are [O,C/G,H,W] in both."""
    return _channels_last(lambda image: qlinear_conv(image, *operands, **attributes), x, bool(channels_last))


@op("QGemm")
def qgemm(x: Value, x_scale: Value, x_zero: Value, y: Value, y_scale: Value, y_zero: Value, c: Value | None = None,
          scale: Value | None = None, zero: Value | None = None, *, alpha: float = 1.0, transA: int = 0,
          transB: int = 0) -> Value:  # fmt: skip
    """alpha x y + c, the i32 c in units of alpha * x_scale * y_scale; real where no scale of the result is given."""
    left = dequantize_linear(x, x_scale, x_zero)
    right = dequantize_linear(y, y_scale, y_zero, axis=0 if transB else 1)
    if c is not None:
        c = dequantize_linear(c, b.reshape(x_scale, ()) * y_scale * alpha, axis=-1)
    z = gemm(left, right, c, alpha=alpha, transA=transA, transB=transB)
    return z if scale is None else _quantized(z, x, scale, zero)


@op("MatMulIntegerToFloat")
def matmul_integer_to_float(
    x: Value,
    y: Value,
    x_scale: Value,
    y_scale: Value,
    x_zero: Value | None = None,
    y_zero: Value | None = None,
    bias: Value | None = None,
) -> Value:
    """(x - x_zero) (y - y_zero) x_scale y_scale + bias; parameters of y per tensor or per column."""
    real = dequantize_linear(x, x_scale, x_zero), dequantize_linear(y, y_scale, y_zero, axis=-1)
    z = matmul(*real)
    return z if bias is None else z + bias


@op("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    x: Value, y: Value, y_scale: Value, y_zero: Value | None = None, bias: Value | None = None
) -> Value:
    """A product with ``x`` as what DynamicQuantizeLinear leaves of it."""
    z = matmul(dynamic_quant(x), dequantize_linear(y, y_scale, y_zero, axis=-1))
    return z if bias is None else z + bias


@op("DynamicQuantizeLSTM")
@like(lstm)
def dynamic_quantize_lstm(
    x: Value, w: Value, r: Value, bias: Value | None, lengths: Value | None, h: Value | None, c: Value | None,
    p: Value | None, w_scale: Value, w_zero: Value, r_scale: Value, r_zero: Value, **attributes: Any
) -> list[Value | None]:  # fmt: skip
    """LSTM of dequantised weights, stored [D,I,4*H] and [D,H,4*H], with a scale per direction or per column.

    The input and the hidden state stay real.  ONNX Runtime stores them in 8 bits, those of as many rows together as a
    thread has, so that its own results depend on the number of threads; real ones are nearer to the model.
    """

    def real(weights: Value, scale: Value, zero: Value) -> Value:
        spread = [b.reshape(v, (v.shape[0], 1, -1)) for v in (scale, zero)]
        stored, middle = (b.cast(v, np.float32) for v in (weights, spread[1]))
        return b.transpose((stored - middle) * spread[0], (0, 2, 1))

    weights = real(w, w_scale, w_zero), real(r, r_scale, r_zero)
    return lstm(x, *weights, bias, lengths, h, c, p, **attributes)


# ------------------------------------------------------------------------------------------------ transformers


@op("QAttention")
@like(attention)
def qattention(
    x: Value,
    w: Value,
    bias: Value,
    x_scale: Value,
    w_scale: Value,
    mask: Value | None = None,
    x_zero: Value | None = None,
    w_zero: Value | None = None,
    past: Value | None = None,
    **attributes: Any,
) -> list[Value | None]:
    """Attention of dequantised operands; the result is real."""
    real = dequantize_linear(x, x_scale, x_zero), dequantize_linear(w, w_scale, w_zero, axis=-1)
    return attention(*real, bias, mask, past, **attributes)


@op("QEmbedLayerNormalization")
def qembed_layer_normalization(
    ids: Value, segments: Value | None, *rest: Value | None, epsilon: float = 1e-12
) -> tuple[Value, ...]:
    """EmbedLayerNormalization with tables, gamma and beta quantised: five of them, the mask, their scales and zeros."""
    tables, mask, parameters = rest[:5], rest[5], rest[6:]
    triples = zip(tables, parameters[:5], parameters[5:], strict=True)
    real = [None if t is None else dequantize_linear(t, *pair) for t, *pair in triples]  # type: ignore[arg-type]
    results = embed_layer_normalization(ids, segments, *real, mask, epsilon=epsilon)  # type: ignore[arg-type, misc]
    return results[:2]
