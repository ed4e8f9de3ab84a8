# ruff: noqa: F401 (importing a family registers its handlers)
"""ONNX operators as IR: one small handler per operator, tables where operators share a form.

``registry``  how a handler is declared         ``lower``  the walk over the graph
"""

from .registry import HANDLERS, NodeInfo, Unsupported, const, current_node, op, table  # isort: split

from . import (
    activations,
    arithmetic,
    attention,
    classical,
    control,
    convolution,
    detection,
    foreign,
    geometry,
    indexing,
    linalg,
    matmul,
    microsoft,
    normalization,
    pooling,
    quantization,
    randomness,
    recurrent,
    reductions,
    resize,
    sampling,
    sequences,
    shapes,
    signal,
    slicing,
    spatial,
    text,
    trees,
)

__all__ = ["HANDLERS", "NodeInfo", "Unsupported", "const", "current_node", "op", "table"]
