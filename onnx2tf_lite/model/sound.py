"""Is what a message says of itself possible?  Asked once, before anything relies on it.

protobuf takes any bytes for a name and any number for a type, and onnx's checker looks neither into bodies' depths nor
at sizes.  Everything here costs a look at each message; no weight is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import Problem
from .domains import foreign
from .lazy import onnx
from .tensors import element_types, is_external, nbytes
from .walk import DEPTH, bodies, title

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, TypeProto

#: Elements of a sparse tensor written out, and nodes of a model whose functions are.
ELEMENTS, NODES = 1 << 28, 1_000_000
#: What a Constant holds, by the version of the operator: one of these.
_CONSTANT = {"value", "sparse_value", *(f"value_{kind}{s}" for kind in ("float", "int", "string") for s in ("", "s"))}


def faults(model: ModelProto) -> Iterator[Problem]:
    """What is impossible in a model; an iterator, for who wants to know the first fault alone."""
    yield from _graph(model.graph, 0)
    for function in model.functions:
        yield from _nodes(function.node, 0)
    yield from _calls(model, {(f.domain, f.name): f for f in model.functions})


def _graph(graph: GraphProto, depth: int) -> Iterator[Problem]:
    if depth > DEPTH:
        yield Problem("model", f"bodies are nested more than {DEPTH} deep", "flatten them")
        return
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield from _type(f"tensor '{info.name}'", info.type)
    for tensor in graph.initializer:
        yield from _tensor(f"initializer '{tensor.name}'", tensor)
    for sparse in graph.sparse_initializer:
        yield from _sparse(f"sparse initializer '{sparse.values.name}'", sparse)
    yield from _nodes(graph.node, depth)


def _nodes(nodes: Iterable[NodeProto], depth: int) -> Iterator[Problem]:
    for index, node in enumerate(nodes):
        where = f"{node.op_type} '{title(node, index)}'"
        node.input, node.output  # noqa: B018  (a name that is no text raises UnicodeDecodeError)
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            given = [a.name for a in node.attribute]
            if len(given) != 1 or given[0] not in _CONSTANT or len(node.output) != 1:
                said = ", ".join(given) or "nothing"
                yield Problem(where, f"holds {said}, where a Constant has one value", "give it the attribute 'value'")
        if node.domain in ("", "ai.onnx"):
            yield from foreign(node, where)
        for a in node.attribute:
            if a.HasField("t"):
                yield from _tensor(f"{where}: attribute '{a.name}'", a.t)
            if a.HasField("sparse_tensor"):
                yield from _sparse(f"{where}: attribute '{a.name}'", a.sparse_tensor)
        for _, body in bodies(node):
            yield from _graph(body, depth + 1)


def _type(where: str, kind: TypeProto) -> Iterator[Problem]:
    if kind.HasField("tensor_type"):
        yield from _code(where, kind.tensor_type.elem_type)


def _code(where: str, code: int) -> Iterator[Problem]:
    if code not in element_types():
        yield Problem(where, f"{code} is no element type that onnx {onnx.__version__} knows", "export it anew")


def _tensor(where: str, tensor: TensorProto) -> Iterator[Problem]:
    """A tensor whose contents are not what its type and shape say."""
    if unknown := list(_code(where, tensor.data_type)) or list(_dims(where, tensor.dims)):
        yield from unknown
        return
    if tensor.HasField("segment"):
        yield Problem(where, "is stored in segments, which nobody reads", "export it as one tensor")
    elif not tensor.data_type:
        yield Problem(where, "has no element type")
    elif not is_external(tensor) and tensor.data_type != onnx.TensorProto.STRING:
        yield from _contents(where, tensor)


def _dims(where: str, dims: Iterable[int]) -> Iterator[Problem]:
    if min(dims, default=0) < 0:
        yield Problem(where, f"has the shape {list(dims)}", "the extents of a constant are not negative")


def _contents(where: str, tensor: TensorProto) -> Iterator[Problem]:
    if tensor.HasField("raw_data"):
        need, held, unit = nbytes(tensor), len(tensor.raw_data), "bytes"
    else:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        count = math.prod(tensor.dims)
        words = onnx.TensorProto.DataType.Name(tensor.data_type)
        halves = 4 if words.endswith("INT2") else 2 if words.endswith(("INT4", "E2M1")) else 1
        need = count * 2 if kind.kind == "c" else -(-count // halves)
        held, unit = len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type))), "elements"
    if need != held:
        yield Problem(where, f"its shape {list(tensor.dims)} needs {need} {unit}, and it has {held}", "export it anew")


def _sparse(where: str, sparse: SparseTensorProto) -> Iterator[Problem]:
    yield from _tensor(where, sparse.values)
    yield from _tensor(where, sparse.indices)
    yield from _dims(where, sparse.dims)
    if (count := math.prod(sparse.dims)) > ELEMENTS:
        what = f"has {count:,} elements when it is written out, as TFLite needs it"
        yield Problem(where, what, f"up to {ELEMENTS:,} are: use a smaller one, or a Gather of what is not 0")


def _calls(model: ModelProto, functions: dict[tuple[str, str], FunctionProto]) -> Iterator[Problem]:
    """Calls that do not suit their function, and functions that call themselves or each other too often."""
    sizes: dict[tuple[str, str], float] = {}

    def size(key: tuple[str, str]) -> float:
        if key not in sizes:
            sizes[key] = math.inf  # while it is counted: who comes back here would never end
            sizes[key] = sum(map(_size, functions[key].node))
        return sizes[key]

    def _size(node: NodeProto) -> float:
        key = (node.domain, node.op_type)
        inside = sum(_size(n) for _, body in bodies(node) for n in body.node)
        return inside + (size(key) if key in functions else 1)

    if not functions:
        return
    total = sum(map(_size, model.graph.node))
    if total > NODES:
        said = "without an end" if math.isinf(total) else f"{total:,.0f} nodes"
        yield Problem("functions of the model", f"written out they are {said}", f"up to {NODES:,} nodes are written")
    for nodes in (model.graph.node, *(f.node for f in functions.values())):
        for index, node in enumerate(nodes):
            called = functions.get((node.domain, node.op_type))
            if called and (len(node.input) > len(called.input) or len(node.output) > len(called.output)):
                what = f"is called with {len(node.input)} inputs and {len(node.output)} outputs"
                has = f"the function has {len(called.input)} and {len(called.output)}"
                yield Problem(f"{node.op_type} '{title(node, index)}'", what, has)
