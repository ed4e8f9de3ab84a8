"""Tables of a flatbuffer, read in place (https://flatbuffers.dev/internals)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

I32, U16, U32, U64 = (struct.Struct(f"<{code}").unpack_from for code in "iHIQ")


class Table:
    """A table of a flatbuffer; fields go by their places in the vtable (4, 6, 8, ... in the order of the schema).

    The generated accessors take ten times as long, which is most of the time of reading a file of thousands of tensors.
    """

    __slots__ = ("data", "end", "place", "vtable")

    def __init__(self, data: Any, place: int):
        self.data, self.place = data, place
        self.vtable = place - I32(data, place)[0]
        self.end = U16(data, self.vtable)[0]

    def field(self, slot: int) -> int:
        """The place of a field; 0 where it is absent."""
        offset = U16(self.data, self.vtable + slot)[0] if slot < self.end else 0
        return self.place + offset if offset else 0

    def byte(self, slot: int) -> int:
        """A number of one byte; 0 where it is absent."""
        place = self.field(slot)
        return self.data[place] if place else 0

    def number(self, slot: int) -> int:
        """A number of 32 bits."""
        place = self.field(slot)
        return I32(self.data, place)[0] if place else 0

    def long(self, slot: int) -> int:
        """A number of 64 bits."""
        place = self.field(slot)
        return U64(self.data, place)[0] if place else 0

    def target(self, slot: int) -> int:
        """What a field refers to; 0 where it is absent."""
        place = self.field(slot)
        return place + U32(self.data, place)[0] if place else 0

    def table(self, slot: int) -> Table | None:
        """What a field refers to, a table."""
        place = self.target(slot)
        return Table(self.data, place) if place else None

    def length(self, slot: int) -> int:
        """Of a vector or a string."""
        place = self.target(slot)
        return U32(self.data, place)[0] if place else 0

    def vector(self, slot: int, dtype: Any) -> np.ndarray:
        """A copy."""
        count = self.length(slot)
        return np.frombuffer(self.data, dtype, count, self.target(slot) + 4).copy() if count else np.zeros(0, dtype)

    def ints(self, slot: int) -> tuple[Any, ...]:
        """A vector of integers of 32 bits."""
        place = self.target(slot)
        return struct.unpack_from(f"<{U32(self.data, place)[0]}i", self.data, place + 4) if place else ()

    def text(self, slot: int) -> str:
        """A string."""
        place = self.target(slot)
        return self.data[place + 4 : place + 4 + self.length(slot)].decode() if place else ""

    def tables(self, slot: int) -> list[Any]:
        """The places of the tables in a vector."""
        start = self.target(slot) + 4
        return [start + 4 * i + offset for i, offset in enumerate(_unsigned(self.ints(slot)))] if start > 4 else []


def _unsigned(numbers: Iterable[Any]) -> Iterable[Any]:
    return (n & 0xFFFFFFFF for n in numbers)
