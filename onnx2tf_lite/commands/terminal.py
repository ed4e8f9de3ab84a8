"""A long piece of work as the user sees it: stages with their times, warnings, tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

Listener = Callable[[str], object] | None
LEVELS = ("debug", "info", "warn", "error")


def silence(stream: TextIO) -> None:
    """What is printed from here on goes nowhere: the reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell(text: str) -> None:
    """A line on standard error; where that is full or has no reader, nobody can be told."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def complete() -> None:
    """Standard streams that the caller has closed become the null device, before a file takes their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", closefd=False) if stream is None else stream
        for number, stream in ((1, sys.stdout), (2, sys.stderr))
    )


class Terminal:
    """Prints what the verbosity allows: results on standard output, warnings and errors on standard error, progress as
    a bar on a terminal and as lines in a pipe.  Remembers the time of every stage, and the warnings."""

    def __init__(
        self, verbosity: str = "info", stages: int = 0, stream: TextIO | None = None, listener: Listener = None
    ):
        self.listener = listener  # told of every stage that begins
        self.level, self.stages, self.stream = LEVELS.index(verbosity), stages, stream or sys.stdout
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.terminal = self.stream.isatty()
        self.bar: Progress | None = None

    def debug(self, text: str) -> None:
        """What only who looks for the cause of something wants to read."""
        self._print(0, text)

    def info(self, text: str) -> None:
        """What happens."""
        self._print(1, text)

    def warn(self, text: str) -> None:
        """To stderr, and kept in ``warnings``."""
        self.warnings.append(text)
        if self.level <= 2:
            tell(f"warning: {text}")

    def error(self, text: str) -> None:
        """To stderr, at every verbosity."""
        tell(text)

    def _print(self, level: int, text: str) -> None:
        if self.level > level:
            return
        try:
            print(text, file=self.stream, flush=True)
        except OSError as error:  # the work goes on
            self.level = len(LEVELS)
            silence(self.stream)
            if not isinstance(error, BrokenPipeError):  # who read it has seen enough
                tell(f"standard output cannot be written: {error.strerror}")

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Around the stages."""
        if self.level > 1 or not self.terminal:
            yield
            return
        from rich.progress import Progress

        with Progress(transient=True) as self.bar:
            self.task = self.bar.add_task("", total=self.stages)
            yield
        self.bar = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, timed."""
        self.step(name)
        if self.listener is not None:
            self.listener(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)
        if self.bar:
            self.bar.advance(self.task)
        else:
            self.info(f"[{len(self.seconds)}/{self.stages}] {name:<12} {self.seconds[name]:8.3f} s")

    def step(self, what: str) -> None:
        """What a stage is doing, for those who watch the bar."""
        if self.bar:
            self.bar.update(self.task, description=what[:40])

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Coloured on a terminal, aligned text in a pipe."""
        if self.level > 1:
            return
        if self.terminal:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text

            table = Table(*header, header_style="bold")
            for row in rows:
                table.add_row(*map(Text, row), style="" if row[0] == "ok" else "red")
            Console(file=self.stream).print(table)
            return
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in [header, *rows]:
            self.info("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
