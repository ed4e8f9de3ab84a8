"""An operator of a .tflite file as the facts of a device look at it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..record import record

if TYPE_CHECKING:
    from ..validation.files.flatfile import FlatFile
    from ..validation.files.parted import Operator, Tensor

#: How facts write a dtype; a ``q`` before it: with a scale.
SHORT = {
    "float32": "f32",
    "float16": "f16",
    "float64": "f64",
    "bool": "b",
    "int8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "i32",
    "uint32": "u32",
    "int64": "i64",
    "uint64": "u64",
}
WORDS = {short: name for name, short in SHORT.items()} | {
    "b": "bool",
    "q4": "quantised int4",
    "q8": "quantised int8",
    "qu8": "quantised uint8",
    "q16": "quantised int16",
}
ABSENT = "-"  # the type of an operand that is not there


@record
class Operand:
    """A tensor that an operator reads or makes.  ``shape`` has -1 where an extent is known at run time only."""

    tensor: Tensor
    file: FlatFile

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents; -1 where one is known at run time only."""
        return self.tensor.shape

    @property
    def constant(self) -> bool:
        """Part of the file."""
        return self.tensor.constant

    @property
    def per_axis(self) -> bool:
        """Quantised with several scales."""
        return self.tensor.quantised and self.tensor.scale.size > 1

    @cached_property
    def type(self) -> str:
        """``f32``, ``q8`` (int8 with a scale), ``i8`` (without), ..., ``?`` for what is no number."""
        if self.tensor.int4:
            return "q4"
        short = SHORT.get(self.tensor.dtype.name, "?")
        scaled = self.tensor.quantised and self.tensor.dtype.itemsize < 4
        return ("qu8" if short == "u8" else f"q{short[1:]}") if scaled else short

    @property
    def data(self) -> np.ndarray | None:
        """The elements of a constant."""
        if not self.constant or self.type in ("q4", "?"):
            return None
        return self.file.bytes_of(self.tensor.buffer).view(self.tensor.dtype).reshape(self.shape)


@record
class Node:
    """An operator of ``file``, which is the main program (``subgraph`` 0) or a body."""

    file: FlatFile
    operator: Operator
    subgraph: int

    @property
    def name(self) -> str:
        """Of the operator in the schema."""
        return self.operator.name

    @property
    def place(self) -> tuple[int, int]:
        """Number of the subgraph, of the operator in it."""
        return self.subgraph, self.operator.index

    @cached_property
    def inputs(self) -> tuple[Operand | None, ...]:
        """Its operands; None where an optional one is absent."""
        tensors = self.file.tensors
        return tuple(None if i < 0 else Operand(tensors[i], self.file) for i in self.operator.inputs)

    @cached_property
    def outputs(self) -> tuple[Operand, ...]:
        """What it makes."""
        return tuple(Operand(self.file.tensors[i], self.file) for i in self.operator.outputs)

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """Everything that it reads or makes."""
        return (*(x for x in self.inputs if x is not None), *self.outputs)

    @cached_property
    def types(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of its operands (:data:`ABSENT` for those that are), and of what it makes."""
        return tuple(ABSENT if x is None else x.type for x in self.inputs), tuple(x.type for x in self.outputs)

    @cached_property
    def options(self) -> Any:
        """The options of the schema; None where there are none."""
        table = self.file.graph.Operators(self.operator.index)
        return schema.BuiltinOptionsCreator(table.BuiltinOptionsType(), table.BuiltinOptions())

    def input(self, index: int) -> Operand | None:
        """An operand; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def at(self, index: int) -> Operand:
        """An operand that every operator of the kind has."""
        found = self.inputs[index]
        assert found is not None, f"{self.name} without operand {index}"
        return found

    def option(self, name: str, default: Any = 0) -> Any:
        """A field of its options; ``default`` where there are none, or it has no such field."""
        return getattr(self.options, name, default)

    def constant(self, index: int) -> np.ndarray | None:
        """The elements of an operand; None where it is computed or absent."""
        found = self.input(index)
        return None if found is None else found.data

    @cached_property
    def rank(self) -> int:
        """The largest of its operands'."""
        return max((len(x.shape) for x in self.operands), default=0)

    @property
    def result(self) -> str:
        """The name of the tensor that it makes."""
        return self.outputs[0].tensor.name if self.outputs else ""


def nodes(file: FlatFile) -> Iterator[Node]:
    """Every operator of a file, those of its bodies behind those of the main program."""
    yield from (Node(file, op, 0) for op in file.operators)
    for number in range(1, file.root.SubgraphsLength()):
        body = file.body(number)
        yield from (Node(body, op, number) for op in body.operators)
