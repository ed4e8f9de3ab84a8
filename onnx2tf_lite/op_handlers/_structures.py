"""What a name of an ONNX graph can stand for besides a tensor.

TFLite has tensors only.  Sequences and optionals exist while a graph is lowered, as the tensors that they consist of:

- a sequence whose length is known is the tuple of its elements,
- one whose length only run time knows is one tensor, :class:`Rows`,
- an optional that holds something is that thing, an empty one is :data:`ABSENT`,
- what two branches of an If cannot agree on is a :class:`Choice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Union

import onnx_graphsurgeon as gs

from ..ir import build as b
from ..ir.dims import Dim
from ..ir.graph import Value
from ..record import record
from .registry import UnsupportedError

if TYPE_CHECKING:
    from .lower import Bindings


@record
class Rows:
    """A sequence of tensors of one shape and dtype: ``stack`` is [spare + length, *shape].

    ``spare`` (0 or 1) leading rows are no elements: the state of a WHILE must not be empty.
    """

    stack: Value
    spare: int = 0


class Absent:
    """The type of :data:`ABSENT`."""


#: An optional without an element.
ABSENT = Absent()


@dataclass(frozen=True, eq=False)
class Choice:
    """The result of an If whose branches give what no single tensor can be; ``why`` says so.

    A node that reads it is lowered into both branches (``sink``), where it has one meaning.  ``branches`` lower the
    two sides into the scope of a body.
    """

    condition: Value
    branches: tuple[Branch, Branch]
    why: str
    sink: Callable[[gs.Node, dict[str, Choice], Bindings, int], list[Item | None]]


Item = Union[Value, tuple[Value, ...], Rows, Absent, Choice]
Branch = Callable[["Bindings"], Item]
List = Union[tuple[Value, ...], Rows]  # a sequence


def length(sequence: List) -> Dim:
    """The number of elements."""
    return len(sequence) if isinstance(sequence, tuple) else sequence.stack.shape[0] - sequence.spare


def as_rows(sequence: List, what: str) -> Rows:
    """The sequence as one tensor, which ``what`` needs."""
    if isinstance(sequence, Rows):
        return sequence
    if len({(v.shape, v.dtype) for v in sequence}) != 1:
        raise UnsupportedError(
            f"{what} needs elements of one shape and dtype: {told(sequence)}",
            "make the position a constant, or fix the input shapes",
        )
    return Rows(b.pack(sequence))


def parts(item: Item | None) -> list[Value]:
    """The tensors that an item consists of."""
    if isinstance(item, Value):
        return [item]
    if isinstance(item, tuple):
        return list(item)
    if isinstance(item, Rows):
        return [item.stack]
    return [item.condition] if isinstance(item, Choice) else []


def rebuilt(item: Item, values: Iterator[Value]) -> Item:
    """The same structure of other tensors, which it takes from ``values``."""
    if isinstance(item, Value):
        return next(values)
    if isinstance(item, tuple):
        return tuple(next(values) for _ in item)
    if isinstance(item, Rows):
        return replace(item, stack=next(values))
    return replace(item, condition=next(values)) if isinstance(item, Choice) else item


def form(item: Item) -> object:
    """Equal for items of the same structure; a Choice has none."""
    if isinstance(item, Choice):
        return item
    return type(item), len(item) if isinstance(item, tuple) else item.spare if isinstance(item, Rows) else None


def told(item: Item | None) -> str:
    """An item in a message."""
    if isinstance(item, tuple):
        return f"sequence({', '.join(map(str, item))})"
    if isinstance(item, Rows):
        return f"sequence of rows of {item.stack}"
    if isinstance(item, Choice):
        return item.why
    return "nothing" if item is None or isinstance(item, Absent) else str(item)
