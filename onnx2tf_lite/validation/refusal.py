"""Where the converter did not understand a model: is it one?  onnx's full check and ONNX Runtime are asked, in a child.

Handlers and passes rely on what ONNX says of an operator.  A model that breaks it fails somewhere, and only there; then
those who know every rule say what is wrong with it, so that nobody reports a broken model as a mistake of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.reference

from .. import child
from ..errors import ConversionError, Problem, ToolError
from ..model.inference import infer_shapes, said
from ..model.load import load
from .bounds import OverBudget
from .reference import Reference, ReferenceFailed, ort_errors
from .samples import CheckOptions, Samples

LIMITS = child.Limits(seconds=10, memory=1 << 30)


def judged(problems: Iterable[Problem], source: Path | onnx.ModelProto) -> Iterator[Problem]:
    """The problems; instead of a mistake of ours what is wrong with the model, where something is."""
    why: str | None = None
    for problem in problems:
        if problem.ours:
            why = refusal(source) if why is None else why
            if why:
                problem = replace(problem, what=why, remedy="mend the model", ours=False)
        yield problem


def refusal(source: Path | onnx.ModelProto) -> str:
    """Why a model cannot be run by anybody; empty where it can."""
    try:
        return str(child.call(lambda: _checked(source), limits=LIMITS) or child.call(lambda: _run(source)))
    except child.Died as error:
        return f"ONNX Runtime does not run the model either: it {error}"


def _checked(source: Path | onnx.ModelProto) -> str:
    """What onnx has against a model; whatever its readers raise is that too."""
    from onnx.reference import ReferenceEvaluator

    model = source if isinstance(source, onnx.ModelProto) else onnx.load(str(source), load_external_data=False)
    try:
        infer_shapes(model, check_type=True, strict=True)
    except ToolError as error:
        return f"onnx: {error.what}"
    try:
        onnx.checker.check_model(model)
        ReferenceEvaluator(model)
    except Exception as error:
        return f"onnx: {said(error)}"
    return ""


def _run(source: Path | onnx.ModelProto) -> str:
    """ONNX Runtime's refusal to load the model, or to run it on inputs that suit it.  That it lacks a kernel says
    nothing of the model."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    try:
        reference = Reference.of(source, load(source))
        given = str(source) if isinstance(source, Path) else source.SerializeToString()
        ort.InferenceSession(given, providers=["CPUExecutionProvider"])
        Samples(reference, CheckOptions()).draw([])
    except OverBudget:  # it is large, or slow
        return ""
    except (ReferenceFailed, ConversionError, child.Died) as error:
        return f"ONNX Runtime: {said(error)}"
    except ort_errors() as error:
        return "" if "NOT_IMPLEMENTED" in str(error) else f"ONNX Runtime: {said(error)}"
    return ""
