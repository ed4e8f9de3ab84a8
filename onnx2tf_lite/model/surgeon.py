"""Between protobuf and graphsurgeon, without the weights: they are referred to, and read where they lie."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues

from .edit import Dim, Tensor, graphs, tensors
from .tensors import Bytes

#: Floats of 16 bits, and the attributes that name an element type.
HALF_FLOATS = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
TYPE_ATTRIBUTES = {"to", "dtype", "output_dtype", "output_datatype", "softmax_precision", "stash_type"}
#: Constants above this many bytes are inputs in a weight-free proto.
BIG = 1024


@cache
def numpy_type(elem_type: int) -> np.dtype:
    """The numpy dtype of a TensorProto element type."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


@cache
def elem_type(dtype: DTypeLike) -> int:
    """The TensorProto element type of a numpy dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


class LazyTensor(LazyValues):  # type: ignore[misc]  # graphsurgeon has no types
    """The contents of a constant, by reference: `read` returns the raw bytes where they lie (a memory map)."""

    def __init__(self, proto: TensorProto, read: Callable[[], Bytes] | None = None):
        self.proto, self.read = proto, read
        self.shape = tuple(proto.dims)
        self.dtype = numpy_type(proto.data_type)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> np.ndarray:
        """A read-only array; a view of the file wherever the type's bytes are numpy's bytes."""
        raw = self.read() if self.read else b""
        if self.read and len(raw) == self.nbytes:
            array = np.frombuffer(raw, self.dtype).reshape(self.shape)
        elif self.read:  # two 4-bit numbers to the byte
            packed = TensorProto(data_type=self.proto.data_type, dims=self.shape, raw_data=bytes(raw))
            array = numpy_helper.to_array(packed)
        else:
            array = numpy_helper.to_array(self.proto)
        array.flags.writeable = False
        return array


def dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A SparseTensorProto (linear or per-axis indices) as an ordinary array."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    array[np.unravel_index(indices, array.shape) if indices.ndim == 1 else tuple(indices.T)] = values
    return array


#: Constant-1: what the attributes other than `value` (a tensor) and `sparse_value` hold, from version 12 on.
_CONSTANT = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


Visible = dict[str, Tensor]
Common = Mapping[str, Any]  # what all graphs of a model share


class Importer:
    """Builds the graph. Names become unique over all bodies, so that a branch can be inlined without a thought; those
    of the main graph, which users know, stay as they are."""

    def __init__(self, lazy: Callable[[TensorProto], LazyTensor] = LazyTensor):
        self.lazy, self.taken = lazy, set[str]()
        self.depth = 0  # of bodies around what is built

    def model(self, model: ModelProto, opset: int) -> gs.Graph:
        """The graph of a model whose functions are inlined."""
        main = model.graph
        self.taken = {t.name for t in main.initializer} | {n for p in main.node for n in p.output}
        self.taken |= {v.name for v in main.input} | {s.values.name for s in main.sparse_initializer}
        graph = self.graph(model.graph, {}, {"opset": opset, "import_domains": list(model.opset_import)})
        graph.producer_name, graph.producer_version = model.producer_name, model.producer_version
        graph.ir_version = max(model.ir_version, 10)  # what opset 23 needs; see the pass `upgrade`
        return graph

    def unique(self, name: str) -> str:
        """``name``, or inside a body one like it that nobody has."""
        if not self.depth:
            return name
        fresh, k = name, 0
        while fresh in self.taken:
            k += 1
            fresh = f"{name}__{k}"
        self.taken.add(fresh)
        return fresh

    def graph(self, proto: GraphProto, outer: dict[str, Tensor], common: Common) -> gs.Graph:
        """A graph or body; ``outer`` are the tensors it sees, ``common`` what all graphs of a model share."""
        held: dict[str, LazyTensor | np.ndarray] = {t.name: self.lazy(t) for t in proto.initializer}
        held |= {s.values.name: dense(s) for s in proto.sparse_initializer}
        scope = outer | {name: gs.Constant(self.unique(name), values) for name, values in held.items()}
        inputs = [v for v in proto.input if v.name not in held]  # up to IR 3 initialisers are inputs too
        infos = {v.name: v for v in [*proto.value_info, *proto.output, *inputs]}
        scope |= {v.name: self.variable(v.name, infos) for v in inputs}
        nodes = [self.node(p, scope, infos, common) for p in proto.node]
        return gs.Graph(
            nodes=[n for n in nodes if n is not None],
            inputs=[scope[v.name] for v in inputs],
            outputs=[scope[v.name] for v in proto.output],
            name=proto.name,
            doc_string=proto.doc_string,
            **common,
        )

    def variable(self, name: str, infos: dict[str, onnx.ValueInfoProto]) -> gs.Variable:
        """A tensor under a unique name, of the type that is declared for it."""
        tensor = gs.Variable(self.unique(name))
        if name in infos:
            describe(tensor, infos[name].type)
        return tensor

    def node(
        self, proto: onnx.NodeProto, scope: Visible, infos: dict[str, onnx.ValueInfoProto], common: Common
    ) -> gs.Node | None:
        """A node, its results added to ``scope``; None for a Constant, which is one of these results."""
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        attrs = {a.name: self.attribute(a, scope, common) for a in proto.attribute}
        if proto.op_type == "Constant" and not domain:
            [(key, held)] = attrs.items()
            values = held._values if isinstance(held, gs.Constant) else np.asarray(held, _CONSTANT.get(key, object))
            scope[proto.output[0]] = gs.Constant(self.unique(proto.output[0]), values)
            return None
        node = gs.Node(proto.op_type, proto.name, attrs, domain=domain or None)
        for name in proto.input:
            tensor = scope[name] if name else gs.Variable.empty()
            list.append(node.inputs, tensor)
            list.append(tensor.outputs, node)
        for name in proto.output:
            tensor = self.variable(name, infos) if name else gs.Variable.empty()
            if name:
                scope[name] = tensor
            list.append(node.outputs, tensor)
            list.append(tensor.inputs, node)
        return node

    def attribute(self, a: AttributeProto, scope: Visible, common: Common) -> Any:
        """A tensor as constant, a body as graph, text as text; types and the like stay messages."""
        if a.type == AttributeProto.TENSOR:
            return gs.Constant(a.t.name, self.lazy(a.t))
        if a.type == AttributeProto.SPARSE_TENSOR:
            return gs.Constant(a.sparse_tensor.values.name, dense(a.sparse_tensor))
        if a.type == AttributeProto.GRAPH:
            self.depth += 1
            body = self.graph(a.g, scope, common)
            self.depth -= 1
            return body
        if a.type in (AttributeProto.STRING, AttributeProto.STRINGS):
            found = [s.decode("utf-8", "surrogateescape") for s in (*a.strings, *([a.s] if a.HasField("s") else []))]
            return found if a.type == AttributeProto.STRINGS else found[0]
        return a if a.type > AttributeProto.STRINGS else helper.get_attribute_value(a)


def describe(tensor: gs.Variable, kind: onnx.TypeProto) -> None:
    """Write a TypeProto into a graphsurgeon variable (an unknown dimension is None; no tensor: the type as it is)."""
    which = kind.WhichOneof("value")
    tensor.type = which or "tensor_type"
    if which != "tensor_type":
        tensor.type_proto = kind
        return
    inner = kind.tensor_type
    if inner.elem_type:
        tensor.dtype = numpy_type(inner.elem_type)
    if inner.HasField("shape"):
        tensor.shape = [_extent(d) for d in inner.shape.dim]


def _extent(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None  # -1 is written for unknown
    return dim.dim_param or None


#: What exporters write as the name of an extent that they do not know; it says nothing of another one.
NAMELESS = re.compile(r"\?|\*|-1|none|unknown|unk__.*", re.IGNORECASE)


def own_extents(tensor: Tensor) -> None:
    """Forget the names of an input's extents that make them equal to others where nothing says that they are: words for
    "unknown", and a name's second occurrence in one input (runtimes take a picture of any sides for ``[size, size]``).
    """
    if tensor.shape is None:
        return
    named: set[str] = set()
    for axis, dim in enumerate(tensor.shape):
        if isinstance(dim, str):
            tensor.shape[axis] = None if dim in named or NAMELESS.fullmatch(dim) else dim
            named.add(dim)


def value_info(tensor: Tensor, shaped: bool = True) -> onnx.ValueInfoProto:
    """The declaration of a tensor; not ``shaped``: without its dimensions."""
    if getattr(tensor, "type", "tensor_type") != "tensor_type":
        return onnx.ValueInfoProto(name=tensor.name, type=tensor.type_proto)
    if tensor.dtype is None:
        return onnx.ValueInfoProto(name=tensor.name)
    return helper.make_tensor_value_info(tensor.name, elem_type(tensor.dtype), tensor.shape if shaped else None)


def array_proto(tensor: gs.Constant) -> TensorProto:
    """A constant as message: the one it came in, where nobody changed it."""
    held = tensor._values
    if isinstance(held, LazyTensor) and held.read is None and held.proto.name == tensor.name:
        return held.proto
    return numpy_helper.from_array(np.asarray(tensor.values, order="C"), tensor.name)


def attribute(key: str, item: object, body: Callable[[gs.Graph], GraphProto]) -> AttributeProto:
    """An attribute as message; ``body`` makes those of graphs."""
    if isinstance(item, AttributeProto):
        return item
    if isinstance(item, gs.Graph):
        item = body(item)
    elif isinstance(item, gs.Constant):
        item = array_proto(item)
    empty = isinstance(item, (list, tuple)) and not item  # says nothing of its type
    return helper.make_attribute(key, item, attr_type=AttributeProto.INTS if empty else None)


def to_proto(graph: gs.Graph, *, big: str = "keep", infos: bool = True) -> ModelProto:
    """The model as a message. `big="as_inputs"`: constants above BIG bytes are inputs, by name, type and shape.

    `infos=False` leaves the types of intermediate tensors and the shapes of the outputs to shape inference.
    """
    outside: list[gs.Constant] = []
    constants = _homes(graph)

    def body(g: gs.Graph) -> GraphProto:
        proto = GraphProto(name=g.name or "graph", doc_string=g.doc_string or "")
        for node in g.nodes:
            proto.node.add(
                op_type=node.op,
                name=node.name,
                domain=node.domain,
                input=[t.name for t in node.inputs],
                output=[t.name for t in node.outputs],
                attribute=[attribute(key, item, body) for key, item in node.attrs.items()],
            )
        for tensor in constants.get(id(g), ()):
            if big == "as_inputs" and tensor._values.nbytes > BIG:
                outside.append(tensor)
            else:
                proto.initializer.append(array_proto(tensor))
        proto.input.extend(value_info(t) for t in g.inputs)
        proto.output.extend(value_info(t, infos) for t in g.outputs)
        if infos:
            made = {id(t): t for n in g.nodes for t in n.outputs if t.name and t.dtype is not None}
            ends = {id(t) for t in g.outputs}
            proto.value_info.extend(value_info(t) for k, t in made.items() if k not in ends)
        return proto

    proto = body(graph)
    proto.input.extend(value_info(t) for t in outside)
    domains = {d.domain: d for d in graph.import_domains or [] if d.domain not in ("", "ai.onnx")}
    for name in sorted({n.domain for g in graphs(graph) for n in g.nodes if n.domain} - set(domains)):
        domains[name] = helper.make_opsetid(name, 1)
    return ModelProto(
        ir_version=graph.ir_version or 10,
        graph=proto,
        opset_import=[helper.make_opsetid("", graph.opset), *domains.values()],
        producer_name=graph.producer_name or "",
        producer_version=graph.producer_version or "",
    )


def _homes(graph: gs.Graph) -> dict[int, list[gs.Constant]]:
    """By id of the graph or body: the constants it holds. What several of them read belongs to the outermost."""
    home: dict[int, tuple[int, gs.Constant]] = {}
    for g in graphs(graph):
        for tensor in tensors(g):
            if isinstance(tensor, gs.Constant):
                first = home.setdefault(id(tensor), (id(g), tensor))[0]
                if first != id(g):
                    home[id(tensor)] = (id(graph), tensor)
    held: dict[int, list[gs.Constant]] = {}
    for where, tensor in home.values():
        held.setdefault(where, []).append(tensor)
    return held
