"""The .tflite file: flatbuffer tables first, weights streamed behind them.

No weight passes through the flatbuffer builder.  Below 2 GB each buffer's ``data`` field is patched to point at its
array, which lies behind the tables in ordinary flatbuffer form (length, then bytes); from 2 GB on the arrays are
referred to by ``offset`` and ``size``, as the schema provides for.  The same graph gives the same bytes.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO

from ...ir.graph import Graph
from ..streaming import pieces
from .constants import Blob
from .flatbuffer import pack
from .tables import Tables

ALIGNMENT = 64
FLATBUFFER_LIMIT = (1 << 31) - (1 << 26)  # what the reader accepts, less room for the tables


def write(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    float16: bool = False,
    float16_sums: bool = False,
    signature_key: str = "serving_default",
    flatbuffer_limit: int = FLATBUFFER_LIMIT,
) -> None:
    """Write ``graph`` to ``path``, all of it or nothing.

    ``float16`` stores large float constants in half precision; the program still computes in float32 and its inputs
    and outputs stay float32.  ``float16_sums`` says in the file that it may be computed in half precision, sums too;
    where the hardware cannot, nothing changes.  Constants of more than ``flatbuffer_limit`` bytes in total lie outside
    the flatbuffer.
    """
    tables = Tables(float16, float16_sums)
    tables.add(graph, signature_key)
    blobs = tables.pool.blobs
    if sum(_aligned(b.nbytes + 4) for b in blobs) > flatbuffer_limit:
        for blob in blobs:
            blob.outside = True
    packed = pack(tables.model(), b"TFL3")
    places = refer(packed, blobs)
    path = Path(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            stream(file, packed, blobs, places)
            file.flush()
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def refer(packed: bytearray, blobs: Sequence[Blob]) -> list[int]:
    """Fill every reference to data in; the positions in the file that they refer to."""
    places, end = [], len(packed)
    for blob in blobs:
        start = _aligned(end + 4)
        slot = len(packed) - blob.place
        if blob.outside:
            struct.pack_into("<Q", packed, slot, start)
        else:
            struct.pack_into("<I", packed, slot, start - 4 - slot)
        places.append(start)
        end = start + blob.nbytes
    return places


def stream(file: IO[bytes], packed: bytearray, blobs: Sequence[Blob], places: list[int]) -> None:
    """The tables and the data at its places."""
    file.write(packed)
    end = len(packed)
    parts = pieces([b.array for b in blobs], [b.dtype for b in blobs])
    for place, group in groupby(parts, attrgetter("place")):
        blob, start = blobs[place], places[place]
        prefix = bytes(4) if blob.outside else struct.pack("<I", blob.nbytes)
        file.write(bytes(start - 4 - end) + prefix)
        for piece in group:
            file.write(piece.data.data)
        end = start + blob.nbytes
