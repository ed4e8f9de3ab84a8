"""Some operators of a .tflite as a model of their own.

Its tables are those of the file, behind new ones for what differs: whose operands have other numbers, and where a part
begins.  Generated code that copies them takes as long as running the part does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...emitters.tflite.flatbuffer import Behind, Content, FlatTable, Later, pack
from ...emitters.tflite.schema import fields
from .flatbuffer import Table

if TYPE_CHECKING:
    from .flatfile import FlatFile
    from .parted import Segment

Weights = Callable[[np.ndarray], np.ndarray]
ALIGNMENT = 64
VERSION = 3
CODES, SUBGRAPHS, TENSORS, OPERATORS, DATA = (
    2 * fields(table)[name].slot + 4  # their places in vtables
    for table, name in zip(
        ("Model", "Model", "SubGraph", "SubGraph", "Buffer"),
        ("operatorCodes", "subgraphs", "tensors", "operators", "data"),
        strict=True,
    )
)


class Copy(NamedTuple):
    """A ``tensor`` of the file; in another ``shape`` where a part begins, or with another ``buffer``."""

    tensor: int
    shape: Sequence[int] | None = None
    buffer: int = 0


class Extract:
    """A model made of copies of some operators."""

    def __init__(self, file: FlatFile, weights: Weights | None = None):
        self.file, self.weights = file, weights
        self.tensors: list[Copy] = []
        self.operators: list[tuple[int, list[int], list[int]]] = []  # with what they read and make here
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.conditions: list[int] = []
        self.constants: dict[int, int] = {}
        self.other: list[np.ndarray] = []  # weights in the place of those of the file

    def add(self, segment: Segment, shapes: Iterator[Sequence[int]]) -> None:
        """The operators of a layer; ``shapes`` of what it reads are the next ones."""
        copies: dict[int, int] = {-1: -1}
        for tensor in segment.boundary:
            copies[tensor] = self.tensor(Copy(tensor, next(shapes)))
            self.inputs.append(copies[tensor])
        for index in segment.operators:
            op = self.file.operators[index]
            for tensor in (*op.inputs, *op.outputs):
                if tensor not in copies:
                    constant = self.file.tensors[tensor].constant
                    copies[tensor] = self.constant(tensor) if constant else self.tensor(Copy(tensor))
            # where the part begins at another result of an operator, that is made once more, unread
            made = [self.tensor(Copy(t)) if t in segment.boundary else copies[t] for t in op.outputs]
            self.operators.append((index, [copies[t] for t in op.inputs], made))
            if op.branches:
                self.conditions.append(copies[op.inputs[0]])
        self.outputs.append(copies[segment.target])

    def tensor(self, copy: Copy) -> int:
        """Its number here."""
        self.tensors.append(copy)
        return len(self.tensors) - 1

    def constant(self, tensor: int) -> int:
        """Constants are shared by all segments."""
        if tensor not in self.constants:
            copy, file = Copy(tensor), self.file
            if self.weights and file.has_bytes(tensor):
                stored = file.bytes_of(file.tensors[tensor].buffer).view(np.int8)
                self.other.append(self.weights(stored))
                copy = Copy(tensor, buffer=len(file.buffers) + len(self.other) - 1)
            self.constants[tensor] = self.tensor(copy)
        return self.constants[tensor]

    # ------------------------------------------------------------------------------------------ writing

    def pack(self) -> bytes:
        """The model: new tables, those of the file, the data that it needs."""
        file = self.file
        root, source = Table(file.data, file.root._tab.Pos), Table(file.data, file.graph._tab.Pos)
        tensors, operators = source.tables(TENSORS), source.tables(OPERATORS)
        buffers, data = self.buffers()
        graph: FlatTable | Behind = FlatTable(
            "SubGraph",
            tensors=[self.copied(copy, tensors[copy.tensor]) for copy in self.tensors],
            inputs=self.inputs,
            outputs=self.outputs + self.conditions,
            operators=[self.changed("Operator", operators[i], inputs=a, outputs=b) for i, a, b in self.operators],
        )
        graphs = [graph, *(Behind(place) for place in root.tables(SUBGRAPHS)[1:])]
        codes = Behind(root.target(CODES))
        model = FlatTable("Model", version=VERSION, operatorCodes=codes, subgraphs=graphs, buffers=buffers)
        return self.joined(pack(model, b"TFL3", ALIGNMENT), data)

    def copied(self, copy: Copy, place: int) -> FlatTable | Behind:
        """A tensor."""
        if copy.shape is not None:
            return self.changed("Tensor", place, shape=copy.shape, shapeSignature=None, hasRank=True)
        return self.changed("Tensor", place, buffer=copy.buffer) if copy.buffer else Behind(place)

    def changed(self, kind: str, place: int, **other: Content) -> FlatTable:
        """A table of the file with ``other`` fields."""
        table, same = Table(self.file.data, place), dict[str, Content]()
        for name, field in fields(kind).items():
            if name not in other and (there := table.field(2 * field.slot + 4)):
                number = struct.unpack_from(f"<{field.code}", table.data, there)[0]
                same[name] = number if field.is_number else Behind(there + number)
        return FlatTable(kind, **same, **other)

    def buffers(self) -> tuple[list[FlatTable | Behind], list[tuple[Later, np.ndarray]]]:
        """All buffers of the file, empty where the part does not read them, by the same numbers, and behind them the
        other weights; and where the places of what data are to be filled in."""
        file = self.file
        needed = {file.tensors[c.tensor].buffer for c in self.tensors if not c.buffer}
        for number in range(1, file.root.SubgraphsLength()):  # bodies, which operators refer to by number
            body = file.root.Subgraphs(number)
            needed |= {body.Tensors(i).Buffer() for i in range(body.TensorsLength())}
        tables: list[FlatTable | Behind] = [FlatTable("Buffer")] * len(file.buffers)
        data: list[tuple[Later, np.ndarray]] = []
        for number in sorted(needed):
            if 0 < Table(file.data, file.buffers[number]).target(DATA) < file.front:
                tables[number] = Behind(file.buffers[number])
            elif (blob := file.bytes_of(number)).size:
                data.append((Later(), blob))
                tables[number] = FlatTable("Buffer", data=data[-1][0])
        for blob in self.other:
            data.append((Later(), blob))
            tables.append(FlatTable("Buffer", data=data[-1][0]))
        return tables, data

    def joined(self, front: bytearray, data: Sequence[tuple[Later, np.ndarray]]) -> bytes:
        """The bytes: the new tables, those of the file, ``data``."""
        end = len(front) + self.file.front
        pieces: list[bytes | bytearray | memoryview] = [front, memoryview(self.file.data)[: self.file.front]]
        for later, blob in data:
            start, slot = -(-(end + 4) // ALIGNMENT) * ALIGNMENT, len(front) - later.place
            struct.pack_into("<I", front, slot, start - 4 - slot)
            pieces += [bytes(start - 4 - end) + struct.pack("<I", blob.nbytes), blob.data.cast("B")]
            end = start + blob.nbytes
        return b"".join(pieces)
