"""The structure report: counts against the models' own messages, cost against the formulas of the operators."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError, _flops
from onnx2tf_lite.tools._survey import survey
from onnx2tf_lite.tools.ssc4onnx import main, structure_check

from . import models

F = TensorProto.FLOAT


def nodes(graph: Any) -> list[onnx.NodeProto]:
    """All nodes, written out differently from the tool."""
    found = []
    for node in graph.node:
        found.append(node)
        for a in node.attribute:
            for g in [a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs:
                found += nodes(g)
    return found


def lines(text: str) -> dict[str, str]:
    """The ``INFO: key: value`` lines."""
    said = [line.removeprefix("INFO: ").partition(": ") for line in text.splitlines() if line.startswith("INFO: ")]
    return {key: value for key, _, value in said}


@pytest.mark.parametrize("path", models.trained())
def test_counts_of_real_models(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts, size = structure_check(str(path))
    printed = capsys.readouterr().out
    every = nodes(onnx.load(path).graph)
    assert counts == Counter(n.op_type if not n.domain else f"{n.domain}::{n.op_type}" for n in every)
    assert size == path.stat().st_size
    assert re.search(rf"Total number of OPs *│ *{len(every)} ", printed)
    assert printed.rstrip().endswith("INFO: Finish!")


@pytest.mark.parametrize("name", models.NAMES)
def test_every_kind_of_model(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bodies, functions, sequences, bools, scalars, foreign domains: nothing needs a runtime, nothing crashes."""
    (path,) = models.write(tmp_path, name)
    counts, _ = structure_check(str(path))
    model = onnx.load(path)
    every = nodes(model.graph) + [n for f in model.functions for n in nodes(f)]
    assert sum(counts.values()) == len(every)
    printed = capsys.readouterr().out
    for k, value in enumerate(model.graph.output, 1):
        assert f"output_name.{k}: {value.name} " in printed


def test_lines_of_the_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = models.write(tmp_path, "cnn")
    assert main(["-if", str(path)]) == 0
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if "OP Type" in line)
    assert [c.strip() for c in re.split("[┃│]", header)[1:4]] == ["OP Type", "OPs", "Sizes"]
    said = lines(printed)
    order = [k for k in said if k in ("file", "producer", "opset", "input_name.1", "output_name.1")]
    assert order == ["file", "producer", "opset", "input_name.1", "output_name.1"]
    assert said["input_name.1"] == "x shape: [1, 3, 16, 16] dtype: float32"
    rows = re.findall(r"^│ (\w+) +│ +(\d+) ", printed, re.MULTILINE)
    assert [r[0] for r in rows] == sorted(r[0] for r in rows)
    assert ("Conv", "2") in rows


def test_shared_constant_counts_once(tmp_path: Path) -> None:
    model = models.build("sharedk")
    found = survey(model)
    assert found.parameters == sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    (constant,) = found.constants
    assert len(constant.users) == 2


def test_bodies_have_their_own_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.build("loopm")
    found = survey(model)
    assert found.rows["Loop"].nodes == 1
    assert sum(r.inside for r in found.rows.values()) == len(nodes(model.graph)) - len(model.graph.node) > 0
    structure_check(onnx_graph=models.build("loopm"))
    assert "in bodies" in capsys.readouterr().out


def test_imports_functions_metadata(capsys: pytest.CaptureFixture[str]) -> None:
    structure_check(onnx_graph=models.build("func"))
    model = models.build("func")
    said = lines(capsys.readouterr().out)
    for entry in model.opset_import:
        assert said["opset" if entry.domain in ("", "ai.onnx") else f"opset {entry.domain}"] == str(entry.version)
    assert said["function"] == f"{model.functions[0].domain}::{model.functions[0].name}"
    for prop in model.metadata_props:
        assert said[f"metadata {prop.key}"] == prop.value


def one(op: str, inputs: list[list[int]], output: list[int], **attributes: Any) -> ModelProto:
    names = [f"i{k}" for k in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], **attributes)
    ends = [helper.make_tensor_value_info(n, F, s) for n, s in zip(names, inputs, strict=True)]
    graph = helper.make_graph([node], "g", ends, [helper.make_tensor_value_info("y", F, output)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


#: operator, inputs, output, attributes, multiply-accumulates by hand
COSTS: list[tuple[str, list[list[int]], list[int], dict[str, Any], int]] = [
    ("Conv", [[1, 4, 8, 8], [6, 4, 3, 3]], [1, 6, 6, 6], {}, 6 * 6 * 6 * 4 * 3 * 3),
    ("Conv", [[2, 4, 8, 8], [4, 1, 3, 3]], [2, 4, 6, 6], {"group": 4}, 2 * 4 * 6 * 6 * 3 * 3),
    ("ConvTranspose", [[1, 4, 5, 5], [4, 6, 2, 2]], [1, 6, 10, 10], {"strides": [2, 2]}, 4 * 5 * 5 * 6 * 2 * 2),
    ("MatMul", [[3, 2, 5], [5, 7]], [3, 2, 7], {}, 3 * 2 * 5 * 7),
    ("Gemm", [[5, 2], [5, 7]], [2, 7], {"transA": 1}, 2 * 5 * 7),
    ("Einsum", [[2, 3, 4], [2, 4, 5]], [2, 3, 5], {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5),
    ("Relu", [[2, 3]], [2, 3], {}, 0),
]


@pytest.mark.parametrize("case", COSTS, ids=[f"{k}-{c[0]}" for k, c in enumerate(COSTS)])
def test_macs(case: tuple[str, list[list[int]], list[int], dict[str, Any], int]) -> None:
    op, inputs, output, attributes, macs = case
    found = survey(one(op, inputs, output, **attributes))
    assert found.macs == macs
    assert found.flops == (2 * macs or 6)


def test_macs_of_a_recurrent_network() -> None:
    """4 gates, 2 directions, 7 steps of 3 sequences, 5 features, 6 states."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=6, direction="bidirectional")
    shapes = {"x": (7, 3, 5), "w": (2, 24, 5), "r": (2, 24, 6), "y": (7, 2, 3, 6)}
    assert _flops.count(node, shapes) == (7 * 3 * 2 * 4 * 6 * (5 + 6), 2 * 7 * 3 * 2 * 4 * 6 * (5 + 6))


def test_open_shapes_are_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    model = one("Conv", [[1, 4, 8, 8], [6, 4, 3, 3]], [1, 6, 6, 6])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    found = survey(model)
    assert (found.macs, found.uncounted, found.peak_bytes, found.dynamic_shapes) == (0, 1, None, 1)
    assert survey(model, shapes={"i0": [5, 4, 8, 8]}).macs == 5 * 6 * 6 * 6 * 4 * 9
    with pytest.raises(ToolError, match="--shape: no graph input 'x'"):
        structure_check(onnx_graph=model, shapes={"x": [1]})


def test_activations_at_the_peak() -> None:
    """x and a, then a and b: x is not needed any more; 400 + 800 and 800 + 800 bytes."""
    text = "(float[100] x) => (float[100] y) { a = Concat<axis=0>(x, x) b = Relu(a) y = Slice(b, s, e) }"
    graph = onnx.parser.parse_graph(f"g {text}")
    graph.initializer.extend([numpy_helper.from_array(np.array([v], np.int64), n) for n, v in (("s", 0), ("e", 100))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert survey(model).peak_bytes == 1600


def test_bytes_by_dtype_and_the_largest() -> None:
    found = survey(models.build("dup"))
    assert sum(taken for _, taken in found.bytes_by_dtype.values()) == found.parameter_bytes
    sizes = [c.bytes for c in found.constants]
    assert sizes == sorted(sizes, reverse=True)


def test_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model against itself without two nodes: per type, and the sum."""
    before, after = models.build("cnn"), models.build("convbn")
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, model in zip(paths, (before, after), strict=True):
        path.write_bytes(model.SerializeToString())
    assert main(["-if", str(paths[0]), "--compare", str(paths[1])]) == 0
    printed = capsys.readouterr().out
    old, new = (Counter(n.op_type for n in m.graph.node) for m in (before, after))
    for op in {*old, *new}:
        change = f"{new[op] - old[op]:+d}" if new[op] != old[op] else "0"
        assert re.search(rf"│ {op} *│ *{old[op]} │ *{new[op]} │ *{re.escape(change)} │", printed)
    gone = len(before.graph.node) - len(after.graph.node)
    assert lines(printed)["removed"] == f"{gone} operators ({len(before.graph.node)} -> {len(after.graph.node)})"


def test_json_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = models.write(tmp_path, "cnn")
    assert main(["-if", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["nodes"] == len(onnx.load(path).graph.node)
    assert report["rows"]["Conv"]["nodes"] == 2
    assert main(["-if", str(path), "--markdown"]) == 0
    assert "| Conv | 2 |" in capsys.readouterr().out


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-if", str(tmp_path / "no.onnx")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "no.onnx").write_text("hello")
    assert main(["-if", str(tmp_path / "no.onnx")]) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_side_files_are_not_read(tmp_path: Path) -> None:
    """2.4 GB beside the model (a sparse file) with less than 500 MB of memory, start of the interpreter included."""
    path = models.big(tmp_path)
    code = (
        "import re\nfrom onnx2tf_lite.tools.ssc4onnx import structure_check\n"
        f"_, size = structure_check({str(path)!r}, non_verbose=True)\n"
        "print(size, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    size, kilobytes = map(int, done.stdout.split())
    assert size > 2_400_000_000
    assert kilobytes < 500_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_weights_in_the_model_are_not_read(tmp_path: Path) -> None:
    """200 MB in the model's own file with less memory than that; the sizes are those of the file."""
    weights = helper.make_tensor("w", F, [5_000_000, 10], np.zeros(200_000_000, np.uint8).tobytes(), raw=True)
    made = models.model([models.node("Gather", ["w", "i"], ["y"], "g")], [models.info("i", TensorProto.INT64, ["n"])],
                        [models.info("y", F, ["n", 10])], [weights])  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    code = (
        "import re, sys; from onnx2tf_lite.tools.ssc4onnx import structure_check\n"
        "size = structure_check(sys.argv[1], non_verbose=True)[1]\n"
        "print(size, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    size, kilobytes = map(int, done.stdout.split())
    assert size == path.stat().st_size and kilobytes < 195_000


@pytest.mark.parametrize("path", models.real("mnist_8", "go1_joystick_policy", "vittrack", "deeplab_v3_mnv2_257"))
def test_multiply_accumulates_are_those_of_onnxsim(path: Path) -> None:
    """Of models whose shapes are all known: another program, with formulas of its own."""
    info = pytest.importorskip("onnxsim.model_info")
    found = info.ModelInfo(onnx.load(path))
    if not hasattr(found, "macs"):
        pytest.skip("this onnxsim does not count them")
    assert survey(onnx.load(path)).macs == found.macs > 0


def test_types_that_are_no_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    """A sequence says what it is of."""
    structure_check(onnx_graph=models.build("seqm"))
    assert "dtype: sequence(float32)" in capsys.readouterr().out
