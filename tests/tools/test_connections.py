"""sna4onnx adds a node, svs4onnx rewires a connection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite.tools.sna4onnx import add
from onnx2tf_lite.tools.svs4onnx import variable_switch

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]


def relu(a: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0)


SHAPE = ["float32", "[1,8,16,16]"]
LINE = ["-aot", "Neg", "-aon", "AddOP1", "-aoiv", "inp1", *SHAPE, "-aoov", "out1", *SHAPE]
ENDS = ["-csoon", "relu0", "r0", "AddOP1", "inp1", "-cdoin", "AddOP1", "out1", "conv1", "r0"]


def test_the_line_of_the_article_rewires_one_reader(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sna4onnx", "-if", source, *LINE, *ENDS)
    assert result.code == 0, result.err
    described = models.describe(onnx.load(tmp_path / "cnn_mod.onnx"))  # the default output
    assert "AddOP1:Neg(r0)->out1 conv1:Conv(out1,w1)->c1 add0:Add(c1,r0)->a0" in described


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"after": "n"}, lambda x: np.abs(relu(x)) + np.exp(relu(x))),
        ({"before": "abs0.0"}, lambda x: np.abs(relu(x)) + np.exp(-relu(x))),
        ({"between": ["neg0", "exp0"]}, lambda x: np.abs(-relu(x)) + np.exp(relu(x))),
        ({"append": "y"}, lambda x: -(np.abs(-relu(x)) + np.exp(-relu(x)))),
        ({"after": "y"}, lambda x: -(np.abs(-relu(x)) + np.exp(-relu(x)))),
        ({"after": "x"}, lambda x: np.abs(-relu(-x)) + np.exp(-relu(-x))),  # a model input as source
    ],
    ids=["after", "before", "between", "append", "after-output", "after-input"],
)
def test_places(where: dict, expected: object) -> None:
    before = models.build("branch")
    model = add(add_op_type="Neg", add_op_name="new", onnx_graph=before, non_verbose=True, **where)
    x = models.feeds(before)["x"]
    models.assert_same(models.run(model, {"x": x}), {"y": expected(x)})  # type: ignore[operator]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["x", "y"]


def test_constants_and_attributes(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "branch")
    words = [
        "-aot",
        "Mul",
        "-aon",
        "half",
        "-c",
        "factor",
        "float32",
        "0.5",
        "--append",
        "y",
        "-of",
        tmp_path / "a.onnx",
    ]
    assert cli("sna4onnx", "-if", source, *words).code == 0
    words = ["-aot", "LeakyRelu", "-aon", "leaky", "-aoa", "alpha", "float32", "1", "--after", "x"]
    assert cli("sna4onnx", "-if", tmp_path / "a.onnx", *words, "-of", tmp_path / "b.onnx").code == 0
    x = models.feeds(onnx.load(source))["x"]
    models.assert_same(models.run(tmp_path / "b.onnx", {"x": x}), {"y": 0.5 * (np.abs(-relu(x)) + np.exp(-relu(x)))})
    attribute = next(n for n in onnx.load(tmp_path / "b.onnx").graph.node if n.name == "leaky").attribute[0]
    assert attribute.type == onnx.AttributeProto.FLOAT  # whatever "1" looks like


def test_constant_node(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "sharedk")
    words = ["-aot", "Constant", "-aon", "c", "-aoov", "k2", "float32", "[3]", "-aoa", "value", "float32", "[1,2,inf]"]
    result = cli("sna4onnx", "-if", source, *words, "-cdoin", "c", "k2", "mul0", "k", "-of", tmp_path / "o.onnx")
    assert result.code == 0, result.err
    model = onnx.load(tmp_path / "o.onnx")
    x, k = models.feeds(model)["x"], onnx.numpy_helper.to_array(model.graph.initializer[0])
    models.assert_same(models.run(model, {"x": x}), {"y": (x + k) * np.array([1, 2, np.inf], np.float32)})


def test_what_only_an_old_connection_needed_goes_with_it(cli: Cli, tmp_path: Path) -> None:
    """And nothing else that nobody needs: not what was idle before, nor the new node where nobody reads it."""
    text = "m (float[3] x) => (float[3] y) { idle = Neg(x) y = Add(x, k) }"
    source = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 17]>\n{text}')
    source.graph.node[0].name, source.graph.node[1].name = "idle", "sum"
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "k"))
    onnx.save(source, tmp_path / "s.onnx")
    words = ["-aot", "Constant", "-aon", "c", "-aoov", "k2", "float32", "[3]", "-aoa", "value", "float32", "[1,2,3]"]
    edit = ["sna4onnx", "-if", tmp_path / "s.onnx", *words, "-cdoin", "c", "k2", "sum", "k", "-of", tmp_path / "o.onnx"]
    assert cli(*edit).code == 0
    model = onnx.load(tmp_path / "o.onnx")
    assert [t.name for t in model.graph.initializer] == []
    assert sorted(n.op_type for n in model.graph.node) == ["Add", "Constant", "Neg"]


def test_unused_outputs_of_others_stay_inside() -> None:
    model = add(add_op_type="Neg", add_op_name="new", after="values", onnx_graph=models.build("topk"), non_verbose=True)
    assert [v.name for v in model.graph.output] == ["y"]


@pytest.mark.parametrize("where", [{"after": "r"}, {"before": "then_op.0"}], ids=["captured", "inside"])
def test_bodies(where: dict) -> None:
    before = models.build("ifm")
    model = add(add_op_type="Neg", add_op_name="new", onnx_graph=before, non_verbose=True, **where)
    given = models.feeds(before)
    k = onnx.numpy_helper.to_array(before.graph.initializer[0])
    r, outside = relu(given["x"]), "after" in where
    for taken, expected in ((True, -(-r + k)), (False, -((-r if outside else r) * k))):
        models.assert_same(models.run(model, given | {"c": np.array(taken)}), {"y": expected})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([*LINE, "-csoon", "relu9", "r0", "AddOP1", "inp1", *ENDS[5:]], "-csoon: no node 'relu9'; nearest: 'relu1'"),
        ([*LINE, "-csoon", "relu0", "r9", "AddOP1", "inp1", *ENDS[5:]], "-csoon: no output of 'relu0' 'r9'"),
        ([*LINE, *ENDS[:8], "conv1", "r9"], "-cdoin: no input of 'conv1' 'r9'"),
        ([*LINE, *ENDS[:6], "AddOP2", *ENDS[7:]], "-cdoin: 'AddOP2' is not the new node"),
        ([*LINE, *ENDS[:7], "out2", *ENDS[8:]], "'out2' is not declared with -aoov"),
        (["-aot", "Nego", "-aon", "n", "--after", "r0"], "there is no operator 'Nego'; nearest: 'Neg'"),
        (["-aot", "Neg", "-aon", "relu0", "--after", "r0"], "there is a node called 'relu0' already"),
        (["-aot", "Neg", "-aon", "n", "-aoa", "axis", "int64", "1", "--after", "r0"], "Neg (opset 17) has no"),
        (["-aot", "Add", "-aon", "n", "--after", "r0"], "Add (opset 17) takes 2 input(s), not 1"),
        (["-aot", "Neg", "-aon", "n", "--between", "conv0", "gemm0"], "no tensor goes from 'conv0' to 'gemm0'"),
        (["-aot", "Neg", "-aon", "n", "--before", "conv1.7"], "'conv1' has no input 7"),
        (["-aot", "Neg", "-aon", "n"], "say where"),
    ],
)  # fmt: skip
def test_add_refused(words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sna4onnx", "-if", source, *words, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and listing(tmp_path) == ["cnn.onnx"]


def test_first_reader_is_rewired(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("svs4onnx", "-if", source, "-fovn", "c0", "-tivn", "r0", "-of", tmp_path / "o.onnx")
    assert "Conv 'conv1' read r0 and reads c0" in result.text
    assert "conv1:Conv(c0,w1)->c1 add0:Add(c1,r0)->a0" in models.describe(onnx.load(tmp_path / "o.onnx"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"to": "add0.1", "from_output_variable_name": "n"}, lambda x: np.abs(-relu(x)) - relu(x)),
        ({"to_input_variable_name": "n", "from_output_variable_name": "x", "all_uses": True},
         lambda x: np.abs(x) + np.exp(x)),
        ({"to_input_variable_name": "n", "from_output_variable_name": "x"}, lambda x: np.abs(x) + np.exp(-relu(x))),
        ({"to_input_variable_name": "r", "from_output_variable_name": "x"}, lambda x: np.abs(x) + np.exp(-x)),
    ],
    ids=["to", "all-uses", "input-as-source", "first-only"],
)  # fmt: skip
def test_switch(options: dict, expected: object) -> None:
    model = variable_switch(onnx_graph=models.build("branch"), non_verbose=True, **options)
    x = models.feeds(model)["x"]
    models.assert_same(models.run(model, {"x": x}), {"y": expected(x)})  # type: ignore[operator]


def test_swap_exchanges_both() -> None:
    model = models.build("branch")
    next(n for n in model.graph.node if n.name == "add0").op_type = "Sub"
    swapped = variable_switch("a", "e", onnx_graph=model, swap=True, non_verbose=True)
    given = models.feeds(model)
    models.assert_same(models.run(swapped, given), {"y": -models.run(model, given)["y"]})


def test_source_stops_being_an_output_unless_it_is_the_only_one(cli: Cli, tmp_path: Path) -> None:
    model = models.build("branch")
    model.graph.output.append(models.info("a", models.F, [2, 3]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    result = cli("svs4onnx", "-if", tmp_path / "m.onnx", "-fovn", "a", "-tivn", "e", "-of", tmp_path / "o.onnx")
    assert "a is no output of the model any more" in result.text and "as nothing needs it any more: exp0" in result.text
    assert [v.name for v in onnx.load(tmp_path / "o.onnx").graph.output] == ["y"]


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("cnn", ["-fovn", "a0", "-tivn", "r0"], "this makes a cycle: conv1 -> add0 -> conv1"),
        ("cnn", ["-fovn", "f0", "-tivn", "r0"], "shapes float32[1,8] and float32[1,8,16,16]"),
        ("resizedyn", ["-fovn", "s", "-tivn", "x"], "dtypes int64 and float32"),
        ("ifm", ["-fovn", "then_t", "-tivn", "r"], "'if0/then_branch:then_t' cannot be seen from the main graph"),
        ("cnn", ["-fovn", "c0", "--to", "add0.7"], "'add0' has no input 7: it reads c1, r0"),
        ("cnn", ["-fovn", "y", "-tivn", "y"], "it is the source 'y'"),
        ("cnn", ["-fovn", "c0"], "say what to rewire"),
    ],
)
def test_switch_refused(name: str, words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, name)
    result = cli("svs4onnx", "-if", source, *words, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and not (tmp_path / "o.onnx").exists()


REAL = models.real("mnist_8", "vittrack", "yunet_n_dynamic", "super_resolution_espcn", "ppocr_rec_en_number")


@pytest.mark.parametrize("path", REAL)
def test_real_models_negated(path: Path) -> None:
    whole = onnx.load(path)
    name = whole.graph.output[0].name
    made = add(add_op_type="Neg", add_op_name="new", append=name, onnx_graph=whole, non_verbose=True)
    given = models.real_feeds(path)
    expected = models.run(path, given)
    models.assert_same(models.run(made, given), expected | {name: -expected[name]})


@pytest.mark.parametrize("path", REAL)
def test_real_models_bypass_by_switching(path: Path) -> None:
    """Reading the input of an activation instead of its result is what deleting it does."""
    from onnx2tf_lite.tools.snd4onnx import remove

    whole = onnx.load(path)
    readers = [r for n in whole.graph.node for r in n.input]
    chosen = next(n for n in whole.graph.node if n.op_type in ("Relu", "HardSigmoid") and n.output[0] in readers)
    made = variable_switch(chosen.input[0], chosen.output[0], onnx_graph=whole, all_uses=True, non_verbose=True)
    if not chosen.name:
        chosen.name = "chosen"
    given = models.real_feeds(path)
    deleted = remove([chosen.name], onnx_graph=whole, non_verbose=True)
    models.assert_same(models.run(made, given), models.run(deleted, given))
