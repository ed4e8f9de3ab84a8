"""Pages of memory that libc keeps, or gives back to the system, from which each comes again with a fault."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 1 << 25  # bytes of a block that glibc is willing to keep at most
KEPT = 1 << 28  # bytes at the end of the heap


def keep() -> None:
    """From now on freed memory is kept for what is allocated next, where libc can."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Freed memory to the system, where libc can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def returned() -> Iterator[None]:
    """What was made inside, and is of no use any more, is given back afterwards."""
    try:
        yield
    finally:
        gc.collect(0)  # of what is new: in a process of TensorFlow all would take longer than a small model does
        give_back()
