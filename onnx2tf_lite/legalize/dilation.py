"""Dilated 3-D convolutions for TensorFlow, whose CPU kernel has none: zeros between the elements of the kernel.

TFLite's kernel dilates by itself, with a fraction of the weights and of the products.
"""

from __future__ import annotations

from ..ir import rewrite
from ..ir.dilation import dilate
from ..ir.graph import Graph


def fill_kernels(graph: Graph) -> Graph:
    """Give every dilated CONV_3D weights with zeros in them, in place."""
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            if op.is_a("CONV_3D") and set(op.attrs["dilations"]) != {1}:
                x, weights, *bias = op.inputs
                assert weights is not None
                op.inputs = [x, dilate(weights, op.attrs["dilations"], 0), *bias]
                op.attrs = op.attrs | {"dilations": (1, 1, 1)}
            part.ops.append(op)
    return graph
