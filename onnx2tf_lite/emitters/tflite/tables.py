"""The program as rows of the TFLite schema: tensors, operators, buffers, signature.

Every constant becomes a :class:`.constants.Blob`, of which the flatbuffer has a reference alone; ``writer`` streams the
arrays behind the tables and fills the references in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from ...ir.dims import Dim, Expr
from ...ir.graph import Graph, Op, Quant, Value, constant, static_shape
from ...ir.kind import Fields
from ...ir.kinds import KINDS, Kind
from ...ir.tensor_map import NAME, TensorMap
from .constants import Pool
from .flatbuffer import Content, FlatTable
from .schema import BUILTIN_OPERATORS, ENUMS, NARROW, OPTIONS, TENSOR_TYPES

HALF_MIN_SIZE = 256  # elements from which a float16 constant is smaller than its DEQUANTIZE operation
HALF_MAX = 65504.0
#: TensorFlow's reduced_precision_metadata.h: inference in float16, accumulated in float16.
REDUCED_PRECISION, HALF_WITH_HALF_SUMS = "reduced_precision_support", b"fp16accfp16"


class Stored(NamedTuple):
    """A tensor of the file; ``buffer`` 0: it is computed."""

    name: str
    shape: tuple[Dim, ...]
    dtype: np.dtype
    buffer: int = 0
    quant: Quant | None = None

    @property
    def bits(self) -> int | None:
        """Of integers that are not whole bytes."""
        return self.quant.bits if self.quant is not None else None

    def extents(self, unknown: int = 1) -> list[int]:
        """Its shape with this number for an extent that only run time knows."""
        return [unknown if isinstance(d, Expr) else int(d) for d in self.shape]

    def table(self) -> FlatTable:
        """Its row."""
        is_open = any(isinstance(d, Expr) for d in self.shape)
        return FlatTable(
            "Tensor",
            name=self.name,
            type=NARROW[self.bits] if self.bits else TENSOR_TYPES[self.dtype],
            buffer=self.buffer,
            hasRank=True,
            shape=self.extents(),
            shapeSignature=self.extents(unknown=-1) if is_open else None,
            quantization=_quantization(self.quant) if self.quant is not None and self.dtype.kind in "iu" else None,
        )


class Tables:
    """Collects one model: :meth:`add` its graph, then :meth:`model`."""

    def __init__(self, float16: bool = False, float16_sums: bool = False):
        self.float16, self.float16_sums = float16, float16_sums
        self.pool = Pool()
        self.graphs: list[Graph] = []
        self.indices: dict[Graph, int] = {}
        self.codes: dict[tuple[int, int], int] = {}
        self.bodies: list[_Body] = []
        self.subgraphs: list[FlatTable] = []
        self.signatures: list[FlatTable] = []
        self.metadata: list[FlatTable] = []

    def index(self, graph: Graph) -> int:
        """The subgraph index of ``graph``, which will be written."""
        if graph not in self.indices:
            self.indices[graph] = len(self.graphs)
            self.graphs.append(graph)
        return self.indices[graph]

    def opcode(self, kind: Kind, version: int) -> int:
        """The index of an operator at a version in the model's list, which it joins at its first use."""
        assert kind.operator is not None, f"{kind.name} has no TFLite operator"
        key = BUILTIN_OPERATORS[kind.operator], version
        return self.codes.setdefault(key, len(self.codes))

    def add(self, graph: Graph, signature_key: str = "") -> None:
        """``graph`` as subgraph 0 with a signature, its bodies behind it."""
        self.index(graph)
        maps = dict[int, tuple[str, TensorMap]]()
        for i, body in enumerate(self.graphs):  # which grows: a body is found where its operator is written
            self.bodies.append(_Body(self, body, f"{body.name}.{i}/" if i else ""))
            self.subgraphs.append(self.bodies[i].table())
            if not i:
                self.signatures.append(self._signature(signature_key))
            elif body.body_of and body.placements:
                maps[i] = body.body_of, self.bodies[i].tensor_map()
        table = replace(self.bodies[0].tensor_map(), bodies=maps)
        self.metadata = list(self._metadata(table))

    def _signature(self, key: str) -> FlatTable:
        main, graph = self.bodies[0], self.graphs[0]
        inputs = [_named(v.name, main.tensor(v)) for v in graph.inputs]
        outputs = [_named(n, main.tensor(v)) for n, v in zip(graph.output_names, graph.outputs, strict=True)]
        return FlatTable("SignatureDef", signatureKey=key, inputs=inputs, outputs=outputs)

    def _metadata(self, table: TensorMap) -> Iterator[FlatTable]:
        """Where the ONNX tensors are, for the checker; what may be computed in half precision, for delegates."""
        entries = {NAME: table.to_bytes()} if table.places else {}
        if self.float16_sums:
            entries[REDUCED_PRECISION] = HALF_WITH_HALF_SUMS
        for name, content in entries.items():
            yield FlatTable("Metadata", name=name, buffer=self.pool.add(np.frombuffer(content, np.uint8)))

    def model(self) -> FlatTable:
        """The whole model."""
        return FlatTable(
            "Model",
            version=3,
            description="onnx2tf_lite",
            operatorCodes=[_operator_code(*key) for key in self.codes],
            subgraphs=self.subgraphs,
            signatureDefs=self.signatures,
            metadata=self.metadata or None,
            buffers=[FlatTable("Buffer"), *(blob.table() for blob in self.pool.blobs)],
        )


def _operator_code(code: int, version: int) -> FlatTable:
    """An operator in the list; older readers know those below 127 by one byte."""
    return FlatTable("OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version)


def _named(name: str, index: int) -> FlatTable:
    return FlatTable("TensorMap", name=name, tensorIndex=index)


class _Body:
    """One subgraph."""

    def __init__(self, model: Tables, graph: Graph, prefix: str):
        self.model, self.graph, self.prefix = model, graph, prefix
        self.tensors: list[Stored] = []
        self.expanded: list[FlatTable] = []  # float16 constants, before everything
        self.indices: dict[Value, int] = {}
        self.attributes: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self.names: dict[str, int] = {}  # with the number that is tried next for another tensor of the name
        named = {v: n for n, v in zip(graph.output_names, graph.outputs, strict=False)}
        for value in dict.fromkeys([*graph.inputs, *graph.outputs]):
            self.tensor(value, named.get(value))

    def table(self) -> FlatTable:
        operators = [self.operator(op) for op in self.graph.ops]
        inputs, outputs = ([self.tensor(v) for v in ends] for ends in (self.graph.inputs, self.graph.outputs))
        return FlatTable(
            "SubGraph",
            name=self.graph.name,
            tensors=[tensor.table() for tensor in self.tensors],
            operators=self.expanded + operators,
            inputs=inputs,
            outputs=outputs,
        )

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

    def _new(
        self, name: str, shape: Iterable[Dim], dtype: np.dtype, buffer: int = 0, quant: Quant | None = None
    ) -> int:
        self.tensors.append(Stored(self._unique(self.prefix + name), tuple(shape), dtype, buffer, quant))
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
        source = self._new(value.name + "_float16", value.shape, half, self.model.pool.add(value.data, half))
        result = self._new(value.name, value.shape, value.dtype)
        code = self.model.opcode(KINDS["DEQUANTIZE"], 3)
        self.expanded.append(_operator(code, [source], [result], FlatTable("DequantizeOptions")))
        return result

    def operator(self, op: Op) -> FlatTable:
        """One operation."""
        code, inputs = self.model.opcode(op.kind, op.kind.version(op)), self._operands(op)
        options = None if op.kind.options is None else self._options(op, *op.kind.options)
        return _operator(code, inputs, [self.tensor(v) for v in op.outputs], options)

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
            self.attributes[key] = self._new(name, array.shape, array.dtype, buffer)
        return self.attributes[key]

    def _options(self, op: Op, name: str, fields: Fields) -> FlatTable:
        return FlatTable(name, **{field: self._field(op, field, source) for field, source in fields.items()})

    def _field(self, op: Op, field: str, source: object) -> Content:
        """An option: an attribute by name, a function of the operation, or a constant."""
        value = op.attrs.get(source) if isinstance(source, str) else source(op) if callable(source) else source
        if isinstance(value, str):
            return ENUMS[field][value]
        if isinstance(value, np.dtype):
            return TENSOR_TYPES[value]
        return self.model.index(value) if isinstance(value, Graph) else cast("Content", value)


def _operator(code: int, inputs: list[int], outputs: list[int], options: FlatTable | None) -> FlatTable:
    table = FlatTable("Operator", opcodeIndex=code, inputs=inputs, outputs=outputs)
    if options is not None:
        union, number = OPTIONS[options.kind]
        table.fields |= {union: options, f"{union}Type": number}
    return table


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


def _quantization(quant: Quant) -> FlatTable:
    return FlatTable(
        "QuantizationParameters",
        scale=np.atleast_1d(quant.scale),
        zeroPoint=np.atleast_1d(quant.zero_point),
        quantizedDimension=quant.axis or 0,
    )
