"""spo4onnx: what can be simplified is, the rest and the interface stay, and the result computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.spo4onnx import operators, partial_optimization

from . import models
from .cli import Cli, cli
from .models import I64, F, info, node

__all__ = ["cli"]


def simplified(model: ModelProto, **options: Any) -> ModelProto:
    after = partial_optimization(onnx_graph=model, non_verbose=True, **options)
    onnx.checker.check_model(after, full_check=True)
    return after


def flattened(extents: list[int | str], *foreign: onnx.NodeProto) -> ModelProto:
    """Reshape to [first extent, -1] by shape arithmetic, and what may be behind it."""
    nodes = [
        node("Shape", ["x"], ["shape"], "shape"),
        node("Gather", ["shape", "zero"], ["first"], "gather", axis=0),
        node("Concat", ["first", "rest"], ["to"], "concat", axis=0),
        node("Reshape", ["x", "to"], ["y" if not foreign else "flat"], "reshape"),
        *foreign,
    ]
    constants = [models.ints("zero", 0), models.ints("rest", -1)]
    domains = {"domains": ["com.microsoft"]} if foreign else {}
    return models.model(nodes, [info("x", F, extents)], [info("y", F, [None, None])], constants, **domains)


def test_shape_arithmetic_goes_where_shapes_are_known() -> None:
    assert operators(simplified(flattened([2, 3, 4]))) == {"Reshape": 1}


def test_what_a_foreign_operator_keeps_does_not_keep_the_rest() -> None:
    foreign = node("Gelu", ["flat"], ["y"], "gelu", domain="com.microsoft")
    after = simplified(flattened([2, 3, 4], foreign))
    assert operators(after) == {"Reshape": 1, "Gelu": 1}
    assert {e.domain for e in after.opset_import} == {"", "com.microsoft"}


def test_a_given_shape_makes_it_known() -> None:
    model = flattened(["N", 3, "W"])
    after = simplified(model, overwrite_input_shape={"x": [2, 3, 4]})
    assert operators(after) == {"Reshape": 1}
    assert [d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 4]


@pytest.mark.parametrize(
    "name", ["cnn", "ln11", "ln17", "ifm", "loopm", "topk", "convbn", "dataprop", "resizedyn", "func"]
)
def test_it_stays_the_model_that_it_was(name: str) -> None:
    """Names and types of inputs and outputs, opset, IR version, and what it computes."""
    before = models.build(name)
    after = simplified(before)
    for a, b in ((before.graph.input, after.graph.input), (before.graph.output, after.graph.output)):
        assert [v.name for v in a] == [v.name for v in b]
    assert before.ir_version == after.ir_version
    assert [(e.domain, e.version) for e in before.opset_import if not e.domain] == [
        (e.domain, e.version) for e in after.opset_import if not e.domain
    ]
    assert operators(after).total() <= operators(before).total() or name == "func"
    feeds = models.feeds(before)
    names = [v.name for v in before.graph.output]
    wanted, got = models.run(before, feeds, names), models.run(after, feeds, names)
    for key in names:
        np.testing.assert_allclose(np.asarray(got[key]), np.asarray(wanted[key]), rtol=1e-4, atol=1e-5)


def test_named_nodes_stay() -> None:
    nodes = [node("Identity", ["x"], ["a"], "copy"), node("Relu", ["a"], ["y"], "relu")]
    model = models.model(nodes, [info("x", F, [3])], [info("y", F, [3])])
    assert operators(simplified(model)) == {"Relu": 1}
    assert operators(simplified(model, keep=["copy"])) == {"Relu": 1, "Identity": 1}
    with pytest.raises(ToolError, match="no node 'copies'"):
        simplified(model, keep=["copies"])


def test_a_shape_that_contradicts_the_model_is_refused() -> None:
    with pytest.raises(ToolError, match="contradicts"):
        simplified(flattened([2, 3, 4]), overwrite_input_shape={"x": [2, 3, 5]})


def test_the_command_knows_the_flags_of_the_known_tool(cli: Cli, tmp_path: Path) -> None:
    onnx.save(flattened(["N", 3, 4]), tmp_path / "m.onnx")
    words = ["-ois", "x:2,3,4", "-ot", "3", "-tov", "0.4.30", "-n"]
    result = cli("spo4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx", *words)
    assert result.code == 0, result.text
    assert operators(onnx.load(tmp_path / "o.onnx")) == {"Reshape": 1}


def test_an_integer_model_stays_exact() -> None:
    nodes = [node("Add", ["x", "k"], ["a"], "add"), node("Add", ["a", "k"], ["y"], "add1")]
    model = models.model(nodes, [info("x", I64, [3])], [info("y", I64, [3])], [models.ints("k", 2**40)])
    after = simplified(model)
    feeds = {"x": np.array([1, -1, 2**41])}
    assert models.run(after, feeds, ["y"])["y"].tolist() == models.run(model, feeds, ["y"])["y"].tolist()
