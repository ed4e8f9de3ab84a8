"""int8 weights beside float activations: read by hybrid kernels, or expanded by a DEQUANTIZE."""

from __future__ import annotations

from ..ir import rewrite
from ..ir.graph import Graph, Op, Value, constant, current_graph
from . import scales
from .recipes import I8

SMALL = 1024  # elements from which a constant is worth the DEQUANTIZE, as LiteRT's own quantisers have it


def quantise_weights(graph: Graph, hybrid: bool, per_channel: bool = True) -> int:
    """The weights of linear operators as int8, in the graph and its bodies, in place; how many."""
    count = 0
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            count += _quantise(op, hybrid, per_channel)
            part.ops.append(op)
    return count


def _quantise(op: Op, hybrid: bool, per_channel: bool) -> bool:
    if op.kind.weights is None or op.kind.int8 is None or op.inputs[1] is None or op.outputs[0].dtype.kind != "f":
        return False
    weights = op.inputs[1]
    if weights.data is None or weights.data.dtype.kind != "f" or weights.data.size < SMALL:
        return False
    quant = scales.of_weights(weights.data, op.kind.weights.outputs if per_channel else None)
    stored = constant(quant.stored(weights.data), I8, weights.name, quant)
    op.inputs[1] = stored
    if not hybrid:  # the builder would fold it
        op.inputs[1] = Value(current_graph().fresh_name(f"{weights.name}_real"), weights.shape, weights.dtype)
        rewrite.define("DEQUANTIZE", stored, op.inputs[1], quant=quant)
    return True
