"""Some operators of a .tflite as a model of their own.

Its tables are those of the file, behind new ones for what differs: whose operands have other numbers, and where a part
begins.  Generated code that copies them takes as long as running the part does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .flatbuffer import REFERENCE, Front, Table

if TYPE_CHECKING:
    from .flatfile import FlatFile
    from .parted import Segment

Weights = Callable[[np.ndarray], np.ndarray]
ALIGNMENT = 64
VERSION = 3
#: Fields by the schema: places in the vtable, and codes as in ``flatbuffer``.
MODEL = {"version": 4, "codes": 6, "subgraphs": 8, "buffers": 12}
GRAPH = {"tensors": 4, "inputs": 6, "outputs": 8, "operators": 10}
DATA = 4  # of a buffer
SHAPE, BUFFER, SIGNATURE, RANKED = 4, 8, 18, 20
SHAPED = (SHAPE, SIGNATURE, RANKED)
TENSOR = dict.fromkeys((SHAPE, 10, 12, 16, SIGNATURE, 22), REFERENCE) | {6: "b", BUFFER: "I", 14: "B", RANKED: "B"}
INPUTS, OUTPUTS = 6, 8
OPERATOR = dict.fromkeys((12, 14, 18, 20, 28), REFERENCE) | {4: "I", 10: "B", 16: "b", 26: "B"}


class Copy(NamedTuple):
    """A ``tensor`` of the file; in another ``shape`` where a part begins, or with another ``buffer``."""

    tensor: int
    shape: Sequence[int] | None = None
    buffer: int = 0

    @property
    def differs(self) -> bool:
        """From that of the file."""
        return self.shape is not None or self.buffer > 0

    @property
    def same(self) -> dict[int, str]:
        """The fields that do not."""
        return {k: code for k, code in TENSOR.items() if k not in (SHAPED if self.buffer == 0 else (BUFFER,))}


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
            self.operators.append((index, [copies[t] for t in op.inputs], [copies[t] for t in op.outputs]))
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
        file, front = self.file, Front(b"TFL3")
        root = Table(file.data, file.root._tab.Pos)
        fields = [(MODEL["subgraphs"], REFERENCE, 0), (MODEL["buffers"], REFERENCE, 0)]
        codes = (MODEL["codes"], REFERENCE, root.target(MODEL["codes"]))
        model = front.table([(MODEL["version"], "I", VERSION), codes, *fields], 0)
        main, *_ = front.references(model[MODEL["subgraphs"]], [0, *root.tables(MODEL["subgraphs"])[1:]])
        data = self.buffers(front, model[MODEL["buffers"]])
        graph = front.table([(slot, REFERENCE, 0) for slot in GRAPH.values()], main)
        front.ints(graph[GRAPH["inputs"]], self.inputs)
        front.ints(graph[GRAPH["outputs"]], self.outputs + self.conditions)
        self.graph(front, graph)
        return self.joined(front, data)

    def graph(self, front: Front, graph: dict[int, int]) -> None:
        """Tensors and operators."""
        data, source = self.file.data, Table(self.file.data, self.file.graph._tab.Pos)
        known = source.tables(GRAPH["tensors"])
        places = [0 if c.differs else known[c.tensor] for c in self.tensors]
        slots = front.references(graph[GRAPH["tensors"]], places)
        for slot, copy in [(s, c) for s, c in zip(slots, self.tensors, strict=True) if c.differs]:
            rows = copied(Table(data, known[copy.tensor]), copy.same)
            if copy.shape is None:
                front.table([*rows, (BUFFER, "I", copy.buffer)], slot)
            else:
                made = front.table([*rows, (RANKED, "B", 1), (SHAPE, REFERENCE, 0)], slot)
                front.ints(made[SHAPE], copy.shape)
        places = source.tables(GRAPH["operators"])
        slots = front.references(graph[GRAPH["operators"]], [0] * len(self.operators))
        for slot, (index, *ends) in zip(slots, self.operators, strict=True):
            rows = copied(Table(data, places[index]), OPERATOR)
            made = front.table([*rows, (INPUTS, REFERENCE, 0), (OUTPUTS, REFERENCE, 0)], slot)
            for end, numbers in zip((INPUTS, OUTPUTS), ends, strict=True):
                front.ints(made[end], numbers)

    def buffers(self, front: Front, slot: int) -> list[tuple[int, np.ndarray]]:
        """All buffers of the file, empty where the part does not read them, by the same numbers, and behind them the
        other weights.  Gives the fields that are to refer to data, and what that is."""
        file = self.file
        needed = {file.tensors[c.tensor].buffer for c in self.tensors if not c.buffer}
        for number in range(1, file.root.SubgraphsLength()):  # bodies, which operators refer to by number
            body = file.root.Subgraphs(number)
            needed |= {body.Tensors(i).Buffer() for i in range(body.TensorsLength())}
        here = {n for n in needed if 0 < Table(file.data, file.buffers[n]).target(DATA) < file.front}
        blobs = {n: blob for n in sorted(needed - here) if (blob := file.bytes_of(n)).size}
        blobs |= dict(enumerate(self.other, len(file.buffers)))
        places = [file.buffers[n] if n in here else 0 for n in range(len(file.buffers) + len(self.other))]
        slots = front.references(slot, places)
        front.table([], *(s for n, s in enumerate(slots) if n not in here and n not in blobs))
        return [(front.table([(DATA, REFERENCE, 0)], slots[n])[DATA], blob) for n, blob in blobs.items()]

    def joined(self, front: Front, data: Sequence[tuple[int, np.ndarray]]) -> bytes:
        """The bytes, with what the fields of ``data`` refer to at their end."""
        packed = front.packed(ALIGNMENT)
        end = len(packed) + self.file.front
        pieces: list[bytes | bytearray | memoryview] = [packed, memoryview(self.file.data)[: self.file.front]]
        for slot, blob in data:
            start = -(-(end + 4) // ALIGNMENT) * ALIGNMENT
            struct.pack_into("<I", packed, slot, start - 4 - slot)
            pieces += [bytes(start - 4 - end) + struct.pack("<I", blob.nbytes), blob.data.cast("B")]
            end = start + blob.nbytes
        return b"".join(pieces)


def copied(table: Table, fields: dict[int, str]) -> list[tuple[int, str, int]]:
    """Those that a table of the file has, for the same one in front of it."""
    found = []
    for slot, code in fields.items():
        if place := table.field(slot):
            number = table.target(slot) if code == REFERENCE else struct.unpack_from(f"<{code}", table.data, place)[0]
            found.append((slot, code, number))
    return found
