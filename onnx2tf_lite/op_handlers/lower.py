"""ONNX graph -> IR: every node through its handler.

Nothing here or in the handlers knows about layout.  Problems are collected over the whole model and raised together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from ..ir import build, dims
from ..ir.graph import Graph, Origin, Value, building, constant, current_graph, current_origin, short
from .functions import definition, schema_of
from .registry import HANDLERS, NodeInfo, Unsupported, lowering_node

NARROWED = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.float16): np.dtype(np.float32)}


def numpy_dtype(dtype: Any) -> np.dtype | None:
    """The numpy dtype of an ONNX element type or numpy dtype; None for strings and unknown."""
    if dtype is None:
        return None
    if isinstance(dtype, int):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    found = np.dtype(dtype)
    return None if found.kind in "OSU" else found


def ir_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that stands for an ONNX dtype: all floats are computed in float32, the rest stays."""
    if dtype.name in ("bfloat16",):
        return np.dtype(np.float32)
    return NARROWED.get(dtype, dtype)


@dataclass
class Scope:
    """Names visible while a graph is lowered; a name of an outer scope becomes an input of the body on first use."""

    graph: Graph
    outer: Scope | None = None
    values: dict[str, Value] = field(default_factory=dict)
    captured: dict[str, tuple[Value, Value]] = field(default_factory=dict)  # name -> (outer value, body input)

    def find(self, name: str) -> Value | None:
        if name in self.values:
            return self.values[name]
        found = self.outer.find(name) if self.outer else None
        if found is None or found.is_constant:
            return found
        inner = self.graph.add_input(f"{self.graph.name}/{name}", found.shape, found.dtype)
        inner.content, inner.bounds = found.content, found.bounds
        self.captured[name] = found, inner
        self.values[name] = inner
        return inner


def lower(model: gs.Graph, listener: Callable[[int, int], None] | None = None) -> Graph:
    """The IR of a normalised model (``passes.optimize``).

    :raises ConversionError: with *every* node that cannot be expressed.
    """
    graph = Graph("main")
    scope = Scope(graph)
    problems: list[Problem] = []
    for tensor in model.inputs:
        dtype = numpy_dtype(tensor.dtype)
        if dtype is None or tensor.shape is None:
            problems.append(Problem(f"input '{tensor.name}'", "has no tensor type with a known rank and numeric dtype",
                                    "declare its shape in the model"))  # fmt: skip
            continue
        scope.values[tensor.name] = graph.add_input(tensor.name, input_shape(graph, tensor), ir_dtype(dtype))
    with building(graph):
        if not problems:
            lower_nodes(model, scope, problems, listener)
        if problems:
            raise ConversionError(*problems)
        for tensor in model.outputs:
            value = _operand(scope, tensor)
            if value is None:
                raise ConversionError(Problem(f"output '{tensor.name}'", "is not computed by any node"))
            if value.is_constant or value in graph.inputs or value in graph.outputs:
                scope.values[tensor.name] = value = build.emit("IDENTITY", value, shape=value.shape)
            value.name = tensor.name
            graph.outputs.append(value)
            graph.output_names.append(tensor.name)
    graph.tensors = {n: v for n, v in scope.values.items() if not v.is_constant}
    return graph


def input_shape(graph: Graph, tensor: gs.Variable) -> dims.Shape:
    """Extents of a graph input: ints, the dim_params, and a fresh symbol for each unnamed one."""
    return tuple(
        int(d) if isinstance(d, (int, np.integer)) and d >= 0
        else dims.symbol(d) if isinstance(d, str) and d
        else graph.fresh_symbol(f"{tensor.name}.{i}")
        for i, d in enumerate(tensor.shape)
    )  # fmt: skip


def lower_nodes(
    model: gs.Graph, scope: Scope, problems: list[Problem], listener: Callable[[int, int], None] | None = None
) -> None:
    """Lower the nodes of one graph into the current IR graph; values appear in ``scope``."""
    broken: set[str] = set()  # results of nodes that failed: their readers are not the cause
    for index, node in enumerate(model.nodes):
        if listener:
            listener(index, len(model.nodes))
        inputs = [None if t.is_empty() else _operand(scope, t) for t in node.inputs]
        if any(t.name in broken for t in node.inputs):
            broken.update(t.name for t in node.outputs)
            if (node.domain or "", node.op) in HANDLERS or schema_of(node, model.opset):
                continue
        names = tuple("" if t.is_empty() else t.name for t in node.outputs)
        origin = Origin(node.name, node.op, tuple(t.name for t in node.inputs), names)
        info = NodeInfo(names, tuple(numpy_dtype(t.dtype) if t.dtype is not None else None for t in node.outputs))
        try:
            with building(current_graph(), origin), lowering_node(info):
                results = _call(node, inputs, scope, model.opset)
        except Exception as error:  # whatever it is, it is reported with its node, beside the others
            problems.extend(_problems(node, inputs, error))
            broken.update(names)
            continue
        for name, value in zip(names, results, strict=False):
            if name and value is not None:
                scope.values[name] = value
                if value.producer is not None and "#" in value.name and value not in current_graph().inputs:
                    value.name = name


def _call(node: gs.Node, inputs: list[Value | None], scope: Scope, opset: int) -> Sequence[Value | None]:
    entry = HANDLERS.get((node.domain or "", node.op))
    if entry is None and schema_of(node, opset):
        return _expand(node, inputs, opset)
    if entry is None:
        raise Unsupported("no lowering is known for this operator", "replace or remove the node before the conversion")
    attrs = {k: v for k, v in node.attrs.items() if entry.anything or k in entry.attributes}
    unknown = sorted(set(node.attrs) - set(attrs))
    if unknown:
        raise Unsupported(f"attribute {', '.join(unknown)} is not part of the operator's newest form")
    if any(isinstance(a, gs.Graph) for a in attrs.values()):
        attrs["scope"] = scope
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        result = entry.handler(*inputs, **attrs)
    except TypeError as error:
        if "argument" not in str(error) or error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        raise Unsupported(f"the node does not have the operator's inputs: {error}") from error
    return [result] if isinstance(result, Value) else list(result)


def _expand(node: gs.Node, inputs: list[Value | None], opset: int) -> list[Value | None]:
    """The node through ONNX's own definition of it."""
    graph = current_graph()
    body = definition(node, inputs, opset, graph.fresh_name(node.outputs[0].name))
    scope = Scope(graph, values={f"i{i}": v for i, v in enumerate(inputs) if v is not None})
    problems: list[Problem] = []
    start = len(graph.ops)
    lower_nodes(body, scope, problems)
    if problems:
        causes = "; ".join(f"{p.where}: {p.what}" for p in problems)
        raise Unsupported(f"in its definition, {causes}", problems[0].remedy)
    for operation in graph.ops[start:]:
        operation.origin = current_origin()
    results = iter(body.outputs)
    return [None if t.is_empty() else _operand(scope, next(results)) for t in node.outputs]


def _operand(scope: Scope, tensor: gs.Tensor) -> Value | None:
    if isinstance(tensor, gs.Constant) and tensor.name not in scope.values:
        array = np.asarray(tensor.values)
        wanted = ir_dtype(array.dtype)
        scope.values[tensor.name] = constant(array if array.dtype == wanted else array.astype(wanted), name=tensor.name)
    return scope.find(tensor.name)


def _problems(node: gs.Node, inputs: Sequence[Value | None], error: Exception) -> list[Problem]:
    if isinstance(error, ConversionError):
        return error.problems
    shapes = ", ".join(f"{v.name}: {short(v.dtype)}[{dims.show(v.shape)}]" for v in inputs if v is not None)
    domain = f"{node.domain}." if node.domain else ""
    where = f"{domain}{node.op} '{node.name}' ({shapes})"
    if isinstance(error, Unsupported):
        return [Problem(where, error.what, error.remedy)]
    if not isinstance(error, ValueError):
        what = f"the handler failed: {type(error).__name__}: {error}"
        return [Problem(where, what, "this is a mistake of the converter: please report it with the model")]
    return [Problem(where, str(error), "check the model with onnx.checker and onnxruntime")]
