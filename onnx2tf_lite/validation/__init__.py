"""The written files against ONNX Runtime, on the same inputs.

``checking``  all of it; ``beside``: of TensorFlow's files, in a process beside the conversion
``verdict``   of one file: compare from end to end, try every layer, ask how far the model itself moves, name culprits
``bounds``    the memory and the time for it
``refusal``   why nobody runs the model

Rooms, each built on those before it: ``figures`` (numbers and limits), ``feeds`` (what is run on), ``original`` (the
model), ``files`` (what was written), ``reports``, ``whole`` (from end to end), ``layers`` (each alone), ``page``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazily import parts

if TYPE_CHECKING:
    from . import beside, page, refusal
    from .checking import check
    from .figures.judge import Tolerance, tolerance
    from .files.program import Program
    from .original.reference import Reference
    from .reports.report import FileReport, Report, Row
    from .whole.samples import CheckOptions

HOMES = {
    "check": "checking",
    "Tolerance": "figures.judge",
    "tolerance": "figures.judge",
    "Program": "files.program",
    "Reference": "original.reference",
    "CheckOptions": "whole.samples",
}
HOMES |= dict.fromkeys(("FileReport", "Report", "Row"), "reports.report")
HOMES |= {name: name for name in ("beside", "page", "refusal")}

__all__ = [
    "CheckOptions",
    "FileReport",
    "Program",
    "Reference",
    "Report",
    "Row",
    "Tolerance",
    "beside",
    "check",
    "page",
    "refusal",
    "tolerance",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = parts(__name__, HOMES)
