"""The HTML report: one file that shows a :class:`~onnx2tf_lite.validation.reports.report.Report` without any network.

Its own parts are ``page.html``, ``page.css`` and ``page.js``, in the frame of every page (``frame.py``); the charts are
in ``charts.py``.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Sequence
from html import escape

from ...errors import ConversionError, Problem
from ...targets import verdict
from ...targets.verdict import STATUSES, Fit
from ..reports.report import HEADER, FileReport, Report, Row, cells
from . import charts
from .frame import frame

NUMERIC = frozenset({"layer", "max|diff|", "of max|ref|", "RMSE", "cosine", "SQNR", "within %", "introduced"})
HISTOGRAMS = 6  # worst layers that are shown


def require() -> None:
    """Before anything is run for a page: raises ConversionError where the charts cannot be drawn."""
    if importlib.util.find_spec("plotly") is None:
        remedy = "pip install 'onnx2tf_lite[report]'"
        raise ConversionError(Problem("--html", "the charts are drawn by plotly, which is not installed", remedy))


def render(report: Report) -> str:
    """The page.

    :raises ConversionError: plotly is not installed (it comes with ``onnx2tf_lite[report]``).
    """
    require()
    verdicts = [
        f'<li>{_badge(f.ok)}<a href="#file{i}">{escape(f.verdict)}</a></li>' for i, f in enumerate(report.files)
    ]
    verdicts += [f"<li>{_badge(f.ok)}{escape(f.sentence)}</li>" for f in report.fits]
    if report.error:
        verdicts.insert(0, f"<li>{_badge(False)}{escape(report.error)}</li>")
    samples = "; ".join(f"{n} {list(s)}" for sample in report.samples for n, s in sample.items())
    return frame(
        __name__,
        "page",
        title=f"Check of {report.model}" if report.model else "Check",
        subtitle=f"Reference: {report.engine or 'none'}. Inputs: {samples or 'none'}.",
        head=f"<script>{charts.library()}</script>",
        summary=f'<ul class="verdicts">{"".join(verdicts)}</ul>{_list(report.notes)}',
        files="".join([*(_file(i, f) for i, f in enumerate(report.files)), *map(_device, report.fits)]),
        charts="".join(charts.overview(report)),
        settings=_settings(report),
    )


def _file(number: int, file: FileReport) -> str:
    """One file: verdict, blame, the error along the graph, histograms, the table, the transposes that are left."""
    plot = f"along{number}"
    how = f"{file.kind}, {file.size:,} bytes, tensors found by {file.matched}. Run in {', '.join(file.runtimes)}."
    rule = f"Tolerance ({file.source}): {file.tolerance}. Why: {file.reason}."
    parts = [
        f'<section id="file{number}"><h2>{_badge(file.ok)} {escape(file.path)}</h2>',
        f'<p class="hint">{escape(how)}<br>{escape(rule)}</p>',
        *(f'<p class="blame">{escape(text)}</p>' for text in (file.blame, file.suggestion) if text),
        _reach(file),
        _list(file.notes),
    ]
    if file.rows:
        parts += ["<h3>Error along the graph</h3>", charts.along(file, plot)]
        shown = [r for r in file.worst(len(file.rows)) if r.histogram][:HISTOGRAMS]
        if shown:
            parts += ["<h3>Values of the worst layers, reference and result</h3>", '<div class="grid">']
            parts += [charts.histogram(row, f"values{number}_{k}") for k, row in enumerate(shown)] + ["</div>"]
        parts += ["<h3>Every tensor</h3>", _layers(file.rows, plot)]
    moves = [(m.tensor, list(m.perm), f"{m.bytes:,}", m.reason or "not known") for m in file.transposes]
    parts.append(f"<h3>{len(moves) or 'No'} transpose{'s' * (len(moves) != 1)} left</h3>")
    if moves:
        parts.append(f'<div class="scroll">{_table(("result", "perm", "bytes", "reason"), moves)}</div>')
    return "".join([*parts, "</section>"])


def _device(fit: Fit) -> str:
    """How a file fits the device: every operator, those first that do not run there."""
    ordered = sorted(fit.verdicts, key=lambda v: STATUSES.index(v.status), reverse=True)
    rows = [verdict.cells(v) for v in ordered]
    return (
        f"<section><h2>{_badge(fit.ok)} {escape(fit.path)} on {escape(fit.title)}</h2>"
        f'<p class="hint">{escape(fit.sentence)}. Source of the table: {escape(fit.source)}.</p>'
        f'{_list(fit.notes)}<div class="scroll">{_table(verdict.HEADER, rows)}</div></section>'
    )


def _reach(file: FileReport) -> str:
    """What of the file was run on its own, and what was not."""
    c = file.coverage
    if c is None:
        return '<p class="reach">Run from end to end only: its layers cannot be run on their own.</p>'
    shares = (
        ("layers", c.layers, c.all_layers),
        ("branches", c.branches, c.all_branches),
        ("weights", c.weights, c.all_weights),
    )
    bars = "".join(
        f'<span>{what}</span><meter min="0" max="{whole}" value="{part}"></meter><span>{part:,} of {whole:,}</span>'
        for what, part, whole in shares
        if whole
    )
    gaps = f"<p>Not reached:</p>{_list([str(g) for g in c.gaps])}" if c.gaps else ""
    return f'<h3>What was reached</h3><div class="reach">{bars}</div>{gaps}'


def _layers(rows: Sequence[Row], plot: str) -> str:
    """The table that sorts and filters; ``data-v`` of a cell is the exact number behind its text."""
    kinds = {"differs": "all that differ", "introduces": "introduces error", "carries": "only carries", "agrees": "ok"}
    choices = "".join(f'<option value="{k}">{v}</option>' for k, v in {"": "every verdict", **kinds}.items())
    head = "".join(f'<th class="{_side(h)}">{escape(h or "verdict")}</th>' for h in HEADER)
    body = []
    for row in rows:
        exact = dict(zip(HEADER, cells(row), strict=True)) | _numbers(row)
        text = zip(HEADER, cells(row), strict=True)
        tds = "".join(f'<td class="{_side(h)}" data-v="{escape(str(exact[h]))}">{escape(c)}</td>' for h, c in text)
        kind = "agrees" if row.ok else f"differs {row.role}".strip()
        body.append(f'<tr class="{kind}" data-tensor="{escape(row.tensor)}">{tds}</tr>')
    return (
        f'<div class="tablebox" data-plot="{plot}"><div class="filters">'
        f'<input type="search" placeholder="filter: node, operator, tensor, shape ..." aria-label="filter">'
        f'<select aria-label="verdict">{choices}</select><span class="count"></span></div><div class="scroll">'
        f'<table class="layers"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div></div>'
    )


def _numbers(row: Row) -> dict[str, float]:
    """What the columns sort by."""
    d = row.difference
    by_name = {
        "layer": row.index,
        "max|diff|": d.max_abs,
        "of max|ref|": d.max_rel,
        "RMSE": d.rmse,
        "cosine": d.cosine,
        "SQNR": d.sqnr,
        "within %": d.within,
        "introduced": max((d.max_rel for d in (row.isolated, row.alone) if d), default=-1.0),
    }
    limits = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {k: limits.get(v, v) for k, v in by_name.items()}  # type: ignore[misc]


def _side(column: str) -> str:
    return "n" if column in NUMERIC else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _settings(report: Report) -> str:
    """What it takes to run the same check again."""
    plain = {k: v for k, v in report.settings.items() if k != "command"}
    command = report.settings.get("command")
    rows = [(k, v if isinstance(v, str) else json.dumps(v, default=str)) for k, v in plain.items()]
    return (
        ("<h3>To reproduce</h3>" if command or rows else "")
        + (f"<pre>{escape(str(command))}</pre>" if command else "")
        + (_table(("setting", "value"), rows) if rows else "")
    )


def _badge(ok: bool) -> str:
    return f'<span class="badge {"ok" if ok else "bad"}">{"matches" if ok else "fails"}</span>'


def _list(notes: Sequence[str]) -> str:
    return f'<ul class="hint">{"".join(f"<li>{escape(n)}</li>" for n in notes)}</ul>' if notes else ""
