"""ONNX operators as IR: one small handler per operator, tables where operators share a form.

``registry``  how a handler is declared, and found         ``lower``  the walk over the graph
"""

from .registry import NodeInfo, UnsupportedError, const, current_node, every, find, op, table

__all__ = ["NodeInfo", "UnsupportedError", "const", "current_node", "every", "find", "op", "table"]
