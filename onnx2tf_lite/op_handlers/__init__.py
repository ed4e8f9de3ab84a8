"""ONNX operators as IR: one small handler per operator, tables where operators share a form.

``registry``  how a handler is declared         ``lower``  the walk over the graph
"""

from .registry import HANDLERS, NodeInfo, Unsupported, const, current_node, op, table

__all__ = ["HANDLERS", "NodeInfo", "Unsupported", "const", "current_node", "op", "table"]
