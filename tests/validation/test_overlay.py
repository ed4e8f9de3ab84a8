"""Node data for Model Explorer: read by that package, for nodes that its own reader finds in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnx2tf_lite import check_cli, convert
from tests.validation.models import cnn

explorer = pytest.importorskip("model_explorer.node_data_builder", reason="ai-edge-model-explorer is not installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overlay")
    onnx.save(cnn(), folder / "net.onnx")
    convert(folder / "net.onnx", folder, outputs=["float32"], check="none", non_verbose=True)
    argv = ["-i", str(folder / "net.onnx"), "-t", str(folder / "net_float32.tflite"), "--rows", "none"]
    assert check_cli.main([*argv, "--model-explorer", str(folder / "data")]) == 0
    return folder


def data(folder: Path, name: str) -> Any:
    return json.loads((folder / "data" / f"net_float32.tflite.{name}.json").read_text())


@pytest.mark.parametrize("value", ["error", "sqnr", "coverage", "time"])
def test_the_package_reads_it(written: Path, value: str) -> None:
    given = data(written, value)
    results = {name: explorer.NodeDataResult(**result) for name, result in given.pop("results").items()}
    gradient = [explorer.GradientItem(**stop) for stop in given.pop("gradient")]
    again = explorer.GraphNodeData(results, gradient=gradient, **given).to_json_string()
    assert json.loads(again)["results"] == data(written, value)["results"]


def test_nodes_of_the_file_are_those_that_the_package_shows(written: Path) -> None:
    from model_explorer.builtin_tflite_flatbuffer_adapter import BuiltinTfliteFlatbufferAdapter

    found = BuiltinTfliteFlatbufferAdapter().convert(str(written / "net_float32.tflite"), {})
    nodes = [node for graph in found["graphCollections"][0].graphs for node in graph["nodes"]]
    attributes = [a for node in nodes for output in node.get("outputsMetadata", ()) for a in output["attrs"]]
    shown = {a["value"] for a in attributes if a["key"] == "tensor_name"}
    assert data(written, "error")["results"].keys() <= shown
    assert data(written, "time")["results"].keys() <= shown


def test_nodes_of_the_model_are_its_tensors(written: Path) -> None:
    made = {name for node in onnx.load(written / "net.onnx").graph.node for name in node.output}
    for value in ("error", "sqnr", "coverage", "time"):
        results = data(written, f"onnx.{value}")["results"]
        assert results and results.keys() <= made
    assert {r["value"] for r in data(written, "onnx.coverage")["results"].values()} == {1.0}


def test_every_operator_has_its_time_and_belongs_to_a_layer(written: Path) -> None:
    """The sum over the model's nodes is that over the file's operators."""
    from onnx2tf_lite.validation.files.flatfile import FlatFile

    of_file = [r["value"] for r in data(written, "time")["results"].values()]
    of_model = [r["value"] for r in data(written, "onnx.time")["results"].values()]
    assert len(of_file) == len(FlatFile(written / "net_float32.tflite").operators) and min(of_file) > 0
    assert sum(of_model) == pytest.approx(sum(of_file))


def test_a_file_that_cannot_be_timed_is_said(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise ValueError("no such kernel")

    monkeypatch.setattr("onnx2tf_lite.validation.files.profile.profile", fails)
    argv = ["-i", str(written / "net.onnx"), "-t", str(written / "net_float32.tflite"), "--rows", "none"]
    assert check_cli.main([*argv, "--model-explorer", str(written / "without")]) == 0
    assert "no times for Model Explorer: no such kernel" in capsys.readouterr().err
    assert not list((written / "without").glob("*time*")) and list((written / "without").glob("*error*"))
