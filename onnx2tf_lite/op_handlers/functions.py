"""Operators that ONNX itself defines as functions of simpler ones, where no handler does better.

The definition, which depends on the node's types and attributes, comes from onnx; it is brought to the opset that the
handlers know and lowered in place of the node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, defs, helper
from onnx.inliner import inline_local_functions

from .. import passes
from ..ir.dims import Expr
from ..ir.graph import Value
from ..model.edit import graphs
from ..model.surgeon import Importer
from .registry import UnsupportedError

OURS = "definition"
NEWEST = 2**31 - 1


Schema = Any  # onnx.defs.OpSchema, whose stubs know nothing of definitions


def schema_of(node: gs.Node, opset: int) -> Schema:
    """The onnx.defs.OpSchema of an operator that has a definition; of domains besides the default one the newest."""
    version = NEWEST if node.domain else opset
    if not defs.has(node.op, version, node.domain or ""):
        return None
    schema: Schema = defs.get_schema(node.op, version, node.domain or "")
    return schema if schema.has_function or schema.has_context_dependent_function else None


def _type(value: Value | None) -> TypeProto:
    if value is None:
        return TypeProto()
    shape = [str(d) if isinstance(d, Expr) else d for d in value.shape]
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), shape)


def _function(schema: Schema, node: NodeProto, types: Sequence[TypeProto]) -> FunctionProto:
    """The newest body that the schema has, written for an opset of its own."""
    version = max(schema.all_function_opset_versions)
    if schema.has_function:
        return _parsed(schema.get_function_with_opset_version(version))
    operands = [t.SerializeToString() for t in types]
    try:
        text = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), operands)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise UnsupportedError(
            f"onnx does not give its definition: {said}", "check the model with onnx.checker"
        ) from error
    if not text:
        raise UnsupportedError("onnx gives no definition for these operands and attributes", "give every input a shape")
    return _parsed(text)


def _parsed(text: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(text)
    return function


def _isolate(body: GraphProto, outer: Mapping[str, str], held: Mapping[str, TensorProto], fresh: Iterator[int]) -> None:
    """Plain names in a body, which onnx writes into a definition as text; constants from outside become its own."""
    names = dict(outer)
    entries = [*body.input, *body.initializer]
    made = [*(entry.name for entry in entries), *(name for node in body.node for name in node.output)]
    names.update({name: f"v{next(fresh)}" for name in dict.fromkeys(made) if name})

    def renamed(name: str) -> str:
        if name and name not in names:
            if name not in held:
                raise UnsupportedError(f"its body reads '{name}' from outside, which the operator does not allow")
            names[name] = f"v{next(fresh)}"
            body.initializer.add().CopyFrom(held[name])
            body.initializer[-1].name = names[name]
        return names.get(name, "")

    for entry in entries:
        entry.name = names[entry.name]
    for node in body.node:
        node.name = ""
        node.input[:], node.output[:] = map(renamed, list(node.input)), map(renamed, list(node.output))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _isolate(attribute.g, names, held, fresh)
    for output in body.output:
        output.name = renamed(output.name)
    del body.value_info[:]


def definition(node: gs.Node, inputs: Sequence[Value | None], opset: int, prefix: str) -> gs.Graph:
    """A graph of inputs ``i0``, ``i1``, ... that computes what the node does; all other names begin with ``prefix``."""
    given = [gs.Variable.empty() if v is None else gs.Variable(f"i{i}", np.float32) for i, v in enumerate(inputs)]
    wanted = [gs.Variable.empty() if t.is_empty() else gs.Variable(f"o{i}") for i, t in enumerate(node.outputs)]
    call = gs.Node(node.op, node.name, node.attrs, given, wanted, domain=node.domain or None)
    model: ModelProto = passes.to_proto(gs.Graph([call]))
    (proto,) = model.graph.node
    _complete(proto, {t.name: t for t in model.graph.initializer}, schema_of(node, opset))
    types = [_type(v) for v in inputs]
    function = _function(schema_of(node, opset), proto, types)
    function.domain = proto.domain = OURS
    del model.opset_import[:]
    model.opset_import.extend([*function.opset_import, helper.make_opsetid(OURS, 1)])
    model.functions.append(function)
    known = [(t.name, kind) for t, kind in zip(given, types, strict=True) if t.name]
    model.graph.input.extend(helper.make_value_info(*pair) for pair in known)
    model.graph.output.extend(helper.make_empty_tensor_value_info(t.name) for t in wanted if t.name)
    version = next((o.version for o in function.opset_import if not o.domain), opset)
    graph = Importer().model(inline_local_functions(model), version)
    graph = passes.run("upgrade", graph).graph
    _rename(graph, prefix, {name for name, _ in known})
    return graph


def _complete(proto: NodeProto, held: Mapping[str, TensorProto], schema: Schema) -> None:
    """Write the defaults of a node's attributes, as a definition refers to them, and cut its bodies off."""
    fresh = itertools.count()
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            _isolate(attribute.g, {}, held, fresh)
    present = {a.name for a in proto.attribute}
    defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    proto.attribute.extend(value for name, value in defaults.items() if name not in present)


def _rename(graph: gs.Graph, prefix: str, fixed: Set[str]) -> None:
    """Begin every name with ``prefix`` but those that are fixed."""
    for tensor in {id(t): t for g in graphs(graph) for t in g.tensors().values()}.values():
        if tensor.name and tensor.name not in fixed:
            tensor.name = f"{prefix}/{tensor.name}"
