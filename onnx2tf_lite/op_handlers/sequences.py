"""Sequences and optionals, which TFLite does not have: see ``_structures`` for what stands for them.

Positions that only run time knows are possible where all elements have one shape: the sequence is one tensor then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_graphsurgeon as gs

from ..ir import build as b
from ..ir.graph import Value, constant
from ._branches import known, lower_body
from ._loops import scalar
from ._repeat import kept, repeat, unrolled
from ._structures import ABSENT, Absent, Item, List, Rows, as_rows, length, told
from .lower import Bindings
from .registry import UnsupportedError, op


@op("SequenceConstruct")
def sequence_construct(*elements: Value) -> list[List]:
    return [elements]


@op("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> list[List]:
    return [()]


@op("SequenceLength", tensors=False)
def sequence_length(sequence: List) -> Value:
    return b.cast(scalar(length(sequence)), np.int64)


@op("SequenceAt", tensors=False)
def sequence_at(sequence: List, position: Value) -> Value:
    index = known(position)
    if isinstance(sequence, tuple) and isinstance(index, int):
        return sequence[_place(index, len(sequence))]
    rows = as_rows(sequence, "a position that only run time knows")
    return b.gather(rows.stack, _row(rows, position))


@op("SequenceInsert", tensors=False)
def sequence_insert(sequence: List, element: Value, position: Value | None = None) -> list[List]:
    """``element`` before ``position``, which is the end where it is absent."""
    index = len(sequence) if isinstance(sequence, tuple) and position is None else known(position)
    if isinstance(sequence, tuple) and isinstance(index, int):
        at = _place(index, len(sequence) + 1, len(sequence))
        return [(*sequence[:at], element, *sequence[at:])]
    rows = as_rows(sequence, "a position that only run time knows")
    longer = Rows(b.concat([rows.stack, b.reshape(element, (1, *element.shape))], 0), rows.spare)
    if position is None:
        return [longer]
    count, place = longer.stack.shape[0], _row(rows, position)
    old = b.iota(count)
    source = b.where(b.less(old, place), old, b.where(b.equal(old, place), scalar(count - 1), old - 1))
    return [Rows(b.gather(longer.stack, source), rows.spare)]


@op("SequenceErase", tensors=False)
def sequence_erase(sequence: List, position: Value | None = None) -> list[List]:
    """The sequence without the element at ``position``, the last one where that is absent."""
    index = -1 if position is None else known(position)
    if isinstance(sequence, tuple) and isinstance(index, int):
        at = _place(index, len(sequence))
        return [sequence[:at] + sequence[at + 1 :]]
    rows = as_rows(sequence, "a position that only run time knows")
    place = _row(rows, constant(np.int32(-1)) if position is None else position)
    new = b.iota(rows.stack.shape[0] - 1)
    return [Rows(b.gather(rows.stack, b.where(b.less(new, place), new, new + 1)), rows.spare)]


@op("SplitToSequence")
def split_to_sequence(x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1) -> list[List]:
    """Parts along ``axis``: of the lengths in a vector, of one length (the last may be shorter), else of length 1."""
    axis = b.axis_of(axis, x.rank)
    extent = x.shape[axis]
    if split is not None and split.rank == 1:
        return [tuple(b.split(x, b.dims_of(split), axis))]
    step = 1 if split is None else known(split)
    if not isinstance(step, int):
        raise UnsupportedError(
            f"split, the length of the parts of {x}, is only known at run time", "make split a constant"
        )
    if step != 1 and not isinstance(extent, int):
        raise UnsupportedError(
            f"parts of length {step} of {x}: their number is only known at run time", "fix the input shape"
        )
    stays = split is not None or keepdims
    if not isinstance(extent, int):
        rows = b.move_axis(x, axis, 0)
        return [Rows(b.reshape(rows, (extent, *x.shape[:axis], 1, *x.shape[axis + 1 :])) if stays else rows)]
    if not extent:
        return [()]
    pieces = b.split(x, [min(step, extent - step * i) for i in b.parts(-(-extent // step))], axis)
    return [tuple(pieces if stays else (b.reshape(p, x.shape[:axis] + x.shape[axis + 1 :]) for p in pieces))]


@op("ConcatFromSequence", tensors=False)
def concat_from_sequence(sequence: List, *, axis: int, new_axis: int = 0) -> Value:
    if isinstance(sequence, tuple):
        if not sequence:
            raise UnsupportedError("the sequence is empty, and nothing says what its elements would be")
        return b.pack(sequence, axis) if new_axis else b.concat(sequence, axis)
    rows = b.narrow(sequence.stack, 0, sequence.spare, length(sequence))
    if new_axis:
        return b.move_axis(rows, 0, axis)
    axis = b.axis_of(axis, rows.rank - 1)
    moved = b.move_axis(rows, 0, axis)  # [..., length, extent, ...]
    return b.reshape(moved, (*moved.shape[:axis], moved.shape[axis] * moved.shape[axis + 1], *moved.shape[axis + 2 :]))


@op("SequenceMap", tensors=False)
def sequence_map(first: List, *others: Value | List, body: gs.Graph, scope: Bindings) -> list[Item]:
    """Body: one element of each sequence, and the other operands as they are -> one element of each result."""
    operands = [first, *others]
    if isinstance(first, tuple):
        short = [told(v) for v in others if isinstance(v, tuple) and len(v) != len(first)]
        if short:
            raise UnsupportedError(f"the sequences have different lengths: {told(first)}, {', '.join(short)}")
        columns = [v if isinstance(v, tuple) else (v,) * len(first) for v in operands]
        results = [unrolled(scope, partial(_body, body, given)) for given in zip(*columns, strict=True)]
        return list(zip(*results, strict=True)) if results else [()] * len(body.outputs)
    return _map_rows(operands, body, scope)


def _body(body: gs.Graph, given: Sequence[Item], inner: Bindings) -> list[Item]:
    inner.values.update({t.name: v for t, v in zip(body.inputs, given, strict=True)})
    return lower_body(body, inner)


def _map_rows(operands: Sequence[Value | List], body: gs.Graph, scope: Bindings) -> list[Item]:
    """SequenceMap of as many elements as run time says: a loop."""
    rows = [v if isinstance(v, Value) else as_rows(v, "a length that only run time knows") for v in operands]
    count = length(rows[0])  # type: ignore[arg-type]
    names = kept(scope, rows)

    def step(inner: Bindings, i: Value, go_on: Value, states: list[Item]) -> list[Item]:
        given: list[Item] = []
        for name in names:
            found = inner.find(name)
            given.append(b.gather(found.stack, i + found.spare) if isinstance(found, Rows) else found)  # type: ignore
        return [go_on, *_body(body, given, inner)]

    return [Rows(v) for v in repeat(scope, step, [], scalar(count), None)]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ optionals


@op("Optional", tensors=False)
def optional(element: Item | None = None, *, type: object = None) -> list[Item]:
    return [ABSENT if element is None else element]


@op("OptionalHasElement", tensors=False)
def optional_has_element(element: Item | None = None) -> Value:
    """Known before run time: what is no optional, or made by Optional, says it by being there."""
    return constant(np.bool_(element is not None and element is not ABSENT))


@op("OptionalGetElement", tensors=False)
def optional_get_element(element: Item) -> list[Item]:
    if isinstance(element, Absent):
        raise UnsupportedError("the optional is empty")
    return [element]


# ------------------------------------------------------------------------------------------------ positions


def _place(index: int, count: int, length: int | None = None) -> int:
    """A position among ``count``, from the end of ``length`` where it is negative."""
    place = index + (count if length is None else length) if index < 0 else index
    if not 0 <= place < count:
        raise UnsupportedError(f"position {index} is outside a sequence of {count if length is None else length}")
    return place


def _row(rows: Rows, position: Value) -> Value:
    """The row (an i32 scalar) of an element, also where only run time knows its position."""
    index = b.reshape(b.cast(position, np.int32), ())
    return b.where(b.less(index, 0), index + scalar(rows.stack.shape[0]), index + rows.spare)
