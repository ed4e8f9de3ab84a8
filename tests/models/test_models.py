"""Real models with no options: every file right at every shape, no foreign operator, no transpose too many."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite import convert

from . import golden

GOLDEN = json.loads(golden.TABLE.read_text())
BIG = ("light/bvlc_alexnet", "light/vgg19", "light/zfnet512")  # 240 to 570 MB of generated weights
# Rounding decides here: ONNX Runtime itself moves by more than the limit when its input changes by one part in 2**22,
# so closeness of the whole model says nothing; tests/fusion/test_qdq.py compares this one layer by layer.
ILL_CONDITIONED = {"real/mobilenet_v2_qdq"}
PLAIN_CNNS = {
    "real/mnist_8", "real/yolox_nano_416", "real/yunet_n_dynamic", "real/deeplab_v3_mnv2_257",
    "real/super_resolution_espcn", "real/mobilenet_v2_qdq", "light/bvlc_alexnet", "light/densenet121",
    "light/inception_v1", "light/inception_v2", "light/resnet50", "light/squeezenet", "light/vgg19", "light/zfnet512",
}  # fmt: skip


MODELS = golden.parameters(golden.everything(), slow=BIG)


def custom_operators(path: Path) -> list[str]:
    model = schema.Model.GetRootAs(bytearray(path.read_bytes()), 0)
    codes = [model.OperatorCodes(i).CustomCode() for i in range(model.OperatorCodesLength())]
    return [c.decode() for c in codes if c]


@pytest.mark.parametrize("model", MODELS)
def test_model(model: golden.Model, tmp_path: Path) -> None:
    for feeds in model.feeds() or [None]:
        result = convert(model.path, tmp_path, outputs=("float32", "float16"), test_data=feeds, non_verbose=True)
        assert result.check is not None
        verdicts = {file.kind: file.verdict for file in result.check.files}
        assert result.exit_code == 0, verdicts
        strict = result.check.files[0]
        assert model.name in ILL_CONDITIONED or not strict.ill_conditioned, verdicts
    assert set(result.files) == {"float32", "float16"}
    assert not any(custom_operators(path) for path in result.files.values())
    layout = result.report["layout"]
    assert layout["emitted_bytes"] == layout["cost_bytes"]
    assert golden.row(result) == GOLDEN[model.name]


@pytest.mark.parametrize("model", MODELS)
def test_saved_model(model: golden.Model, tmp_path: Path) -> None:
    """The other emitter, against the same reference: so the two agree with each other."""
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    for feeds in model.feeds() or [None]:
        result = convert(model.path, tmp_path, outputs=("saved_model",), test_data=feeds, non_verbose=True)
        assert result.check is not None
        (file,) = result.check.files
        assert file.ok, file.verdict
        assert model.name in ILL_CONDITIONED or not file.ill_conditioned, file.verdict


@pytest.mark.parametrize("name", sorted(PLAIN_CNNS))
def test_plain_cnn_has_no_transpose(name: str) -> None:
    assert GOLDEN[name] == {"transposes": 0, "bytes": 0}


def test_table_lists_just_the_models() -> None:
    assert {m.name for m in golden.everything()} == set(GOLDEN)


COMMITTED = sorted(golden.REAL.glob("*.onnx"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_model_is_what_the_index_and_the_notice_say(path: Path) -> None:
    (entry,) = [m.entry for m in golden.real() if m.path == path]
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"] and len(data) < 1_000_000
    (line,) = re.findall(rf"^{path.name} +(.*?)  ", (golden.REAL / "NOTICE").read_text(), re.MULTILINE)
    assert line == entry["licence"]
    assert entry["licence"] in {"Apache-2.0", "MIT"} and re.fullmatch("[0-9a-f]{40}", entry["commit"])


def test_a_clone_alone_has_real_models() -> None:
    assert len(COMMITTED) == 6 and set(COMMITTED) <= {m.path for m in golden.real() if m.present}
