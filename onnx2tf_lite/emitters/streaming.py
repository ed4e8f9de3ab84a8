"""Weights on their way into a file: put in order piece by piece, the next ones while one is written.

They lie in the model's file, which is mapped into memory, so the system reads each when it is put in order; its pages
are given back behind it, and a model of any size takes the room of a few pieces.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from threading import Thread
from typing import NamedTuple

import numpy as np

PIECE = 1 << 22  # bytes that are put in order at a time; of less than that a thread is not worth its start
STRIP = 16  # columns that are copied at a time: a cache holds their lines until all of each was used
AHEAD = 3  # pieces that are put in order while one is written


class Piece(NamedTuple):
    """Consecutive ``data`` (bytes) of the array at ``place``."""

    place: int
    data: np.ndarray


def pieces(arrays: Sequence[np.ndarray], dtypes: Sequence[np.dtype]) -> Iterator[Piece]:
    """Every array as its dtype, in C order: one piece or more of each."""
    parts = chain.from_iterable(_parts(i, *pair) for i, pair in enumerate(zip(arrays, dtypes, strict=True)))
    ahead: deque[tuple[int, np.ndarray | _Beside]] = deque()
    for place, part, dtype in parts:
        plain = part.flags.c_contiguous and part.dtype == dtype
        small = part.nbytes < PIECE // 2
        ahead.append((place, _ordered(part, dtype) if plain or small else _Beside(part, dtype)))
        if len(ahead) > AHEAD:
            yield _taken(arrays, ahead)
    while ahead:
        yield _taken(arrays, ahead)


class _Beside(Thread):
    """Puts a part in order beside others.  A pool of threads takes longer to load than all parts of a small model."""

    def __init__(self, part: np.ndarray, dtype: np.dtype):
        super().__init__()
        self.part, self.dtype = part, dtype
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.found = _ordered(self.part, self.dtype)
        except BaseException as error:
            self.error = error

    def result(self) -> np.ndarray:
        """What came of it, or the error."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.found


def _parts(place: int, array: np.ndarray, dtype: np.dtype) -> Iterator[tuple[int, np.ndarray, np.dtype]]:
    """Ranges of the first axis."""
    if array.nbytes <= PIECE:
        yield place, array, dtype
        return
    rows = max(1, PIECE * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        yield place, array[start : start + rows], dtype


def _ordered(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy in C order where it is not, in strips of the last axis: a transposed array is read across its rows."""
    if array.nbytes < PIECE // 2 or (array.flags.c_contiguous and array.dtype == dtype):
        out = np.ascontiguousarray(array, dtype)
    else:
        out = np.empty(array.shape, dtype)
        for start in range(0, array.shape[-1], STRIP):
            out[..., start : start + STRIP] = array[..., start : start + STRIP]
    return out.reshape(-1).view(np.uint8)


def _taken(arrays: Sequence[np.ndarray], ahead: deque[tuple[int, np.ndarray | _Beside]]) -> Piece:
    """The next piece; the array before it has been written."""
    place, found = ahead.popleft()
    if place and arrays[place - 1].nbytes > PIECE:
        give_back(arrays[place - 1])
    return Piece(place, found if isinstance(found, np.ndarray) else found.result())


def give_back(array: np.ndarray) -> None:
    """The memory that a part of a mapped file takes; it is read again where it is asked for again."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if array.flags.writeable or not isinstance(owner, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = _address(array) - _address(np.frombuffer(owner, np.uint8))
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, first, min(start + array.nbytes, len(owner)) - first)


def _address(array: np.ndarray) -> int:
    place: int = array.__array_interface__["data"][0]
    return place
