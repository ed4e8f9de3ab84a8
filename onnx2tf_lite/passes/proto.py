"""Between protobuf and graphsurgeon, without the weights: they are referred to, and read where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues

from .edit import Tensor, bodies, graphs

#: Constants above this many bytes are inputs in a weight-free proto.
BIG = 1024
NEWEST = onnx.defs.onnx_opset_version()


class LazyTensor(LazyValues):
    """The contents of a constant, by reference: `read` returns the raw bytes where they lie (a memory map)."""

    def __init__(self, proto: TensorProto, read: Callable[[], Any] | None = None):
        self._proto, self._read = proto, read
        self.shape = tuple(proto.dims)
        self.dtype = numpy_type(proto.data_type)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    @property
    def tensor(self) -> TensorProto:
        """The tensor as a message; graphsurgeon's own exporter asks for it (and this is a copy)."""
        return self._proto if self._read is None else numpy_helper.from_array(self.load(), self._proto.name)

    def load(self) -> np.ndarray:
        """A read-only array; a view of the file wherever the type's bytes are numpy's bytes."""
        if self._read is None:
            array = numpy_helper.to_array(self._proto)
        else:
            raw = self._read()
            if len(raw) == self.nbytes:
                array = np.frombuffer(raw, self.dtype).reshape(self.shape)
            else:  # two 4-bit numbers to the byte
                packed = TensorProto(data_type=self._proto.data_type, dims=self.shape, raw_data=bytes(raw))
                array = numpy_helper.to_array(packed)
        array.flags.writeable = False
        return array


@cache
def numpy_type(elem_type: int) -> np.dtype:
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


@cache
def elem_type(dtype: Any) -> int:
    return dtype if isinstance(dtype, int) else int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A SparseTensorProto (linear or per-axis indices) as an ordinary array."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        array.reshape(-1)[indices] = values
    else:
        array[tuple(indices.T)] = values
    return array


#: Constant-1..25: how each attribute says what the value is.
_CONSTANT: dict[str, Callable[[AttributeProto], Any]] = {
    "sparse_value": lambda a: dense(a.sparse_tensor),
    "value_float": lambda a: np.array(a.f, np.float32),
    "value_floats": lambda a: np.array(a.floats, np.float32),
    "value_int": lambda a: np.array(a.i, np.int64),
    "value_ints": lambda a: np.array(a.ints, np.int64),
    "value_string": lambda a: np.array(a.s, object),
    "value_strings": lambda a: np.array(list(a.strings), object),
}

_PLAIN: dict[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.STRING: lambda a: a.s.decode("utf-8", "surrogateescape"),
    AttributeProto.FLOATS: lambda a: list(a.floats),
    AttributeProto.INTS: lambda a: list(a.ints),
    AttributeProto.STRINGS: lambda a: [s.decode("utf-8", "surrogateescape") for s in a.strings],
}


class Importer:
    """Builds the graph. Names become unique over all bodies, so that a branch can be inlined without a thought."""

    def __init__(self, lazy: Callable[[TensorProto], LazyTensor] = LazyTensor):
        self.lazy, self.taken = lazy, set[str]()

    def model(self, model: ModelProto, opset: int) -> gs.Graph:
        graph = self.graph(model.graph, {}, {"opset": opset, "import_domains": list(model.opset_import)})
        graph.producer_name, graph.producer_version = model.producer_name, model.producer_version
        graph.ir_version = max(model.ir_version, 10)  # what opset 23 needs; see the pass `upgrade`
        return graph

    def unique(self, name: str) -> str:
        fresh, k = name, 0
        while fresh in self.taken:
            k += 1
            fresh = f"{name}__{k}"
        self.taken.add(fresh)
        return fresh

    def graph(self, proto: GraphProto, outer: dict[str, Tensor], common: dict[str, Any]) -> gs.Graph:
        scope = dict(outer)
        for tensor in proto.initializer:
            scope[tensor.name] = gs.Constant(self.unique(tensor.name), self.lazy(tensor))
        for sparse in proto.sparse_initializer:
            scope[sparse.values.name] = gs.Constant(self.unique(sparse.values.name), dense(sparse))
        constants = {t.name for t in proto.initializer} | {s.values.name for s in proto.sparse_initializer}
        inputs = [v for v in proto.input if v.name not in constants]  # up to IR 3 initialisers are inputs too
        for info in inputs:
            scope[info.name] = self.variable(info.name, info)
        infos = {v.name: v for v in [*proto.value_info, *proto.output]}
        nodes = [n for p in proto.node if (n := self.node(p, scope, infos, common)) is not None]
        return gs.Graph(
            nodes=nodes,
            inputs=[scope[v.name] for v in inputs],
            outputs=[scope[v.name] for v in proto.output],
            name=proto.name,
            doc_string=proto.doc_string,
            **common,
        )

    def variable(self, name: str, info: onnx.ValueInfoProto | None) -> gs.Variable:
        tensor = gs.Variable(self.unique(name))
        if info is not None:
            describe(tensor, info.type)
        return tensor

    def node(self, proto: onnx.NodeProto, scope: dict, infos: dict, common: dict) -> gs.Node | None:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        if proto.op_type == "Constant" and not domain:
            name, attribute = proto.output[0], proto.attribute[0]
            held = self.lazy(attribute.t) if attribute.name == "value" else _CONSTANT[attribute.name](attribute)
            scope[name] = gs.Constant(self.unique(name), held)
            return None
        attrs: dict[str, Any] = {}
        for a in proto.attribute:
            read = _PLAIN.get(a.type)
            if read is not None:
                attrs[a.name] = read(a)
            elif a.type == AttributeProto.GRAPH:
                attrs[a.name] = self.graph(a.g, scope, common)
            else:  # a tensor as array; types and the like stay what they are
                tensor = a.type == AttributeProto.TENSOR
                attrs[a.name] = gs.Constant(a.t.name, self.lazy(a.t)) if tensor else a
        node = gs.Node(proto.op_type, proto.name, attrs, domain=domain or None)
        for name in proto.input:
            tensor = scope[name] if name else gs.Variable.empty()
            list.append(node.inputs, tensor)
            list.append(tensor.outputs, node)
        for name in proto.output:
            tensor = self.variable(name, infos.get(name)) if name else gs.Variable.empty()
            if name:
                scope[name] = tensor
            list.append(node.outputs, tensor)
            list.append(tensor.inputs, node)
        return node


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
        dims = inner.shape.dim
        tensor.shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims]


def value_info(tensor: Tensor, shaped: bool = True) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=tensor.name)
    if getattr(tensor, "type", "tensor_type") != "tensor_type":
        info.type.CopyFrom(tensor.type_proto)
    elif tensor.dtype is not None:
        kind = info.type.tensor_type
        kind.elem_type = elem_type(tensor.dtype)
        if shaped and tensor.shape is not None:
            dims = kind.shape
            dims.SetInParent()
            for d in tensor.shape:
                if d is None or d == "":
                    dims.dim.add()
                elif isinstance(d, str):
                    dims.dim.add(dim_param=d)
                else:
                    dims.dim.add(dim_value=int(d))
    return info


def array_proto(tensor: gs.Constant) -> TensorProto:
    held = tensor._values
    if isinstance(held, LazyTensor) and held._read is None and held._proto.name == tensor.name:
        return held._proto
    array = np.asarray(tensor.values)
    if array.dtype.isbuiltin == 1 and array.dtype != object:
        return TensorProto(
            name=tensor.name, data_type=elem_type(array.dtype), dims=array.shape, raw_data=array.tobytes()
        )
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), tensor.name)


def attributes(attrs: dict[str, Any], body: Callable[[gs.Graph], GraphProto]) -> Iterable[AttributeProto]:
    for key, item in attrs.items():
        if isinstance(item, AttributeProto):
            yield item
        elif isinstance(item, gs.Graph):
            yield AttributeProto(name=key, type=AttributeProto.GRAPH, g=body(item))
        elif isinstance(item, bool | int | np.integer):
            yield AttributeProto(name=key, type=AttributeProto.INT, i=int(item))
        elif isinstance(item, gs.Constant):
            yield AttributeProto(name=key, type=AttributeProto.TENSOR, t=array_proto(item))
        elif isinstance(item, float):
            yield AttributeProto(name=key, type=AttributeProto.FLOAT, f=item)
        elif isinstance(item, list | tuple) and all(isinstance(i, int | np.integer) for i in item):
            yield AttributeProto(name=key, type=AttributeProto.INTS, ints=item)
        else:
            yield helper.make_attribute(key, item)


def to_proto(graph: gs.Graph, *, big: str = "keep", limit: int = BIG, infos: bool = True) -> ModelProto:
    """The model as a message. `big="as_inputs"`: constants above `limit` bytes are inputs, by name, type and shape.

    `infos=False` leaves the types of intermediate tensors and the shapes of the outputs to shape inference.
    """
    if big not in ("keep", "as_inputs"):
        raise ValueError(f"big={big!r}: 'keep' or 'as_inputs'")
    outside: dict[int, gs.Constant] = {}

    def body(g: gs.Graph, root: bool = False) -> GraphProto:
        proto = GraphProto(name=g.name or "graph", doc_string=g.doc_string or "")
        constants: dict[int, gs.Constant] = {}
        local: dict[int, Tensor] = {}
        for node in g.nodes:
            entry = proto.node.add(
                op_type=node.op,
                name=node.name,
                input=[t.name for t in node.inputs],
                output=[t.name for t in node.outputs],
            )
            if node.domain:
                entry.domain = node.domain
            if node.attrs:
                entry.attribute.extend(attributes(node.attrs, body))
            for tensor in node.inputs:
                if isinstance(tensor, gs.Constant):
                    constants[id(tensor)] = tensor
            for tensor in node.outputs:
                local[id(tensor)] = tensor
        for tensor in g.outputs:
            if isinstance(tensor, gs.Constant):
                constants[id(tensor)] = tensor
        for tensor in constants.values():
            if id(tensor) in written:
                continue
            written.add(id(tensor))
            if big == "as_inputs" and tensor._values.nbytes > limit:
                outside[id(tensor)] = tensor
            else:
                proto.initializer.append(array_proto(tensor))
        proto.input.extend(value_info(t) for t in g.inputs)
        proto.output.extend(value_info(t, infos) for t in g.outputs)
        if infos:
            outs = {id(t) for t in g.outputs}
            proto.value_info.extend(
                value_info(t) for k, t in local.items() if k not in outs and t.name and t.dtype is not None
            )
        return proto

    written: set[int] = set()
    shared = _shared_constants(graph) if any(map(bodies, graph.nodes)) else []
    written.update(id(t) for t in shared)
    proto = body(graph, root=True)
    for tensor in shared:  # read in several scopes: they belong to the outermost
        if big == "as_inputs" and tensor._values.nbytes > limit:
            outside[id(tensor)] = tensor
        else:
            proto.initializer.append(array_proto(tensor))
    proto.input.extend(value_info(t) for t in outside.values())
    others = [d for d in graph.import_domains or [] if d.domain not in ("", "ai.onnx")]
    used = {n.domain for g in graphs(graph) for n in g.nodes if n.domain} - {d.domain for d in others}
    return ModelProto(
        ir_version=graph.ir_version or 10,
        graph=proto,
        opset_import=[
            helper.make_opsetid("", graph.opset),
            *others,
            *(helper.make_opsetid(d, 1) for d in sorted(used)),
        ],
        producer_name=graph.producer_name or "",
        producer_version=graph.producer_version or "",
    )


def _shared_constants(graph: gs.Graph) -> list[gs.Constant]:
    """Constants that more than one scope reads."""
    first: dict[int, gs.Graph] = {}
    shared: dict[int, gs.Constant] = {}
    for g in graphs(graph):
        for tensor in [*(t for n in g.nodes for t in n.inputs), *g.outputs]:
            if isinstance(tensor, gs.Constant) and first.setdefault(id(tensor), g) is not g:
                shared[id(tensor)] = tensor
    return list(shared.values())
