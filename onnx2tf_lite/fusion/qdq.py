"""Integer kernels for quantised models: DEQUANTIZE -> operation -> QUANTIZE becomes one int8 operation.

TFLite's 8-bit scheme (docs/kernels.md, quantised models): activations are int8 with one
scale and zero point, weights int8 with zero point 0 and perhaps a scale per output channel, biases int32 with scale
``s_x * s_w``.  ONNX's uint8 activations are the same real numbers as int8 with the zero point less 128.

Everything here is either exact on the real numbers or a rounding that the kernel does where the model has one.  What
fits no integer kernel stays float between DEQUANTIZE and QUANTIZE, which is slower and right.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dynamic_range
from ..ir.editor import rewrite
from ..ir.graph import Graph, Op, Quant, Value
from ..ir.rules import Match, again, has_one_reader, rule
from ..ir.traits import Elements
from . import substitutes
from .cleanup import equal, merge_reshapes
from .cleanup import same_integers as same_pair
from .integer_kernels import I16, computes, hybrid, integers, kernel, source
from .tables import table

U8, I32 = np.dtype(np.uint8), np.dtype(np.int32)


# ------------------------------------------------------------------------------------------------ unsigned as signed


@rule("QUANTIZE(x)")
def quantize_signed(m: Match) -> Value | None:
    """QUANTIZE to unsigned integers by way of signed ones

    uint8 q with zero point z are the real numbers of int8 q - 128 with zero point z - 128; so of 16 bits with 32768.
    """
    quant = m.root.attrs["quant"]
    signed = quant.as_signed()
    if signed is None or quant.dtype.kind == "i" or m.x.dtype.kind != "f":
        return None
    return b.quantize(b.quantize(m.x, signed), quant)


def shifted(x: Value) -> Value | None:
    """The signed tensor that ``x``, unsigned, was made of without a change of the real numbers."""
    producer = x.made_by("QUANTIZE")
    if producer is None:
        return None
    origin, quant = producer.inputs[0], producer.attrs["quant"]
    signed = quant.as_signed()
    exact = origin is not None and origin.quant and signed and quant.dtype.kind == "u" and equal(origin.quant, signed)
    return origin if exact else None


@rule("DEQUANTIZE(x)", above=1)
def dequantize_signed(m: Match) -> Value | None:
    """DEQUANTIZE of unsigned integers by way of signed ones

    uint8 q with zero point z are the real numbers of int8 q - 128 with zero point z - 128; so of 16 bits with 32768.
    """
    quant = m.root.attrs["quant"]
    signed = quant.as_signed()
    if signed is None or quant.dtype.kind == "i" or (m.x.quant and not equal(m.x.quant, quant)):
        return None
    return b.dequantize(shifted(m.x) or b.quantize(m.x, signed), signed)


@rule("view(shift := shared(QUANTIZE(x)), ...)")
def move_signed(m: Match) -> Value | None:
    """movement of unsigned integers on signed ones

    Moving elements and adding 128 to each of them commute.
    """
    if shifted(m.shift) is None:
        return None
    return b.quantize(_moved(m.root, m.x), m.op("shift").attrs["quant"])


@rule("QUANTIZE(inner := QUANTIZE(x))")
def unsigned(m: Match) -> Value | None:
    """QUANTIZE to uint8 at once

    Quantising and then adding 128 is quantising with the zero point plus 128.
    """
    quant = m.root.attrs["quant"]
    signed = quant.as_signed() if quant.dtype == U8 else None
    same = signed is not None and equal(m.op("inner").attrs["quant"], signed) and m.x.dtype.kind == "f"
    return b.quantize(m.x, quant) if same else None


@rule("DEQUANTIZE(shared(QUANTIZE(x)))")
def from_unsigned(m: Match) -> Value | None:
    """DEQUANTIZE of uint8 at once

    (q - z) * s = ((q - 128) - (z - 128)) * s.
    """
    quant = m.x.quant
    signed = quant.as_signed() if m.x.dtype == U8 and quant else None
    return b.dequantize(m.x, quant) if quant and signed and equal(signed, m.root.attrs["quant"]) else None


@rule("view|PAD(shared(DYNAMIC_QUANT(x)), ...)")
def move_dynamic(m: Match) -> Value | None:
    """movement before rounding by a range

    What only moves, and zeros, do not change the range, which reaches to 0 always.
    """
    return b.emit("DYNAMIC_QUANT", again(m.root, m.x, *m.root.inputs[1:])) if _keeps_all(m.root) else None


def _keeps_all(move: Op) -> bool:
    """True where every element of the operand is in the result."""
    return move.kind.is_view or move.kind.elements is Elements.PADDED


@rule("DYNAMIC_QUANT(x)")
def arithmetic(m: Match) -> Value | None:
    """rounding by a range as arithmetic

    DynamicQuantizeLinear and DequantizeLinear by their definitions.
    """
    return dynamic_range.requantised(m.x)


@rule("QUANTIZE(x)")
def sum_16(m: Match) -> Value | None:
    """between int16 and uint16 as a sum

    There is no QUANTIZE of uint16, which has 32768 more.
    """
    to = m.root.outputs[0].dtype
    if {m.x.dtype.name, to.name} != {"int16", "uint16"}:
        return None
    return b.cast(b.cast(m.x, I32) + np.int32(-32768 if to == I16 else 32768), to)


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


@rule("DEPTH_TO_SPACE|SPACE_TO_DEPTH(real := shared(DEQUANTIZE(x)))")
def blocks_16(m: Match) -> Value | None:
    """blocks of 16 bits as TRANSPOSE

    DEPTH_TO_SPACE and SPACE_TO_DEPTH have no kernel of 16 bits.
    """
    return substitutes.blocks(m.root, m.real) if m.x.dtype == I16 else None


@rule("QUANTIZE(function := elementwise(real := DEQUANTIZE(renamed := RESHAPE(x))))")
def between_views(m: Match) -> Value | None:
    """function of every element before a RESHAPE

    f(reshape(x)) = reshape(f(x)): the RESHAPE that exporters put behind it becomes one with that before it.
    """
    quant, stored = m.root.attrs["quant"], m.op("real").attrs["quant"]
    if (
        m.x.rank > m.op("function").kind.max_rank
        or m.x.is_constant
        or m.x.quant is None
        or not equal(m.x.quant, stored)
    ):
        return None
    return b.reshape(b.quantize(again(m.op("function"), b.dequantize(m.x, stored)), quant), m.root.outputs[0].shape)


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


TO_SIGNED = [quantize_signed, dequantize_signed, move_signed]
INTO_KERNELS = [
    move_dynamic,
    hybrid,
    blocks_16,
    sink,
    sink_pad,
    sink_join,
    same_pair,
    between_views,
    merge_reshapes,
    kernel,
    requantize,
    lift,
    lift_pad,
    lift_join,
]
WHAT_IS_LEFT = [unsigned, from_unsigned, sum_16, arithmetic]


def qdq(graph: Graph, throughout: bool = False) -> list[str]:
    """Form integer kernels in a fused program, in place (the .tflite branch, before ``dynamic.materialise``).
    ``throughout``: also where floats are faster, since the file may have none."""
    notes = rewrite(graph, TO_SIGNED + INTO_KERNELS)
    return notes + rewrite(graph, [table] * throughout + WHAT_IS_LEFT)
