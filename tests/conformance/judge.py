"""The verdict on one case: converted as a user would, run, and compared with what ONNX expects.

The rules: 0.001 relative plus 0.0001 absolute (five and ten times that where the expectation is float16, eight times
that again where it is bfloat16, which has three bits less), integers and booleans exactly, NaN and infinities where
they are expected; random operators by shape.  float64 and the small floats may come as float32, 2- and 4-bit integers
as 8-bit ones.  A .tflite has to be right with XNNPACK and without.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnx2tf_lite import ConversionError, ConversionResult, convert
from onnx2tf_lite.errors import Problem
from tests import harness
from tests.conformance.cases import Arrays, Case

OK, REFUSED, WRONG, CRASH = "ok", "refused", "WRONG", "CRASH"
#: What the converter says where it was not the model's fault: no refusal, but a mistake of ours.
OURS = ("the handler failed", "is a mistake of the converter")
#: What may come in place of a type that TFLite does not have or does not compute in.
STAND_INS = {"int[24]": "int8", "uint[24]": "uint8", "b?float.*": "float32"}


@dataclass(frozen=True)
class Verdict:
    """``operators`` are those of the file; ``error`` is the largest difference relative to the largest value."""

    status: str
    reason: str = ""
    operators: tuple[str, ...] = ()
    error: float = 0.0


def kind_of(variant: str) -> str:
    """The kind of file that a variant of the suite is about."""
    return "saved_model" if variant == "saved-model" else "float32"


def judge(case: Case, kind: str = "float32") -> Verdict:
    """Convert the case to ``kind`` (float32: a .tflite, or saved_model), run it, compare."""
    try:
        with tempfile.TemporaryDirectory() as folder, quiet():
            result = convert(onnx_graph=case.model, output_folder_path=folder, outputs=(kind,), check="none",
                             non_verbose=True)  # fmt: skip
            errors = [_run(case, result, kind, *data) for data in case.data]
    except ConversionError as error:
        ours = any(text in str(error) for text in OURS)
        return Verdict(CRASH if ours else REFUSED, _said(error.problems[0]))
    except harness.Mismatch as error:
        return Verdict(WRONG, str(error))
    except Exception as error:  # whatever it is, it is this case's
        place = traceback.extract_tb(error.__traceback__)[-1]
        line = " ".join(str(error).split())[:200]
        return Verdict(CRASH, f"{type(error).__name__}: {line} ({Path(place.filename).name}:{place.lineno})")
    return Verdict(OK, "", tuple(result.report["operators"]), max(errors, default=0.0))


def _said(problem: Problem) -> str:
    operator = problem.where.split(" ")[0]
    return f"{operator}: {problem.what}"


def _run(case: Case, result: ConversionResult, kind: str, feeds: Arrays, expected: Arrays) -> float:
    """The largest error of one data set; Mismatch where it is too large."""
    stored, symbols = harness.store({i.name: result.tensors[i.name] for i in result.inputs}, feeds)
    results = {
        runtime: {n: result.tensors[n].restore(x, symbols) for n, x in outputs.items()}
        for runtime, outputs in _outputs(result, kind, stored).items()
    }
    for outputs in results.values():
        for name, array in expected.items():
            _same_type(name, array, outputs[name])
        if case.random:
            outputs.update({n: np.zeros(x.shape) for n, x in outputs.items()})
    if case.random:
        expected = {n: np.zeros(x.shape) for n, x in expected.items()}
    return harness.compare_all(expected, results, harness.RTOL, harness.ATOL)


def _outputs(result: ConversionResult, kind: str, feeds: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """By runtime, as the file gives them."""
    path = str(result.files[kind])
    if kind != "saved_model":
        return {name: harness.invoke(path, feeds, plain) for name, plain in (("plain", True), ("default", False))}
    from onnx2tf_lite.emitters import saved_model

    keys = saved_model.signature_keys([t.name for t in (*result.inputs, *result.outputs)])
    results = saved_model.load(path)({keys[n]: x for n, x in feeds.items()})
    return {"TensorFlow": {t.name: results[keys[t.name]] for t in result.outputs}}


def _same_type(name: str, expected: Any, got: np.ndarray) -> None:
    if not isinstance(expected, np.ndarray):
        raise harness.Mismatch(f"{name}: a tensor instead of a sequence or an optional")
    wanted = expected.dtype.name
    if got.dtype.name not in (wanted, *(by for types, by in STAND_INS.items() if re.fullmatch(types, wanted))):
        raise harness.Mismatch(f"{name}: {got.dtype} instead of {wanted}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on file descriptor 2, where the runtimes' C++ code logs."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
