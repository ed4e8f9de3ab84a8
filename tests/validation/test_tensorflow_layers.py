"""Files of TensorFlow are checked layer by layer: errors that end to end hides behind a closed ReLU, in the branch not
taken and in the loop that does not turn are found in every kind of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, validation
from onnx2tf_lite.emitters.saved_model import graphs
from onnx2tf_lite.validation.feeds import operands
from onnx2tf_lite.validation.files.graph_file import GraphFile
from onnx2tf_lite.validation.layers import trial
from onnx2tf_lite.validation.reports.report import FileReport

from .graph_editor import GraphEditor, bent
from .models import model
from .test_mutations import FEEDS, TEXT

pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")

KINDS = ("saved_model", "frozen", "keras_weights")
WEIGHTS = {"w": (8, 4, 3, 3), "v": (6, 8, 1, 1), "m1": (3, 4), "m2": (3, 4), "m3": (3, 3), "table": (40, 5)}
#: What is wrong: shape of the weight in the file, which of those of this shape, element.
ERRORS = {
    "a weight behind a closed ReLU": ((3, 3, 4, 8), 0, 5),
    "a weight of the branch that is not taken": ((4, 3), 1, 3),
    "a weight of a loop": ((3, 3), 0, 3),
    "a row of a table": ((40, 5), 0, 5 * 33 + 2),
}


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return model(TEXT, b=np.full(8, -50, np.float32), **WEIGHTS)


@pytest.fixture(scope="module")
def files(proto: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=list(KINDS), check="none", non_verbose=True)
    return {kind: made.files[kind] for kind in KINDS}


def checked(proto: onnx.ModelProto, kind: str, path: Path) -> FileReport:
    """What users see who ask for nothing."""
    (file,) = validation.check(proto, {kind: path}, FEEDS, layers=False).files
    return file


def planted(folder: Path, to: Path, error: str) -> Path:
    shape, which, place = ERRORS[error]
    edit = GraphEditor(folder)
    name = [n for n, a in edit.variables.items() if a.shape == shape][which]
    edit.variables[name] = bent(edit.variables[name], place)
    return edit.save(to / "planted")


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_file_matches_and_all_of_it_was_seen(
    kind: str, proto: onnx.ModelProto, files: dict[str, Path]
) -> None:
    found = checked(proto, kind, files[kind])
    assert found.ok, found.verdict
    assert "5 of 5 layers, 5 of 5 branches, 100 % of the weights" in found.verdict


@pytest.mark.parametrize("error", ERRORS)
def test_errors_that_end_to_end_hides_are_found(
    error: str, proto: onnx.ModelProto, files: dict[str, Path], tmp_path: Path
) -> None:
    found = checked(proto, "saved_model", planted(files["saved_model"], tmp_path, error))
    assert not found.ok and all(not r.difference.what for r in found.outputs)
    assert "on operands made for it" in found.verdict


def test_a_part_reads_its_own_weights_alone(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    flat, read = graphs.saved_model(files["saved_model"]), list[str]()
    assert isinstance(flat.weights, graphs.Variables) and len(flat.weights) > 1
    keep = flat.weights.__getitem__
    monkeypatch.setattr(graphs.Variables, "__getitem__", lambda self, name: read.append(name) or keep(name))
    file = GraphFile(flat)
    convolution = next(op for op in file.operators if op.name == "Conv2D")
    segment = file.segment(convolution.outputs[0], set(convolution.inputs[:1]))
    assert segment is not None and not read
    part = file.extract([segment], [file.tensors[i].shape for i in segment.boundary])
    assert len(read) == 1 and list(part.weights) == read


#: Part of the checker that is changed -> what then passes.
MUTATIONS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "layers are not compared": (
        lambda m: m.setattr(trial.Trial, "compare", lambda *args: None), "a weight behind a closed ReLU"),
    "no large operands": (
        lambda m: m.setattr(operands, "SCALES", (1.0, -1.0) * 4), "a weight behind a closed ReLU"),
    "rows are not looked up": (
        lambda m: m.setattr(trial.Trial, "_tables", lambda *args: {}), "a row of a table"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_checker_finds_less(
    mutation: str, proto: onnx.ModelProto, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, error = MUTATIONS[mutation]
    path = planted(files["saved_model"], tmp_path, error)
    change(monkeypatch)
    assert checked(proto, "saved_model", path).ok, "this part of the checker is not needed for it"
