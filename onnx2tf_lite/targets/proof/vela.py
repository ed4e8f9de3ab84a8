"""Vela compiles the file: what is left of its operators beside the command stream runs on the processor."""

from __future__ import annotations

import csv
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..node import nodes
from . import Evidence
from .output import captured

if TYPE_CHECKING:
    from ...validation.files.flatfile import FlatFile

#: The usual configuration of each device.
ACCELERATORS = {"ethos-u55": "ethos-u55-128", "ethos-u65": "ethos-u65-256", "ethos-u85": "ethos-u85-256"}
STREAM = "CUSTOM ethos-u"  # the operator that holds what the unit does
LEFT = re.compile(r"Warning \(supported operators\) operator: \S+, ofm: '(.*)'\nReason: (.*)")
SEMANTICS = re.compile(r"Error: \S+ '(.*)' Does not have valid TFLite Semantics\.\W*(.*)")
#: Columns of Vela's summary, and what they are called here.
FIGURES = {
    "inference_time": ("milliseconds an inference (Vela's estimate)", 1e3),
    "sram_memory_used": ("KiB of SRAM", 1),
}


def ask(device: str, file: FlatFile) -> Evidence:
    """In a child."""
    from ethosu.vela import vela

    with tempfile.TemporaryDirectory() as folder, captured() as printed:
        source = Path(folder, "model.tflite")
        source.write_bytes(file.data)
        try:
            vela.main([str(source), "--output-dir", folder, "--accelerator-config", ACCELERATORS[device]])
        except (Exception, SystemExit) as error:  # whatever ends the compiler is its verdict
            return _refusal(file, f"{error}\n{printed.text}")
        reasons = dict(LEFT.findall(printed.text))
        compiled = type(file)(Path(folder, "model_vela.tflite"))
        remaining = {(n.subgraph, n.result) for n in nodes(compiled) if n.name != STREAM}
        figures = _figures(Path(folder))
    # around what it leaves it converts bools, and then its result has another name
    stays = {n.place: n for n in nodes(file) if (n.subgraph, n.result) in remaining or n.result in reasons}
    left = {place: reasons.get(n.result, "") for place, n in stays.items()}
    return Evidence(left=left, figures=figures)


def _figures(folder: Path) -> dict[str, float]:
    """Of the summary that Vela writes."""
    for path in folder.glob("*_summary_*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        return {
            name: round(float(row[column]) * factor, 3) for column, (name, factor) in FIGURES.items() if column in row
        }
    return {}


def _refusal(file: FlatFile, printed: str) -> Evidence:
    """What ended the compiler."""
    why = printed.strip().splitlines()[0] if printed.strip() else "Vela ended"
    if found := SEMANTICS.search(printed.replace("\\n", "\n").replace("\\'", "'")):
        refused = {n.place: f"Vela: {found[2]}" for n in nodes(file) if n.result == found[1]}
        return Evidence(refused=refused, failed=f"Vela: {why}"[:300])
    return Evidence(failed=f"Vela: {why}"[:300])
