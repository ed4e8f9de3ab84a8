"""The checker is checked: with one of its parts left out or loosened, a wrong file passes that it finds as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation import verdict
from onnx2tf_lite.validation.feeds import operands
from onnx2tf_lite.validation.figures.judge import TOLERANCES, Tolerance
from onnx2tf_lite.validation.layers import alone, trial
from onnx2tf_lite.validation.original import reference

from .editor import Editor
from .models import model

TEXT = """
g (float[1,4,9,9] x, float[2,3] u, bool flag, int64[2] ids, int64 turns)
    => (float[1,6,9,9] y, float[2,4] z, float[2,5] rows, float[2,3] turned) {
  hidden = Conv<pads=[1,1,1,1]>(x, w, b)
  open = Relu(hidden)
  y = Conv(open, v)
  z = If<then_branch = t () => (float[2,4] one) { one = MatMul(u, m1) },
         else_branch = e () => (float[2,4] two) { two = MatMul(u, m2) }>(flag)
  rows = Gather(table, ids)
  turned = Loop<body = l (int64 i, bool c, float[2,3] s) => (bool d, float[2,3] t) {
    d = Identity(c)
    t = MatMul(s, m3)
  }>(turns, , u)
}"""
#: What a user might feed: it leaves the ReLU closed, goes one way only, looks two rows up, and does not turn.
FEEDS = {"x": np.ones((1, 4, 9, 9), np.float32), "u": np.ones((2, 3), np.float32), "flag": np.array(True),
         "ids": np.array([0, 1]), "turns": np.array(0)}  # fmt: skip


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return model(TEXT, w=(8, 4, 3, 3), b=np.full(8, -50, np.float32), v=(6, 8, 1, 1), m1=(3, 4), m2=(3, 4), m3=(3, 3),
                 table=(40, 5))  # fmt: skip


@pytest.fixture(scope="module")
def file(proto: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float32"], check="none", non_verbose=True)
    return made.files["float32"]


def bent(file: Path, to: Path, operator: str, operand: int, graph: int = 0, place: int = 0) -> Path:
    """One element changed by the largest magnitude of its tensor."""
    edit = Editor(file)
    edit.graph = edit.model.subgraphs[graph]
    op = edit.indices(operator)[0]
    data = edit.data(int(edit.graph.operators[op].inputs[operand]))
    assert data is not None
    wrong = data.copy()
    wrong.reshape(-1)[place] += np.abs(data).max()
    edit.put(op, operand, wrong)
    return edit.save(to / "bent.tflite")


#: What is wrong with a file: operator, operand, subgraph, element.
ERRORS = {
    "a weight behind a closed ReLU": ("CONV_2D", 1, 0, 5),
    "a weight of the branch that is not taken": ("FULLY_CONNECTED", 1, 2, 3),
    "a weight of a loop": ("FULLY_CONNECTED", 1, 4, 3),
    "a row of a table": ("GATHER", 0, 0, 5 * 33 + 2),
}
LOOSE = property(lambda self: replace(self, rtol=10.0, alone=None))
#: Part of the checker that is changed -> what then passes, and whether the coverage still claims to be whole.
MUTATIONS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, bool]] = {
    "layers are not compared": (
        lambda m: m.setattr(trial.Trial, "compare", lambda *args: None), "a weight behind a closed ReLU", False),
    "the limit of a layer is loosened": (
        lambda m: m.setattr(Tolerance, "isolated", LOOSE), "a weight behind a closed ReLU", True),
    "one set of operands": (
        lambda m: m.setattr(alone.Bench, "wanted", lambda *args: 1), "a weight behind a closed ReLU", False),
    "no large operands": (
        lambda m: m.setattr(operands, "SCALES", (1.0, -1.0) * 4), "a weight behind a closed ReLU", False),
    "branches are not run": (
        lambda m: (m.setattr(operands, "_flags", lambda seen, *args: np.ones(seen.shape, bool)),
                   m.setattr(verdict, "branches", lambda *args: ()))[0],
        "a weight of the branch that is not taken", False),
    "loops turn as they did": (
        lambda m: (m.setattr(alone, "turns", lambda *args: 0), m.setattr(operands, "turns", lambda *args: 0))[0],
        "a weight of a loop", False),
    "rows are not looked up": (
        lambda m: m.setattr(trial.Trial, "_tables", lambda *args: {}), "a row of a table", True),
}  # fmt: skip


def test_the_right_file_matches_and_is_reached(proto: onnx.ModelProto, file: Path) -> None:
    (found,) = validation.check(proto, file, FEEDS, require_coverage=100).files
    assert found.ok and "7 of 7 layers, 5 of 5 branches, 100 % of the weights" in found.verdict


@pytest.mark.parametrize("error", ERRORS)
def test_errors_that_end_to_end_hides_are_found(error: str, proto: onnx.ModelProto, file: Path, tmp_path: Path) -> None:
    (found,) = validation.check(proto, bent(file, tmp_path, *ERRORS[error]), FEEDS, layers=False).files
    assert not found.ok and all(not r.difference.what for r in found.outputs)
    assert "introduces" in found.verdict and "on operands made for it" in found.verdict


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_checker_finds_less(
    mutation: str, proto: onnx.ModelProto, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, error, claims = MUTATIONS[mutation]
    path = bent(file, tmp_path, *ERRORS[error])
    assert not validation.check(proto, path, FEEDS, layers=False).ok
    change(monkeypatch)
    assert validation.check(proto, path, FEEDS, layers=False).ok, "this part of the checker is not needed for it"
    (found,) = validation.check(proto, file, FEEDS, require_coverage=100).files
    assert found.reached == claims


@pytest.fixture(scope="module")
def halves(proto: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float16"], check="none", non_verbose=True)
    return made.files["float16"]


def test_what_16_bits_do_to_a_layer_is_allowed(proto: onnx.ModelProto, halves: Path) -> None:
    """It is beyond what is asked of float32, and within three times what rounding does to the model itself."""
    (found,) = validation.check(proto, halves, FEEDS).files
    assert found.ok
    alone = {r.tensor: r.alone for r in found.layers if r.alone}
    assert any(a.slack for a in alone.values()), "no layer needed it: the test says nothing"
    assert all(a.max_rel < 3e-3 for a in alone.values())


def test_one_wrong_weight_of_16_bits_is_found(proto: onnx.ModelProto, halves: Path, tmp_path: Path) -> None:
    path = bent(halves, tmp_path, *ERRORS["a weight behind a closed ReLU"])
    (found,) = validation.check(proto, path, FEEDS, layers=False).files
    assert found.kind == "float16" and not found.ok
    assert "introduces" in found.verdict and "on operands made for it" in found.verdict


@pytest.mark.parametrize("size", [0.5, 1.0], ids=["what rounding does is measured larger", "a layer has all elements"])
def test_without_the_measure_of_16_bits_it_passes(
    size: float, proto: onnx.ModelProto, halves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either the operands and weights are shaken by far more than 2^-11, or a share of the elements is let go."""
    path = bent(halves, tmp_path, *ERRORS["a weight behind a closed ReLU"])
    if size < 1:
        monkeypatch.setattr(reference, "HALF", size)
    else:
        loose = replace(TOLERANCES["float16"], rtol=10, alone=None)
        monkeypatch.setattr(Tolerance, "isolated", property(lambda self: loose))
    assert validation.check(proto, path, FEEDS, layers=False).ok


def test_what_is_not_reached_is_listed(proto: onnx.ModelProto, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS["branches are not run"][0](monkeypatch)
    report = validation.check(proto, file, FEEDS, require_coverage=100)
    (found,) = report.files
    assert report.exit_code == 1 and "NOT REACHED, 100 % is required" in found.verdict
    assert "the branch for false of 'z' (no operands led there)" in found.verdict
    assert report.to_json()["files"][0]["coverage"]["branches"] == 4
