"""A report as node data for Google's Model Explorer, which colours the nodes of a graph by them.

Two graphs, three values each: what a layer adds to the error (of the largest value of the reference), its signal to
noise in dB, and whether it was reached on its own.  Nodes are found by the names of the tensors that they make: those
of the ONNX model in ``<file>.onnx.*.json``, those of the file in ``<file>.*.json``.

Source of the format: ``model_explorer.node_data_builder.GraphNodeData``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from ..model.write import atomic
from .report import FileReport, Report, Row

#: White to red; what is highest is worst.
WORSE = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 0.01, "bgColor": "#ffe3a3"}, {"stop": 1, "bgColor": "#c0291f"}]
#: Red to green.
BETTER = [{"stop": 0, "bgColor": "#c0291f"}, {"stop": 0.5, "bgColor": "#ffe3a3"}, {"stop": 1, "bgColor": "#17794a"}]
MOST_DB = 200.0  # equal tensors have no noise; a number that a scale can show


def _error(row: Row) -> float | None:
    """Of the layer itself where that was measured, else of the way from the inputs to it."""
    return max((d.max_rel for d in (row.alone, row.isolated) if d is not None), default=row.difference.max_rel)


def _sqnr(row: Row) -> float | None:
    worst = min(d.sqnr for d in (row.difference, row.alone, row.isolated) if d is not None)
    return None if math.isnan(worst) else min(worst, MOST_DB)


#: Name of the value -> how it is read from a row, and its colours.
VALUES: dict[str, tuple[Callable[[Row], float | None], list[dict[str, object]]]] = {
    "error": (_error, WORSE),
    "sqnr": (_sqnr, BETTER),
    "coverage": (lambda row: float(row.alone is not None), BETTER),
}


def overlays(report: Report) -> Iterator[tuple[str, dict[str, object]]]:
    """Name of a file, its contents: for every checked file those of both graphs."""
    for file in report.files:
        for name, (read, colours) in VALUES.items():
            for graph, results in (("onnx", _results(file, read, "tensor")), ("file", _results(file, read, "stored"))):
                stem = file.path if graph == "file" else f"{file.path}.onnx"
                title = f"{file.path}: {name}"
                if results:
                    yield f"{stem}.{name}.json", {"name": title, "results": results, "gradient": colours}


def _results(file: FileReport, read: Callable[[Row], float | None], key: str) -> dict[str, dict[str, float]]:
    found = {getattr(row, key): read(row) for row in file.rows if getattr(row, key)}
    return {name: {"value": value} for name, value in found.items() if value is not None and math.isfinite(value)}


def write(report: Report, folder: Path) -> list[Path]:
    """All of them; the files.

    :raises ToolError: where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, data in overlays(report):
        made.append(folder / name)
        with atomic(made[-1]) as file:
            file.write(json.dumps(data, indent=1).encode())
    return made
