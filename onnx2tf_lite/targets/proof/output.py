"""What a library in C prints, as text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class Printed:
    """What a block printed."""

    def __init__(self, file: IO[bytes]):
        self.file = file

    @property
    def text(self) -> str:
        """So far."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.file.seek(0)
        return self.file.read().decode(errors="replace")


@contextmanager
def captured() -> Iterator[Printed]:
    """In a child process: everything that goes to its standard output and error."""
    with tempfile.TemporaryFile() as file:
        kept = [os.dup(n) for n in (1, 2)]
        try:
            for n in (1, 2):
                os.dup2(file.fileno(), n)
            yield Printed(file)
        finally:
            for n, old in zip((1, 2), kept, strict=True):
                os.dup2(old, n)
                os.close(old)
