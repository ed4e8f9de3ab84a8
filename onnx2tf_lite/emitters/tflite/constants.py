"""Constant data of the model: which tensors share a buffer, without copying or hashing whole weights."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from .flatbuffer import FlatTable, Later

SAMPLE = 64  # elements compared before whole arrays are
COMPARE_LIMIT = 1 << 22  # bytes of equal-sized constants that may be copied in order to compare them


class Blob(Later):
    """Data that lies behind the tables, which the reference at ``place`` is to."""

    def __init__(self, array: np.ndarray, dtype: np.dtype):
        self.array, self.dtype = array, dtype
        self.outside = False  # beyond 2 GB: absolute offset and size instead of a flatbuffer vector

    @property
    def nbytes(self) -> int:
        """Bytes of the data in the file."""
        return self.array.size * self.dtype.itemsize

    def table(self) -> FlatTable:
        """Its buffer."""
        return FlatTable("Buffer", offset=self, size=self.nbytes) if self.outside else FlatTable("Buffer", data=self)


class Pool:
    """All constants; :meth:`add` returns the index of a buffer with these bytes."""

    def __init__(self) -> None:
        self.blobs: list[Blob] = []
        self._by_identity: dict[Hashable, tuple[int, np.ndarray]] = {}  # the array too: its address must stay taken
        self._by_sample: dict[Hashable, list[int]] = {}

    def add(self, array: np.ndarray, dtype: np.dtype | None = None) -> int:
        """The buffer of ``array`` (stored as ``dtype``); buffer 0 is the empty one of tensors without data."""
        dtype = dtype or array.dtype
        place = array.__array_interface__
        identity = (place["data"][0], place["strides"], array.shape, array.dtype, dtype)
        if identity not in self._by_identity:
            self._by_identity[identity] = self._by_content(array, dtype), array
        return self._by_identity[identity][0]

    def _by_content(self, array: np.ndarray, dtype: np.dtype) -> int:
        converted = dtype if dtype != array.dtype else None
        known = self._by_sample.setdefault((array.nbytes, array.dtype.itemsize, converted, _sample(array)), [])
        for index in known:
            if _equal(self.blobs[index - 1].array, array):
                return index
        self.blobs.append(Blob(array, dtype))
        known.append(len(self.blobs))
        return len(self.blobs)


def _sample(array: np.ndarray) -> bytes:
    """Some elements from the start, the middle and the end."""
    if array.size <= 3 * SAMPLE:
        return array.tobytes()
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    middle = array.size // 2
    return b"".join(flat[i : i + SAMPLE].tobytes() for i in (0, middle, array.size - SAMPLE))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """True for equal bytes (NaN and -0 included) in row-major order."""
    if a.shape != b.shape:
        copies = sum(x.nbytes for x in (a, b) if not x.flags.c_contiguous)
        if copies > COMPARE_LIMIT:
            return False
        a, b = a.reshape(-1), b.reshape(-1)
    bits = np.dtype(f"u{a.dtype.itemsize}") if a.dtype.itemsize in (1, 2, 4, 8) else None
    return bool(np.array_equal(a.view(bits), b.view(bits))) if bits else a.tobytes() == b.tobytes()
