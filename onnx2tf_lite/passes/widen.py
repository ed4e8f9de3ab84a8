"""16-bit floats become float32: the files compute in that, and what is folded should not be rounded any earlier."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from ..model.edit import graphs, tensors
from ..model.surgeon import HALF_FLOATS, TYPE_ATTRIBUTES, LazyTensor, elem_type
from .manager import Pass, PassResult, counted

FLOAT = np.dtype(np.float32)


class Widen(Pass):
    """Compute in float32 what the model computes in float16 or bfloat16, as the files do."""

    name = "widen"

    def call(self, graph: gs.Graph) -> PassResult:
        """Widen them in the graph and its bodies."""
        every = list(graphs(graph))
        count = sum(map(_attributes, (node for g in every for node in g.nodes)))
        ends = [t for g in every for t in [*g.inputs, *g.outputs]]
        found = {id(t): t for t in [*ends, *(t for g in every for t in tensors(g))]}
        return counted(graph, {"16-bit tensor(s) and type(s)": count + sum(map(_tensor, found.values()))}, "widened ")


def _attributes(node: gs.Node) -> int:
    """Element types that a node names, and the constants that it holds."""
    named = [k for k, v in node.attrs.items() if k in TYPE_ATTRIBUTES and v in HALF_FLOATS]
    node.attrs |= dict.fromkeys(named, int(TensorProto.FLOAT))
    return len(named) + sum(_tensor(v) for v in node.attrs.values() if isinstance(v, gs.Constant))


def _tensor(tensor: gs.Tensor) -> bool:
    dtype = tensor.dtype
    if dtype is None or isinstance(dtype, int) or elem_type(dtype) not in HALF_FLOATS:
        return False
    if isinstance(tensor, gs.Constant):
        tensor._values = _wide(tensor._values)
    else:
        tensor.dtype = FLOAT
    return True


def _wide(held: np.ndarray | LazyTensor) -> np.ndarray | LazyTensor:
    """Contents in float32, read and converted when somebody asks for them."""
    if isinstance(held, np.ndarray):
        return held.astype(FLOAT)
    proto = TensorProto(data_type=TensorProto.FLOAT, dims=held.shape)
    return LazyTensor(proto, lambda: held.load().astype(FLOAT).tobytes())
