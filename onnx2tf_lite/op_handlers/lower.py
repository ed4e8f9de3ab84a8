"""ONNX graph -> IR: every node through its handler.

Nothing here or in the handlers knows about layout.  Problems are collected over the whole model and raised together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike

from ..errors import ConversionError, Problem, mistake, unforeseen
from ..ir import build, dims
from ..ir.graph import BatchNormParameters, Graph, Origin, Value, building, constant, current_graph, current_origin
from ..model.edit import needs
from ._refusals import RANK, edge_problem, no_handler, too_deep
from ._structures import Choice, Item, parts, rebuilt, told
from .functions import definition, schema_of
from .registry import NodeInfo, Registration, UnsupportedError, find, lowering_node

NARROWED = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.float16): np.dtype(np.float32)}
# what TFLite computes in float64; a model of nothing else stays float64
DOUBLE = frozenset(
    [
        "Add",
        "Mul",
        "Max",
        "Min",
        "Sum",
        "Identity",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Expand",
        "BitCast",
    ]
)


LARGEST = 2**31 - 1  # elements of a TFLite tensor, whose kernels count in 32 bits
REMEDY = "fix smaller sizes, or convert a part of the model"


def numpy_dtype(dtype: int | DTypeLike | None) -> np.dtype | None:
    """The numpy dtype of an ONNX element type or numpy dtype; None for strings and unknown."""
    if dtype is None:
        return None
    if isinstance(dtype, int):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    found = np.dtype(dtype)
    return None if found.kind in "OSU" else found


@cache
def ir_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that stands for an ONNX dtype: all floats are computed in float32, the rest stays."""
    if dtype.name in ("bfloat16",):
        return np.dtype(np.float32)
    return NARROWED.get(dtype, dtype)


@dataclass
class Bindings:
    """Names visible while a graph is lowered; a name of an outer scope becomes an input of the body on first use."""

    graph: Graph
    outer: Bindings | None = None
    doubles: bool = False  # float64 is not narrowed
    values: dict[str, Item] = field(default_factory=dict)
    captured: dict[str, tuple[Value, Value]] = field(default_factory=dict)  # name -> (outer value, body input)

    def dtype(self, dtype: np.dtype) -> np.dtype:
        """The dtype that stands for an ONNX dtype here."""
        return dtype if self.doubles and dtype == np.float64 else ir_dtype(dtype)

    def find(self, name: str) -> Item | None:
        """What a name stands for here; None for a name that nobody made."""
        if name in self.values or self.outer is None:
            return self.values.get(name)
        found = self.outer.find(name)
        if found is None or self.graph is self.outer.graph:
            return found
        pieces = [(f"{name}[{i}]" if found is not v else name, v) for i, v in enumerate(parts(found))]
        self.values[name] = rebuilt(found, iter([self._inside(*piece) for piece in pieces]))
        return self.values[name]

    def _inside(self, key: str, found: Value) -> Value:
        """The input of the body that stands for a value from outside; a constant needs none."""
        if found.is_constant:
            return found
        inner = next((mine for theirs, mine in self.captured.values() if theirs is found), None)
        if inner is None:
            inner = self.graph.add_input(f"{self.graph.name}/{key}", found.shape, found.dtype)
            inner.content, inner.bounds = found.content, found.bounds
            self.captured[key] = found, inner
        return inner


def lower(model: gs.Graph, listener: Callable[[int, int], None] | None = None) -> Graph:
    """The IR of a normalised model (``passes.optimize``).

    :raises ConversionError: with *every* node that cannot be expressed.
    """
    graph = Graph("main")
    scope = Bindings(graph, doubles=all(not n.domain and n.op in DOUBLE for n in model.nodes))
    problems = _declare_inputs(model, scope)
    with building(graph):
        if not problems:
            lower_nodes(model, scope, problems, listener)
        if not problems:
            problems = _declare_outputs(model, scope)
    if problems:
        raise ConversionError(*problems)
    graph.tensors = {n: v for n, v in scope.values.items() if isinstance(v, Value) and not v.is_constant}
    return graph


def _declare_inputs(model: gs.Graph, scope: Bindings) -> list[Problem]:
    problems = []
    for tensor in model.inputs:
        dtype = numpy_dtype(tensor.dtype)
        if dtype is None or tensor.shape is None:
            problems.append(edge_problem("input", tensor))
            continue
        shape = input_shape(scope.graph, tensor)
        if len(shape) > RANK:
            problems.append(too_deep("input", tensor.name, len(shape)))
            continue
        scope.values[tensor.name] = scope.graph.add_input(tensor.name, shape, scope.dtype(dtype))
    return problems


def _declare_outputs(model: gs.Graph, scope: Bindings) -> list[Problem]:
    """Every output is a tensor of its own, under its name."""
    graph, problems = scope.graph, []
    for tensor in model.outputs:
        value = _operand(scope, tensor)
        if value is None:
            return [Problem(f"output '{tensor.name}'", "is not computed by any node")]
        if not isinstance(value, Value):
            problems.append(edge_problem("output", tensor, value))
            continue
        if value.rank > RANK:
            problems.append(too_deep("output", tensor.name, value.rank))
            continue
        if tensor.name in graph.output_names:
            continue  # listed twice: outputs go by name, and there is one tensor of this name
        passed = value in graph.inputs and value.name == tensor.name
        if value.is_constant or value in graph.inputs or value in graph.outputs:
            value = build.emit("IDENTITY", value, shape=value.shape)
        if not passed:  # an input that is handed through keeps its name, the copy of it has another
            scope.values[tensor.name], value.name = value, tensor.name
        graph.outputs.append(value)
        graph.output_names.append(tensor.name)
    return problems


def input_shape(graph: Graph, tensor: gs.Variable) -> dims.Shape:
    """Extents of a graph input: ints, the dim_params, and a fresh symbol for each unnamed one."""

    def extent(axis: int, dim: object) -> dims.Dim:
        if isinstance(dim, (int, np.integer)) and dim >= 0:
            return int(dim)
        return dims.symbol(dim) if isinstance(dim, str) and dim else graph.fresh_symbol(f"{tensor.name}.{axis}")

    return tuple(extent(axis, dim) for axis, dim in enumerate(tensor.shape))


def lower_nodes(
    model: gs.Graph, scope: Bindings, problems: list[Problem], listener: Callable[[int, int], None] | None = None
) -> None:
    """Lower the nodes of one graph into the current IR graph; values appear in ``scope``."""
    broken: set[str] = set()  # results of nodes that failed: their readers are not the cause
    for index, node in enumerate(model.nodes):
        if listener:
            listener(index, len(model.nodes))
        if broken and any(t.name in broken for t in needs(node)):  # also what its bodies read
            broken.update(t.name for t in node.outputs)
            if find(node.domain or "", node.op) or schema_of(node, model.opset):
                continue
        names = tuple("" if t.is_empty() else t.name for t in node.outputs)
        inputs: list[Item | None] = []
        try:
            results = _lower_node(node, names, inputs, scope, model.opset)
        except Exception as error:  # whatever it is, it is reported with its node, beside the others
            problems.extend(_problems(node, inputs, error))
            broken.update(names)
            continue
        for name, value in zip(names, results, strict=False):
            if name and value is not None:
                scope.values[name] = value
                _name(value, name, scope)


def _lower_node(
    node: gs.Node, names: tuple[str, ...], inputs: list[Item | None], scope: Bindings, opset: int
) -> Sequence[Item | None]:
    """The results of a node; ``inputs`` receives its operands, for the message of a failure."""
    origin = Origin(node.name, node.op, tuple(t.name for t in node.inputs), names, _batchnorm(node))
    read = tuple(bool(t.outputs) or scope.outer is not None for t in node.outputs)
    info = NodeInfo(names, tuple(numpy_dtype(t.dtype) for t in node.outputs), read)
    with building(current_graph(), origin), lowering_node(info):
        inputs += [None if t.is_empty() else _operand(scope, t) for t in node.inputs]
        return _call(node, inputs, scope, opset)


def _batchnorm(node: gs.Node) -> BatchNormParameters | None:
    """The parameters of a BatchNormalization, where they are constants."""
    parameters = node.inputs[1:5] if node.op == "BatchNormalization" and not node.domain else []
    if not parameters or not all(isinstance(t, gs.Constant) for t in parameters):
        return None
    scale, bias, mean, variance = (np.asarray(t.values, np.float32) for t in parameters)
    return BatchNormParameters(scale, bias, mean, variance, node.attrs.get("epsilon", 1e-5))


def _name(value: Item, name: str, scope: Bindings) -> None:
    """Call a new result as in the model; a body that is written out in its reader's graph is there many times."""
    if scope.outer is not None and scope.outer.graph is scope.graph:
        return
    if isinstance(value, Value) and value.producer is not None and value not in current_graph().inputs:
        value.name = name if "#" in value.name else value.name


def _call(node: gs.Node, inputs: list[Item | None], scope: Bindings, opset: int) -> Sequence[Item | None]:
    undecided = {t.name: v for t, v in zip(node.inputs, inputs, strict=True) if isinstance(v, Choice)}
    for choice in undecided.values():
        return choice.sink(node, undecided, scope, opset)
    entry = find(node.domain or "", node.op)
    if entry is None or entry.tensors:
        _only_tensors(inputs)
    if entry is None and schema_of(node, opset):
        return _expand(node, inputs, opset)  # type: ignore[arg-type]
    if entry is None:
        raise no_handler(node)
    attrs = _attributes(node, entry, scope)
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        entry.require(inputs, attrs)
    except TypeError as error:
        raise UnsupportedError(f"the node does not have the operator's inputs and attributes: {error}") from error
    result = entry.handler(*inputs, **attrs)
    results = [result] if isinstance(result, Value) else list(result)
    for value in results:
        known = [d for d in value.shape if isinstance(d, int)] if isinstance(value, Value) else []
        if (size := max([math.prod(known), *known])) > LARGEST:
            raise UnsupportedError(f"its result has {size:,} elements, and TFLite counts in 32 bits", REMEDY)
    return results


def _attributes(node: gs.Node, entry: Registration, scope: Bindings) -> dict[str, object]:
    """The keywords for the handler of a node; with bodies the names that these see."""
    unknown = [] if entry.anything else sorted(set(node.attrs) - entry.attributes)
    if unknown:
        raise UnsupportedError(f"attribute {', '.join(unknown)} is not part of the operator's newest form")
    bodies = any(isinstance(a, gs.Graph) for a in node.attrs.values())
    return {**node.attrs, "scope": scope} if bodies else dict(node.attrs)


def _only_tensors(inputs: Sequence[Item | None]) -> None:
    for item in inputs:
        if item is not None and not isinstance(item, Value):
            raise UnsupportedError(
                f"an operand is {told(item)}, where the operator takes a tensor", "check the model with onnx.checker"
            )


def _expand(node: gs.Node, inputs: list[Value | None], opset: int) -> list[Item | None]:
    """The node through ONNX's own definition of it."""
    graph = current_graph()
    body = definition(node, inputs, opset, graph.fresh_name(node.outputs[0].name))
    scope = Bindings(graph, values={f"i{i}": v for i, v in enumerate(inputs) if v is not None})
    problems: list[Problem] = []
    start = len(graph.ops)
    lower_nodes(body, scope, problems)
    if problems:
        causes = "; ".join(f"{p.where}: {p.what}" for p in problems)
        if ours := [p for p in problems if p.ours]:
            raise ConversionError(mistake(f"definition of {node.op} '{node.name}'", causes, ours[0].remedy))
        raise UnsupportedError(f"in its definition, {causes}", problems[0].remedy)
    for operation in graph.ops[start:]:
        operation.origin = current_origin()
    made = [_operand(scope, t) for t in body.outputs]
    for item in made:
        if isinstance(item, Choice):
            raise UnsupportedError(f"in its definition, {item.why}", "fix the input shapes")
    results = iter(made)
    return [None if t.is_empty() else next(results) for t in node.outputs]


def _operand(scope: Bindings, tensor: gs.Tensor) -> Item | None:
    if isinstance(tensor, gs.Constant) and tensor.name not in scope.values:
        array = np.asarray(tensor.values)
        wanted = scope.dtype(array.dtype)
        data = array if array.dtype == wanted else _narrowed(tensor.name, array, wanted)
        scope.values[tensor.name] = constant(data, name=tensor.name)
    return scope.find(tensor.name)


def _narrowed(name: str, array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    """A constant in the dtype that it is computed in; float64 beyond float32 is refused, as is what would be all 0."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = array.astype(wanted)
    if array.dtype != np.float64 or not array.size:
        return narrow
    lost = array[np.isinf(narrow) & np.isfinite(array)]
    if not lost.size and np.any(array) and not np.any(narrow):
        lost = array[array != 0]
    if lost.size:
        what = f"{lost.flat[0]:.4g} is outside float32's range, and TFLite computes in float32"
        raise ConversionError(Problem(f"float64 constant '{name}'", what, "export the model in float32"))
    return narrow


def _problems(node: gs.Node, inputs: Sequence[Item | None], error: Exception) -> list[Problem]:
    if isinstance(error, ConversionError):
        return error.problems
    shapes = ", ".join(told(v) for v in inputs if v is not None)
    domain = f"{node.domain}." if node.domain else ""
    where = f"{domain}{node.op} '{node.name}' ({shapes})"
    if isinstance(error, UnsupportedError):
        return [Problem(where, error.what, error.remedy)]
    if not isinstance(error, ValueError):
        return [unforeseen(where, error, "the handler failed: ")]
    return [Problem(where, str(error), "check the model with onnx.checker and onnxruntime")]
