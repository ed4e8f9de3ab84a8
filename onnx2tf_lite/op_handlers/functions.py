"""Operators that ONNX itself defines as functions of simpler ones, where no handler is better.

The definition (for the node's types and attributes) is taken from onnx, brought to the opset that the handlers know, and
lowered in place of the node.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs
from onnx import ModelProto, defs
from onnx.inliner import inline_selected_functions

from .. import passes
from ..errors import ConversionError, Problem
from ..ir.dims import Expr
from ..ir.graph import Value, current_graph, current_origin
from ..passes.edit import graphs


def is_function(node: gs.Node, opset: int) -> bool:
    """Has the operator a definition?"""
    domain = node.domain or ""
    if not defs.has(node.op, domain):
        return False
    schema = defs.get_schema(node.op, *([] if domain else [opset]), domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def definition(node: gs.Node, inputs: Sequence[Value | None], opset: int, prefix: str) -> gs.Graph | None:
    """A graph with the node's inputs ``i0``, ``i1``, ... and outputs that computes what the node does.

    The names of all other tensors begin with ``prefix``.
    """
    operands = [
        gs.Variable(f"i{i}", v.dtype, [str(d) if isinstance(d, Expr) else d for d in v.shape]) if v else gs.Variable.empty()
        for i, v in enumerate(inputs)
    ]  # fmt: skip
    results = [gs.Variable.empty() if t.is_empty() else gs.Variable(f"o{i}") for i, t in enumerate(node.outputs)]
    call = gs.Node(node.op, node.name, node.attrs, operands, results, domain=node.domain or None)
    given, wanted = [t for t in operands if t.name], [t for t in results if t.name]
    model = passes.to_proto(gs.Graph([call], given, wanted, opset=opset, import_domains=_domains(node, opset)))
    inlined: ModelProto = inline_selected_functions(model, [(node.domain or "", node.op)], inline_schema_functions=True)
    if any(n.op_type == node.op and n.domain == (node.domain or "") for n in inlined.graph.node):
        return None
    graph = passes.run("upgrade", passes.load(inlined)).graph
    fixed = {t.name for t in given}
    tensors = {id(t): t for g in graphs(graph) for t in g.tensors().values() if t.name and t.name not in fixed}
    for tensor in tensors.values():
        tensor.name = f"{prefix}/{tensor.name}"
    return graph
