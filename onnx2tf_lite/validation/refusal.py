"""Where the converter did not understand a model: is it one?  onnx's full check and ONNX Runtime are asked, in a child.

Handlers and passes rely on what ONNX says of an operator.  A model that breaks it fails somewhere, and only there; then
those who know every rule say what is wrong with it, so that nobody reports a broken model as a mistake of ours.  What
says nothing of the model is no reason: an operator that they do not have, a version that they do not know, more time or
memory than they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from .. import child
from ..errors import ConversionError, Problem, ToolError, lacks_memory
from ..model.inference import infer_shapes, said
from ..model.load import load
from ..model.read import read_model
from ..model.tensors import is_external, nbytes
from ..model.walk import tensors
from .bounds import Bounds, OverBudgetError
from .original.reference import NoReferenceError, Reference, ort_errors
from .whole.samples import CheckOptions, Samples

REMEDY = "mend the model; if it runs with other inputs than were drawn for it, report this with those"
#: What ONNX Runtime lacks, in its words.
LACKS = (
    "NOT_IMPLEMENTED",
    "is not a registered function/op",
    "Unsupported model IR version",
    "is under development",
    "No opset import for domain",
)


def judged(problems: Iterable[Problem], source: Path | onnx.ModelProto) -> Iterator[Problem]:
    """The problems; instead of a mistake of ours what is wrong with the model, where something is."""
    why: str | None = None
    for problem in problems:
        if problem.ours:
            why = refusal(source) if why is None else why
            if why:
                problem = replace(problem, what=why, remedy=REMEDY, ours=False)
        yield problem


def refusal(source: Path | onnx.ModelProto) -> str:
    """Why a model cannot be run by anybody; empty where it can, or that is not known."""
    model = read_model(source) if isinstance(source, Path) else source
    beside = sum(nbytes(t) for t in tensors(model) if is_external(t))
    bounds = Bounds(memory=1 << 30, seconds=150.0, weights=beside)
    return _asked(bounds, "onnx", lambda: _checked(source)) or _asked(bounds, "ONNX Runtime", lambda: _run(source))


def _asked(bounds: Bounds, who: str, question: Callable[[], str]) -> str:
    try:
        answer = bounds.call(question)
    except OverBudgetError:
        return ""
    except child.DiedError as error:
        return f"{who}: it {error}"
    return f"{who}: {answer}" if answer else ""


def _checked(source: Path | onnx.ModelProto) -> str:
    """What onnx has against a model; whatever its readers raise is that too."""
    from onnx.reference import ReferenceEvaluator

    whole = str(source) if isinstance(source, Path) else source  # by its path external data are found
    model = onnx.load(whole, load_external_data=False) if isinstance(whole, str) else whole
    try:
        infer_shapes(model, check_type=True, strict=True)
    except ToolError as error:
        return "" if isinstance(error.__cause__, (child.DiedError, MemoryError)) else error.what
    try:
        onnx.checker.check_model(whole)
        ReferenceEvaluator(whole)
    except (NotImplementedError, MemoryError):
        return ""
    except Exception as error:
        return said(error)
    return ""


def _run(source: Path | onnx.ModelProto) -> str:
    """ONNX Runtime's refusal to load the model, or to run it on inputs that suit it."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    try:
        reference = Reference.of(source, load(source))
        given = str(source) if isinstance(source, Path) else source.SerializeToString()
        ort.InferenceSession(given, providers=["CPUExecutionProvider"])
        Samples(reference, CheckOptions()).draw([])
    except ConversionError:  # what we do not read, they may
        return ""
    except child.DiedError as error:
        return "" if error.late else f"it {error}"
    except NoReferenceError as error:
        return said(error)
    except ort_errors() as error:
        return "" if lacks_memory(error) or any(words in str(error) for words in LACKS) else said(error)
    return ""
