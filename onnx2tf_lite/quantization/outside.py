"""Inputs and outputs of a program as integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import ConversionError, Problem
from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Quant, Value, building
from ..ir.traits import Elements
from . import scales
from .loops import REMEDIES, float_inside
from .positions import positions

FLOAT = np.dtype(np.float32)
NAMED = 5  # operations that an error names
#: The parameters of an input or output in a signed dtype, where calibration has seen it.
Known = Callable[[Value, np.dtype], "Quant | None"]


def quantise(graph: Graph, inputs: np.dtype, outputs: np.dtype, known: Known = lambda value, dtype: None) -> None:
    """Give the inputs and outputs of an annotated program these dtypes (float32: as they are), in place.

    Only what is annotated with parameters can be one: the others stay float, and are counted as islands.  What has
    another width inside, as mixed precision and a model's own scales give it, is rescaled by a QUANTIZE.
    """
    if outputs != FLOAT:
        _outputs(graph, outputs, known)
    if inputs != FLOAT:
        _inputs(graph, inputs, known)


def as_dtype(quant: Quant, dtype: np.dtype) -> Quant:
    """The parameters of the same real numbers in int8 or uint8."""
    if dtype == quant.dtype:
        return quant
    moved = quant.zero_point.astype(np.int64) + (128 if dtype == np.uint8 else -128)
    return replace(quant, zero_point=moved, dtype=dtype)


def _inputs(graph: Graph, dtype: np.dtype, known: Known) -> None:
    readers = graph.consumers()
    for i, value in enumerate(graph.inputs):
        found = [op.attrs["quant"] for op in readers.get(value, ()) if op.is_a("QUANTIZE")]
        if value.dtype != FLOAT or not found:
            continue
        quant = _outer(value, next((q for q in found if _like(q, dtype)), found[0]), dtype, known)
        stored = Value(value.name, value.shape, dtype, quant=quant)
        graph.inputs[i] = stored
        value.name = graph.fresh_name(value.name)
        old, graph.ops = graph.ops, []
        with building(graph):
            value.producer = rewrite.define("DEQUANTIZE", stored, value, quant=quant)
        graph.ops += old
        _place(graph, value, stored)


def _outputs(graph: Graph, dtype: np.dtype, known: Known) -> None:
    for i, value in enumerate(graph.outputs):
        quant = _parameters(value)
        if value.dtype != FLOAT or quant is None:
            continue
        with building(graph, value.producer.origin if value.producer else None):
            stored = b.quantize(value, _outer(value, quant, dtype, known))
        graph.outputs[i] = stored
        _place(graph, value, stored)


def _outer(value: Value, inner: Quant, dtype: np.dtype, known: Known) -> Quant:
    """The parameters in ``dtype`` of what has the ``inner`` ones: the same real numbers, or those between the same
    ends as far as calibration has seen them."""
    if _like(inner, dtype):
        return as_dtype(inner, dtype)
    signed = np.dtype(np.int8) if dtype.itemsize == 1 else dtype
    low, high = inner.real(np.array(inner.ends))
    return as_dtype(known(value, signed) or scales.of_range(float(low), float(high), signed), dtype)


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


def _like(quant: Quant, dtype: np.dtype) -> bool:
    return quant.dtype == dtype or (dtype.itemsize == quant.dtype.itemsize == 1 and quant.as_signed() is not None)


def _parameters(value: Value) -> Quant | None:
    """Those of the integers that a result was dequantised from, before what only moved it."""
    op: Op | None = value.producer
    while op is not None and op.kind.int8 is not None and not op.is_a("DEQUANTIZE"):
        op = op.inputs[0].producer if op.inputs[0] is not None else None
    return op.attrs["quant"] if op is not None and op.is_a("DEQUANTIZE") else None


def _place(graph: Graph, value: Value, stored: Value) -> None:
    for name, place in graph.placements.items():
        if place.value is value:
            graph.placements[name] = replace(place, value=stored, real=True)
