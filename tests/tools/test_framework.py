"""The shared pieces of the tools: files, names, graphs, literals, definitions, the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite.model.infer import problem
from onnx2tf_lite.model.names import find
from onnx2tf_lite.model.walk import reads, replace_uses, scopes, sort
from onnx2tf_lite.tools import ToolError, _verify
from onnx2tf_lite.tools.sam4onnx import modify
from onnx2tf_lite.tools.sod4onnx import outputs_delete

from . import models
from .cli import Cli, cli

__all__ = ["cli"]


def test_addresses_of_bodies_and_functions() -> None:
    assert sorted(s.path for s in scopes(models.build("ifm"))) == ["", "if0/else_branch", "if0/then_branch"]
    assert [s.path for s in scopes(models.build("func"))] == ["", "my.domain::NegSquare"]
    scope, name = find(models.build("func"), "tensor", "my.domain::NegSquare:sq", "-t")
    assert (scope.path, name) == ("my.domain::NegSquare", "sq")


def test_a_short_name_in_two_bodies_is_ambiguous() -> None:
    with pytest.raises(ToolError, match=r"node 'neg' is in several graphs: if0/.*:neg, if0/.*:neg; say which"):
        find(models.build("ifm"), "node", "neg", "-rn")


def test_nearest_names() -> None:
    with pytest.raises(ToolError) as error:
        find(models.build("cnn"), "node", "rleu0", "-rn")
    assert str(error.value).startswith("-rn: no node 'rleu0'; nearest: 'relu0', ")
    assert len(error.value.candidates) == 3


def test_sort_is_stable_and_names_a_cycle() -> None:
    model = models.build("branch")
    order = [n.name for n in model.graph.node]
    sort(model.graph)
    assert [n.name for n in model.graph.node] == order
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort(model.graph)
    onnx.checker.check_model(model)
    model.graph.node[0].input[0] = "y"
    with pytest.raises(ToolError, match=r"this makes a cycle: relu0 -> .* -> relu0"):
        sort(model.graph)


def test_uses_are_followed_into_bodies_but_not_past_a_name_of_their_own() -> None:
    model = models.build("loopm")
    assert replace_uses(model.graph, {"outer": "x"}) == 1
    assert "outer" not in reads(model.graph.node[1])
    with pytest.raises(ToolError, match="has a tensor of its own called 'next'"):
        replace_uses(models.build("loopm").graph, {"outer": "next"})


def test_a_contradiction_is_found_and_an_old_one_only_reported(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "badshape")
    assert "transpose0" in problem(models.build("badshape")) and "matmul0" in problem(models.build("badmm"))
    words = ["-if", tmp_path / "badshape.onnx", "-on", "x", "z", "-of", tmp_path / "o.onnx"]
    result = cli("sor4onnx", *words)
    assert result.code == 0 and "WARNING: the model was not valid before" in result.text


def test_no_check_is_said(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "cnn")
    words = ["-if", tmp_path / "cnn.onnx", "-rn", "reshape0", "-of", tmp_path / "o.onnx"]
    assert cli("snd4onnx", *words).code == 1
    result = cli("snd4onnx", *words, "--no-check")
    assert result.code == 0 and "not checked (--no-check)" in result.text


def test_changed_outputs_are_found() -> None:
    before, after = models.build("sharedk"), models.build("sharedk")
    assert "1 output(s) as before" in _verify.same_outputs(before, after)
    after.graph.node[1].op_type = "Div"
    with pytest.raises(ToolError, match="output 'y' is not as before"):
        _verify.same_outputs(before, after)
    after.graph.node[1].input[1] = "gone"
    with pytest.raises(ToolError, match="the result does not run"):
        _verify.same_outputs(before, after)


def halved() -> onnx.ModelProto:
    """x -> MaxPool/2 -> Resize x2 -> + x."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["p", "", "s"], ["u"], "up", mode="nearest"),
        helper.make_node("Add", ["x", "u"], ["y"], "add"),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    ends = [models.info(n, models.F, [1, 1, "h", "w"]) for n in "xy"]
    return models.model(nodes, ends[:1], ends[1:], [scales], opset=13)


def test_the_result_runs_with_what_the_model_ran_with() -> None:
    """With other strides the sum fits at one lucky size, which is no size that it ran with before."""
    with pytest.raises(ToolError, match=r"does not run with x\[1, 1, \d+, \d+\].*--no-check"):
        modify(onnx_graph=halved(), op_name="pool", attributes={"strides": [1, 1]}, non_verbose=True)


def test_texts_are_inputs() -> None:
    nodes = [
        helper.make_node("Equal", ["x", "k"], ["y"], "eq"),
        helper.make_node("Cast", ["x"], ["z"], "cast", to=TensorProto.FLOAT),
    ]
    texts = numpy_helper.from_array(np.array(["a", "b"], object), "k")
    ends = [models.info("x", TensorProto.STRING, [2])]
    results = [models.info("y", TensorProto.BOOL, [2]), models.info("z", models.F, [2])]
    model = models.model(nodes, ends, results, [texts], opset=19)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    assert "2 output(s) as before" in _verify.same_outputs(model, other)
    other.graph.node[0].input[1] = "x"
    with pytest.raises(ToolError, match="output 'y' is not as before"):
        _verify.same_outputs(model, other)


def test_a_random_model_says_nothing() -> None:
    node = helper.make_node("RandomUniformLike", ["x"], ["y"], "random")
    model = models.model([node], [models.info("x", models.F, [4])], [models.info("y", models.F, [4])])
    other = onnx.ModelProto.FromString(model.SerializeToString())
    other.graph.node[0].op_type = "RandomNormalLike"
    with pytest.raises(_verify.NotRunError, match="something else each time"):
        _verify.same_outputs(model, other)


def test_edit_without_a_model() -> None:
    with pytest.raises(ToolError, match="no model") as error:
        outputs_delete(output_op_names=["y"])
    assert error.value.tool == "sod4onnx"
