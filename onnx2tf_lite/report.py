"""What the user sees and keeps: progress, tables, and the JSON report of a conversion."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .ir.graph import Graph, Placement

LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the files: ``stored = onnx.transpose(perm)``; symbolic extents are given by name."""

    name: str
    dtype: str
    onnx_shape: tuple[int | str, ...]
    shape: tuple[int | str, ...]
    perm: tuple[int, ...]

    @classmethod
    def of(cls, name: str, place: Placement) -> TensorInfo:
        perm = tuple(int(i) for i in np.argsort(place.perm))
        plain = [tuple(d if isinstance(d, int) else str(d) for d in s) for s in (place.shape, place.value.shape)]
        return cls(name, place.value.dtype.name, plain[0], plain[1], perm)

    @property
    def moved(self) -> bool:
        return self.perm != tuple(range(len(self.perm)))

    def __str__(self) -> str:
        moved = f" stored as [{_commas(self.shape)}] = transpose({_commas(self.perm)})" if self.moved else ""
        return f"{self.name}: {self.dtype}[{_commas(self.onnx_shape)}]{moved}"


def _commas(items: Iterable[object]) -> str:
    return ",".join(text if len(text := str(item)) < 20 else "?" for item in items)


class Log:
    """Prints what the verbosity allows: results on standard output, warnings and errors on standard error, progress as
    a bar on a terminal and as lines in a pipe.  Remembers the time of every stage, and the warnings."""

    def __init__(self, verbosity: str = "info", stages: int = 0, stream: TextIO | None = None):
        self.level, self.stages, self.stream = LEVELS.index(verbosity), stages, stream or sys.stdout
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.terminal = self.stream.isatty()
        self.bar: Any = None

    def debug(self, text: str) -> None:
        self._print(0, text)

    def info(self, text: str) -> None:
        self._print(1, text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        if self.level <= 2:
            print(f"warning: {text}", file=sys.stderr)

    def error(self, text: str) -> None:
        print(text, file=sys.stderr)

    def _print(self, level: int, text: str) -> None:
        if self.level <= level:
            print(text, file=self.stream, flush=True)

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


def operators(graph: Graph) -> dict[str, int]:
    """How many of each operator the program has, bodies included."""
    counts: dict[str, int] = {}
    for part in [graph, *graph.subgraphs()]:
        for op in part.ops:
            counts[op.kind.name] = counts.get(op.kind.name, 0) + 1
    return dict(sorted(counts.items()))


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Strict JSON: numbers that it does not have become text."""
    path.write_text(json.dumps(_plain(report), indent=1) + "\n", encoding="utf-8")


def _plain(item: Any) -> Any:
    if isinstance(item, dict):
        return {str(k): _plain(v) for k, v in item.items()}
    if isinstance(item, list | tuple | set | frozenset):
        return [_plain(v) for v in item]
    if isinstance(item, np.generic):
        item = item.item()
    plain = item is None or isinstance(item, str | int) or (isinstance(item, float) and math.isfinite(item))
    return item if plain else str(item)
