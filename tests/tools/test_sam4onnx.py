"""sam4onnx: attributes as ONNX types them, constants for one reader or for all, shapes that are true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sam4onnx import modify

from . import models
from .cli import Cli, cli, listing
from .models import F, info, node

__all__ = ["cli"]


def modified(name: str | ModelProto, **options: Any) -> ModelProto:
    before = models.build(name) if isinstance(name, str) else name
    after = modify(onnx_graph=before, non_verbose=True, **options)
    onnx.checker.check_model(after)
    return after


def attributes(model: ModelProto, name: str) -> dict[str, Any]:
    (found,) = [n for n in model.graph.node if n.name == name]
    return {a.name: helper.get_attribute_value(a) for a in found.attribute}


# --- attributes ------------------------------------------------------------------------------------------------------


def test_the_known_command(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    target, more = tmp_path / "o.onnx", tmp_path / "p.onnx"
    words = ["-on", "conv1", "-a", "strides", "int64", "[2,2]", "-a", "dilations", "int64", "[1,1]"]
    result = cli("sam4onnx", "-if", source, "-of", target, "-on", "conv1", "-a", "dilations", "int64", "[2,2]", "-a",
                 "pads", "int64", "[2,2,2,2]")  # fmt: skip
    assert result.code == 0, result.err
    assert attributes(onnx.load(target), "conv1") == {"pads": [2, 2, 2, 2], "dilations": [2, 2]}
    assert "conv1.dilations: unset -> [2, 2]" in result.text
    words = ["-on", "conv1", "-da", "dilations", "-a", "pads", "int64", "[1,1,1,1]"]
    assert cli("sam4onnx", "-if", target, "-of", more, *words).code == 0
    assert attributes(onnx.load(more), "conv1") == {"pads": [1, 1, 1, 1]}


def test_deleting_alone() -> None:
    after = modified("topk", op_name="topk0", attributes={"largest": 0})
    assert attributes(after, "topk0") == {"largest": 0}
    assert attributes(modified(after, op_name="topk0", delete_attributes=["largest"]), "topk0") == {}


@pytest.mark.parametrize("word", ["float32", "int64"])
def test_attributes_get_the_type_of_the_definition(word: str) -> None:
    """2 for Gemm's alpha is a float, whatever dtype is said."""
    after = modified("cnn", op_name="gemm0", attributes={"alpha": ("2", word)})
    (alpha,) = [a for a in after.graph.node[-1].attribute if a.name == "alpha"]
    assert (alpha.type, alpha.f) == (AttributeProto.FLOAT, 2.0)
    before = models.build("cnn")
    given = models.feeds(before)
    bias = numpy_helper.to_array(before.graph.initializer[-1])
    plain = models.run(before, given)["y"]
    models.assert_same(models.run(after, given), {"y": 2 * (plain - bias) + bias})


def test_globs_and_unset() -> None:
    after = modified("cnn", assign=["conv*.group=1", "conv0.auto_pad=NOTSET"], unset=["conv*.group"])
    assert "group" not in attributes(after, "conv0") and "group" not in attributes(after, "conv1")
    assert attributes(after, "conv0")["auto_pad"] == b"NOTSET"


def test_nodes_in_bodies() -> None:
    before = models.build("ifm")
    body = before.graph.node[1].attribute[1].g
    body.node[1].op_type, body.node[1].name = "LeakyRelu", "leaky"
    for address in ("leaky", f"if0/{before.graph.node[1].attribute[1].name}:leaky"):
        after = modified(before, assign=[f"{address}.alpha=0.5"])
        assert after.graph.node[1].attribute[1].g.node[1].attribute[0].f == 0.5


def test_nodes_in_functions_have_the_opset_of_the_function() -> None:
    """ReduceSum had its axes as an attribute before 13, and not in the opset of the model."""
    imports = [helper.make_opsetid("", 11)]
    total = helper.make_function("f", "Total", ["a"], ["b"], [node("ReduceSum", ["a"], ["b"], "sum")], imports)
    before = models.model(
        [node("Total", ["x"], ["y"], "call", domain="f")], [info("x", F, [2, 3])], [info("y", F, ["a", "b"])],
        domains=["f"], functions=[total], opset=17, checked=False,
    )  # fmt: skip
    after = modify(onnx_graph=before, non_verbose=True, assign=["f::Total:sum.axes=[1]"], check=False)
    assert list(after.functions[0].node[0].attribute[0].ints) == [1]


@pytest.mark.parametrize("name", ["custom", "func", "emptyl", "seqm", "ifm"])
def test_the_rest_stays_as_it_was(name: str) -> None:
    """Domains, functions, empty lists, sequences, what bodies capture."""
    before = models.build(name)
    after = modify(onnx_graph=before, non_verbose=True, input_constants={}, check=False)
    assert after == before


# --- constants -------------------------------------------------------------------------------------------------------


def nms() -> ModelProto:
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]], np.float32)
    inits = [numpy_helper.from_array(boxes, "boxes"), models.ints("max_output_boxes_per_class", 1)]
    layer = node("NonMaxSuppression", ["boxes", "scores", "max_output_boxes_per_class"], ["y"], "nms")
    return models.model([layer], [info("scores", F, [1, 1, 3])], [info("y", models.I64, ["n", 3])], inits, opset=11)


@pytest.mark.parametrize("words", [["-on", "nms"], []], ids=["of the node", "of all readers"])
def test_the_limit_of_a_non_maximum_suppression(words: list[str], cli: Cli, tmp_path: Path) -> None:
    onnx.save(nms(), tmp_path / "m.onnx")
    words = [*words, "-ic", "max_output_boxes_per_class", "int64", "[2]"]
    result = cli("sam4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx", *words)
    assert result.code == 0, result.err
    assert "int64[1] [1] -> int64[1] [2]" in result.text
    scores = np.array([[[0.5, 0.9, 0.7]]], np.float32)
    np.testing.assert_array_equal(models.run(tmp_path / "o.onnx", {"scores": scores})["y"], [[0, 0, 1], [0, 0, 2]])


def test_another_shape() -> None:
    after = modified("flat", assign=["shape=[2,-1]"])
    assert [d.dim_value for d in after.graph.output[0].type.tensor_type.shape.dim] == [2, 8]
    x = models.feeds(after)["x"]
    models.assert_same(models.run(after, {"x": x}), {"y": np.maximum(x, 0).reshape(2, 8)})


def test_constant_nodes() -> None:
    after = modified("flatc", input_constants={"shape": np.array([4, 4])})
    x = models.feeds(after)["x"]
    models.assert_same(models.run(after, {"x": x}), {"y": np.maximum(x, 0).reshape(4, 4)})


@pytest.mark.parametrize("attribute", [{"value_float": 2.0}, {"value_floats": [2.0]}], ids=lambda a: next(iter(a)))
def test_constant_nodes_of_numbers(attribute: dict[str, Any]) -> None:
    nodes = [node("Constant", [], ["k"], "k", **attribute), node("Mul", ["x", "k"], ["y"], "mul")]
    before = models.model(nodes, [info("x", F, [3])], [info("y", F, [3])])
    x = np.array([1, 2, 3], np.float32)
    models.assert_same(models.run(modified(before, assign=["k=5"]), {"x": x}), {"y": 5 * x})


def test_a_shared_constant_changes_for_the_named_node_only() -> None:
    before = models.build("sharedk")
    after = modified(before, op_name="mul0", input_constants={"k": np.full(3, 2, np.float32)})
    x, k = models.feeds(after)["x"], numpy_helper.to_array(before.graph.initializer[0])
    assert [t.name for t in after.graph.initializer] == ["k", "k_mod_1"]
    models.assert_same(models.run(after, {"x": x}), {"y": (x + k) * 2})
    everywhere = modified(before, input_constants={"k": np.full(3, 2, np.float32)})
    models.assert_same(models.run(everywhere, {"x": x}), {"y": (x + 2) * 2})


def test_a_node_in_a_body_gets_its_own_copy_too() -> None:
    before = models.build("ifm")
    after = modified(before, op_name="then_op", input_constants={"k": np.ones((2, 3), np.float32)})
    given, k = models.feeds(before), numpy_helper.to_array(before.graph.initializer[0])
    relu = np.maximum(given["x"], 0)
    for taken, expected in ((True, -(relu + 1)), (False, -(relu * k))):
        models.assert_same(models.run(after, given | {"c": np.array(taken)}), {"y": expected})


def test_constants_in_bodies() -> None:
    before = models.build("ifm")
    own = numpy_helper.from_array(np.zeros((2, 3), np.float32), "own")
    body = before.graph.node[1].attribute[0].g
    body.initializer.append(own)
    body.node[0].input[1] = "own"
    address = f"if0/{before.graph.node[1].attribute[0].name}:own"
    for name in ("own", address):
        after = modified(before, assign=[f"{name}={[[1.0] * 3] * 2}"])
        held = after.graph.node[1].attribute[0].g.initializer[0]
        np.testing.assert_array_equal(numpy_helper.to_array(held), np.ones((2, 3)))


def test_before_ir_4_every_initializer_is_an_input() -> None:
    before = models.build("sharedk")
    before.ir_version, before.opset_import[0].version = 3, 8
    before.graph.input.append(info("k", F, [3]))
    after = modified(before, op_name="mul0", input_constants={"k": np.full(1, 2, np.float32)})
    assert [v.name for v in after.graph.input] == ["x", "k", "k_mod_1"]
    whole = modified(before, input_constants={"k": np.full(1, 2, np.float32)})
    assert [d.dim_value for d in whole.graph.input[1].type.tensor_type.shape.dim] == [1]


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("float32", "[inf,-inf,nan]", np.array([np.inf, -np.inf, np.nan], np.float32)),
        ("float64", "1.5", np.array(1.5)),
        ("int64", "[]", np.zeros(0, np.int64)),
        ("bool", "[True,false]", np.array([True, False])),
        ("uint8", "[[1,2],[3,255]]", np.array([[1, 2], [3, 255]], np.uint8)),
        ("complex64", "[1+2j]", np.array([1 + 2j], np.complex64)),
        ("str", "['a','b']", np.array(["a", "b"], object)),
    ],
)
def test_any_value(dtype: str, text: str, expected: Any, cli: Cli, tmp_path: Path) -> None:
    """The constant is read by nothing, so that only its contents matter."""
    before = models.build("ma")
    before.graph.initializer.append(models.weights("free", 2))
    onnx.save(before, tmp_path / "m.onnx")
    result = cli("sam4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx", "-ic", "free", dtype, text)
    assert result.code == 0, result.err
    got = numpy_helper.to_array(onnx.load(tmp_path / "o.onnx").graph.initializer[0])
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


def test_values_from_a_file(tmp_path: Path) -> None:
    array = np.arange(3, dtype=np.float32)
    np.save(tmp_path / "k.npy", array)
    after = modified("sharedk", assign=[f"k=@{tmp_path}/k.npy"])
    np.testing.assert_array_equal(numpy_helper.to_array(after.graph.initializer[0]), array)


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_declared_shapes_alone() -> None:
    after = modified("resizedyn", output_shapes={"y": ["batch", 3, 8, 8]})
    assert [d.dim_param or d.dim_value for d in after.graph.output[0].type.tensor_type.shape.dim] == ["batch", 3, 8, 8]
    inner = modified("cnn", output_shapes={"g0": [1, 8, 1, 1]})
    assert [(v.name, len(v.type.tensor_type.shape.dim)) for v in inner.graph.value_info] == [("g0", 4)]


# --- real models -----------------------------------------------------------------------------------------------------


REAL = models.real(
    "dtln_stage2",
    "bert.ts13",
    "vit.dynamo",
    "swin_windows.ts17",
    "gpt.dynamo",
    "group_norm.ts17",
)


@pytest.mark.parametrize("path", REAL)
def test_doubling_an_operand_of_a_real_model(path: Path) -> None:
    """The first Add or Mul of a graph with a float constant: what it makes is what numpy says."""
    before = onnx.load(path)
    held = {t.name: t for t in before.graph.initializer}
    held |= {n.output[0]: n.attribute[0].t for n in before.graph.node if n.op_type == "Constant"}
    site = next(n for n in before.graph.node if n.op_type in ("Add", "Mul") and n.name
                and any(i in held and held[i].data_type == F for i in n.input))  # fmt: skip
    place = next(k for k, i in enumerate(site.input) if i in held)
    constant, other = site.input[place], site.input[1 - place]
    value = numpy_helper.to_array(held[constant])
    doubled = np.asarray(2 * value, value.dtype)
    after = modify(str(path), op_name=site.name, input_constants={constant: doubled}, non_verbose=True)
    after.graph.output.extend(onnx.ValueInfoProto(name=n) for n in (site.output[0], other))
    got = models.run(after, models.real_feeds(path), [site.output[0], other])
    expected = got[other] * doubled if site.op_type == "Mul" else got[other] + doubled
    np.testing.assert_allclose(got[site.output[0]], expected, rtol=1e-6)


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG = [
    pytest.param(["-on", "gemm", "-a", "alpha", "float32", "2"], "no node 'gemm'; nearest: 'gemm0'", id="node"),
    pytest.param(["-on", "nope", "-ic", "wg", "float32", "2"], "no node 'nope'", id="node of a constant"),
    pytest.param(["-on", "gemm0", "-a", "alhpa", "float32", "2"], "nearest: 'alpha'", id="attribute"),
    pytest.param(["-on", "gemm0", "-a", "transB", "float32", "0.5"], "is a whole number, not 0.5", id="value"),
    pytest.param(["-on", "gemm0", "-da", "alpha"], "no attribute of 'gemm0' 'alpha'", id="not set"),
    pytest.param(["-a", "alpha", "float32", "2"], "which node? give -on", id="no node said"),
    pytest.param(["-ic", "wgg", "float32", "2"], "no constant 'wgg'; nearest: 'wg'", id="constant"),
    pytest.param(["-on", "conv0", "-ic", "wg", "float32", "2"], "conv0 does not read 'wg'", id="of another node"),
    pytest.param(["-ic", "shape", "int64", "[1.7,2]"], "is not a whole number", id="inexact"),
    pytest.param(["-ic", "shape", "int64", "[1,9]"], "sam4onnx: the result ", id="a value that cannot be"),
    pytest.param(["-os", "y", "[2,7]"], "-os: 'y' cannot be [2, 7]: Gemm 'gemm0' makes [1, 4]", id="shape"),
    pytest.param(["-os", "g0", "[1,9,1,1]"], "GlobalAveragePool 'gap0' makes [1, 8, 1, 1]", id="inner shape"),
    pytest.param(["-os", "z", "[2,7]"], "no tensor 'z'", id="tensor"),
    pytest.param(["--set", "gemm.alpha=2"], "no node 'gemm'; nearest: 'gemm0'", id="--set node"),
    pytest.param(["--set", "shap=2"], "no constant 'shap'; nearest: 'shape'", id="--set constant"),
    pytest.param(["--set", "gemm0.alpha"], "is not NODE.ATTRIBUTE=VALUE", id="--set text"),
    pytest.param(["--unset", "gemm0.beta"], "no attribute of 'gemm0' 'beta'", id="--unset"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "what"), WRONG)
def test_wrong_requests_write_nothing(words: list[str], what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sam4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == ["cnn.onnx"]


def test_a_number_of_another_dtype_is_an_invalid_model() -> None:
    with pytest.raises(ToolError, match="not a valid model"):
        modify(onnx_graph=models.build("sharedk"), input_constants={"k": np.ones(3)}, non_verbose=True)


def test_names_of_dtypes(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sam4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-ic", "wg", "flot32", "2")
    assert result.code == 1 and "no dtype 'flot32'; nearest: " in result.err
