"""ONNX operators as IR: one small handler per operator, tables where operators share a form.

``registry``  how a handler is declared         ``lower``  the walk over the graph
"""

from . import activations, arithmetic, indexing, matmul, normalization, reductions, shapes, slicing
from .registry import HANDLERS, NodeInfo, Unsupported, const, current_node, op, table

__all__ = [
    "HANDLERS", "NodeInfo", "Unsupported", "activations", "arithmetic", "const", "current_node", "indexing", "matmul",
    "normalization", "op", "reductions", "shapes", "slicing", "table",
]  # fmt: skip
