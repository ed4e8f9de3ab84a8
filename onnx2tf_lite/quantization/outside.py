"""Inputs and outputs of a program as integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import ConversionError, Problem
from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Quant, Value, building
from ..ir.traits import Elements, Int8
from . import scales
from .loops import REMEDIES, float_inside
from .positions import positions

FLOAT = np.dtype(np.float32)
NAMED = 5  # operations that an error names
SAME = (Int8.MOVES, Int8.PADS, Int8.ONE_SCALE, Int8.RESAMPLES)  # the result has the parameters of the operand
#: The parameters of an input or output in a signed dtype, where calibration has seen it.
Known = Callable[[Value, np.dtype], "Quant | None"]


def quantise(graph: Graph, inputs: np.dtype, outputs: np.dtype, known: Known = lambda value, dtype: None) -> None:
    """Give the inputs and outputs of an annotated program these dtypes (float32: as they are), in place.

    Their parameters are those of the integers that they become or were.  What has another width inside, as mixed
    precision and a model's own scales give it, is rescaled by a QUANTIZE.  What has no integers has the range that is
    known of it, or stays float (``refuse_floats``).
    """
    if outputs != FLOAT:
        _outputs(graph, outputs, known)
    if inputs != FLOAT:
        _inputs(graph, inputs, known)


def as_dtype(quant: Quant, dtype: np.dtype) -> Quant | None:
    """Parameters by which ``dtype`` holds the same real numbers: the same ones, where it is as wide; the same steps in
    more bits; in fewer bits steps that reach as far.  None for integers that no kernel computes with."""
    signed = quant.as_signed()
    if signed is None or dtype == quant.dtype:
        return None if signed is None else quant
    if dtype.itemsize < signed.dtype.itemsize:
        low, high = signed.real(np.array(signed.ends))
        return scales.of_range(float(low), float(high), dtype)
    if dtype.itemsize > 1:  # zero is 0 in kernels of 16 bits
        return replace(signed, zero_point=np.zeros_like(signed.zero_point), dtype=dtype)
    return replace(signed, zero_point=signed.zero_point + (128 if dtype == np.uint8 else 0), dtype=dtype)


def _inputs(graph: Graph, dtype: np.dtype, known: Known) -> None:
    readers = graph.consumers()
    for i, value in enumerate(graph.inputs):
        found = list(_quantised(value, readers))
        nearest = min(found, key=lambda quant: quant.dtype.itemsize != dtype.itemsize, default=None)
        if (quant := _outer(value, nearest, dtype, known)) is None:
            continue
        stored = Value(value.name, value.shape, dtype, quant=quant)
        graph.inputs[i] = stored
        value.name = graph.fresh_name(value.name)
        old, graph.ops = graph.ops, []
        with building(graph):
            value.producer = rewrite.define("DEQUANTIZE", stored, value, quant=quant)
        graph.ops += old
        _place(graph, value, stored)


def _quantised(value: Value, readers: Mapping[Value, Sequence[Op]]) -> Iterator[Quant]:
    """The parameters of the integers that ``value`` becomes, behind what only moves it."""
    for op in readers.get(value, ()):
        if op.is_a("QUANTIZE"):
            yield op.attrs["quant"]
        elif op.kind.int8 is Int8.MOVES:
            yield from _quantised(op.outputs[0], readers)


def _outputs(graph: Graph, dtype: np.dtype, known: Known) -> None:
    for i, value in enumerate(graph.outputs):
        if (quant := _outer(value, _parameters(value), dtype, known)) is None:
            continue
        with building(graph, value.producer.origin if value.producer else None):
            stored = b.quantize(value, quant)
        graph.outputs[i] = stored
        _place(graph, value, stored)


def _outer(value: Value, inner: Quant | None, dtype: np.dtype, known: Known) -> Quant | None:
    """The parameters in ``dtype`` of an end, by those of the integers beside it; by its range as far as calibration has
    seen it, where there are none or they have more bits.  None: it is no float, or nothing is known of it."""
    if value.dtype != FLOAT:
        return None
    seen = None
    if inner is None or dtype.itemsize < inner.dtype.itemsize:
        seen = known(value, np.dtype(np.int8) if dtype.itemsize == 1 else dtype)
    inner = seen or inner
    return None if inner is None else as_dtype(inner, dtype)


def refuse_floats(graph: Graph, kind: str, inputs: np.dtype, outputs: np.dtype) -> None:
    """The inputs and outputs of a program of a ``kind`` have these dtypes, as far as they are real numbers.

    :raises ConversionError: with those that do not.
    """
    ends = [(v.name, v, inputs) for v in graph.inputs]
    ends += [(name, v, outputs) for name, v in zip(graph.output_names, graph.outputs, strict=True)]
    if left := [f"'{name}' {dtype}" for name, value, dtype in ends if value.dtype == FLOAT != dtype]:
        what = f"no range is known by which these could be integers: {', '.join(left)}"
        raise ConversionError(Problem(kind, what, "give calibration data (-cind, --calibration)"))


def refuse_islands(graph: Graph, kind: str) -> None:
    """Nothing computes with floats in a program of a ``kind`` that is to be integer throughout.

    :raises ConversionError: with the operations that do.
    """
    found = [op for part in rewrite.graphs(graph) for op in part.ops if _floats(op)]
    if not found:
        return
    kinds = ", ".join(f"{count} {name}" for name, count in Counter(op.kind.name for op in found).items())
    named = ", ".join(repr(op.origin.node if op.origin else op.outputs[0].name) for op in found[:NAMED])
    first = f" (the first at {named})" if len(found) > NAMED else f" (at {named})"
    stay = positions(graph).ops
    read = ", or say which elements are read" * any(op in stay for op in found)
    what = f"{len(found)} operations have no integer kernel here{read}: {kinds}{first}"
    inside = kind.removeprefix("full_")
    written = [REMEDIES[how] for how in float_inside(graph) if how in REMEDIES]
    otherwise = [f"ask for {inside}, which may have floats inside", "end the model before them (-onimc)"]
    raise ConversionError(Problem(kind, what, "; ".join([*written, *otherwise])))


def _floats(op: Op) -> bool:
    """True for an operation that computes with floats, conversions from and to integers aside."""
    made = any(v.dtype == FLOAT for v in op.outputs)
    read = any(v is not None and v.dtype == FLOAT and not v.is_constant for v in op.inputs)
    return (made or read) and op.kind.elements is not Elements.ENCODED


def _parameters(value: Value) -> Quant | None:
    """Those of the integers that a result was dequantised from, before what has the same."""
    op: Op | None = value.producer
    while op is not None and op.kind.int8 in SAME:
        op = op.inputs[0].producer if op.inputs[0] is not None else None
    return op.attrs["quant"] if op is not None and op.is_a("DEQUANTIZE") else None


def _place(graph: Graph, value: Value, stored: Value) -> None:
    for name, place in graph.placements.items():
        if place.value is value:
            graph.placements[name] = replace(place, value=stored, real=True)
