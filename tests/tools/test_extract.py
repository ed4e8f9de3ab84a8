"""sne4onnx: the cut is exact, and the parts compute what the whole does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sne4onnx import extraction, split

from . import models
from .cli import Cli, cli

__all__ = ["cli"]
#: model, inputs, outputs, nodes that remain
CUTS = [
    ("cnn", ["r0"], ["a0"], ["conv1", "add0"]),
    ("cnn", ["x"], ["y"], None),
    ("cnn", ["c1", "r0"], ["r1", "a0"], ["add0", "relu1"]),
    ("cnn", ["w0", "x"], ["c0"], ["conv0"]),  # a weight becomes an input
    ("splitm", ["x"], ["s1"], ["split0"]),  # one of three outputs, and only this one
    ("scalarin", ["t", "m"], ["y"], ["div0"]),  # a scalar input
    ("ifm", ["c", "r"], ["y"], ["if0"]),  # r and k are captured by the branches
    ("loopm", ["x", "outer"], ["all"], ["loop0"]),
    ("func", ["x"], ["t"], ["call"]),
    ("topk", ["x"], ["indices"], ["topk0"]),
    ("resizedyn", ["x", "sizes"], ["y"], ["resize0"]),
]


@pytest.mark.parametrize(
    ("name", "starts", "ends", "nodes"), CUTS, ids=lambda v: "-".join(v) if v and isinstance(v, list) else v
)
def test_part_computes_what_the_whole_does(
    name: str, starts: list[str], ends: list[str], nodes: list[str] | None
) -> None:
    whole = models.build(name)
    part = extraction(starts, ends, onnx_graph=whole, non_verbose=True)
    assert [v.name for v in part.graph.input] == starts and [v.name for v in part.graph.output] == ends
    assert nodes is None or [n.name for n in part.graph.node] == nodes
    given = models.feeds(whole)
    exposed = onnx.ModelProto.FromString(whole.SerializeToString())
    inner = dict.fromkeys(n for n in (*starts, *ends) if n not in [*given, *(v.name for v in whole.graph.output)])
    exposed.graph.output.extend(onnx.ValueInfoProto(name=n) for n in inner)
    known = given | models.run(exposed, given)
    models.assert_same(models.run(part, {n: known[n] for n in starts}), {n: known[n] for n in ends})


@pytest.mark.parametrize(
    "path", models.real("mnist_8", "vittrack", "yunet_n_dynamic", "silero_vad_16k_op15", "super_resolution_espcn")
)
def test_real_models_split_in_the_middle(path: Path, tmp_path: Path) -> None:
    whole = onnx.load(path)
    middle = whole.graph.node[len(whole.graph.node) // 2].output[0]
    parts = split(str(path), split_at=[middle], output_onnx_file_path=str(tmp_path / "p.onnx"), non_verbose=True)
    known = models.real_feeds(path)
    expected = models.run(path, known)
    for line, part in zip(json.loads((tmp_path / "p.json").read_text())["parts"], parts, strict=True):
        held = {t.name for t in part.graph.initializer}  # IR 3 lists them as inputs
        assert [v.name for v in part.graph.input if v.name not in held] == line["inputs"]
        known |= models.run(tmp_path / line["file"], {n: known[n] for n in line["inputs"]})
    models.assert_same({n: known[n] for n in expected}, expected)
    assert sum(len(p.graph.node) for p in parts) == len(whole.graph.node) and len(parts) == 2


def test_a_needed_input_is_named_and_can_be_added() -> None:
    with pytest.raises(ToolError, match="-ion: needed too: x") as error:
        extraction(["c1"], ["a0"], onnx_graph=models.build("cnn"), non_verbose=True)
    assert error.value.candidates == ("x",) and error.value.tool == "sne4onnx"
    part = extraction(["c1"], ["a0"], onnx_graph=models.build("cnn"), non_verbose=True, auto_inputs=True)
    assert [v.name for v in part.graph.input] == ["c1", "x"]


def test_node_names_are_their_results(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sne4onnx", "-if", source, "-ion", "node:relu0", "-oon", "node:relu1", "-of", tmp_path / "o.onnx")
    assert result.code == 0, result.err
    assert "input r0: float32[1,8,16,16]" in result.text
    assert models.describe(onnx.load(tmp_path / "o.onnx")).startswith("r0 | conv1:Conv(r0,w1)->c1")


def test_symbolic_dimensions_stay() -> None:
    part = extraction(["sizes", "x"], ["y"], onnx_graph=models.build("resizedyn"), non_verbose=True)
    assert [d.dim_param or d.dim_value for d in part.graph.input[1].type.tensor_type.shape.dim] == ["N", 3, 4, 4]


def test_size_limit_makes_a_chain(tmp_path: Path) -> None:
    parts = split(onnx_graph=models.build("cnn"), max_bytes=2400, non_verbose=True)
    assert [[n.name for n in p.graph.node] for p in parts] == [
        ["conv0", "relu0"],
        ["conv1", "add0", "relu1", "gap0", "reshape0"],
        ["gemm0"],
    ]
    with pytest.raises(ToolError, match="'conv1' alone has 2304 bytes"):
        split(onnx_graph=models.build("cnn"), max_bytes=2000, non_verbose=True)


def test_over_2_gb_becomes_parts_without_being_loaded(cli: Cli, tmp_path: Path) -> None:
    source = models.big(tmp_path)
    result = cli("sne4onnx", "-if", source, "--max-bytes", "1300MB", "-of", tmp_path / "out" / "p.onnx")
    assert result.code == 0, result.err
    ids = np.array([0, 2_999_999, 7], np.int64)
    first = models.run(tmp_path / "out" / "p_1.onnx", {"ids": ids})
    second = models.run(tmp_path / "out" / "p_2.onnx", {"ids": ids, **first})
    assert [second["y"][0, 0], second["y"][1, -1], second["y"][2, 5]] == [3.0, 3.0, 0.0]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-ion", "x"], "say either"),
        (["-ion", "x", "-oon", "y", "--split-at", "r0"], "say either"),
        (["--split-at", "x"], "nothing is left to compute for x"),
    ],
)
def test_contradictions(words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sne4onnx", "-if", source, *words, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and not (tmp_path / "o.onnx").exists()
