"""onnx2json and json2onnx: the same bytes again, and errors that say where."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError, json2onnx, onnx2json

from . import models

EXPORTS = Path(__file__).resolve().parents[1] / "models" / "exports"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tuning"
BACKEND = Path(onnx.__file__).parent / "backend" / "test" / "data"


def paths() -> list[Any]:
    found = [*sorted(EXPORTS.glob("*.onnx"))[::7], *sorted(EXAMPLES.glob("*.onnx"))]
    found += sorted(BACKEND.glob("*/*/model.onnx"))[::5]
    return models.trained() + [pytest.param(p, id=p.stem if p.stem != "model" else p.parent.name) for p in found]


@pytest.mark.parametrize("path", paths())
def test_files_come_back_byte_for_byte(path: Path, tmp_path: Path) -> None:
    text, back = tmp_path / "m.json", tmp_path / "m.onnx"
    onnx2json.convert(str(path), output_json_path=str(text), non_verbose=True)
    json2onnx.convert(str(text), output_onnx_file_path=str(back), non_verbose=True, check=False)
    assert back.read_bytes() == path.read_bytes()


def node_cases() -> Iterator[tuple[str, ModelProto]]:
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        if case.model is not None:
            yield case.name, case.model


@pytest.mark.slow  # onnx computes the data of all its cases for this: 20 seconds
def test_backend_suite_comes_back_byte_for_byte() -> None:
    """Every model of ONNX's own suite: all operators, types, bodies and functions."""
    wrong, count = [], 0
    for name, model in node_cases():
        data, count = model.SerializeToString(deterministic=True), count + 1
        document = json.loads(json.dumps(onnx2json.convert(onnx_graph=model)))
        again = json2onnx.convert(json_dict=document, check=False, non_verbose=True)
        if again.SerializeToString(deterministic=True) != data:
            wrong.append(name)
    assert wrong == []
    assert count > 1000


def small(**held: np.ndarray) -> ModelProto:
    held = held or {"w": np.array([[1, 2], [3, 4]], np.float32)}
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "add")]
    x, y = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2])] for n in "xy")
    graph = helper.make_graph(nodes, "g", x, y, [numpy_helper.from_array(v, k) for k, v in held.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(tmp_path: Path, change: Any = None, **options: Any) -> Path:
    document = onnx2json.convert(onnx_graph=small(), **options)
    if change:
        change(document)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document, indent=2))
    return path


def test_format_is_that_of_the_article() -> None:
    document = onnx2json.convert(str(EXAMPLES / "LayerNormalization2D_17.onnx"))
    (node,) = document["graph"]["node"]
    assert document["irVersion"] == "8"
    assert document["opsetImport"] == [{"domain": "", "version": "17"}]
    assert node["opType"] == "LayerNormalization"
    attributes = {a["name"]: a for a in node["attribute"]}
    assert attributes["axis"] == {"name": "axis", "i": "-3", "type": "INT"}
    assert attributes["epsilon"]["f"] == 1e-05
    weight, bias = document["graph"]["initializer"]
    assert weight["dims"] == bias["dims"] == ["5", "10", "10"]
    assert weight["dataType"] == 1
    assert weight["rawData"].startswith("zczMPc3MzD3N")


def test_names_of_dimensions_stay() -> None:
    shape = onnx2json.convert(onnx_graph=small())["graph"]["input"][0]["type"]["tensorType"]["shape"]["dim"]
    assert shape == [{"dimParam": "N"}, {"dimValue": "2"}]


@pytest.mark.parametrize("source", models.real("silero_vad_16k_op15"))
def test_command_and_function_write_the_same(source: Path, tmp_path: Path) -> None:
    """One in pieces, one as a whole; with contents above the size that is written in pieces, in a body too."""
    assert onnx2json.main(["-if", str(source), "-oj", str(tmp_path / "a.json"), "-n"]) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == onnx2json.convert(str(source))


def test_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    path = EXAMPLES / "LayerNormalization2D_11.onnx"
    assert onnx2json.main(["-if", str(path), "-oj", "-", "-n"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(capsys.readouterr().out))
    assert json2onnx.main(["-ij", "-", "-of", str(tmp_path / "b.onnx"), "-n"]) == 0
    assert (tmp_path / "b.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("weights", ["none", "hash", "summary"])
def test_contents_can_be_left_out(weights: str) -> None:
    values = np.arange(100, dtype=np.float32)
    document = onnx2json.convert(onnx_graph=small(w=values), weights=weights)
    (entry,) = document["graph"]["initializer"]
    assert "rawData" not in entry
    said = entry["//weights"]
    assert said["bytes"] == 400
    assert ("sha256" in said) == (weights != "none")
    if weights == "summary":
        assert (said["min"], said["max"], said["mean"]) == ("0", "99", "49.5")
    with pytest.raises(ToolError, match="written without weights"):
        json2onnx.convert(json_dict=document, non_verbose=True)


def test_readable_copies_are_comments(tmp_path: Path) -> None:
    path = written(tmp_path, decode=True)
    assert json.loads(path.read_text())["graph"]["initializer"][0]["//values"] == "[[1.,2.],[3.,4.]]"
    assert json2onnx.convert(str(path), non_verbose=True) == small()


VALUES = [[[1, 2.5], [3, 4]], "[[1,2.5],[3,4]]", [1, 2.5, 3, 4]]


@pytest.mark.parametrize("values", VALUES, ids=["nested", "text", "flat"])
def test_readable_values(tmp_path: Path, values: Any) -> None:
    def change(document: dict[str, Any]) -> None:
        entry = document["graph"]["initializer"][0]
        del entry["rawData"]
        entry["values"] = values

    model = json2onnx.convert(str(written(tmp_path, change)), non_verbose=True)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), [[1, 2.5], [3, 4]])


def test_side_files_stay_references(tmp_path: Path) -> None:
    model = small(w=np.arange(2, dtype=np.float32))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    document = onnx2json.convert(str(tmp_path / "m.onnx"), output_json_path=str(tmp_path / "m.json"), non_verbose=True)
    (entry,) = document["graph"]["initializer"]
    assert {e["key"] for e in entry["externalData"]} == {"location", "offset", "length"}
    back = json2onnx.convert(str(tmp_path / "m.json"), output_onnx_file_path=str(tmp_path / "b.onnx"), non_verbose=True)
    loaded = onnx.load(tmp_path / "b.onnx").graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(loaded), [0, 1])
    assert len(back.graph.initializer[0].raw_data) == 0
    inside = onnx2json.convert(str(tmp_path / "m.onnx"), weights="inline")["graph"]["initializer"][0]
    assert base64.b64decode(inside["rawData"]) == np.arange(2, dtype=np.float32).tobytes()


def _set(*steps: Any, value: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        place = document
        for step in steps[:-1]:
            place = place[step]
        place[steps[-1]] = value

    return change


INIT = ("graph", "initializer", 0)
ERRORS = [
    (_set("graph", "node", 0, "opTyp", value="Relu"), r"no field 'opTyp' \(at .*node\[0\].opTyp\); nearest: 'opType'",
     "opTyp"),
    (_set("irVersion", value="eight"), r"irVersion: .*eight", "irVersion"),
    (_set("graph", "node", 0, "input", value="x"), r"input: .*\(at graph.node\[0\].input\)", "input"),
    (_set("graph", "node", 0, "attribute", value=[{"i": "1.5"}]), r"at graph.node\[0\].attribute\[0\].i\)", "i"),
    (_set(*INIT, "rawData", value="A"), r"rawData: .*ase64", "rawData"),
    (_set(*INIT, "rawData", value="AAAA"), r"tensor 'w': rawData has 3 bytes, .* need 16", "rawData"),
    (_set(*INIT, "dims", value=["3", "2"]), r"rawData has 16 bytes, .* need 24", "rawData"),
    (_set(*INIT, "dataType", value=99), r"dataType 99", None),
    (_set(*INIT, "values", value=[1]), r"values and rawData", "values"),
    (_set("graph", "node", 0, "input", value=["x", "nothing"]), r"onnx.checker: .*nothing", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says", "key"),
    ERRORS,
    ids=["field", "type", "list", "inner", "base64", "length", "dims", "dtype", "twice", "checker"],
)
def test_errors_say_what_and_where(tmp_path: Path, change: Any, says: str, key: str | None) -> None:
    path = written(tmp_path, change)
    with pytest.raises(ToolError, match=says) as caught:
        json2onnx.convert(str(path), output_onnx_file_path=str(tmp_path / "out.onnx"), non_verbose=True)
    assert not (tmp_path / "out.onnx").exists()
    if key:
        place = re.search(r"m\.json:(\d+):(\d+): ", caught.value.what)
        assert place
        line = path.read_text().splitlines()[int(place[1]) - 1]
        assert line[int(place[2]) - 1 :].startswith(f'"{key}"')


BROKEN = [
    ('{\n "graph": {,\n', r"m\.json:2:12: not JSON"),
    ('{"irVersion": "8", "irVersion": "9"}', "'irVersion' stands twice"),
    ("[]", "an object"),
    ('{"irVersion": "8"}', "no graph"),
]


@pytest.mark.parametrize(("text", "says"), BROKEN, ids=["syntax", "twice", "list", "no-graph"])
def test_broken_files(tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text(text)
    assert json2onnx.main(["-ij", str(tmp_path / "m.json"), "-of", str(tmp_path / "o.onnx")]) == 1
    assert re.search(says, capsys.readouterr().err)
    assert list(tmp_path.glob("*.onnx")) == []


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert json2onnx.main(["-ij", "nowhere.json", "-of", "o.onnx"]) == 1
    assert "nowhere.json: cannot be read" in capsys.readouterr().err
