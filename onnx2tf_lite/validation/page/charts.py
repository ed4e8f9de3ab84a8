"""The charts of the report, drawn by plotly, whose script is embedded once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ..figures.judge import Difference
from ..figures.phrase import decibel
from ..reports.report import CARRIES, INTRODUCES, FileReport, Report, Row

Trace = dict[str, object]  # as plotly takes it
Point = tuple[int, Row, Difference]  # place, layer, how it differs
AGREES = "agrees"
#: role of a layer -> (what the legend calls it, colour, marker)
ROLES = {
    AGREES: ("agrees", "#7f93a8", "circle"),
    "": ("differs", "#c0291f", "circle"),
    CARRIES: ("differs, only carries the error", "#d98a0b", "circle"),
    INTRODUCES: ("introduces the error", "#c0291f", "diamond"),
}
ISOLATED, ALONE, LIMIT, REFERENCE, RESULT = "#7b4fc9", "#17794a", "#9aa5b1", "#2a6fdb", "#d9730d"
FLOOR, CEILING = 1e-9, 1e2  # of a logarithmic axis: exact agreement, and NaN or a wrong shape
DECIBELS = (0.0, 180.0)
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 76, "b": 44},  # at the top the tool bar, under it the legend
    "legend": {"orientation": "h", "y": 1, "yanchor": "bottom"},
}


def library() -> str:
    """plotly's own script, which needs no network."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def along(file: FileReport, name: str) -> str:
    """The error of every tensor against its place in the graph, with what the layer alone introduces."""
    noise = file.metric == "sqnr"
    places = {id(r): r.index if r.index >= 0 else i for i, r in enumerate(file.rows)}
    traces = []
    for role, (label, colour, shape) in ROLES.items():
        rows = [r for r in file.rows if (AGREES if r.ok else r.role) == role]
        points = [(places[id(r)], r, r.difference) for r in rows]
        traces += _points(points, noise, label, {"color": colour, "symbol": shape, "size": 5 if role == AGREES else 9})
    alone = [(places[id(r)], r, r.isolated) for r in file.rows if r.isolated]
    marker = {"color": ISOLATED, "symbol": "x-thin-open", "size": 8}
    traces += _points(alone, noise, "the layer alone, on exact inputs", marker)
    made = [(places[id(r)], r, r.alone) for r in file.rows if r.alone]
    marker = {"color": ALONE, "symbol": "cross-thin-open", "size": 7}
    traces += _points(made, noise, "the layer alone, on operands made for it", marker)
    if not noise:
        limits = [
            (places[id(r)], d.limit * d.max_rel / d.max_abs)
            for r in file.rows
            if 0 < (d := r.difference).max_abs < math.inf and d.limit and d.max_rel < math.inf
        ]
        traces.append(
            _scatter(
                [p for p, _ in limits],
                [y for _, y in limits],
                "the limit",
                mode="lines",
                line={"color": LIMIT, "dash": "dot", "width": 1},
                hoverinfo="skip",
            )
        )
    axis = (
        {"title": "SQNR (dB)"}
        if noise
        else {"title": "max|diff| of max|ref|", "type": "log", "exponentformat": "power", "dtick": 1}
    )
    return _figure(traces, name, height=400, xaxis={"title": "layer, in the order of the graph"}, yaxis=axis)


def _points(points: list[Point], noise: bool, label: str, marker: Mapping[str, object]) -> list[Trace]:
    """One trace of markers; none for no points."""
    if not points:
        return []
    ys = [_clip(d.sqnr, *DECIBELS) if noise else _clip(d.max_rel, FLOOR, CEILING) for _, _, d in points]
    about = [(r.tensor, r.node, r.op, f"{d.max_rel:.2e}", decibel(d.sqnr)) for _, r, d in points]
    hover = (
        "<b>%{customdata[1]}</b> %{customdata[2]}<br>%{customdata[0]}<br>%{customdata[3]} of max|ref|, %{customdata[4]}"
    )
    return [
        _scatter(
            [p for p, _, _ in points],
            ys,
            label,
            mode="markers",
            marker=dict(marker),
            customdata=about,
            hovertemplate=hover + "<extra></extra>",
        )
    ]


def _clip(value: float, low: float, high: float) -> float:
    return high if math.isnan(value) else min(max(value, low), high)


def histogram(row: Row, name: str) -> str:
    """How often which values occur, in the reference and in the file."""
    h = row.histogram
    if h is None:
        return ""
    middles = [(a + b) / 2 for a, b in zip(h.edges, h.edges[1:], strict=False)]
    steps = [
        _scatter(
            middles, list(counts), label, mode="lines", line={"color": colour, "shape": "hvh", "width": 1.5}, **fill
        )
        for counts, label, colour, fill in (
            (h.reference, "ONNX Runtime", REFERENCE, {"fill": "tozeroy"}),
            (h.result, "file", RESULT, {}),
        )
    ]
    title = {"text": f"{row.op} {row.tensor}", "font": {"size": 13}, "y": 0.98, "yanchor": "top"}
    return _figure(steps, name, height=250, title=title, yaxis={"title": "elements"})


def overview(report: Report) -> Iterator[str]:
    """Operators and sizes of the files, seconds of the stages."""
    for i, file in enumerate(report.files):
        if file.operators:
            yield _bars(
                f"operators{i}", file.operators, f"{sum(file.operators.values())} operators of {file.path}", "count"
            )
    if sizes := {f.path: f.size for f in report.files if f.size}:
        yield _bars("sizes", sizes, "bytes of the files", "bytes")
    stages = {f"convert: {k}": v for k, v in report.conversion.get("stages", {}).items()}
    if stages := stages | {f"check: {k}": v for k, v in report.seconds.items()}:
        yield _bars("stages", stages, "seconds of the stages", "seconds", ordered=False)


def _bars(name: str, values: Mapping[str, float], title: str, unit: str, ordered: bool = True) -> str:
    items = sorted(values.items(), key=lambda i: i[1]) if ordered else list(values.items())[::-1]
    bar: Trace = {
        "type": "bar",
        "orientation": "h",
        "y": [k for k, _ in items],
        "x": [v for _, v in items],
        "marker": {"color": REFERENCE},
        "hovertemplate": "%{y}: %{x}<extra></extra>",
    }
    shape = {"height": 90 + 22 * max(len(items), 2), "xaxis": {"title": unit}, "yaxis": {"automargin": True}}
    return _figure([bar], name, title={"text": title, "font": {"size": 13}, "y": 0.98, "yanchor": "top"}, **shape)


def _scatter(xs: Sequence[object], ys: list[float], label: str, **more: object) -> Trace:
    return {"type": "scatter", "x": xs, "y": ys, "name": label, **more}


def _figure(traces: list[Trace], name: str, **layout: object) -> str:
    from plotly.graph_objects import Figure

    figure = Figure(traces, LAYOUT | layout)
    config = {"displaylogo": False, "responsive": True}
    return str(figure.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=name))
