"""Integer kernels for quantised models: DEQUANTIZE -> operation -> QUANTIZE becomes one int8 operation.

TFLite's 8-bit scheme (docs/kernels.md, quantised models): activations are int8 with one
scale and zero point, weights int8 with zero point 0 and perhaps a scale per output channel, biases int32 with scale
``s_x * s_w``.  ONNX's uint8 activations are the same real numbers as int8 with the zero point less 128.

Everything here is either exact on the real numbers or a rounding that the kernel does where the model has one.  What
fits no integer kernel stays float between DEQUANTIZE and QUANTIZE, which is slower and right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir.editor import rewrite
from ..ir.graph import Graph, Op, Quant, Value, constant
from ..ir.rules import Match, NearMissError, again, has_one_reader, rule
from ..ir.traits import FixedScale, Int8
from .cleanup import equal
from .cleanup import same_integers as same_pair
from .weights import axes_of

I8, U8, I16, I32, I64 = (np.dtype(n) for n in ("int8", "uint8", "int16", "int32", "int64"))
BIAS_ERROR = 1 / 256  # of an output step: how far a bias may be off for want of precision in s_x * s_w


def computes(quant: Quant) -> bool:
    """True for parameters that kernels compute with: per tensor, of int8, or of int16 with zero point 0."""
    if quant.dtype == I16:
        return quant.axis is None and quant.scale.size == 1 and not quant.zero_point.any()
    return quant.dtype == I8 and quant.as_int8() is not None


def source(value: Value | None) -> Value | None:
    """The integers whose real numbers ``value`` is: the operand of its DEQUANTIZE, or those of a quantised constant."""
    if value is None:
        return None
    if value.data is not None:
        quant = value.quant and (value.quant if computes(value.quant) else value.quant.as_int8())
        return None if quant is None or value.dtype.kind != "f" else integers(value, quant)
    producer = value.made_by("DEQUANTIZE")
    if producer is None or not computes(producer.attrs["quant"]):
        return None
    stored = producer.inputs[0]
    return stored if stored is not None and stored.quant and equal(stored.quant, producer.attrs["quant"]) else None


def integers(value: Value, quant: Quant) -> Value:
    """A float constant as the integers that it was made of."""
    assert value.data is not None
    return constant(quant.stored(value.data), quant.dtype, value.name, quant)


# ------------------------------------------------------------------------------------------------ uint8 as int8


@rule("QUANTIZE(x)")
def quantize_int8(m: Match) -> Value | None:
    """QUANTIZE to uint8 by way of int8

    uint8 q with zero point z are the real numbers of int8 q - 128 with zero point z - 128.
    """
    quant = m.root.attrs["quant"]
    signed = quant.as_int8()
    if signed is None or quant.dtype == I8 or m.x.dtype.kind != "f":
        return None
    return b.quantize(b.quantize(m.x, signed), quant)


def shifted(x: Value) -> Value | None:
    """The int8 tensor that ``x``, uint8, was made of without a change of the real numbers."""
    producer = x.made_by("QUANTIZE")
    if producer is None:
        return None
    origin, quant = producer.inputs[0], producer.attrs["quant"]
    signed = quant.as_int8()
    exact = origin is not None and origin.quant and signed and origin.dtype == I8 and equal(origin.quant, signed)
    return origin if exact else None


@rule("DEQUANTIZE(x)", above=1)
def dequantize_int8(m: Match) -> Value | None:
    """DEQUANTIZE of uint8 by way of int8

    uint8 q with zero point z are the real numbers of int8 q - 128 with zero point z - 128.
    """
    quant = m.root.attrs["quant"]
    signed = quant.as_int8()
    if signed is None or quant.dtype == I8 or (m.x.quant and not equal(m.x.quant, quant)):
        return None
    return b.dequantize(shifted(m.x) or b.quantize(m.x, signed), signed)


@rule("view(shift := shared(QUANTIZE(x)), ...)")
def move_int8(m: Match) -> Value | None:
    """movement of uint8 on int8

    Moving elements and adding 128 to each of them commute.
    """
    quant = m.op("shift").attrs["quant"]
    if quant.dtype != U8 or shifted(m.shift) is None:
        return None
    return b.quantize(_moved(m.root, m.x), quant)


@rule("QUANTIZE(inner := QUANTIZE(x))")
def unsigned(m: Match) -> Value | None:
    """QUANTIZE to uint8 at once

    Quantising and then adding 128 is quantising with the zero point plus 128.
    """
    signed = m.root.attrs["quant"].as_int8()
    same = signed is not None and equal(m.op("inner").attrs["quant"], signed) and m.x.dtype.kind == "f"
    return b.quantize(m.x, m.root.attrs["quant"]) if same else None


@rule("DEQUANTIZE(shared(QUANTIZE(x)))")
def from_unsigned(m: Match) -> Value | None:
    """DEQUANTIZE of uint8 at once

    (q - z) * s = ((q - 128) - (z - 128)) * s.
    """
    quant = m.x.quant
    signed = quant.as_int8() if m.x.dtype == U8 and quant else None
    return b.dequantize(m.x, quant) if quant and signed and equal(signed, m.root.attrs["quant"]) else None


# ------------------------------------------------------------------------------------------------ movement


def moves(move: Op, quant: Quant) -> bool:
    """True where the kernel of a movement takes such integers."""
    return quant.dtype != I16 or move.kind.int16


def _moved(move: Op, x: Value) -> Value:
    value = again(move, x, *move.inputs[1:])
    value.quant = x.quant
    return value


@rule("mover(real := shared(DEQUANTIZE(x)), ...)")
def sink(m: Match) -> Value | None:
    """movement before DEQUANTIZE

    Moving elements and dequantising each of them commute.
    """
    stored = source(m.real)
    if stored is None or stored.quant is None or not moves(m.root, stored.quant):
        return None
    return b.dequantize(_moved(m.root, stored), stored.quant)


@rule("QUANTIZE(move := mover(x, ...))", above=1)
def lift(m: Match) -> Value | None:
    """movement behind QUANTIZE

    Moving elements and quantising each of them commute; so do maxima, as quantising is monotonic.
    """
    quant = m.root.attrs["quant"]
    ready = (
        computes(quant)
        and moves(m.op("move"), quant)
        and m.x.dtype.kind == "f"
        and m.x.producer is not None
        and has_one_reader(m, m.x)
    )
    return _moved(m.op("move"), b.quantize(m.x, quant)) if ready else None


@rule("QUANTIZE(pad := PADV2(x, const(fill)))")
def lift_pad(m: Match) -> Value | None:
    """padding behind QUANTIZE, with the integer that the number (perhaps -inf) becomes

    Padding and quantising each element commute.
    """
    quant = m.root.attrs["quant"]
    if not computes(quant) or m.x.dtype.kind != "f":
        return None
    value = again(m.op("pad"), b.quantize(m.x, quant), integers(m.fill, quant))
    value.quant = quant
    return value


@rule("PADV2(real := shared(DEQUANTIZE(x)), const(fill))")
def sink_pad(m: Match) -> Value | None:
    """padding before DEQUANTIZE, with the integer that the number (perhaps -inf, which becomes the lowest) is

    Padding and dequantising each element commute.
    """
    stored = source(m.real)
    if stored is None or stored.quant is None or not _reaches(stored.quant, m.fill):
        return None
    value = again(m.root, stored, integers(m.fill, stored.quant))
    value.quant = stored.quant
    return b.dequantize(value, stored.quant)


def _reaches(quant: Quant, fill: Value) -> bool:
    """True where a number is one of the integers, or below them all: a maximum is then never it."""
    assert fill.data is not None
    number = fill.data.item()
    return number == -np.inf or fill.quant is not None or quant.real(quant.stored(fill.data)).item() == number


@rule("joiner(...)", above=1)
def sink_join(m: Match) -> Value | None:
    """join before DEQUANTIZE

    With one scale, joining and dequantising each element commute.
    """
    stored = [source(v) for v in m.root.inputs]
    quants = [v.quant for v in stored if v is not None and v.quant is not None]
    if len(quants) < len(stored) or not all(equal(quants[0], q) for q in quants[1:]):
        return None
    value = again(m.root, *stored)
    value.quant = quants[0]
    return b.dequantize(value, quants[0])


@rule("QUANTIZE(join := joiner(...))")
def lift_join(m: Match) -> Value | None:
    """join behind QUANTIZE

    With one scale, joining and quantising each element commute.
    """
    quant, join = m.root.attrs["quant"], m.op("join")
    if not computes(quant) or m.join.dtype.kind != "f":
        return None
    value = again(join, *(b.quantize(v, quant) for v in join.inputs))
    value.quant = quant
    return value


@rule("QUANTIZE(real := shared(DEQUANTIZE(x)))")
def requantize(m: Match) -> Value | None:
    """other parameters at once

    QUANTIZE rescales integers without the real numbers between.
    """
    quant, stored = m.root.attrs["quant"], source(m.real)
    return b.quantize(stored, quant) if stored is not None and computes(quant) else None


# ------------------------------------------------------------------------------------------------ kernels


def _activation(value: Value | None, out: Quant) -> Value:
    """The integers of an operand, in the width of the result."""
    stored = source(value)
    if stored is None or stored.quant is None or stored.dtype != out.dtype:
        raise NearMissError(f"operand '{value.name if value else '-'}' is not quantised to {out.dtype}")
    return stored


def _rescales(f: Op, out: Quant) -> Value:
    """Kernels that rescale from any input scales to any output scale."""
    return again(f, *(_activation(v, out) for v in f.inputs))


def _product(f: Op, out: Quant) -> Value:
    """``enlarges``: the kernel multiplies by s_x * s_y / s_out >= 1, which it knows from version 3 on."""
    x, y = (_activation(v, out) for v in f.inputs)
    factor = x.quant.scale.item() * y.quant.scale.item() / out.scale.item()  # type: ignore[union-attr]
    return again(f, x, y, enlarges=factor >= 1)


def _one_scale(f: Op, out: Quant) -> Value:
    x = _activation(f.inputs[0], out)
    if not equal(x.quant, out):  # type: ignore[arg-type]
        raise NearMissError("the kernel wants one scale for operand and result")
    return again(f, x, *f.inputs[1:])


def _resampled(f: Op, out: Quant) -> Value:
    for old, new in zip(f.inputs[0].shape[1:3], f.attrs["size"], strict=True):  # type: ignore[union-attr]
        if not (isinstance(old, int) and isinstance(new, int)):
            raise NearMissError("whether the positions of the integer kernel are exact depends on extents of run time")
        if _displacement(old, new, f.attrs) * (2 ** (8 * out.dtype.itemsize) - 1) > 1 / 2:
            raise NearMissError(f"the integer kernel is off its positions where {old} become {new}")
    return _one_scale(f, out)


def _displacement(old: int, new: int, attrs: Mapping[str, Any]) -> float:
    """By how much of an element the integer kernel's positions differ from what they should be, at most.

    It adds up the distance of two results, rounded to 2^-10 (TFLite, ``ResizeBilinearInteger``).
    """
    old, new = (old - 1, new - 1) if attrs["align_corners"] and new > 1 else (old, new)
    distance, places = (1024 * old + new // 2) // new, np.arange(new)
    if attrs["half_pixel_centers"]:
        found, right = places * distance + distance // 2 - 512, (places + 0.5) * old / new * 1024 - 512
    else:
        found, right = places * distance, places * old / new * 1024
    return float(np.abs(found - right).max(initial=0)) / 1024


def _fixed_scale(f: Op, out: Quant, fixed: FixedScale) -> Value:
    if out.dtype == I16:
        fixed = FixedScale(2**-15, 0)
    if (out.scale.item(), out.zero_point.item()) != (fixed.scale, fixed.zero_point):
        raise NearMissError(f"the kernel's result has scale {fixed.scale:g} and zero point {fixed.zero_point}")
    return again(f, _activation(f.inputs[0], out))


def _weights(value: Value | None, axis: int) -> Value:
    """int8 weights with zero point 0, per tensor or along the output channels."""
    if value is None or value.data is None or value.quant is None or value.dtype.kind != "f":
        raise NearMissError("the weights are not quantised constants")
    quant = value.quant
    if quant.dtype not in (I8, U8) or quant.axis not in (None, axis):
        raise NearMissError(f"weights of {quant.dtype} along axis {quant.axis}")
    zero = quant.zero_point.astype(np.int64) - (128 if quant.dtype == U8 else 0)
    if zero.any():
        raise NearMissError("the zero point of the weights is not 0")
    return integers(value, replace(quant, zero_point=zero, dtype=I8))


def _bias(value: Value | None, scale: np.ndarray, out: Quant, channels: int) -> Value:
    """The bias in units of ``scale``, of 32 bits or, beside activations of 16, of 64; refused where that is not precise
    enough."""
    if value is not None and value.data is None:
        raise NearMissError("the bias is only known at run time")
    real = np.zeros(channels) if value is None else value.data.astype(np.float64)  # type: ignore[union-attr]
    units, dtype = np.round(real / scale), I64 if out.dtype == I16 else I32
    if (
        np.abs(units).max(initial=0) >= np.iinfo(dtype).max
        or np.abs(units * scale - real).max(initial=0) > BIAS_ERROR * out.scale.item()
    ):
        raise NearMissError(f"the bias does not fit {dtype} with the scale of operand times weights")
    axis = 0 if scale.size > 1 else None
    quant = Quant(scale.astype(np.float32), np.zeros(scale.size, np.int64), dtype, axis)
    return constant(units.astype(dtype), name=value.name if value else "zero_bias", quant=quant)


def _linear(f: Op, out: Quant) -> Value:
    x, axis = _activation(f.inputs[0], out), axes_of(f).outputs
    weights = _weights(f.inputs[1], axis)
    assert x.quant is not None and weights.quant is not None and weights.data is not None
    scale = x.quant.scale.astype(np.float64).reshape(-1) * weights.quant.scale.astype(np.float64)
    bias = _bias(f.inputs[2] if len(f.inputs) > 2 else None, scale, out, weights.data.shape[axis])
    return again(f, x, weights, bias)


KERNELS: dict[Int8 | FixedScale | None, Callable[[Op, Quant], Value]] = {
    Int8.LINEAR: _linear,
    Int8.RESCALES: _rescales,
    Int8.PRODUCT: _product,
    Int8.ONE_SCALE: _one_scale,
    Int8.RESAMPLES: _resampled,
}


@rule("QUANTIZE(result := kernel(...))", origin="result", above=1)
def kernel(m: Match) -> Value | None:
    """int8 kernel

    The kernel computes on real numbers (x - z) * s and rounds once, where the model has its QUANTIZE.
    """
    out = m.root.attrs["quant"]
    if not computes(out):
        return None
    operation = m.op("result")
    parameters = operation.kind.int8
    if out.dtype == I16 and not operation.kind.int16:
        raise NearMissError("there is no kernel for 16 bits")
    if isinstance(parameters, FixedScale):
        value = _fixed_scale(operation, out, parameters)
    else:
        value = KERNELS[parameters](operation, out)
    value.quant = out
    return value


TO_INT8 = [quantize_int8, dequantize_int8, move_int8]
INTO_KERNELS = [sink, sink_pad, sink_join, same_pair, kernel, requantize, lift, lift_pad, lift_join]


def qdq(graph: Graph) -> list[str]:
    """Form integer kernels in a fused program, in place (the .tflite branch, before ``dynamic.materialise``)."""
    notes = rewrite(graph, TO_INT8 + INTO_KERNELS)
    return notes + rewrite(graph, [unsigned, from_unsigned])
