"""A report on the terminal: a coloured table there, aligned plain text in a pipe or on the log of a conversion."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from ...commands.strict import to_json
from ...commands.terminal import Terminal
from .report import CARRIES, HEADER, INTRODUCES, FileReport, Report, Row, cells

if TYPE_CHECKING:
    from ...targets.verdict import Fit

COLOURS = {"ok": "", INTRODUCES: "bold red", CARRIES: "yellow", "DIFFERS": "red"}


def show(report: Report, rows: str = "all", count: int = 10, stream: TextIO | None = None) -> None:
    """``rows``: ``all``, ``failed``, ``worst`` (``count`` of every file) or ``none``."""
    out = stream or sys.stdout
    for file in report.files:
        chosen = _choose(file, rows, count)
        if chosen:
            _table(chosen, out)
        _line(file.verdict, "green" if file.ok else "bold red", out)
        for note in [*filter(None, [file.suggestion]), *file.notes]:
            _line(f"note: {note}", "", out)
    for fit in report.fits:
        _fit(fit, rows, out)
    for note in report.notes:
        _line(f"note: {note}", "", out)
    if report.error:
        _line(report.error, "bold red", out)


def _fit(fit: Fit, rows: str, out: TextIO) -> None:
    """What does not run on the device itself, and the summary."""
    if fit.stranded and rows != "none":
        from ...targets import verdict

        Terminal("info", stream=out).table(verdict.HEADER, [verdict.cells(v) for v in fit.stranded])
    _line(fit.sentence, "green" if fit.ok else "bold red", out)
    for note in fit.notes:
        _line(f"note: {note}", "", out)


def tell(report: Report, log: Terminal, layers: bool) -> None:
    """On the log of a conversion, with the tables of ``layers`` or without."""
    for file in report.files:
        if layers and file.layers:
            log.table(HEADER, [cells(row) for row in file.layers])
        (log.info if file.ok else log.error)(file.verdict)
        if file.suggestion:
            log.info(f"note: {file.suggestion}")
    for note in report.notes:
        log.info(f"note: {note}")
    if report.error:
        log.error(report.error)


def _choose(file: FileReport, rows: str, count: int) -> list[Row]:
    if rows == "worst":
        return file.worst(count)
    return {"all": file.rows, "failed": [r for r in file.rows if not r.ok], "none": []}[rows]


def _table(rows: list[Row], out: TextIO) -> None:
    text = [cells(row) for row in rows]
    kept = [i for i, name in enumerate(HEADER) if i == 0 or name == "" or any(line[i] for line in text)]
    header, text = [HEADER[i] for i in kept], [tuple(line[i] for i in kept) for line in text]
    if not out.isatty():
        Terminal("info", stream=out).table(header, text)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, header_style="bold")
    for line in text:
        table.add_row(*map(Text, line), style=COLOURS[line[0]])
    Console(file=out).print(table)


def _line(text: str, style: str, out: TextIO) -> None:
    if not out.isatty():
        print(text, file=out)
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=out, highlight=False).print(Text(text, style=style))


def to_text(report: Report) -> str:
    """Strict JSON: infinities and NaN become text."""
    return to_json(report.to_json())
