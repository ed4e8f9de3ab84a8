"""FunctionDefs, built node by node: every IR graph (the model, each body of control flow) becomes one of a library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...ir.graph import Graph, Op, Value
from .nodes import NodeNames, Operand, Ref, append, constant, datatype, identifier, results
from .operators import operator
from .protos import message

Key = tuple[int, tuple[int, ...], tuple[int, ...]]  # identity of an array, permutation, shape


class Library:
    """The functions of one SavedModel, and its variables: the constants for which ``varies`` holds."""

    def __init__(self, varies: Callable[[np.ndarray], bool]):
        self.graph_def = message("GraphDef")()
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
        self.names = NodeNames(reserved="(x|y|weight)[0-9]+")
        self.constants: dict[Hashable, Ref] = {}
        self.captured: dict[str, Ref] = {}
        self.stem = ""
        self.refs = {v: Ref(f"x{i}", datatype(v.dtype)) for i, v in enumerate(graph.inputs)}

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
        extra = [self._variable(name) for name in captured]
        signature = self.proto.signature
        for ref in [*(self.refs[v] for v in self.graph.inputs), *extra]:
            signature.input_arg.add(name=ref.name, type=ref.dtype)
        for i, ref in enumerate([*map(self, self.graph.outputs), *(extra if returned else [])]):
            signature.output_arg.add(name=f"y{i}", type=ref.dtype)
            self.proto.ret[f"y{i}"] = ref.name
        if self.stateful:
            signature.is_stateful = True
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
            self.constants[key] = self._constant(array, value.name) if name is None else self.capture(name)
        return self.constants[key]

    def capture(self, name: str) -> Ref:
        """A variable that this function, or one called from here, reads."""
        return self.captured.setdefault(name, self._variable(name))

    def _variable(self, name: str) -> Ref:
        return Ref(name, datatype(self.library.variables[name].dtype))

    def const(self, data: object, dtype: DTypeLike | None = None) -> Ref:
        """A small constant, shared within the function."""
        array = np.asarray(data, dtype)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = self._constant(array, "const")
        return self.constants[key]

    def _constant(self, array: np.ndarray, stem: str) -> Ref:
        return results(constant(self.proto.node_def, self.names.new(identifier(stem)), array))[0]

    def add(self, kind: str, *operands: Operand, **attrs: Any) -> Ref:
        """:meth:`add_all` for operators with one result."""
        return self.add_all(kind, operands, **attrs)[0]

    def add_all(
        self, kind: str, operands: Sequence[Operand], dtypes: Sequence[np.dtype] = (), **attrs: object
    ) -> list[Ref]:
        """Append a node.  ``dtypes`` of the results, for operators whose operands do not determine them."""
        for argument, dtype in zip(operator(kind).results, dtypes, strict=False):
            if argument.typed and not argument.listed:
                attrs.setdefault(argument.typed, dtype)
        name = self.names.new(identifier(self.stem or kind))
        return results(append(self.proto.node_def, kind, name, operands, **attrs))
