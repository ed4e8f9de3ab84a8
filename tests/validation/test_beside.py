"""The process beside a conversion in which TensorFlow checks: its reports, how it dies, and that it ends.

In an interpreter of its own, since other tests import TensorFlow, beside which no process is started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
KINDS = ["saved_model", "frozen", "float32"]


def right(folder: str) -> None:
    """Two files there, one here: in the order in which they were asked for."""
    from onnx2tf_lite import convert
    from onnx2tf_lite.validation import beside
    from tests.validation.models import cnn

    begun: list[beside.Beside] = []

    class Watched(beside.Beside):
        def __init__(self, *given: object):
            super().__init__(*given)
            begun.append(self)

    beside.Beside = Watched  # type: ignore[misc, assignment]
    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=KINDS, non_verbose=True)
    assert result.check is not None and result.exit_code == 0, result.check
    assert [f.kind for f in result.check.files] == KINDS and all(f.outputs for f in result.check.files)
    (one,) = begun
    assert list(one.paths) == KINDS[:2] and not one.pid and "tensorflow" not in sys.modules


def fatal(folder: str) -> None:
    """A file that takes its process down is wrong; the others are not."""
    from onnx2tf_lite import convert
    from onnx2tf_lite.validation.files.tensorflow_file import SavedModel
    from tests.validation.models import cnn

    SavedModel.open = lambda *asked: os.abort()  # type: ignore[method-assign]
    kinds = ["saved_model", "float32"]
    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=kinds, non_verbose=True)
    assert result.check is not None and result.exit_code == 1
    (first, second) = result.check.files
    assert "SIGABRT" in first.error and first.kind == "saved_model" and second.ok, first.error


def large(folder: str) -> None:
    """One that takes more memory than there may be is not wrong, and the next is checked all the same."""
    import numpy as np

    from onnx2tf_lite import convert
    from onnx2tf_lite.validation.files.tensorflow_file import SavedModel
    from tests.validation.models import cnn

    SavedModel.open = lambda *asked: np.ones(1 << 28)  # type: ignore[assignment, method-assign, return-value]
    options = {"budget": 1 << 26, "non_verbose": True}
    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=KINDS, **options)
    assert result.check is not None and result.exit_code == 2
    (first, second, third) = result.check.files
    assert first.unchecked and "it takes more memory than the check may use" in first.error, first.error
    assert second.kind == "frozen" and second.ok and third.ok, (second.error, third.error)


def with_keras(folder: str) -> None:
    """Where one of the files needs Keras, all are checked in a process that has it."""
    from onnx2tf_lite import convert
    from tests.validation.models import cnn

    kinds = ["saved_model", "keras"]
    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=kinds, non_verbose=True)
    assert result.check is not None and result.exit_code == 0, result.check
    beside = [name for name in result.check.seconds if name.endswith("(beside)")]
    assert [f.kind for f in result.check.files] == kinds and len(beside) == 1 + len(kinds), beside


def without_keras(folder: str) -> None:
    """TensorFlow runs a SavedModel without what it loads for Keras, which can be imported afterwards."""
    import numpy as np

    from onnx2tf_lite import convert
    from onnx2tf_lite.emitters import runtime, saved_model
    from tests.validation.models import cnn

    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=["saved_model"], check="none")
    runtime.tensorflow_alone()
    assert sys.modules.keys().isdisjoint(runtime.OPTIONAL)
    (given,), (made,) = result.inputs, result.outputs
    run = saved_model.load(folder)
    extents = [d if isinstance(d, int) else 2 for d in given.shape]
    results = run({result.report["signature"][given.name]: np.ones(extents, np.float32)})
    assert results[result.report["signature"][made.name]].any()
    for name in filter(find_spec, ("h5py", "scipy", "tf_keras")):
        assert __import__(name).__version__


def other_needs(folder: str) -> None:
    """A TensorFlow that needs what this one can do without is imported whole, by whoever checks the file then."""
    from onnx2tf_lite import convert
    from onnx2tf_lite.emitters import runtime
    from tests.validation.models import cnn

    runtime.OPTIONAL = (*runtime.OPTIONAL, "opt_einsum")
    result = convert(onnx_graph=cnn(), output_folder_path=folder, outputs=["saved_model"], non_verbose=True)
    assert result.check is not None and result.exit_code == 0, result.check
    assert [(file.kind, file.ok) for file in result.check.files] == [("saved_model", True)]


@pytest.mark.parametrize("case", ["right", "fatal", "large", "without_keras", "with_keras", "other_needs"])
def test_files_are_checked_beside_the_conversion(case: str, tmp_path: Path) -> None:
    if case == "with_keras":
        pytest.importorskip("tf_keras")
    code = f"import sys; from tests.validation.test_beside import {case}; {case}(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_where_it_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx2tf_lite.validation import beside
    from onnx2tf_lite.validation.checking import make_reference
    from tests.validation.models import cnn

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    reference = make_reference(cnn())
    assert beside.pays("saved_model", reference) and not beside.pays("float32", reference)
    monkeypatch.setattr(beside, "LARGE_MODEL", reference.size - 1)
    assert not beside.pays("saved_model", reference)
