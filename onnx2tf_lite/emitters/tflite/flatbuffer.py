"""Rows of a schema as a FlatBuffer (https://flatbuffers.dev/internals), built from its end to its beginning.

What is referred to lies behind what refers to it, so places are counted from the end: one is known as soon as something
is written, and stays.  What refers to nothing is written once where it is equal: strings, lists of numbers, options and
vtables, which say where the fields of a table are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from .schema import Field, fields

OFFSET = COUNT = struct.Struct("<I")
VTABLE_ALIGNMENT = 2
LARGEST = 8  # bytes of a number: what the whole is aligned to


class Later:
    """A number or reference that is filled in when all is packed, at ``place``."""

    place = 0


class Behind(NamedTuple):
    """What lies at a ``place`` of the file that is to follow."""

    place: int


class FlatTable:
    """A table of the ``kind`` that the schema has; a field that is None is absent."""

    def __init__(self, kind: str, **fields: Content):
        self.kind, self.fields = kind, fields


Content: TypeAlias = (
    "float | str | Later | Behind | FlatTable | Sequence[FlatTable | Behind] | Sequence[int] | np.ndarray | None"
)


def pack(root: FlatTable, identifier: bytes, alignment: int = LARGEST) -> bytearray:
    """The table and all below it, in a file with this identifier of four bytes; in front of one that is aligned so."""
    packer = _Packer()
    table = packer.table(root)
    place = packer.reserve(OFFSET.size + len(identifier), alignment)
    packer.chunks.append(OFFSET.pack(place - table) + identifier)
    return bytearray().join(reversed(packer.chunks))


class _Layout(NamedTuple):
    """How tables of a kind lie that have the same fields: the reference to the vtable, then the fields by size, so that
    no byte is lost between them.

    ``fields``      by name, with the distance from the start      ``pack``       that of ``struct``, of the fields
    ``references``  which of the fields are some, their distances  ``alignment``  of the first field
    """

    fields: tuple[tuple[str, Field, int], ...]
    references: tuple[tuple[int, int], ...]
    pack: Callable[..., bytes]
    size: int
    alignment: int
    vtable: bytes


@cache
def _layout(kind: str, names: tuple[str, ...]) -> _Layout:
    found = sorted(((fields(kind)[name], name) for name in names), key=lambda pair: (-pair[0].size, pair[0].slot))
    sizes = [field.size for field, _ in found]
    laid = [(name, field, at) for (field, name), at in zip(found, accumulate(sizes, initial=OFFSET.size), strict=False)]
    at = {field.slot: at for _, field, at in laid}
    table = struct.Struct("<i" + "".join(field.code for field, _ in found))
    slots = [at.get(i, 0) for i in range(max(at, default=-1) + 1)]
    vtable = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), table.size, *slots)
    references = tuple((i, at) for i, (_, field, at) in enumerate(laid) if not field.is_number)
    return _Layout(tuple(laid), references, table.pack, table.size, max(OFFSET.size, *sizes, 0), vtable)


def _present(table: FlatTable) -> tuple[str, ...]:
    """The fields that are written: a number that is its default is not."""
    known = fields(table.kind)
    return tuple(
        name
        for name, content in table.fields.items()
        if content is not None and not (known[name].is_number and content == known[name].default)
    )


class _Packer:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []  # the last one of the file first
        self.size = 0
        self.known: dict[tuple[bytes, bytes | int], int] = {}

    def reserve(self, size: int, alignment: int, lead: int = 0) -> int:
        """The place of the next chunk, of which what follows the first ``lead`` bytes is aligned."""
        if padding := (lead - self.size - size) % alignment:
            self.chunks.append(bytes(padding))
        self.size += padding + size
        return self.size

    def shared(self, chunk: bytes, alignment: int, lead: int = 0) -> int:
        """The place of a chunk that refers to nothing."""
        key = chunk, alignment
        place = self.known.get(key)
        if place is None:
            place = self.known[key] = self.reserve(len(chunk), alignment, lead)
            self.chunks.append(chunk)
        return place

    def table(self, table: FlatTable | Behind) -> int:
        """The place of a table, behind which all lies that it refers to."""
        if isinstance(table, Behind):
            return -table.place
        layout = _layout(table.kind, _present(table))
        values, later = list[float](), list[tuple[Later, int]]()
        for name, field, distance in layout.fields:
            content = table.fields[name]
            if isinstance(content, Later):
                later.append((content, distance))
                values.append(0)
            else:
                values.append(cast("float", content) if field.is_number else self.target(field, content))
        if later or layout.references:
            return self.put(layout, values, later)
        key = layout.pack(0, *values), layout.vtable
        if key not in self.known:
            self.known[key] = self.put(layout, values)
        return self.known[key]

    def put(self, layout: _Layout, values: list[float], later: Sequence[tuple[Later, int]] = ()) -> int:
        """The place of a table of these numbers and places."""
        vtable = self.shared(layout.vtable, VTABLE_ALIGNMENT)
        start = self.reserve(layout.size, layout.alignment, OFFSET.size)
        for i, distance in layout.references:
            values[i] = start - distance - values[i]
        for content, distance in later:
            content.place = start - distance
        self.chunks.append(layout.pack(vtable - start, *values))
        return start

    def target(self, field: Field, content: Content) -> int:
        """The place of what a field refers to."""
        if isinstance(content, str):
            text = content.encode()
            return self.shared(COUNT.pack(len(text)) + text + b"\0", COUNT.size)
        if isinstance(content, FlatTable | Behind):
            return self.table(content)
        if field.item is None:
            return self.tables(cast("Sequence[FlatTable | Behind]", content))
        array = np.asarray(content, field.item)
        return self.shared(COUNT.pack(array.size) + array.tobytes(), max(COUNT.size, array.itemsize), COUNT.size)

    def tables(self, tables: Sequence[FlatTable | Behind]) -> int:
        """The place of a list of references to them."""
        places = [self.table(table) for table in tables]
        start = self.reserve(COUNT.size + OFFSET.size * len(places), OFFSET.size)
        offsets = [start - COUNT.size - OFFSET.size * i - place for i, place in enumerate(places)]
        self.chunks.append(struct.pack(f"<{1 + len(offsets)}I", len(offsets), *offsets))
        return start
