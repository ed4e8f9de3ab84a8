"""Weights on their way into a file: put in order piece by piece, the next ones while one is written.

They lie in the model's file, which is mapped into memory, so the system reads each when it is put in order; its pages
are given back behind it, and a model of any size takes the room of a few pieces.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

PIECE = 1 << 22  # bytes that are put in order at a time; of less than that a thread is not worth its start
STRIP = 16  # columns that are copied at a time: a cache holds their lines until all of each was used
THREADS = 2
AHEAD = 2 * THREADS


class Piece(NamedTuple):
    """Consecutive ``data`` (bytes) of the array at ``place``."""

    place: int
    data: np.ndarray


def pieces(arrays: Sequence[np.ndarray], dtypes: Sequence[np.dtype]) -> Iterator[Piece]:
    """Every array as its dtype, in C order: one piece or more of each."""
    parts = chain.from_iterable(_parts(i, *pair) for i, pair in enumerate(zip(arrays, dtypes, strict=True)))
    with ExitStack() as until_the_end:

        @cache
        def workers() -> Executor:
            from concurrent.futures import ThreadPoolExecutor  # takes milliseconds to load

            return until_the_end.enter_context(ThreadPoolExecutor(THREADS))

        ahead: deque[tuple[int, np.ndarray | Future[np.ndarray]]] = deque()
        for place, part, dtype in parts:
            plain = part.flags.c_contiguous and part.dtype == dtype
            small = part.nbytes < PIECE // 2
            ahead.append((place, _ordered(part, dtype) if plain or small else workers().submit(_ordered, part, dtype)))
            if len(ahead) > AHEAD:
                yield _taken(arrays, ahead)
        while ahead:
            yield _taken(arrays, ahead)


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


def _taken(arrays: Sequence[np.ndarray], ahead: deque[tuple[int, np.ndarray | Future[np.ndarray]]]) -> Piece:
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
