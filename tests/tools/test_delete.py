"""snd4onnx: what is removed is bridged, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.snd4onnx import remove

from . import models
from .cli import Cli, cli

__all__ = ["cli"]


def relu(a: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0)


def test_middle_node_with_several_readers() -> None:
    model = remove(["neg0"], onnx_graph=models.build("branch"), non_verbose=True)
    x = models.feeds(model)["x"]
    models.assert_same(models.run(model, {"x": x}), {"y": np.abs(relu(x)) + np.exp(relu(x))})


def test_producer_with_another_reader() -> None:
    model = remove(["abs0"], onnx_graph=models.build("branch"), non_verbose=True)
    x = models.feeds(model)["x"]
    models.assert_same(models.run(model, {"x": x}), {"y": -relu(x) + np.exp(-relu(x))})


def test_first_node() -> None:
    model = remove(["relu0"], onnx_graph=models.build("branch"), non_verbose=True)
    assert models.describe(model).startswith("x | neg0:Neg(x)->n")


def test_last_node_keeps_the_name_of_the_output() -> None:
    model = remove(["gemm0"], onnx_graph=models.build("cnn"), non_verbose=True)
    assert models.describe(model).endswith("reshape0:Reshape(g0,shape)->y | y")
    assert "wg" not in {t.name for t in model.graph.initializer}
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 8]


def test_several_in_a_row() -> None:
    model = remove(["relu0", "neg0"], onnx_graph=models.build("branch"), non_verbose=True)
    x = models.feeds(model)["x"]
    models.assert_same(models.run(model, {"x": x}), {"y": np.abs(x) + np.exp(x)})


def test_what_branches_capture() -> None:
    model = remove(["relu"], onnx_graph=models.build("ifm"), non_verbose=True)
    given = models.feeds(model)
    k = onnx.numpy_helper.to_array(model.graph.initializer[0])
    for taken, expected in ((True, -(given["x"] + k)), (False, -(given["x"] * k))):
        models.assert_same(models.run(model, given | {"c": np.array(taken)}), {"y": expected})


def test_node_in_a_branch_by_its_address(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "ifm")
    refused = cli("snd4onnx", "-rn", "neg", "-if", source, "-of", tmp_path / "o.onnx")
    assert refused.code == 1
    assert "node 'neg' is in several graphs: if0/" in refused.err and "; say which" in refused.err
    result = cli("snd4onnx", "-rn", "if0/then_branch:neg", "-if", source, "-of", tmp_path / "o.onnx")
    assert result.code == 0, result.err
    model = onnx.load(tmp_path / "o.onnx")
    x, k = models.feeds(model)["x"], onnx.numpy_helper.to_array(model.graph.initializer[0])
    for taken, expected in ((True, relu(x) + k), (False, -(relu(x) * k))):
        models.assert_same(models.run(model, {"x": x, "c": np.array(taken)}), {"y": expected})


def test_captured_tensor_as_result_of_a_branch() -> None:
    model = remove(
        ["then_op", "if0/then_branch:neg"], bridge=["then_op=r"], onnx_graph=models.build("ifm"), non_verbose=True
    )
    given = models.feeds(model) | {"c": np.array(True)}
    models.assert_same(models.run(model, given), {"y": relu(given["x"])})


@pytest.mark.parametrize(("bridge", "factor"), [("r0", 0), ("c1", 1)])
def test_two_inputs_need_a_word(bridge: str, factor: int) -> None:
    with pytest.raises(ToolError, match=r"'add0' has 2 inputs that are no constants \(c1, r0\)"):
        remove(["add0"], onnx_graph=models.build("cnn"), non_verbose=True)
    model = remove(["add0"], bridge=[f"add0={bridge}"], onnx_graph=models.build("cnn"), non_verbose=True)
    assert f"relu1:Relu({bridge})->r1" in models.describe(model)
    assert ("conv1" in models.describe(model)) == bool(factor)


def test_an_output_can_be_dropped() -> None:
    model = remove(["all"], onnx_graph=models.build("loopm"), non_verbose=True)
    assert [v.name for v in model.graph.output] == ["y"]


def test_by_type_and_by_pattern(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    for words in (["--type", "Relu"], ["--match", "relu?"]):
        result = cli("snd4onnx", *words, "-if", source, "-of", tmp_path / "o.onnx")
        assert "deleted Relu 'relu0'" in result.text and "deleted Relu 'relu1'" in result.text
        assert [n.op_type for n in onnx.load(tmp_path / "o.onnx").graph.node].count("Relu") == 0


def test_second_result_that_is_read_needs_a_word() -> None:
    model = models.build("topk")
    model.graph.output.append(onnx.helper.make_tensor_value_info("indices", onnx.TensorProto.INT64, [2, 3]))
    with pytest.raises(ToolError, match="result 'indices' of 'topk0' is still read"):
        remove(["topk0"], onnx_graph=model, non_verbose=True)


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("cnn_unnamed", ["-rn", ""], "no node ''"),
        ("multiuse", ["-rn", "square0", "relu0"], "at least one node and one output must remain"),
        ("cnn", ["-rn", "y"], "at least one node and one output must remain"),
        ("cnn", ["-rn", "reshape0"], "node name: gemm0"),  # the first node that contradicts
        ("dataprop", ["-rn", "gather0"], "does not run"),
        ("cnn", ["-rn", "relu0", "--bridge", "relu0=w0"], "'w0' is no input of 'relu0'"),
        ("cnn", ["--type", "Softmax"], "no 'Softmax'"),
        ("cnn", [], "nothing asked for"),
    ],
)  # fmt: skip
def test_refused(name: str, words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, name)
    result = cli("snd4onnx", *words, "-if", source, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize(
    ("path", "op"),
    [
        pytest.param(*p.values, op, id=f"{p.id}-{op}", marks=p.marks)
        for p, op in zip(
            models.real("mnist_8", "vittrack", "yunet_n_dynamic", "super_resolution_espcn", "ppocr_rec_en_number"),
            ["Relu", "Relu", "Relu", "Relu", "HardSigmoid"],
            strict=True,
        )
    ],
)
def test_real_models(path: Path, op: str) -> None:
    """Against the same edit in the plainest way: the name of the result becomes that of the input."""
    plain = onnx.load(path)
    found = [n for n in plain.graph.node if n.op_type == op]
    assert found
    aliases = {n.output[0]: n.input[0] for n in found}
    for node in plain.graph.node:
        for index, name in enumerate(node.input):
            while name in aliases:
                name = aliases[name]
            node.input[index] = name
    assert not aliases.keys() & {v.name for v in plain.graph.output}
    del plain.graph.value_info[:]
    model = remove(op_types=[op], onnx_graph=onnx.load(path), non_verbose=True)
    given = models.real_feeds(path)
    models.assert_same(models.run(model, given), models.run(plain, given))
    assert op not in {n.op_type for n in model.graph.node}
