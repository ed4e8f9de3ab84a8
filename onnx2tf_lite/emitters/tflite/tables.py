"""The program as objects of the TFLite schema: tensors, operators, buffers, signature.

Every constant becomes a :class:`Blob`, which writes no data into the flatbuffer but remembers where its reference lies;
``writer`` streams the arrays behind the tables and fills the references in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...ir.dims import Dim, Expr
from ...ir.graph import Graph, Op, Quant, Value, constant, static_shape
from ...ir.kind import Fields
from ...ir.kinds import KINDS, Kind
from ...ir.tensor_map import NAME, TensorMap
from .constants import Pool

NUMERIC = ["float16", "float32", "float64", "bool", "complex64"]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
TENSOR_TYPES = {np.dtype(name): getattr(schema.TensorType, name.upper()) for name in NUMERIC + INTEGERS}
NARROW = {4: schema.TensorType.INT4}  # by the bits of integers that are not whole bytes
ENUMS = {"padding": schema.Padding, "fusedActivationFunction": schema.ActivationFunctionType}
HALF_MIN_SIZE = 256  # elements from which a float16 constant is smaller than its DEQUANTIZE operation
HALF_MAX = 65504.0
#: TensorFlow's reduced_precision_metadata.h: inference in float16, accumulated in float16.
REDUCED_PRECISION, HALF_WITH_HALF_SUMS = "reduced_precision_support", b"fp16accfp16"


class Tables:
    """Collects one model: ``add`` every graph, then :meth:`model`."""

    def __init__(self, float16: bool = False, float16_sums: bool = False):
        self.float16, self.float16_sums = float16, float16_sums
        self.pool = Pool()
        self.graphs: list[Graph] = []
        self.indices: dict[Graph, int] = {}
        self.codes: dict[tuple[int, int], int] = {}
        self.done: list[schema.SubGraphT] = []
        self.bodies: dict[int, tuple[str, TensorMap]] = {}

    def index(self, graph: Graph) -> int:
        """The subgraph index of ``graph``, which will be written."""
        if graph not in self.indices:
            self.indices[graph] = len(self.graphs)
            self.graphs.append(graph)
        return self.indices[graph]

    def opcode(self, kind: Kind, version: int) -> int:
        """The index of an operator at a version in the model's list, which it joins at its first use."""
        assert kind.operator is not None, f"{kind.name} has no TFLite operator"
        key = (getattr(schema.BuiltinOperator, kind.operator), version)
        return self.codes.setdefault(key, len(self.codes))

    def model(self, graph: Graph, signature_key: str) -> schema.ModelT:
        """The whole model, ``graph`` as subgraph 0 with a signature."""
        self.index(graph)
        main = _Body(self, graph, "")
        self.done.append(main.table())
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = signature_key, 0
        signature.inputs = [_named(v.name, main.tensor(v)) for v in graph.inputs]
        signature.outputs = [_named(n, main.tensor(v)) for n, v in zip(graph.output_names, graph.outputs, strict=True)]
        for i, body in enumerate(iter(lambda: self._next(), None), start=1):
            inner = _Body(self, body, f"{body.name}.{i}/")
            self.done.append(inner.table())
            if body.body_of and body.placements:
                self.bodies[i] = body.body_of, inner.tensor_map()
        model = schema.ModelT()
        model.version, model.description = 3, "onnx2tf_lite"
        model.operatorCodes = [_operator_code(*key) for key in self.codes]
        model.subgraphs, model.signatureDefs = self.done, [signature]
        model.metadata = self._metadata(main)
        model.buffers = [schema.BufferT(), *self.pool.blobs]
        return model

    def _metadata(self, main: _Body) -> list[schema.MetadataT] | None:
        """Where the ONNX tensors are, for the checker; what may be computed in half precision, for delegates."""
        table = replace(main.tensor_map(), bodies=self.bodies)
        entries = {NAME: table.to_bytes()} if table.places else {}
        if self.float16_sums:
            entries[REDUCED_PRECISION] = HALF_WITH_HALF_SUMS
        return [self._entry(name, content) for name, content in entries.items()] or None

    def _entry(self, name: str, content: bytes) -> schema.MetadataT:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self.pool.add(np.frombuffer(content, np.uint8))
        return entry

    def _next(self) -> Graph | None:
        return self.graphs[len(self.done)] if len(self.done) < len(self.graphs) else None


def _operator_code(code: int, version: int) -> schema.OperatorCodeT:
    table = schema.OperatorCodeT()
    table.builtinCode, table.deprecatedBuiltinCode, table.version = code, min(code, 127), version
    return table


def _named(name: str, index: int) -> schema.TensorMapT:
    table = schema.TensorMapT()
    table.name, table.tensorIndex = name, index
    return table


class _Body:
    """One subgraph."""

    def __init__(self, model: Tables, graph: Graph, prefix: str):
        self.model, self.graph, self.prefix = model, graph, prefix
        self.tensors: list[schema.TensorT] = []
        self.expanded: list[schema.OperatorT] = []  # float16 constants, before everything
        self.indices: dict[Value, int] = {}
        self.attributes: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self.names: dict[str, int] = {}  # with the number that is tried next for another tensor of the name
        named = {v: n for n, v in zip(graph.output_names, graph.outputs, strict=False)}
        for value in dict.fromkeys([*graph.inputs, *graph.outputs]):
            self.tensor(value, named.get(value))

    def table(self) -> schema.SubGraphT:
        operators = [self.operator(op) for op in self.graph.ops]
        table = schema.SubGraphT()
        table.name = self.graph.name
        table.tensors, table.operators = self.tensors, self.expanded + operators
        table.inputs = np.array([self.tensor(v) for v in self.graph.inputs], np.int32)
        table.outputs = np.array([self.tensor(v) for v in self.graph.outputs], np.int32)
        return table

    def tensor_map(self) -> TensorMap:
        """The map of what has been written."""
        nodes = [""] * len(self.expanded) + [op.origin.node if op.origin else "" for op in self.graph.ops]
        return TensorMap.of(
            self.graph, lambda v: self.tensors[self.indices[v]].name if v in self.indices else None, nodes
        )

    def tensor(self, value: Value, name: str | None = None) -> int:
        """The index of ``value``'s tensor, made on first use."""
        if value in self.indices:
            return self.indices[value]
        if self.model.float16 and _halves(value):
            index = self._dequantized(value)
        else:
            buffer = self.model.pool.add(_laid_out(value.data, value.quant)) if value.data is not None else 0
            index = self._new(name or value.name, value.shape, value.dtype, buffer, value.quant)
        self.indices[value] = index
        return index

    def _new(self, name: str, shape: Iterable[Dim], dtype: np.dtype, buffer: int, quant: Quant | None) -> int:
        table, shape = schema.TensorT(), tuple(shape)
        table.name = self._unique(self.prefix + name)
        table.type = NARROW[quant.bits] if quant is not None and quant.bits else TENSOR_TYPES[dtype]
        table.buffer = buffer
        table.hasRank = True
        table.shape = np.array([1 if isinstance(d, Expr) else int(d) for d in shape], np.int32)
        if any(isinstance(d, Expr) for d in shape):
            table.shapeSignature = np.array([-1 if isinstance(d, Expr) else int(d) for d in shape], np.int32)
        if quant is not None and dtype.kind in "iu":
            table.quantization = _quantization(quant)
        self.tensors.append(table)
        return len(self.tensors) - 1

    def _unique(self, name: str) -> str:
        unique, number = name, self.names.get(name, 0)
        while unique in self.names:
            number += 1
            unique = f"{name};{number}"
        self.names[name] = number
        self.names.setdefault(unique, 0)
        return unique

    def _dequantized(self, value: Value) -> int:
        """A float16 constant and the DEQUANTIZE that expands it (once, not per invocation)."""
        assert value.data is not None
        half = np.dtype(np.float16)
        source = self._new(value.name + "_float16", value.shape, half, self.model.pool.add(value.data, half), None)
        result = self._new(value.name, value.shape, value.dtype, 0, None)
        table = schema.OperatorT()
        table.opcodeIndex = self.model.opcode(KINDS["DEQUANTIZE"], 3)
        table.inputs, table.outputs = np.array([source], np.int32), np.array([result], np.int32)
        table.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
        table.builtinOptions = schema.DequantizeOptionsT()
        self.expanded.append(table)
        return result

    def operator(self, op: Op) -> schema.OperatorT:
        """One operation."""
        table = schema.OperatorT()
        table.opcodeIndex = self.model.opcode(op.kind, op.kind.version(op))
        table.inputs = np.array(self._operands(op), np.int32)
        table.outputs = np.array([self.tensor(v) for v in op.outputs], np.int32)
        if op.kind.options is not None:
            self._options(op, table, *op.kind.options)
        return table

    def _operands(self, op: Op) -> list[int]:
        if op.kind.operands is None:
            inputs, linear = list(op.inputs), op.kind.weights
            if linear is not None and linear.biased and (len(inputs) < 3 or inputs[2] is None):
                assert inputs[1] is not None
                channels = static_shape(inputs[1])[linear.outputs]
                inputs[2:] = [constant(np.zeros(channels, np.float32), name="no_bias")]
            return [-1 if v is None else self.tensor(v) for v in inputs]
        result = []
        for operand in op.kind.operands:
            if isinstance(operand, str):
                result.append(self._attribute(op, operand))
            else:
                value = op.inputs[operand] if operand < len(op.inputs) else None
                result.append(-1 if value is None else self.tensor(value))
        while result[-1] == -1:
            result.pop()
        return result

    def _attribute(self, op: Op, name: str) -> int:
        """An attribute as an i32 tensor, shared by all operations that need the same one."""
        value = op.attrs[name]
        if isinstance(value, Value):
            return self.tensor(value)
        array = np.asarray(value, np.int32)
        key = (array.tobytes(), array.shape)
        if key not in self.attributes:
            buffer = self.model.pool.add(array)
            self.attributes[key] = self._new(name, array.shape, array.dtype, buffer, None)
        return self.attributes[key]

    def _options(self, op: Op, table: schema.OperatorT, name: str, fields: Fields) -> None:
        options = getattr(schema, name + "T")()
        for field, source in fields.items():
            value = self._field(op, field, source)
            if value is not None:
                setattr(options, field, value)
        if hasattr(schema.BuiltinOptions2, name):
            table.builtinOptions2Type, table.builtinOptions2 = getattr(schema.BuiltinOptions2, name), options
        else:
            table.builtinOptionsType, table.builtinOptions = getattr(schema.BuiltinOptions, name), options

    def _field(self, op: Op, field: str, source: object) -> Any:
        """An option: an attribute by name, a function of the operation, or a constant."""
        value = op.attrs.get(source) if isinstance(source, str) else source(op) if callable(source) else source
        if isinstance(value, str) and field in ENUMS:
            return getattr(ENUMS[field], value)
        if isinstance(value, np.dtype):
            return TENSOR_TYPES[value]
        return self.model.index(value) if isinstance(value, Graph) else value


def _halves(value: Value) -> bool:
    """True for a float constant that is worth storing in float16 and fits its range."""
    data = value.data
    if data is None or data.dtype != np.float32 or data.size < HALF_MIN_SIZE:
        return False
    return bool(data.max() <= HALF_MAX and data.min() >= -HALF_MAX)


def _laid_out(data: np.ndarray, quant: Quant | None) -> np.ndarray:
    """The bytes of a constant: integers of 4 bits are two to a byte, the first one in the lower half."""
    if quant is None or quant.bits is None:
        return data
    flat = data.reshape(-1).view(np.uint8)
    pairs = np.pad(flat, (0, flat.size % 2)).reshape(-1, 2) & 15
    return pairs[:, 0] | pairs[:, 1] << 4


def unpacked(packed: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` integers, as int8, of bytes that hold two of 4 bits each."""
    halves = np.stack([packed << 4, packed & 0xF0], -1).astype(np.uint8).reshape(-1)[:count]
    return halves.view(np.int8) >> 4


def _quantization(quant: Quant) -> schema.QuantizationParametersT:
    table = schema.QuantizationParametersT()
    table.scale = np.atleast_1d(quant.scale).astype(np.float32)
    table.zeroPoint = np.atleast_1d(quant.zero_point).astype(np.int64)
    table.quantizedDimension = quant.axis or 0
    return table
