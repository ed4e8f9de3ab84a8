"""ONNX operators as IR: one small handler per operator, tables where operators share a form.

``registry``  how a handler is declared         ``lower``  the walk over the graph
"""

from .registry import HANDLERS, NodeInfo, Unsupported, const, current_node, op, table  # isort: split

# Importing a family registers its operators.
from . import (
    activations,
    arithmetic,
    attention,
    control,
    convolution,
    detection,
    geometry,
    indexing,
    linalg,
    matmul,
    normalization,
    pooling,
    quantization,
    randomness,
    recurrent,
    reductions,
    resize,
    sampling,
    shapes,
    signal,
    slicing,
    spatial,
    text,
)

FAMILIES = (
    activations, arithmetic, attention, control, convolution, detection, geometry, indexing, linalg, matmul,
    normalization, pooling, quantization, randomness, recurrent, reductions, resize, sampling, shapes, signal,
    slicing, spatial, text,
)  # fmt: skip

__all__ = ["FAMILIES", "HANDLERS", "NodeInfo", "Unsupported", "const", "current_node", "op", "table"]
