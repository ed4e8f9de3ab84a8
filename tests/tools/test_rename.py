"""sor4onnx: one injective map, applied everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from onnx2tf_lite.model.walk import defined, scopes
from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sor4onnx import rename

from . import models
from .cli import Cli, cli

__all__ = ["cli"]


def test_the_line_of_the_help() -> None:
    model = models.build("ma")
    for node in model.graph.node:
        node.input[:] = ["onnx::mid" if n == "mid0" else n for n in node.input]
        node.output[:] = ["onnx::mid" if n == "mid0" else n for n in node.output]
    made = rename(["onnx::", ""], onnx_graph=model, search_mode="partial_match", non_verbose=True)
    assert models.describe(made) == "in | n0:Relu(in)->mid n1:Neg(mid)->out | out"


@pytest.mark.parametrize(
    ("mode", "pair", "expected"),
    [
        ("exact_match", ["c0", "z"], {"c0": "z"}),
        ("prefix_match", ["c", "z"], {"c0": "z0", "c1": "z1", "conv0": "zonv0", "conv1": "zonv1"}),
        ("suffix_match", ["1", "9"], {"c1": "c9", "r1": "r9", "w1": "w9", "conv1": "conv9", "relu1": "relu9"}),
        ("regex", [r"^c(\d)$", r"\1c"], {"c0": "0c", "c1": "1c"}),
        ("partial_match", ["r", "r_"], {"r0": "r_0", "r1": "r_1", "relu0": "r_elu0", "relu1": "r_elu1",
                                        "reshape0": "r_eshape0"}),
    ],
)  # fmt: skip
def test_search_modes(mode: str, pair: list[str], expected: dict[str, str]) -> None:
    before = models.build("cnn")
    after = rename(pair, onnx_graph=before, search_mode=mode, non_verbose=True)
    names = lambda m: [*defined(m.graph), *(n.name for n in m.graph.node)]  # noqa: E731
    assert {a: b for a, b in zip(names(before), names(after), strict=True) if a != b} == expected
    given = models.feeds(before)
    models.assert_same(models.run(after, given), models.run(before, given))


def test_text_is_no_regular_expression() -> None:
    with pytest.raises(ToolError, match=r"no node or tensor 'c\.'"):
        rename(["c.", "z"], onnx_graph=models.build("cnn"), search_mode="prefix_match", non_verbose=True)


@pytest.mark.parametrize(("name", "new"), [("r0", "c0"), ("w0", "w1"), ("x", "y")])
def test_two_of_one_name_are_refused(name: str, new: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sor4onnx", "-if", source, "-on", name, new, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and f"would both be called '{new}'" in result.err and not (tmp_path / "o.onnx").exists()


def test_names_can_be_exchanged() -> None:
    made = rename([["r0", "c0"], ["c0", "r0"]], onnx_graph=models.build("cnn"), non_verbose=True)
    assert "conv0:Conv(x,w0,b0)->r0 relu0:Relu(r0)->c0" in models.describe(made)


@pytest.mark.parametrize(
    ("mode", "pair", "ports"),
    [("inputs", ["x", "image"], ["image", "y"]), ("outputs", ["y", "scores"], ["x", "scores"])],
)
def test_inputs_and_outputs(mode: str, pair: list[str], ports: list[str]) -> None:
    made = rename(pair, onnx_graph=models.build("cnn"), mode=mode, non_verbose=True)
    assert [made.graph.input[0].name, made.graph.output[0].name] == ports
    with pytest.raises(ToolError, match=f"no {mode[:-1]} 'r0'"):
        rename(["r0", "z"], onnx_graph=models.build("cnn"), mode=mode, non_verbose=True)


def test_bodies_and_captures() -> None:
    before = models.build("ifm")
    pairs = [["r", "outer"], ["k", "weight"], ["then_t", "inner"]]
    after = rename(pairs, onnx_graph=before, non_verbose=True)
    assert {n for s in scopes(after) for n in defined(s.graph)} >= {"outer", "weight", "inner"}
    for taken in (True, False):
        given = models.feeds(before) | {"c": np.array(taken)}
        models.assert_same(models.run(after, given), models.run(before, given))


def test_capture_by_a_name_of_the_body_is_refused() -> None:
    with pytest.raises(ToolError, match="'then_t' and 'r' would both be called 'r'"):
        rename(["then_t", "r"], onnx_graph=models.build("ifm"), non_verbose=True)


def test_functions_value_info_and_dimensions() -> None:
    made = rename(["sq", "squared"], onnx_graph=models.build("func"), non_verbose=True)
    assert made.functions[0].node[0].output[0] == made.functions[0].node[1].input[0] == "squared"
    model = onnx.shape_inference.infer_shapes(models.build("cnn"))
    made = rename(["r0", "z"], onnx_graph=model, non_verbose=True)
    assert {v.name for v in made.graph.value_info} == {
        "z" if v.name == "r0" else v.name for v in model.graph.value_info
    }
    made = rename(["N", "batch"], onnx_graph=models.build("resizedyn"), kind=["dim"], non_verbose=True)
    assert [v.type.tensor_type.shape.dim[0].dim_param for v in (*made.graph.input, *made.graph.output)] == ["batch"] * 2


def test_map_file_and_metadata(cli: Cli, tmp_path: Path) -> None:
    model = models.build("cnn")
    helper.set_model_props(model, {"scores": "y", "author": "x y"})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "map.json").write_text(json.dumps({"x": "image", "y": "prob"}))
    words = ["--map", tmp_path / "map.json", "--metadata", "-of", tmp_path / "o.onnx"]
    result = cli("sor4onnx", "-if", tmp_path / "m.onnx", *words)
    assert "x -> image" in result.text and "metadata scores: y -> prob" in result.text
    assert {p.key: p.value for p in onnx.load(tmp_path / "o.onnx").metadata_props} == {
        "scores": "prob",
        "author": "x y",
    }


def test_nodes_without_a_name_get_one() -> None:
    made = rename(["r0", "z"], onnx_graph=models.build("cnn_unnamed"), non_verbose=True)
    assert [n.name for n in made.graph.node][:2] == ["sor_Conv_0", "sor_Relu_1"]


def test_a_name_must_remain() -> None:
    with pytest.raises(ToolError, match="'x' would have no name left"):
        rename(["x", ""], onnx_graph=models.build("cnn"), non_verbose=True)


@pytest.mark.parametrize(
    "path", models.real("mnist_8", "vittrack", "silero_vad_16k_op15", "sentence_bilstm", "magika_standard_v3_3")
)
def test_real_models(path: Path) -> None:
    """Every tensor and node of every body gets a prefix; the results are the same."""
    made = rename(["^", "p_"], onnx_graph=onnx.load(path), search_mode="regex", non_verbose=True)
    assert all(n.startswith("p_") for s in scopes(made) for n in (*defined(s.graph), *(x.name for x in s.graph.node)))
    given = models.real_feeds(path)
    got = models.run(made, {f"p_{n}": a for n, a in given.items()})
    models.assert_same({n.removeprefix("p_"): a for n, a in got.items()}, models.run(path, given))


def test_names_that_bodies_have_too_stay_apart() -> None:
    """Inside of either branch and behind the If there is a t: three tensors, before and after."""
    before = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[3] x, bool c) => (float[3] r, float[3] t) {
            q = If<then_branch = a () => (float[3] s) { t = Relu(x)
                                                        s = Exp(t) },
                   else_branch = b () => (float[3] s) { t = Neg(x)
                                                        s = Exp(t) }>(c)
            t = Sqrt(q)
            r = Tanh(t) }""")
    after = rename(["t", "mid"], onnx_graph=before, non_verbose=True)
    (branches,) = ([a.g for a in n.attribute] for n in after.graph.node if n.op_type == "If")
    assert [g.node[0].output[0] for g in branches] == ["mid", "mid"]
    assert [o.name for o in after.graph.output] == ["r", "mid"]
    feeds = {"x": np.array([0.5, -1, 2], np.float32), "c": np.array(True)}
    old, new = models.run(before, feeds), models.run(after, feeds)
    np.testing.assert_array_equal(old["t"], new["mid"])
    np.testing.assert_array_equal(old["r"], new["r"])
