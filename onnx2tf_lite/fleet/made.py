"""One conversion as a record: plain values that go into JSON, onto the page and into the next run's comparison."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import lacks_memory

if TYPE_CHECKING:
    from onnx import ModelProto

    from ..conversion import ConversionResult
    from ..targets.verdict import Fit
    from ..validation.reports.report import FileReport
    from .job import Keywords
    from .storage import Record

#: right: every file gives what ONNX Runtime gives; differs: one does not; unchecked: the check could not run, or was
#: not asked for; refused: not converted, for a reason that lies in the model or its options; died: its process did, or
#: the machine had no room for it.
STATUS = ("right", "differs", "unchecked", "refused", "died")
PAGE = "check.html"
#: What a machine can lack.
LACKS = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
SECONDS = 0.02  # of a measurement of latency: runs are compared with a quarter of slack
SMALL = """<ir_version: 8, opset_import: ["": 17]> small (float[1,2,4,4] x) => (float[1,2,4,4] y)
    <float[2,2,1,1] w = {1, 2, 3, 4}> { h = Conv (x, w) y = Relu (h) }"""


def make(model: Path, folder: Path, options: Keywords, recipe: str, page: str, tell: Callable[[str], None]) -> Record:
    """Convert ``model`` into ``folder``: what is told of it.  ``page``: ``all``, ``wrong`` or ``none`` get a page."""
    from .. import ConversionError, convert
    from ..errors import ToolError
    from ..options import resolve
    from ..validation.page import render

    begin = time.perf_counter()
    try:
        resolved = replace(resolve(options), verbosity="error", listener=tell)
        graph = None
        if recipe:
            tell("recipe")
            graph = _edited(model, recipe)
        result = convert(model, folder, onnx_graph=graph, options=resolved)
    except ConversionError as error:
        return {
            "status": "died" if _of_the_machine(error.__cause__) else "refused",
            "why": [str(problem) for problem in error.problems],
        }
    except ToolError as error:
        return {"status": "refused", "why": [str(error)]}
    seconds = time.perf_counter() - begin
    tell("page")
    found = {"status": _status(result), "why": _verdicts(result), "seconds": round(seconds, 3), **_figures(result)}
    if result.check is not None and (page == "all" or (page == "wrong" and result.exit_code)):
        (folder / PAGE).write_text(render(result.check), encoding="utf-8")
        found["page"] = PAGE
    return found


def rehearse(folder: Path) -> None:
    """Convert a small model: what is done at the first one only, a process does before it forks for many."""
    from onnx import parser

    from ..emitters.runtime import muted

    model = folder / "small.onnx"
    with muted(), suppress(OSError, ImportError):  # a full disk, a package that is missing: the models meet it too
        model.write_bytes(parser.parse_model(SMALL).SerializeToString())
        make(model, folder / "made", {"outputs": ["float32"]}, "", "none", lambda stage: None)


def _of_the_machine(error: BaseException | None) -> bool:
    """It may go better the next time: a lack of memory or of room on the disk is not in the model."""
    return error is not None and (lacks_memory(error) or (isinstance(error, OSError) and error.errno in LACKS))


def _edited(model: Path, recipe: str) -> ModelProto:
    from ..tools.recipe import run

    return run(recipe, str(model), non_verbose=True)


def _status(result: ConversionResult) -> str:
    if result.exit_code == 1:
        return "differs"
    return "unchecked" if result.check is None or result.exit_code == 2 else "right"


def _verdicts(result: ConversionResult) -> list[str]:
    if result.check is None:
        return [*result.missed, "not compared with ONNX Runtime, on request"]
    return [*result.missed, *(f.verdict for f in result.check.files), *filter(None, [result.check.error])]


def _figures(result: ConversionResult) -> Record:
    """What the page compares; of each kind of file: bytes, percent reached, signal to noise, milliseconds, devices."""
    report = result.report
    figures: Record = {
        "sizes": report["files"],
        "operators": sum(report["operators"].values()),
        "transposes": len(report["layout"]["transposes"]),
        "warnings": report["warnings"],
    }
    if result.check is not None:
        files = result.check.files
        figures["coverage"] = {f.kind: round(f.coverage.percent, 2) for f in files if f.coverage}
        figures["sqnr"] = {f.kind: noise for f in files if f.integers and (noise := sqnr(f)) is not None}
    flat = {kind: path for kind, path in result.files.items() if path.suffix == ".tflite"}
    figures["latency_ms"] = {kind: latency(path) for kind, path in flat.items()}
    figures["targets"] = {kind: targets(path, result.fits) for kind, path in flat.items()}
    return figures


def sqnr(file: FileReport) -> float | None:
    """The lowest signal to noise of its outputs in dB, from its inputs to there; None where none has noise."""
    known = [row.difference.sqnr for row in file.outputs if math.isfinite(row.difference.sqnr)]
    return round(min(known), 2) if known else None


def targets(path: Path, proved: Iterable[Fit]) -> dict[str, float | None]:
    """Percent of the operators that run on each device itself, None where the file does not run there: as the device's
    tool says where it was asked for, by the device's table else."""
    from ..targets.verdict import by_table
    from ..validation.files.flatfile import FlatFile

    fits = [*by_table(FlatFile(path)), *(fit for fit in proved if fit.path == path.name)]
    return {fit.device: round(fit.share, 1) if fit.ok else None for fit in fits}


def latency(path: Path) -> float | None:
    """Milliseconds of a run in LiteRT with one thread, on zeros and a batch of 1: the best of what fits into 20 ms, of
    two at least.

    None where more than the batch is dynamic or the file does not run.
    """
    from ai_edge_litert.interpreter import Interpreter

    from ..validation.files.profile import fastest, zeros

    try:
        interpreter = Interpreter(str(path), num_threads=1)
        if any((detail["shape_signature"][1:] < 0).any() for detail in interpreter.get_input_details()):
            return None
        interpreter.allocate_tensors()
        zeros(interpreter)
        return round(fastest(interpreter, SECONDS, least=2) * 1e3, 3)
    except (RuntimeError, ValueError):
        return None
