"""Integers as weights beside float activations: read by hybrid kernels, or expanded by a DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Quant, Value, constant, current_graph
from ..ir.lattices import BITS, bytes_of, had_few_bits
from ..ir.traits import Int8
from . import blocks, rounding
from .blocks import WIDE, WeightForm
from .recipes import Recipe
from .rounding import Moments

Known = Mapping[str, Moments]
NOTHING: Known = MappingProxyType({})
SHARE = 1 / 8  # of all weights, below which a table has 16 bits: what it is off reaches whatever reads it, undivided
SMALL = 1024  # elements from which a constant is worth the DEQUANTIZE, as LiteRT's own quantisers have it


def quantise_weights(
    parts: Iterable[Graph], recipe: Recipe, per_channel: bool = True, moments: Known = NOTHING
) -> dict[str, list[str]]:
    """The weights of linear operators in some graphs, and tables that are picked from unless kernels have to read them,
    as integers, in place; the nodes by the form that they have now.

    A model that has weights of 4 bits already keeps those; what its exporter left in floats beside them stays so.
    Weights that are integers of 8 bits times a scale keep that scale.
    ``moments`` of their operands, where they are known, by the names of their results: see :mod:`.rounding`.
    """
    forms: dict[str, list[str]] = {}
    parts = [*parts]
    kept = recipe.bits == BITS and any(_had_few_bits(op) for part in parts for op in part.ops)
    few = SHARE * sum(_size(op, recipe) for part in parts for op in part.ops)
    for part in parts:
        for op in rewrite.walk(part):
            place = _place(op, recipe)
            small = op.kind.weights is None and _size(op, recipe) < few
            form = _form(op, place, recipe, per_channel, small) if place is not None else None
            if place is not None and form is not None and (form.known or not kept):
                _store(op, place, form, recipe.hybrid, moments.get(op.outputs[0].name))
                forms.setdefault(form.said, []).append(op.origin.node if op.origin else op.outputs[0].name)
            part.ops.append(op)
    return forms


def _had_few_bits(op: Op) -> bool:
    weights = op.inputs[1] if op.is_a("FULLY_CONNECTED") else None
    return weights is not None and weights.data is not None and had_few_bits(weights.data)


def _place(op: Op, recipe: Recipe) -> int | None:
    """Which operand is weights that are worth it."""
    linear = op.kind.weights is not None and op.kind.int8 is not None
    table = op.kind.int8 is Int8.MOVES and not recipe.hybrid
    place = 1 if linear else 0
    weights = op.inputs[place] if linear or table else None
    if weights is None or weights.data is None or weights.data.dtype.kind != "f" or op.outputs[0].dtype.kind != "f":
        return None
    return place if weights.data.size >= SMALL else None


def _size(op: Op, recipe: Recipe) -> int:
    """Of its weights, if they are worth it."""
    place = _place(op, recipe)
    return 0 if place is None else op.inputs[place].data.size  # type: ignore[union-attr]


def _form(op: Op, place: int, recipe: Recipe, per_channel: bool, small: bool) -> WeightForm:
    """Tables have a row for each element that is picked; ``small`` ones are worth more bits."""
    if small:
        return WeightForm(f"int{WIDE} (a small table)", WIDE)
    data = op.inputs[place].data  # type: ignore[union-attr]
    assert data is not None
    axis = 0 if op.kind.weights is None else op.kind.weights.outputs
    if recipe.bits == BITS:
        return blocks.form(data, axis)
    return WeightForm("int8", axis=axis if per_channel else None, known=_own(data, axis if per_channel else None))


def _own(weights: np.ndarray, axis: int | None) -> Quant | None:
    """The parameters of weights that were integers of 8 bits: a quantised model's, whose kernel here is a float one."""
    rows = weights if axis is None else np.moveaxis(weights, axis, 0)
    scale = bytes_of(rows.reshape(1 if axis is None else len(rows), -1))
    return None if scale is None else Quant(scale, np.zeros(scale.size, np.int64), np.dtype(np.int8), axis)


def _store(op: Op, place: int, form: WeightForm, hybrid: bool, moments: Moments | None) -> None:
    weights = op.inputs[place]
    assert weights is not None and weights.data is not None
    data, quant = weights.data, form.quant(weights.data)
    if moments is not None and moments.known:
        data, error = rounding.rounded(op, data, quant, moments)
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        if bias is None or bias.data is not None:
            before = 0.0 if bias is None else bias.data
            op.inputs[2:] = [constant((before - error).astype(np.float32), name=f"{weights.name}_bias")]
    stored = constant(quant.stored(form.laid_out(data)), quant.dtype, weights.name, quant)
    op.inputs[place] = stored if hybrid else _expanded(stored, quant, weights)


def _expanded(stored: Value, quant: Quant, weights: Value) -> Value:
    """``weights``, made of ``stored`` while the program runs (the builder would fold that); perhaps of blocks."""
    real = Value(current_graph().fresh_name(f"{weights.name}_real"), stored.shape, weights.dtype)
    if stored.shape == weights.shape:
        rewrite.define("DEQUANTIZE", stored, real, quant=quant)
        return real
    stored.quant = replace(quant, scale=np.ones(1, np.float32), zero_point=np.zeros(1, np.int64), axis=None)
    rewrite.define("DEQUANTIZE", stored, real, quant=stored.quant)
    shifted = real - quant.zero_point[:, None].astype(np.float32) if quant.zero_point.any() else real
    return b.reshape(b.mul(shifted, quant.scale[:, None]), weights.shape)
