"""What a child answers: an object in a file in memory, from which large arrays are read in place."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ALIGNMENT = 64


@contextmanager
def storage() -> Iterator[int]:
    """A descriptor of a file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("onnx2tf_lite")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write(descriptor: int, answer: object) -> None:
    """Header (place of the pickle, then places and sizes of arrays) behind the arrays."""
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    places, end = [], 0
    with os.fdopen(os.dup(descriptor), "wb") as file:
        for buffer in buffers:
            raw = buffer.raw()
            places.append((end, raw.nbytes))
            file.write(raw)
            padding = -raw.nbytes % ALIGNMENT
            file.write(bytes(padding))
            end += raw.nbytes + padding
        trailer = pickle.dumps((places, packed))
        file.write(trailer)
        file.write(len(trailer).to_bytes(8, "little"))


def read(descriptor: int, size: int) -> Any:
    """What was written; its large arrays stay where they are, as a copy of this process's own."""
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) as shared:
        trailer = int.from_bytes(shared[size - 8 :], "little")
        places, packed = pickle.loads(shared[size - 8 - trailer : size - 8])
        if not places:
            return pickle.loads(packed)
    view = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY))  # lives as long as the arrays in it
    return pickle.loads(packed, buffers=[view[start : start + length] for start, length in places])


def portable(error: Exception) -> Exception:
    """The exception itself where it survives pickling."""
    if isinstance(error, MemoryError):  # there may be none left to try it
        return MemoryError(str(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own code may do anything here
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
