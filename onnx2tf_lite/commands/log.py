"""What a tool says: INFO and WARNING lines, on standard output unless a model goes there; coloured in a terminal."""

from __future__ import annotations

import os
import sys
from typing import TextIO

COLOURS = {"INFO": "\033[32m", "WARNING": "\033[33m", "ERROR": "\033[31m"}
BLUE, PLAIN = "\033[34m", "\033[0m"


def coloured(stream: TextIO) -> bool:
    """A terminal whose user has not asked for plain text (NO_COLOR)."""
    return stream.isatty() and "NO_COLOR" not in os.environ


def line(label: str, text: str, stream: TextIO) -> str:
    """``LABEL: text``, the label in its colour where the stream shows colours."""
    return f"{COLOURS[label]}{label}:{PLAIN} {text}" if coloured(stream) else f"{label}: {text}"


class Log:
    """``quiet`` switches INFO lines off; ``output`` is where the result goes: "-" leaves standard output to it."""

    def __init__(self, quiet: bool = False, output: str = ""):
        self.quiet, self.stream = quiet, sys.stderr if output == "-" else sys.stdout

    def info(self, text: str) -> None:
        """A line that ``quiet`` leaves out."""
        if not self.quiet:
            print(line("INFO", text, self.stream), file=self.stream)

    def pair(self, key: str, value: object) -> None:
        """``key: value``, the key in blue."""
        self.info(f"{BLUE}{key}:{PLAIN} {value}" if coloured(self.stream) else f"{key}: {value}")

    def plain(self, text: str) -> None:
        """A line of a table: without a label."""
        if not self.quiet:
            print(text, file=self.stream)

    def warning(self, text: str) -> None:
        """A line that is never left out."""
        print(line("WARNING", text, self.stream), file=self.stream)
