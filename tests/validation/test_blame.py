"""A planted error of every kind is blamed on its layer and on no other, in real models.

`python -m tests.validation.plant` prints precision and recall over more places.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.validation import check
from tests.models import golden

from .editor import Editor
from .kinds import PLANTS
from .models import model
from .plant import Model, plant

COMMITTED = ("exports/vit.ts13", "exports/fpn_bilinear.dynamo", "exports/mini_detr.dynamo")
REAL = ("real/yolox_nano_416", "real/vittrack", "real/mobilenet_v2_qdq")
#: What has no place in a model: a vision transformer without a RESIZE, float models without 8-bit weights, ...
ABSENT = {
    "exports/vit.ts13": {"resize_mode", "int8_scale"},
    "exports/fpn_bilinear.dynamo": {"softmax_axis", "int8_scale"},
    "exports/mini_detr.dynamo": {"resize_mode", "int8_scale"},
    "real/yolox_nano_416": {"softmax_axis", "int8_scale"},
    "real/vittrack": {"resize_mode", "int8_scale"},
    "real/mobilenet_v2_qdq": {"weight", "softmax_axis", "resize_mode", "transposed_weight", "nan"},
}
ENTRIES = {m.name: m for m in golden.real() + golden.exports()}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return {}


def cases() -> list[object]:
    return [
        pytest.param(*p.values, kind, id=f"{p.id}-{kind}", marks=p.marks)
        for p in golden.parameters([ENTRIES[name] for name in COMMITTED + REAL])
        for kind in PLANTS
        if kind not in ABSENT[p.id]
    ]


@pytest.mark.parametrize("entry, kind", cases())
def test_blame(entry: golden.Model, kind: str, models: dict[str, Model], tmp_path: Path) -> None:
    if entry.name not in models:
        models[entry.name] = Model.of(entry, tmp_path / "converted")
    outcome = plant(models[entry.name], kind, seed=7, folder=tmp_path)
    assert outcome is not None and outcome.seen
    assert outcome.blamed == outcome.expected, outcome.verdict
    assert "introduces" in outcome.verdict


def stride(edit: Editor) -> str:
    """Its result has another shape than the next operator takes."""
    edit.graph.operators[edit.indices("CONV_2D")[1]].builtinOptions.strideW = 2
    return "r"


def axis(edit: Editor) -> str:
    """It does not run by itself either."""
    edit.graph.operators[edit.indices("CONCATENATION")[0]].builtinOptions.axis = 7
    return "c"


@pytest.mark.parametrize("bend", [stride, axis])
def test_a_layer_is_blamed_in_a_file_that_does_not_run(bend: Callable[[Editor], str], tmp_path: Path) -> None:
    text = """g (float[1,4,8,8] x) => (float[1,8,8,8] y) {
      a = Conv<pads = [1,1,1,1]>(x, w1)  b = Conv<pads = [1,1,1,1]>(a, w2)
      r = Relu(b)  s = Add(a, r)  c = Concat<axis=1>(s, x)  y = Conv(c, w3)
    }"""
    source = model(text, w1=(4, 4, 3, 3), w2=(4, 4, 3, 3), w3=(8, 8, 1, 1))
    path = convert(onnx_graph=source, output_folder_path=tmp_path, outputs=["float32"], non_verbose=True).files
    edit = Editor(path["float32"])
    layer = bend(edit)
    (file,) = check(source, edit.save(tmp_path / "bent.tflite"), layers=False).files
    assert "cannot be run" in file.error and not file.ok
    assert [row.tensor for row in file.culprits] == [layer]
    assert f" {layer} has shape" in file.verdict or f" {layer} cannot be run" in file.verdict


def test_every_kind_is_planted_somewhere() -> None:
    assert set.intersection(*(ABSENT[n] for n in COMMITTED)) == {"int8_scale"}, "test_quantised.py has that one"
