"""Which integer kernel an operation between DEQUANTIZE and QUANTIZE becomes, by the parameters that its kernel takes.

Weights of any zero point become int8 with zero point 0: ``q - z`` where that fits, else a sum of int8 weights, of
which all but the first read copies of their channels.  Results of kernels with a fixed scale are requantised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir.dims import is_static
from ..ir.graph import Op, Quant, Value, constant
from ..ir.kinds import KINDS
from ..ir.rules import Match, NearMissError, again, rule
from ..ir.traits import FixedScale, Int8
from .cleanup import equal
from .weights import axes_of

I8, U8, I16, I32, I64 = (np.dtype(n) for n in ("int8", "uint8", "int16", "int32", "int64"))
BIAS_ERROR = 1 / 4  # of an output step: how far a bias may be off for want of precision in s_x * s_w
SUMS = {I32: 2**31 - 1, I64: 2**47}  # below which kernels can scale them, by their dtype (TFLite, quantization_util)
LEAST_FACTOR = 2.0**-32  # s_x * s_w / s_out, less than which kernels take for 0
LARGEST = 127  # of a weight that is made here: kernels may add up two products of int8 in 16 bits
STEP_16 = FixedScale(2**-15, 0)  # of results of 16-bit kernels whose scale is fixed
OPERANDS_16 = (2.0**-36, 4.0)  # steps of operands that they know: times 12288 and 2^31, or 2^15, they fit int32
STEPS = 2.0**30  # from 0 to the bound of an activation, which kernels hold in int32
POWER, BESIDE = 1e-3, 1.01  # how near (in log2) a scale is taken for a power of two; what makes it none


def computes(quant: Quant) -> bool:
    """True for parameters that kernels compute with: per tensor, of int8, or of int16 with zero point 0."""
    return quant.dtype.kind == "i" and quant.as_signed() is not None


def source(value: Value | None) -> Value | None:
    """The integers whose real numbers ``value`` is: the operand of its DEQUANTIZE, or those of a quantised constant."""
    if value is None:
        return None
    if value.data is not None:
        quant = value.quant and value.quant.as_signed()
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


def _activation(value: Value | None, out: Quant) -> Value:
    """The integers of an operand, in the width of the result."""
    stored = source(value)
    if stored is None or stored.quant is None or stored.dtype != out.dtype:
        raise NearMissError(f"operand '{value.name if value else '-'}' is not quantised to {out.dtype}")
    return stored


# ------------------------------------------------------------------------------------------------ any scales, or one


def _rescales(f: Op, out: Quant) -> Value:
    """Kernels that rescale from any input scales to any output scale."""
    return again(f, *(_activation(v, out) for v in f.inputs))


def _sum(f: Op, out: Quant) -> Value:
    """Where all scales are powers of two, the 16-bit kernel shifts, and one operand must have that of the result."""
    operands = [_activation(v, out) for v in f.inputs]
    scales = [np.log2(q.scale.item()) for q in (*(v.quant for v in operands), out) if q is not None]
    powers = max(abs(s - round(s)) for s in scales) < POWER
    if out.dtype == I16 and powers and all(round(s) != round(scales[2]) for s in scales[:2]):
        place = next(i for i, v in enumerate(operands) if not v.is_constant)
        operands[place] = _beside(operands[place])
    return again(f, *operands)


def _beside(x: Value) -> Value:
    """The same numbers in steps that are no power of two."""
    assert x.quant is not None
    return b.quantize(x, replace(x.quant, scale=x.quant.scale * np.float32(BESIDE)))


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
    """Between elements that differ by all levels, positions may be off by half a step; between those that another
    resizing has made finer, and rounded, by one."""
    finer = next((v for v in (source(f.inputs[0]),) if v is not None and v.made_by(f.kind.name)), None)
    coarse = f.inputs[0] if finer is None else finer.producer.inputs[0]  # type: ignore[union-attr]
    levels, most = 2 ** (8 * out.dtype.itemsize) - 1, 1 / 2 if finer is None else 1
    for first, old, new in zip(coarse.shape[1:3], f.inputs[0].shape[1:3], f.attrs["size"], strict=True):  # type: ignore[union-attr]
        if not (isinstance(first, int) and isinstance(old, int) and isinstance(new, int)):
            raise NearMissError("whether the positions of the integer kernel are exact depends on extents of run time")
        if displacement(old, new, f.attrs) * levels * min(first / old, 1) > most:
            raise NearMissError(f"the integer kernel is off its positions where {old} become {new}")
    return _one_scale(f, out)


def displacement(old: int, new: int, attrs: Mapping[str, Any]) -> float:
    """By how much of an element the integer kernel's positions differ from what they should be, at most.

    It adds up the distance of two results, rounded to 2^-10 (TFLite, ``ResizeBilinearInteger``); beyond the elements at
    the ends every position is that of the last one.
    """
    last, places = 1024 * (old - 1), np.arange(new)
    old, new = (old - 1, new - 1) if attrs["align_corners"] and new > 1 else (old, new)
    distance = (1024 * old + new // 2) // new
    if attrs["half_pixel_centers"]:
        found, right = places * distance + distance // 2 - 512, (places + 0.5) * old / new * 1024 - 512
    else:
        found, right = places * distance, places * old / new * 1024
    if found.max(initial=0) >= last + 1024:
        return float(old)  # it reads behind the last element
    return float(np.abs(found.clip(0, last) - right.clip(0, last)).max(initial=0)) / 1024


def _fixed_scale(f: Op, out: Quant, fixed: FixedScale) -> Value:
    """A kernel whose result has a fixed scale; QUANTIZE gives it the parameters that it should have.

    It is off by half a step of its own, and by what is beyond its range; where that is more than a step of the model,
    the operation stays float.
    """
    fixed = STEP_16 if out.dtype == I16 else fixed
    own = Quant(np.array([fixed.scale], np.float32), np.array([fixed.zero_point], np.int64), out.dtype)
    ends = np.array([np.iinfo(out.dtype).min, np.iinfo(out.dtype).max])
    beyond = np.abs(np.clip(out.real(ends), *f.kind.limits) - np.clip(out.real(ends), *own.real(ends))).max()
    if max(fixed.scale / 2, beyond) > out.scale.item() and not equal(own, out):
        raise NearMissError(f"steps of {out.scale.item():g} are finer than those of the kernel, {fixed.scale:g}")
    x = _activation(f.inputs[0], out)
    value = again(f, x if out.dtype != I16 else _in_known_steps(x))
    value.quant = own
    return value if equal(own, out) else b.quantize(value, out)


def _in_known_steps(x: Value) -> Value:
    """The operand of a 16-bit kernel of fixed scale.  All that steps finer than the least reach is so near to 0 that
    these functions are the same number there, so that it may be rounded; the kernel would answer with garbage."""
    assert x.quant is not None
    step, (least, most) = x.quant.scale.item(), OPERANDS_16
    if step > most:
        raise NearMissError(f"the kernel of 16 bits knows no operands in steps of {step:g}")
    return x if step >= least else b.quantize(x, replace(x.quant, scale=np.array([least], np.float32)))


# ------------------------------------------------------------------------------------------------ weights


def _centred(value: Value | None, axis: int) -> tuple[np.ndarray, Quant]:
    """Weights less their zero point, which is 0 then, per tensor or along the output channels."""
    if value is None or value.data is None or value.quant is None or value.dtype.kind != "f":
        raise NearMissError("the weights are not quantised constants")
    quant = value.quant
    if quant.dtype not in (I8, U8) or quant.axis not in (None, axis):
        raise NearMissError(f"weights of {quant.dtype} along axis {quant.axis}")
    none = replace(quant, zero_point=np.zeros_like(quant.zero_point, np.int64), dtype=I16)
    return none.stored(value.data), replace(none, dtype=I8)


def fits(weights: np.ndarray) -> bool:
    """True for whole numbers that int8 has."""
    return int(weights.min(initial=0)) >= -LARGEST - 1 and int(weights.max(initial=0)) <= LARGEST


def _wide(f: Op, x: Value, weights: np.ndarray) -> tuple[Value, np.ndarray]:
    """Weights beyond int8 as a sum of such, of which all but the first read copies of those channels that need them.

    Not of depthwise convolutions and those in groups: their kernels with more channels are 50 times slower than floats.
    """
    own = weights.shape[-1]
    if x.shape[-1] != own or axes_of(f).inputs is None:
        raise NearMissError("weights beyond int8, in groups")
    parts: list[np.ndarray] = []
    copies: list[Value] = []
    rest = weights
    while rest.any():
        used = np.flatnonzero(rest.reshape(-1, own).any(axis=0))
        first, last = (used[0], used[-1] + 1) if parts else (0, own)
        part = np.clip(rest, -LARGEST, LARGEST)
        parts.append(part[..., first:last])
        copies.append(_channels(x, int(first), int(last)))
        rest = rest - part
    wide = b.concat(copies, -1)
    wide.quant = x.quant
    return wide, np.concatenate(parts, -1)


def _channels(x: Value, first: int, last: int) -> Value:
    """Channels of ``x``."""
    if last - first == x.shape[-1]:
        return x
    static = is_static(x.shape)
    part = b.narrow(x, -1, first, last - first) if static else b.gather(x, np.arange(first, last), -1)
    part.quant = x.quant
    return part


def _bias(value: Value | None, scale: np.ndarray, out: Quant, channels: int) -> Value:
    """The bias in units of ``scale``, of 32 bits or, beside activations of 16, of 64; refused where that is not precise
    enough."""
    if value is not None and value.data is None:
        raise NearMissError("the bias is only known at run time")
    real = np.zeros(channels) if value is None else value.data.astype(np.float64)  # type: ignore[union-attr]
    units, dtype = np.round(real / scale), I64 if out.dtype == I16 else I32
    seen = np.where(scale / out.scale < LEAST_FACTOR, 0, units * scale)  # what the kernel makes of it
    if (
        np.abs(units).max(initial=0) >= SUMS[dtype]
        or np.abs(seen - real).max(initial=0) > BIAS_ERROR * out.scale.item()
    ):
        raise NearMissError(f"the bias does not fit {dtype} with the scale of operand times weights")
    axis = 0 if scale.size > 1 else None
    quant = Quant(scale.astype(np.float32), np.zeros(scale.size, np.int64), dtype, axis)
    return constant(units.astype(dtype), name=value.name if value else "zero_bias", quant=quant)


def _linear(f: Op, out: Quant) -> Value:
    x, axis, given = _activation(f.inputs[0], out), axes_of(f).outputs, f.inputs[1]
    weights, quant = _centred(given, axis)
    assert x.quant is not None and given is not None
    scale = x.quant.scale.astype(np.float64).reshape(-1) * quant.scale.astype(np.float64)
    bias = _bias(f.inputs[2] if len(f.inputs) > 2 else None, scale, out, weights.shape[axis])
    if not fits(weights):
        x, weights = _wide(f, x, weights)
    return again(f, x, constant(weights.astype(I8), name=given.name, quant=quant), bias)


@rule("linear(shared(DYNAMIC_QUANT(x)), const(w), ...)")
def hybrid(m: Match) -> Value | None:
    """kernel that quantises its operand as it comes

    It is rounded to 8 bits of its range at run time; the products are those of integers.
    """
    f, x = m.root, m.x
    weights, quant = _centred(m.w, axes_of(f).outputs)
    if f.kind.int8 is not Int8.LINEAR:
        raise NearMissError("there is no integer kernel")
    if not fits(weights):
        x, weights = _wide(f, x, weights)
    axis = axes_of(f).outputs
    scale = np.broadcast_to(quant.scale, weights.shape[axis])  # kernels of weights with one are less precise
    per_channel = Quant(scale, np.zeros(scale.size, np.int64), I8, axis)
    return again(f, x, constant(weights.astype(I8), name=m.w.name, quant=per_channel), *f.inputs[2:])


KERNELS: dict[Int8 | FixedScale | None, Callable[[Op, Quant], Value]] = {
    Int8.LINEAR: _linear,
    Int8.RESCALES: _rescales,
    Int8.SUM: _sum,
    Int8.PRODUCT: _product,
    Int8.ONE_SCALE: _one_scale,
    Int8.RESAMPLES: _resampled,
}


@rule("QUANTIZE(result := kernel(...))", origin="result", above=1)
def kernel(m: Match) -> Value | None:
    """integer kernel

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
    _unbounded(value, out)
    return value


def _unbounded(value: Value, out: Quant) -> None:
    """RELU6 as RELU where the integers end long before 6, which kernels then cannot say in steps of the result."""
    attrs = value.producer.attrs if value.producer is not None else {}
    if attrs.get("activation") == "RELU6" and KINDS["RELU6"].limits[1] / out.scale.item() >= STEPS:
        attrs["activation"] = "RELU"
