"""A .tflite file as the checker needs it: what is in it, other outputs for it, parts of it as a model of their own.

Tables are read in place and weights never copied, but for those few that a part of the model needs.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...emitters.tflite.schema import TENSOR_TYPES
from ...ir.kinds import KINDS
from ...ir.tensor_map import NAME, TensorMap
from .extracted import Extract, Weights
from .flatbuffer import Table
from .parted import Body, Operator, Parted, Segment, Tensor

OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
DTYPES = {code: dtype for dtype, code in TENSOR_TYPES.items()}
INT4 = schema.TensorType.INT4
REALS = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.INT8, INT4}  # of weights
#: Options of control flow -> its bodies; of an IF also the condition for which each is run.
BODIES = {schema.IfOptions: {"Then": True, "Else": False}, schema.WhileOptions: {"Cond": True, "Body": True}}
OPTIONS: dict[int, Any] = {getattr(schema.BuiltinOptions, kind.__name__): kind for kind in BODIES}
OUTPUTS_FIELD, OPERATORS_FIELD = 8, 10  # places of two fields in the vtable of SubGraph, by the schema

VIEWS = frozenset(kind.operator for kind in KINDS.values() if kind.is_view)


class UnreadableError(Exception):
    """The file is not a .tflite file."""


class FlatFile(Parted):
    """A .tflite file, mapped into memory; its main program, or one of its bodies, by the number of the subgraph."""

    def __init__(self, path: Path, subgraph: int = 0):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UnreadableError(f"cannot be read: {error}") from error
        if self.data[4:8] != b"TFL3":
            raise UnreadableError("cannot be loaded: it is not a .tflite file (its identifier is missing)")
        try:
            self.root = schema.Model.GetRootAs(self.data, 0)
            self.codes = [self.root.OperatorCodes(i) for i in range(self.root.OperatorCodesLength())]
            self.names = [self._name(code) for code in self.codes]
            self.buffers = Table(self.data, self.root._tab.Pos).tables(12)
            self._enter(subgraph)
            self._touch()
        except (struct.error, ValueError, IndexError, AttributeError, TypeError, UnicodeDecodeError) as error:
            raise UnreadableError("cannot be loaded: the file is damaged or cut off") from error

    def _enter(self, subgraph: int) -> None:
        self.graph = self.root.Subgraphs(subgraph)
        graph = Table(self.data, self.graph._tab.Pos)
        self.tensors = [self._tensor(i, place) for i, place in enumerate(graph.tables(4))]
        self.operators = self._operators(self.graph)
        self.inputs = _ints(self.graph.InputsAsNumpy())
        self.outputs = _ints(self.graph.OutputsAsNumpy())
        self.signature = self._signature(subgraph)

    def body(self, number: int) -> FlatFile:
        """The same file, seen from one of its bodies; it is not read and looked at once more."""
        other = FlatFile.__new__(FlatFile)
        for name in ("path", "data", "root", "codes", "names", "buffers"):
            setattr(other, name, getattr(self, name))
        other._enter(number)
        return other

    def _touch(self) -> None:
        """Look at all that is read later, so that a damaged file shows that when it is opened.

        :raises IndexError: for what refers to nothing in the file; and whatever reading that raises.
        """
        for number in range(self.root.SubgraphsLength()):
            graph = self.root.Subgraphs(number)
            places = Table(self.data, graph._tab.Pos).tables(4)
            tensors = [self._tensor(i, place) for i, place in enumerate(places)] if number else self.tensors
            for op in self._operators(graph) if number else self.operators:
                _within((*op.inputs, *op.outputs), len(tensors), least=-1)
            _within([t.buffer for t in tensors], len(self.buffers))
            _within([body.number for body in self.below(number)], self.root.SubgraphsLength())
        list(self.transposes())
        for i in range(self.root.MetadataLength()):
            entry = self.root.Metadata(i)
            _within([entry.Buffer() if entry.Name() else 0], len(self.buffers))
        for place in self.buffers:
            table = Table(self.data, place)
            _within([table.target(4) + table.length(4), table.long(6) + table.long(8)], len(self.data) + 1)

    def _tensor(self, index: int, place: int) -> Tensor:
        table = Table(self.data, place)
        kind = table.byte(6)
        shape = table.ints(18) or table.ints(4)
        dtype = np.dtype(np.int8) if kind == INT4 else DTYPES.get(kind, np.dtype(object))
        quant, extra = table.table(12), dict[str, Any](int4=kind == INT4)
        if quant is not None and (scale := quant.vector(8, np.float32)).size:
            zero = quant.vector(10, np.int64)
            extra |= {"scale": scale, "zero": zero if zero.size else np.zeros(1, np.int64), "axis": quant.number(16)}
        return Tensor(index, table.text(10), shape, dtype, table.number(8), self._size(table.number(8)) > 0, **extra)

    def _size(self, buffer: int) -> int:
        table = Table(self.data, self.buffers[buffer])
        return table.length(4) or (table.long(8) if table.long(6) > 1 else 0)

    def _operators(self, graph: Any) -> list[Operator]:
        found = []
        for i, place in enumerate(Table(self.data, graph._tab.Pos).tables(10)):
            op = Table(self.data, place)
            found.append(Operator(i, self.names[op.number(4)], op.ints(6), op.ints(8)))
        return found

    def _name(self, code: Any) -> str:
        name = OPERATORS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
        return f"CUSTOM {(code.CustomCode() or b'').decode()}" if name == "CUSTOM" else name

    def _signature(self, subgraph: int) -> tuple[dict[str, int], dict[str, int]]:
        """Inputs and outputs by the names of the first signature of subgraph 0; by tensor names where there is none."""
        for i in range(self.root.SignatureDefsLength()):
            entry = self.root.SignatureDefs(i)
            if entry.SubgraphIndex() == subgraph:
                ends = [
                    [entry.Inputs(k) for k in range(entry.InputsLength())],
                    [entry.Outputs(k) for k in range(entry.OutputsLength())],
                ]
                return tuple({m.Name().decode(): m.TensorIndex() for m in end} for end in ends)  # type: ignore[return-value]
        return {self.tensors[i].name: i for i in self.inputs}, {self.tensors[i].name: i for i in self.outputs}

    def bytes_of(self, buffer: int) -> np.ndarray:
        """The data of a buffer, in place."""
        table = Table(self.data, self.buffers[buffer])
        if size := table.length(4):
            return np.frombuffer(self.data, np.uint8, size, table.target(4) + 4)
        start = table.long(6)
        return np.frombuffer(self.data, np.uint8, table.long(8), start) if start > 1 else np.zeros(0, np.uint8)

    @cached_property
    def _map_buffer(self) -> int:
        """The one with the tensor map that the emitter wrote; 0 in a foreign file."""
        entries = map(self.root.Metadata, range(self.root.MetadataLength()))
        return next((int(entry.Buffer()) for entry in entries if entry.Name() == NAME.encode()), 0)

    @cached_property
    def tensor_map(self) -> TensorMap | None:
        """What the emitter wrote; None for a foreign file."""
        if not self._map_buffer:
            return None
        shapes = {t.name: t.shape for t in self._everywhere()}
        return TensorMap.from_bytes(self.bytes_of(self._map_buffer).tobytes(), shapes)

    @cached_property
    def front(self) -> int:
        """Bytes that hold all tables; the data of the buffers lie behind them where the file is one of ours, and so
        laid out, else anywhere in them."""
        tables = [Table(self.data, place) for place in self.buffers]
        outside = ((t.long(6), t.long(8)) for t in tables if t.long(6) > 1)
        data = sorted([(t.target(4) + 4, t.length(4)) for t in tables if t.length(4)] + [*outside])
        if not self._map_buffer or not data or data[-1][0] + data[-1][1] != len(self.data):
            return len(self.data)
        ends = [start + size for start, size in data]
        between = [self.data[end : start - 4] for end, (start, _) in zip(ends, data[1:], strict=False)]
        return data[0][0] - 4 if not any(map(any, between)) else len(self.data)

    def _everywhere(self) -> Iterator[Tensor]:
        """The tensors of all subgraphs."""
        for i in range(self.root.SubgraphsLength()):
            graph = Table(self.data, self.root.Subgraphs(i)._tab.Pos)
            here = graph.place == self.graph._tab.Pos
            yield from self.tensors if here else (self._tensor(k, t) for k, t in enumerate(graph.tables(4)))

    @cached_property
    def by_name(self) -> dict[str, int]:
        """Tensors by name, the names of the signature first."""
        return {t.name: t.index for t in self.tensors if t.name} | self.signature[0] | self.signature[1]

    @cached_property
    def kind(self) -> str:
        """``float32``, ``float16`` (some constants are) or ``quantised`` (some tensors are), of bodies too."""
        if any(t.quantised for t in self._everywhere()):
            return "quantised"
        return "float16" if any(t.dtype == np.float16 and t.constant for t in self._everywhere()) else "float32"

    @cached_property
    def has_int4(self) -> bool:
        """True where some tensor has 4 bits, also of bodies."""
        return any(t.int4 for t in self._everywhere() if t.quantised)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many of each operator, bodies of control flow included."""
        counts: dict[str, int] = {}
        for i in range(self.root.SubgraphsLength()):
            for op in self._operators(self.root.Subgraphs(i)) if i else self.operators:
                counts[op.name] = counts.get(op.name, 0) + 1
        return dict(sorted(counts.items()))

    def transposes(self) -> Iterable[tuple[Tensor, tuple[int, ...]]]:
        """The result of every TRANSPOSE of subgraph 0, and its permutation."""
        for op in self.operators:
            if op.name == "TRANSPOSE" and self.tensors[op.inputs[1]].constant:
                perm = self.bytes_of(self.tensors[op.inputs[1]].buffer).view(np.int32)
                yield self.tensors[op.outputs[0]], _ints(perm)

    def bodies(self, graph: Any = None) -> Iterator[tuple[int, int, bool]]:
        """(subgraph, operator of ``graph`` whose body it is, which way of an IF); bodies of bodies not."""
        graph = graph or self.graph
        for i in range(graph.OperatorsLength()):
            kind = OPTIONS.get(graph.Operators(i).BuiltinOptionsType())
            if kind is not None:
                options, ways = kind(), BODIES[kind]
                options.Init(graph.Operators(i).BuiltinOptions().Bytes, graph.Operators(i).BuiltinOptions().Pos)
                yield from ((getattr(options, f"{way}SubgraphIndex")(), i, flag) for way, flag in ways.items())

    def below(self, body: int | None = None) -> Iterator[Body]:
        """See :class:`Parted`."""
        graph = self.graph if body is None else self.root.Subgraphs(body)
        for number, index, way in self.bodies(graph):
            operator = graph.Operators(index)
            branch = operator.BuiltinOptionsType() == schema.BuiltinOptions.IfOptions
            yield Body(number, index, graph.Tensors(operator.Outputs(0)).Name().decode(), branch, way)

    def elements(self, body: int) -> int:
        """See :class:`Parted`."""
        graph = self.root.Subgraphs(body)
        tables = (graph.Tensors(i) for i in range(graph.TensorsLength()))
        constant = (t for t in tables if t.Type() in REALS and self.bytes_of(t.Buffer()).size)
        return sum(int(np.prod(t.ShapeAsNumpy(), dtype=np.int64)) for t in constant)

    def has_halves(self, body: int) -> bool:
        """See :class:`Parted`."""
        graph = self.root.Subgraphs(body)
        tables = (graph.Tensors(i) for i in range(graph.TensorsLength()))
        here = any(t.Type() == schema.TensorType.FLOAT16 and self.bytes_of(t.Buffer()).size for t in tables)
        return here or any(self.has_halves(inner.number) for inner in self.below(body))

    def around(self, tensor: int) -> tuple[Operator | None, list[Operator]]:
        """The operator before, and those behind, the moves (transposes and reshapes) that make ``tensor``."""
        source = self.producers.get(tensor)
        while source is not None and source.name in VIEWS:
            source = self.producers.get(source.inputs[0])
        readers, queue = list[Operator](), [tensor]
        for place in queue:
            for reader in (op for op in self.operators if place in op.inputs):
                if reader.name in VIEWS:
                    queue += reader.outputs
                else:
                    readers.append(reader)
        return source, readers

    # ------------------------------------------------------------------------------------------ other outputs

    def exposing(self, tensors: Sequence[int], operators: int | None = None) -> bytes:
        """The file with ``tensors`` as the outputs of subgraph 0, of whose operators only the first few are kept.

        The new list of outputs goes behind the end of the file, and the one reference to the old list is changed; what
        lies at absolute positions stays there.
        """
        end = -(-len(self.data) // 4) * 4
        table = self.graph._tab
        slot = table.Pos + table.Offset(OUTPUTS_FIELD)
        tail = bytes(end - len(self.data)) + struct.pack(f"<I{len(tensors)}i", len(tensors), *tensors)
        content = bytearray(self.data) + tail
        struct.pack_into("<I", content, slot, end - slot)
        if operators is not None:
            length = table.Vector(table.Offset(OPERATORS_FIELD)) - 4
            struct.pack_into("<I", content, length, operators)
        return bytes(content)

    # ------------------------------------------------------------------------------------------ parts

    def has_bytes(self, tensor: int) -> bool:
        """Do integers of eight bits stand for real numbers in a tensor?"""
        found = self.tensors[tensor]
        return found.quantised and found.dtype == np.int8 and not found.int4

    def extract(
        self, segments: Sequence[Segment], shapes: Sequence[Sequence[int]], weights: Weights | None = None
    ) -> bytes:
        """A .tflite, see :meth:`Parted.extract`; ``weights``: what is to be in the place of those of eight bits."""
        part, left = Extract(self, weights), iter(shapes)
        for segment in segments:
            part.add(segment, left)
        return part.pack()


def _within(numbers: Iterable[int], count: int, least: int = 0) -> None:
    """:raises IndexError: unless they all lie between ``least`` and ``count``, which is excluded."""
    if not all(least <= number < count for number in numbers):
        raise IndexError(f"not below {count}")


def _ints(array: Any) -> tuple[int, ...]:
    """A vector field; the accessors give 0 for an absent one."""
    return tuple(int(i) for i in array) if isinstance(array, np.ndarray) else ()
