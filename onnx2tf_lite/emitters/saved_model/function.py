"""FunctionDefs of a SavedModel, built node by node.

Every IR graph (the model, each body of control flow) becomes one function of one library; TensorFlow traces nothing.
Operand types, list lengths and result types follow from the operator definitions that TensorFlow itself registers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
from numpy.typing import DTypeLike

from ...ir.dims import Expr, Shape
from ...ir.graph import Graph, Op, Value

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Ref(NamedTuple):
    """A tensor inside a function, as other nodes name it, and its ``DataType`` number."""

    name: str
    dtype: int


Operand = Union[Ref, Sequence[Ref]]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
NUMERIC = [*INTEGERS, "float16", "float32", "float64", "bool", "complex64"]
Key = tuple[int, tuple[int, ...], tuple[int, ...]]  # identity of an array, permutation, shape


def identifier(name: str) -> str:
    """A name that TensorFlow allows, made of any."""
    return re.sub("[^A-Za-z0-9_./]", "_", name).lstrip("_/")[-200:] or "node"


def partial(shape: Shape) -> list[int | None]:
    """The shape with None for symbolic extents."""
    return [None if isinstance(d, Expr) else int(d) for d in shape]


class Library:
    """The functions of one SavedModel, and its variables: the constants for which ``varies`` holds."""

    def __init__(self, tf: ModuleType, varies: Callable[[np.ndarray], bool]):
        from tensorflow.python.framework import op_def_registry

        self.graph_def = tf.compat.v1.GraphDef()
        self.op_def = op_def_registry.get
        self.enum = {np.dtype(t.as_numpy_dtype): t.as_datatype_enum for t in map(tf.as_dtype, NUMERIC)}
        self.varies = varies
        self.variables: dict[str, np.ndarray] = {}
        self.labels: dict[str, str] = {}  # of the variables, for people
        self.names: dict[Key, str] = {}

    def variable(self, key: Key, array: np.ndarray, label: str) -> str | None:
        """The name of the variable that holds ``array``, or None where it is to be a constant."""
        if not self.varies(array):
            return None
        if key not in self.names:
            self.names[key] = f"weight{len(self.names)}"
            self.variables[self.names[key]] = array
            self.labels[self.names[key]] = identifier(label)
        return self.names[key]


class Function:
    """One graph as a FunctionDef: arguments x0, x1, ... and the variables it reads; results y0, y1, ..."""

    def __init__(self, library: Library, graph: Graph):
        self.library, self.graph = library, graph
        self.proto = library.graph_def.library.function.add()
        self.stateful = any(op.kind.stateful for g in [graph, *graph.subgraphs()] for op in g.ops)
        self.taken: set[str] = set()
        self.counts: dict[str, int] = {}
        self.constants: dict[Hashable, Ref] = {}
        self.captured: dict[str, Ref] = {}
        self.stem = ""
        self.refs = {v: Ref(f"x{i}", library.enum[v.dtype]) for i, v in enumerate(graph.inputs)}

    def build(self, emit: Callable[[Function, Op], Sequence[Ref]]) -> Function:
        """All operations, by ``emit(function, op)``, which gives their results."""
        for op in self.graph.ops:
            self.stem = op.outputs[0].name
            self.refs.update(zip(op.outputs, emit(self, op), strict=True))
        return self

    def seal(self, captured: Iterable[str] = (), returned: bool = False) -> str:
        """Write the signature, with ``captured`` (all that the function reads, or more) as arguments after the graph's
        and, if ``returned``, as results; the function's name, which says what is in it.
        """
        extra = [Ref(name, self.library.enum[self.library.variables[name].dtype]) for name in captured]
        signature = self.proto.signature
        for ref in [*(self.refs[v] for v in self.graph.inputs), *extra]:
            signature.input_arg.add(name=ref.name, type=ref.dtype)
        for i, ref in enumerate([*map(self, self.graph.outputs), *(extra if returned else [])]):
            signature.output_arg.add(name=f"y{i}", type=ref.dtype)
            self.proto.ret[f"y{i}"] = ref.name
        signature.is_stateful = self.stateful
        digest = hashlib.sha256(self.proto.SerializeToString(deterministic=True)).hexdigest()[:12]
        name = f"{re.sub('[^A-Za-z0-9_]', '_', self.graph.name)}_{digest}"
        signature.name = name
        return name

    def __call__(self, value: Value | None) -> Ref:
        """The tensor of an IR value."""
        assert value is not None
        return self.refs[value] if value.data is None else self.arranged(value)

    def attribute(self, op: Op, name: str) -> Ref:
        """An attribute as a tensor: run-time shapes already are one."""
        found = op.attrs[name]
        return self(found) if isinstance(found, Value) else self.const(np.asarray(found, np.int32))

    def arranged(self, value: Value, perm: tuple[int, ...] = (), shape: tuple[int, ...] = ()) -> Ref:
        """``value`` transposed and reshaped: constants at compile time and each only once."""
        if value.data is None:
            ref = self.refs[value]
            ref = self.add("Transpose", ref, self.const(np.array(perm, np.int32))) if perm else ref
            return self.add("Reshape", ref, self.const(np.array(shape, np.int32))) if shape else ref
        key = (id(value.data), perm, shape)
        if key not in self.constants:
            array = value.data.transpose(perm) if perm else value.data
            array = array.reshape(shape) if shape else array
            name = self.library.variable(key, array, value.name if value.name != "const" else f"{self.stem}/weight")
            if name is None:
                self.constants[key] = self._constant(array, value.name)
            else:
                self.constants[key] = self.captured[name] = Ref(name, self.library.enum[array.dtype])
        return self.constants[key]

    def capture(self, name: str) -> Ref:
        """A variable that a function called from here reads."""
        ref = Ref(name, self.library.enum[self.library.variables[name].dtype])
        return self.captured.setdefault(name, ref)

    def const(self, data: object, dtype: DTypeLike | None = None) -> Ref:
        """A small constant, shared within the function."""
        array = np.asarray(data, dtype)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = self._constant(array, "const")
        return self.constants[key]

    def _constant(self, array: np.ndarray, stem: str) -> Ref:
        node = self.proto.node_def.add(op="Const", name=self._unique(stem))
        dtype = self.library.enum[array.dtype]
        node.attr["dtype"].type = dtype
        tensor = node.attr["value"].tensor
        tensor.dtype = dtype
        for extent in array.shape:
            tensor.tensor_shape.dim.add(size=extent)
        tensor.tensor_content = array.tobytes()
        return Ref(f"{node.name}:output:0", dtype)

    def _unique(self, stem: str) -> str:
        """A node name: made of ``stem``, of no other node and of no argument."""
        name = stem = identifier(stem)
        while name.lower() in self.taken or re.fullmatch("(x|y|weight)[0-9]+", name):
            self.counts[stem] = self.counts.get(stem, 0) + 1
            name = f"{stem}_{self.counts[stem]}"
        self.taken.add(name.lower())
        return name

    def add(self, kind: str, *operands: Operand, **attrs: Any) -> Ref:
        """:meth:`add_all` for operators with one result."""
        return self.add_all(kind, operands, **attrs)[0]

    def add_all(
        self, kind: str, operands: Sequence[Operand], results: Sequence[np.dtype] = (), **attrs: Any
    ) -> list[Ref]:
        """Append a node.  ``results``: dtypes of the results, for operators whose operands do not determine them."""
        definition = self.library.op_def(kind)
        node = self.proto.node_def.add(op=kind, name=self._unique(self.stem or kind))
        for argument, operand in zip(definition.input_arg, operands, strict=True):
            refs = [operand] if isinstance(operand, Ref) else list(operand)
            node.input.extend(r.name for r in refs)
            if argument.type_list_attr:
                attrs[argument.type_list_attr] = [r.dtype for r in refs]
            elif argument.type_attr:
                attrs[argument.type_attr] = refs[0].dtype
            if argument.number_attr:
                attrs[argument.number_attr] = len(refs)
        for argument, dtype in zip(definition.output_arg, results, strict=False):
            if argument.type_attr:
                attrs.setdefault(argument.type_attr, dtype)
        for attribute in definition.attr:
            if attribute.name in attrs:
                value = attrs.pop(attribute.name)
                value = self.library.enum[value] if isinstance(value, np.dtype) else value
                _set(node.attr[attribute.name], attribute.type, value)
        assert not attrs, f"{kind} has no attribute {', '.join(attrs)}"
        return [
            Ref(f"{node.name}:{argument.name}:{i}", dtype)
            for argument in definition.output_arg
            for i, dtype in enumerate(result_types(argument, node))
        ]


def result_types(argument: Message, node: Message) -> list[int]:
    """Types of the tensors that one output argument stands for."""
    if argument.type_list_attr:
        return list(node.attr[argument.type_list_attr].list.type)
    dtype = node.attr[argument.type_attr].type if argument.type_attr else argument.type
    return [dtype] * (node.attr[argument.number_attr].i if argument.number_attr else 1)


FIELDS = {"type": "type", "int": "i", "float": "f", "bool": "b", "string": "s"}


def _set(slot: Message, kind: str, value: Any) -> None:
    """Fill an AttrValue whose declared type is ``kind``."""
    if kind == "func":
        slot.func.name = value
    elif kind == "list(shape)":
        for shape in value:
            entry = slot.list.shape.add()
            for extent in partial(shape):
                entry.dim.add(size=-1 if extent is None else extent)
    elif kind.startswith("list("):
        getattr(slot.list, FIELDS[kind[5:-1]]).extend(value)
    else:
        setattr(slot, FIELDS[kind], value.encode() if kind == "string" else value)
