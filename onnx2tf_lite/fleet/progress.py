"""A run as it is seen: a live table on a terminal, lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.table import Table

    from .storage import Record

SHOWN = 8  # models whose stage is on the screen


class Silent:
    """Nobody watches."""

    def begin(self, count: int) -> None:
        """So many models."""

    def stage(self, name: str, stage: str) -> None:
        """A model has come to a stage."""

    def done(self, record: Record) -> None:
        """A model has its outcome."""

    def say(self, text: str) -> None:
        """Something else happened."""

    def end(self) -> None:
        """All are done, or the run has ended otherwise."""


View = Silent


class Lines(Silent):
    """A line for every model, with the rate and the time that is left."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.count, self.counts = 0, Counter[str]()
        self.begun = time.monotonic()

    def begin(self, count: int) -> None:
        """Begin to count."""
        self.count, self.begun = count, time.monotonic()

    @property
    def pace(self) -> str:
        """``12 of 200, 3.1 a second, 1:00 left``; the first model tells how long the others take."""
        done = self.counts.total()
        if not done:
            return f"0 of {self.count}"
        rate = done / max(time.monotonic() - self.begun, 1e-3)
        left = int((self.count - done) / rate)
        return f"{done} of {self.count}, {rate:.2g} a second, {left // 60}:{left % 60:02} left"

    def done(self, record: Record) -> None:
        """Count it, and say it."""
        self.counts[record["status"]] += 1
        self._say(f"[{self.pace}] {sentence(record)}")

    def say(self, text: str) -> None:
        """A line."""
        self._say(text)

    def _say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Json(Silent):
    """A JSON object per line: ``event`` is begin, stage, done, note or end."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout

    def _line(self, event: str, **values: object) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **values}), file=self.stream, flush=True)

    def begin(self, count: int) -> None:
        """``models``."""
        self._line("begin", models=count)

    def stage(self, name: str, stage: str) -> None:
        """``name``, ``stage``."""
        self._line("stage", name=name, stage=stage)

    def done(self, record: Record) -> None:
        """The record."""
        self._line("done", **record)

    def say(self, text: str) -> None:
        """``text``."""
        self._line("note", text=text)

    def end(self) -> None:
        """No values."""
        self._line("end")


class Live(Lines):
    """What runs, with its stage, above the counts; what is not right scrolls past above that."""

    def begin(self, count: int) -> None:
        """Open the table."""
        from rich.console import Console
        from rich.live import Live as Screen

        super().begin(count)
        self.running: dict[str, tuple[str, float]] = {}
        self.console = Console(file=self.stream)
        self.screen = Screen(console=self.console, get_renderable=self._table, refresh_per_second=4, transient=True)
        self.screen.start()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, (stage, since) in list(self.running.items())[:SHOWN]:
            table.add_row(Text(name), Text(stage, style="cyan"), Text(f"{time.monotonic() - since:.0f} s", style="dim"))
        table.add_row(Text(self.pace), Text(", ".join(f"{n} {status}" for status, n in self.counts.items())))
        return table

    def stage(self, name: str, stage: str) -> None:
        """Show it."""
        since = self.running.get(name, ("", time.monotonic()))[1]
        self.running[name] = stage, since

    def done(self, record: Record) -> None:
        """Count it; say it where it is not right."""
        self.counts[record["status"]] += 1
        self.running.pop(record["name"], None)
        if record["status"] != "right":
            self._say(sentence(record))

    def _say(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(text))

    def end(self) -> None:
        """Close the table."""
        self.screen.stop()


def sentence(record: Record) -> str:
    """``detector/yolo: differs: ...``."""
    again = ", as before" if record.get("again") else ""
    why = "" if record["status"] == "right" else ": " + "; ".join(record.get("why", ()))
    seconds = f" ({record['seconds']:.1f} s)" if "seconds" in record and not again else ""
    return f"{record['name']}: {record['status']}{again}{seconds}{why}"
