"""A report as node data for Google's Model Explorer, which colours the nodes of a graph by them.

Two graphs, four values each: what a layer adds to the error (of the largest value of the reference), its signal to
noise in dB, whether it was reached on its own, and the milliseconds that it takes alone (of a .tflite; of a node of the
ONNX model those of the operators that were made of it).  Nodes are found by the names of the tensors that they make:
those of the ONNX model in ``<file>.onnx.*.json``, those of the file in ``<file>.*.json``.

Source of the format: ``model_explorer.node_data_builder.GraphNodeData``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...model.write import atomic
from ..files.flatfile import FlatFile
from ..files.profile import Profile
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


Values = Mapping[str, float]
Profiles = Mapping[Path, Profile]


def overlays(report: Report, profiles: Profiles) -> Iterator[tuple[str, dict[str, object]]]:
    """Name of a file, its contents: for every checked file those of both graphs; times of those in ``profiles``."""
    of = {path.name: (path, profile) for path, profile in profiles.items()}
    for file in report.files:
        found = {
            name: (_results(file, "tensor", read), _results(file, "stored", read), colours)
            for name, (read, colours) in VALUES.items()
        }
        if file.path in of:
            found["time"] = *_times(file, *of[file.path]), WORSE
        for name, (of_model, of_file, colours) in found.items():
            for stem, values in ((f"{file.path}.onnx", of_model), (file.path, of_file)):
                if values:
                    results = {tensor: {"value": value} for tensor, value in values.items()}
                    data: dict[str, object] = {"name": f"{file.path}: {name}", "results": results, "gradient": colours}
                    yield f"{stem}.{name}.json", data


def _results(file: FileReport, key: str, read: Callable[[Row], float | None]) -> Values:
    found = {getattr(row, key): read(row) for row in file.rows if getattr(row, key)}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _times(file: FileReport, path: Path, profile: Profile) -> tuple[Values, Values]:
    """Milliseconds by tensor of the model and of the file.  An operator belongs to the layer whose tensor it makes, or
    to that of the first operator that reads its result."""
    flat = FlatFile(path)
    layers = {row.stored: row.tensor for row in reversed(file.rows)}
    owner, reader = dict[int, str](), dict[int, str]()  # layer by operator, by tensor that its operators read
    for operator in reversed(flat.operators):
        made = (layers.get(flat.tensors[t].name) or reader.get(t) for t in operator.outputs)
        if layer := next(filter(None, made), ""):
            owner[operator.index] = layer
            reader |= dict.fromkeys(operator.inputs, layer)
    of_model: dict[str, float] = {}
    for timed in profile.operators:
        if layer := owner.get(timed.index, ""):
            of_model[layer] = of_model.get(layer, 0.0) + timed.seconds * 1e3
    return of_model, {timed.result: timed.seconds * 1e3 for timed in profile.operators}


def write(report: Report, folder: Path, profiles: Profiles) -> list[Path]:
    """All of them; the files.

    :raises ToolError: where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, data in overlays(report, profiles):
        made.append(folder / name)
        with atomic(made[-1]) as file:
            file.write(json.dumps(data, indent=1).encode())
    return made
