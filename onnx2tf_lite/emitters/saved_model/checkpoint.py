"""Variables as TensorFlow stores them: ``variables.data-00000-of-00001`` holds the arrays one behind the other, and
``variables.index`` says of each name what and where it is (``tensorflow/core/util/tensor_bundle``).

The index is a table in LevelDB's format: one block of sorted keys, uncompressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google_crc32c import extend

from ..streaming import Piece, pieces
from .nodes import tensor_shape
from .protos import DTYPES, Proto, message

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the key under which a checkpoint says what its objects are
CHUNK = 1 << 20  # bytes that are written at a time
RESTART = 16  # keys between two that are stored in full
MAGIC = 0xDB4775248B80FB57  # ends a table


def write(prefix: Path, arrays: Mapping[str, np.ndarray], objects: bytes) -> None:
    """Write ``arrays`` by their keys, and the serialised ``TrackableObjectGraph``.

    :param prefix: of both files, the path up to ``.index``.
    """
    entries = {"": message("BundleHeaderProto")(num_shards=1, version={"producer": 1})}
    with Path(f"{prefix}.data-00000-of-00001").open("wb") as file:
        given = list(arrays.items())
        parts = pieces([array for _, array in given], [array.dtype for _, array in given])
        for place, group in groupby(parts, attrgetter("place")):
            key, array = given[place]
            entries[key] = _entry(file, DTYPES[array.dtype.name], array.shape, _chunks(group))
        lengths = _string_length(objects)
        entries[OBJECT_GRAPH] = _entry(file, DTYPES["string"], (), iter([objects]), lengths)
    Path(f"{prefix}.index").write_bytes(table({k: e.SerializeToString(deterministic=True) for k, e in entries.items()}))


def _entry(
    file: BinaryIO, dtype: int, shape: tuple[int, ...], chunks: Iterator[bytes], lengths: tuple[bytes, int] = (b"", 0)
) -> Proto:
    """Append the ``chunks`` to ``file``; what the index says of them.

    ``lengths``: what stands before the characters of strings, and the checksum so far.
    """
    start, (first, checksum) = file.tell(), lengths
    file.write(first)
    for chunk in chunks:
        file.write(chunk)
        checksum = extend(checksum, chunk)
    entry = message("BundleEntryProto")(dtype=dtype, shape=tensor_shape(shape), crc32c=masked(checksum))
    for field, number in (("offset", start), ("size", file.tell() - start)):
        if number:  # zero is what is left out
            setattr(entry, field, number)
    return entry


def _chunks(parts: Iterable[Piece]) -> Iterator[bytes]:
    for _, data in parts:
        for start in range(0, data.size, CHUNK):
            yield data[start : start + CHUNK].tobytes()


def _string_length(text: bytes) -> tuple[bytes, int]:
    """What stands before the one string of a tensor: its length and a checksum of that, in which all are 4 bytes long;
    and the checksum of both."""
    checksum = extend(0, struct.pack("<I", len(text)))
    stored = struct.pack("<I", masked(checksum))
    return varint(len(text)) + stored, extend(checksum, stored)


def masked(checksum: int) -> int:
    """A CRC-32C as it is stored: a checksum of data that hold checksums would be weak."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    """``number`` in groups of seven bits, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def table(entries: Mapping[str, bytes]) -> bytes:
    """A table of ``entries``: data, an empty block about them, the index of the blocks, and where both are."""
    items = sorted((key.encode(), value) for key, value in entries.items())
    data = _block(items)
    about = _block([])
    behind = bytes([items[-1][0][0] + 1])  # a key that is greater than all
    index = _block([(behind, varint(0) + varint(len(data) - 5))])
    handles = b"".join(
        varint(start) + varint(size)
        for start, size in [(len(data), len(about) - 5), (len(data) + len(about), len(index) - 5)]
    )
    return data + about + index + handles.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def _block(items: list[tuple[bytes, bytes]]) -> bytes:
    """Keys without what they share with the one before, and values; five bytes of compression (none) and checksum."""
    out, restarts, before = bytearray(), [], b""
    for count, (key, value) in enumerate(items):
        if count % RESTART:
            pairs = enumerate(zip(key, before, strict=False))
            shared = next((i for i, (x, y) in pairs if x != y), min(len(key), len(before)))
        else:
            shared = 0
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    places = restarts or [0]
    out += struct.pack(f"<{len(places) + 1}I", *places, len(places)) + b"\0"
    return bytes(out) + struct.pack("<I", masked(extend(0, bytes(out))))
