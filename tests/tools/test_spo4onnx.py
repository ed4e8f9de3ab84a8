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


def described() -> ModelProto:
    """A model that says much of itself: names of extents, doc strings, metadata, imports that nobody uses."""
    nodes = [node("Identity", ["x"], ["a"], "copy"), node("Relu", ["a"], ["y"], "relu")]
    model = models.model(nodes, [info("x", F, ["rows", 3])], [info("y", F, ["rows", 3])], domains=["unused.example"])
    model.graph.node[1].doc_string = "made at model.py:7"
    model.graph.node[1].metadata_props.add(key="scope", value="head")
    model.graph.input[0].doc_string = "pixels"
    model.graph.metadata_props.add(key="run", value="7")
    model.metadata_props.add(key="author", value="nobody")
    return model


def test_what_a_model_says_of_itself_stays() -> None:
    before = described()
    after = simplified(before)
    assert operators(after) == {"Relu": 1}
    for part in ("input", "output"):
        assert list(getattr(after.graph, part)) == list(getattr(before.graph, part))
    (relu,) = after.graph.node
    assert (relu.doc_string, relu.metadata_props[0].value) == ("made at model.py:7", "head")
    assert list(after.opset_import) == list(before.opset_import) and not after.graph.value_info
    assert after.graph.metadata_props == before.graph.metadata_props and after.metadata_props == before.metadata_props


@pytest.mark.parametrize("path", models.real())
def test_real_models_keep_their_interface_and_grow_nowhere(path: Path) -> None:
    before = onnx.load(path)
    after = partial_optimization(str(path), non_verbose=True)
    held = {t.name for t in before.graph.initializer}
    assert [v for v in after.graph.input if v.name not in {t.name for t in after.graph.initializer}] == [
        v for v in before.graph.input if v.name not in held
    ]
    assert list(after.graph.output) == list(before.graph.output)
    assert operators(after).total() <= operators(before).total()
    assert after.ByteSize() <= before.ByteSize() * 1.01 + 1000


def test_a_large_range_is_not_written_out() -> None:
    """onnxsim would: 16 MB of numbers from 100 bytes."""
    nodes = [node("Range", ["start", "end", "step"], ["r"], "range"), node("Gather", ["r", "i"], ["y"], "gather")]
    ends = {"start": 0, "end": 2_000_000, "step": 1}
    scalars = [onnx.numpy_helper.from_array(np.array(v, np.int64), n) for n, v in ends.items()]
    model = models.model(nodes, [info("i", I64, [2])], [info("y", I64, [2])], scalars)
    assert operators(simplified(model)) == {"Range": 1, "Gather": 1}


def test_weights_in_a_side_file_stay_there(cli: Cli, tmp_path: Path) -> None:
    nodes = [node("Identity", ["x"], ["a"], "copy"), node("MatMul", ["a", "w"], ["y"], "matmul")]
    weights = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    model = models.model(nodes, [info("x", F, [1, 64])], [info("y", F, [1, 64])], [weights])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    result = cli("spo4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx")
    assert result.code == 0, result.text
    assert (tmp_path / "o.onnx").stat().st_size < 4096 and operators(onnx.load(tmp_path / "o.onnx")) == {"MatMul": 1}


def test_a_call_of_a_function_cannot_be_kept() -> None:
    model = models.build("func")
    call = next(n for n in model.graph.node if n.domain)
    with pytest.raises(ToolError, match="which is written out"):
        simplified(model, keep=[call.name])
