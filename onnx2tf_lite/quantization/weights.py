"""int8 weights beside float activations: read by hybrid kernels, or expanded by a DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from ..ir import rewrite
from ..ir.graph import Graph, Op, Value, constant, current_graph
from . import rounding, scales
from .recipes import I8
from .rounding import Moments

Known = Mapping[str, Moments]
NOTHING: Known = MappingProxyType({})
SMALL = 1024  # elements from which a constant is worth the DEQUANTIZE, as LiteRT's own quantisers have it


def quantise_weights(
    parts: Iterable[Graph],
    hybrid: bool,
    per_channel: bool = True,
    moments: Known = NOTHING,
) -> int:
    """The weights of linear operators as int8, in some graphs, in place; how many.

    ``moments`` of their operands, where they are known, by the names of their results: see :mod:`.rounding`.
    """
    count = 0
    for part in parts:
        for op in rewrite.walk(part):
            count += _quantise(op, hybrid, per_channel, moments.get(op.outputs[0].name))
            part.ops.append(op)
    return count


def _quantise(op: Op, hybrid: bool, per_channel: bool, moments: Moments | None) -> bool:
    if op.kind.weights is None or op.kind.int8 is None or op.inputs[1] is None or op.outputs[0].dtype.kind != "f":
        return False
    weights = op.inputs[1]
    if weights.data is None or weights.data.dtype.kind != "f" or weights.data.size < SMALL:
        return False
    quant = scales.of_weights(weights.data, op.kind.weights.outputs if per_channel else None)
    data = weights.data
    if moments is not None and moments.known:
        data, error = rounding.rounded(op, data, quant, moments)
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        if bias is None or bias.data is not None:
            before = 0.0 if bias is None else bias.data
            op.inputs[2:] = [constant((before - error).astype(np.float32), name=f"{weights.name}_bias")]
    stored = constant(quant.stored(data), I8, weights.name, quant)
    op.inputs[1] = stored
    if not hybrid:  # the builder would fold it
        op.inputs[1] = Value(current_graph().fresh_name(f"{weights.name}_real"), weights.shape, weights.dtype)
        rewrite.define("DEQUANTIZE", stored, op.inputs[1], quant=quant)
    return True
