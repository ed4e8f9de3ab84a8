"""Moments in which an interrupt (SIGINT) has to wait, so that it is neither half obeyed nor lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """An interrupt waits until the end, and is handled there as it would have been.  Yields those that came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # nobody else is interrupted
        yield came
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
