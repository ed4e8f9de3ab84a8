"""Keras files of others: matched by names and shapes, run by the Keras that TensorFlow brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.validation import check

from .models import model as proto

WEIGHTS = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)  # height, width, in, out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Relu", ["c"], ["y"], "relu")]
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, 3, 16, 16])], [info("y", TensorProto.FLOAT, [1, 8, 14, 14])],
        [numpy_helper.from_array(np.ascontiguousarray(WEIGHTS.transpose(3, 2, 0, 1)), "w")],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("keras") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("changed", [0.0, 0.1], ids=["the same weights", "other weights"])
def test_a_keras_file_matches_where_its_weights_do(model: Path, tmp_path: Path, suffix: str, changed: float) -> None:
    keras = pytest.importorskip("keras", reason="comes with TensorFlow")
    x = keras.Input((16, 16, 3), name="x")
    conv = keras.layers.Conv2D(8, 3, use_bias=False, name="c")
    net = keras.Model(x, keras.layers.ReLU(name="y")(conv(x)))
    conv.set_weights([WEIGHTS * (1 + changed)])
    net.save(tmp_path / f"net{suffix}")
    report = check(model, tmp_path / f"net{suffix}")
    assert report.files[0].error == "" and report.files[0].kind == "keras"
    assert report.exit_code == (1 if changed else 0)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("content", [b"", b"no model", b"PK\3\4 cut off"], ids=["empty", "text", "cut off"])
def test_what_is_no_keras_file_is_not_loaded(model: Path, tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"net{suffix}").write_bytes(content)
    report = check(model, tmp_path / f"net{suffix}")
    assert report.exit_code == 2 and "cannot be loaded: " in report.files[0].verdict


def test_the_epsilon_of_a_normalisation_is_that_of_the_file(tmp_path: Path) -> None:
    """TensorFlow's remapper makes 1e-3 of it; parts of a file are run as they are written."""
    pytest.importorskip("tf_keras")
    source = proto(
        "g (float[1,8,16] x) => (float[1,8,16] y) { y = LayerNormalization<axis=-1, epsilon=0.00001>(x, scale, bias) }",
        scale=np.linspace(0.5, 2, 16).astype(np.float32), bias=(16,),
    )  # fmt: skip
    result = convert(
        onnx_graph=source, output_folder_path=tmp_path, outputs=("keras",), check="layers", non_verbose=True
    )
    (layer,) = result.check.files[0].layers
    assert result.exit_code == 0 and layer.alone.max_rel < 1e-5
