"""Tables of a flatbuffer: read in place, and written in front of those that they refer to.

https://flatbuffers.dev/internals: a reference is the distance to what lies behind it, so that a table which is put in
front of a file may refer to any of its tables, and need not copy them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

I32, U16, U32, U64 = (struct.Struct(f"<{code}").unpack_from for code in "iHIQ")
REFERENCE, SMALL = "@", frozenset("bB")  # codes of fields: a distance, and those of one byte


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


class Front:
    """Tables in front of a file.  Fields are ``(place in the vtable, code of struct, number)``; of a reference the code
    is :data:`REFERENCE` and the number its place in that file, or 0 where :meth:`point` says it later."""

    def __init__(self, identifier: bytes):
        self.content = bytearray(4) + identifier
        self.layouts: dict[tuple[tuple[int, str], ...], tuple[int, struct.Struct, tuple[int, ...]]] = {}
        self.behind: list[tuple[int, int]] = []

    def table(self, fields: Sequence[tuple[int, str, int]], *slots: int) -> dict[int, int]:
        """A table that some fields refer to; the places of its own fields by theirs in the vtable."""
        fields = sorted(fields, key=lambda field: field[1] in SMALL)
        place, layout, offsets = self._layout(tuple((slot, code) for slot, code, _ in fields))
        start = len(self.content)
        for slot in slots:
            self.point(slot)
        numbers = (0 if code == REFERENCE else number for _, code, number in fields)
        self.content += layout.pack(start - place, *numbers)
        self.behind += [
            (start + at, number)
            for (_, code, number), at in zip(fields, offsets, strict=True)
            if code == REFERENCE and number
        ]
        return {slot: start + at for (slot, _, _), at in zip(fields, offsets, strict=True)}

    def _layout(self, kinds: tuple[tuple[int, str], ...]) -> tuple[int, struct.Struct, tuple[int, ...]]:
        """A vtable, which tables of the same fields share."""
        if kinds not in self.layouts:
            codes = ["i", *("I" if code == REFERENCE else code for _, code in kinds)]
            ends = [struct.calcsize(f"<{''.join(codes[:n])}") for n in range(1, len(codes))]
            layout = struct.Struct(f"<{''.join(codes)}{-struct.calcsize('<' + ''.join(codes)) % 4}x")
            rows = [0] * ((max((slot for slot, _ in kinds), default=2) - 2) // 2)
            for (slot, _), end in zip(kinds, ends, strict=True):
                rows[slot // 2 - 2] = end
            place = len(self.content)
            self.content += struct.pack(f"<{len(rows) + 2}H", 2 * len(rows) + 4, layout.size, *rows)
            self.content += bytes(-len(self.content) % 4)
            self.layouts[kinds] = place, layout, tuple(ends)
        return self.layouts[kinds]

    def point(self, slot: int) -> None:
        """What is put here next is what a field refers to."""
        struct.pack_into("<I", self.content, slot, len(self.content) - slot)

    def ints(self, slot: int, numbers: Sequence[int]) -> None:
        """A vector of integers for a field."""
        self.point(slot)
        self.content += struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers)

    def references(self, slot: int, places: Sequence[int]) -> list[int]:
        """A vector of references for a field; their places here, for those that are 0."""
        self.point(slot)
        self.content += struct.pack(f"<I{len(places)}I", len(places), *[0] * len(places))
        slots = [len(self.content) - 4 * n for n in range(len(places), 0, -1)]
        self.behind += [(slot, place) for slot, place in zip(slots, places, strict=True) if place]
        return slots

    def packed(self, alignment: int) -> bytearray:
        """All of it, as long as a multiple of ``alignment`` says, with the references to what lies behind it."""
        self.content += bytes(-len(self.content) % alignment)
        for slot, place in self.behind:
            struct.pack_into("<I", self.content, slot, len(self.content) + place - slot)
        return self.content
