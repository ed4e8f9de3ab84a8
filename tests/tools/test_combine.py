"""snc4onnx: joined models compute what they compute one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.snc4onnx import combine

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]
X = {"in": models.weights("x", 2, 3)}
X = {"in": onnx.numpy_helper.to_array(X["in"])}


def join(names: list[str], pairs: list[list[str]], **options: object) -> onnx.ModelProto:
    built = [models.build(n) for n in names]
    return combine(pairs, onnx_graphs=built, disable_onnxsim=True, non_verbose=True, **options)  # type: ignore[arg-type]


def test_two_with_prefixes() -> None:
    model = join(["ma", "mb"], [["out", "in"]], op_prefixes_after_merging=["a", "b"])
    assert models.describe(model) == (
        "in | a_n0:Relu(in)->a_mid0 a_n1:Neg(a_mid0)->a_out b_n0:Abs(a_out)->b_mid0 b_n1:Exp(b_mid0)->out | out"
    )
    models.assert_same(models.run(model, X), {"out": np.exp(np.abs(-np.maximum(X["in"], 0)))})


def test_three_with_prefixes_keep_the_first_one_on_the_input() -> None:
    model = join(["ma", "mb", "ma"], [["out", "in"], ["b_out", "in"]], op_prefixes_after_merging=["a", "b", "c"])
    assert [v.name for v in model.graph.input] == ["a_in"] and [v.name for v in model.graph.output] == ["out"]
    expected = -np.maximum(np.exp(np.abs(-np.maximum(X["in"], 0))), 0)
    models.assert_same(models.run(model, {"a_in": X["in"]}), {"out": expected})


def test_names_that_clash_are_changed_without_prefixes(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "ma", "mb", "pa", "pb")
    words = ["-sd", "out", "in", "-dos", "-of", tmp_path / "o.onnx"]
    result = cli("snc4onnx", "-if", tmp_path / "ma.onnx", tmp_path / "mb.onnx", *words)
    assert result.code == 0 and "renamed in mb: in -> mb_in" in result.text, result.err
    words = ["-sd", "a_out", "b_in", "-dos", "-of", tmp_path / "o.onnx"]
    result = cli("snc4onnx", "-if", tmp_path / "pa.onnx", tmp_path / "pb.onnx", *words)
    assert result.code == 0 and "renamed in pb: w -> pb_w, t -> pb_t" in result.text, result.err
    a, b = (onnx.numpy_helper.to_array(models.build(n).graph.initializer[0]) for n in ("pa", "pb"))
    models.assert_same(models.run(tmp_path / "o.onnx", {"a_in": X["in"]}), {"b_out": X["in"] * a * b})


def test_inner_tensor_as_source_leaves_the_outputs() -> None:
    model = join(["ma", "mb"], [["mid0", "in"]], op_prefixes_after_merging=["a", "b"])
    relu = np.maximum(X["in"], 0)
    found = models.run(model, X)
    assert [v.name for v in model.graph.output] == ["a_out", "b_out"]  # "out" would be twice
    models.assert_same(found, {"a_out": -relu, "b_out": np.exp(relu)})


def test_input_as_source_is_shared() -> None:
    model = join(["ma", "mb"], [["in", "in"]], op_prefixes_after_merging=["a", "b"])
    assert [v.name for v in model.graph.input] == ["in"]
    models.assert_same(models.run(model, X), {"a_out": -np.maximum(X["in"], 0), "b_out": np.exp(np.abs(X["in"]))})


def test_keep_outputs() -> None:
    model = join(["ma", "mb"], [["out", "in"]], op_prefixes_after_merging=["a", "b"], keep_outputs=True)
    assert [v.name for v in model.graph.output] == ["a_out", "b_out"]


def test_readable_pairs(cli: Cli, tmp_path: Path) -> None:
    paths = models.write(tmp_path, "ma", "mb")
    words = ["--io", "ma.out:mb.in", "-dos", "-of", tmp_path / "o.onnx"]
    assert cli("snc4onnx", "-if", *paths, *words).code == 0
    models.assert_same(models.run(tmp_path / "o.onnx", X), {"mb_out": np.exp(np.abs(-np.maximum(X["in"], 0)))})
    result = cli("snc4onnx", "-if", *paths, "--io", "ma.out:mc.in", "-dos", "-of", tmp_path / "p.onnx")
    assert result.code == 1 and "the models: ma, mb" in result.err


def test_steps_are_written_and_the_prefixes_printed(cli: Cli, tmp_path: Path) -> None:
    paths = models.write(tmp_path, "ma", "mb")
    words = ["-sd", "out", "in", "-opam", "a", "b", "-f", "-of", tmp_path / "o.onnx"]
    result = cli("snc4onnx", "-if", *paths, *words)
    assert f'INFO: MODEL_INDX=1: {paths[0]}, prefix="a"' in result.text.splitlines()
    assert listing(tmp_path) == ["ma.onnx", "mb.onnx", "o.onnx", "o_1.onnx"]


def test_different_opsets_are_converted() -> None:
    model = join(["ma", "mc"], [["out", "in"]], op_prefixes_after_merging=["a", "c"])
    assert [(e.domain, e.version) for e in model.opset_import] == [("", 17)]
    models.assert_same(models.run(model, X), {"out": np.tanh(2 * -np.maximum(X["in"], 0))})


@pytest.mark.parametrize(("second", "target", "output"), [("ifm", "x", "y"), ("func", "x", "y"), ("loopm", "x", "all")])
def test_bodies_and_functions(second: str, target: str, output: str) -> None:
    """The prefix goes into bodies and functions; what they compute stays."""
    first, other = models.build("mc"), models.build(second)
    model = combine([["out", target]], ["a", "f"], onnx_graphs=[first, other], disable_onnxsim=True, non_verbose=True)
    given = {"c": np.array(True)} if second == "ifm" else {}
    middle = models.run(first, X)["out"]
    expected = models.run(other, {target: middle, **given})[output]
    entry = "in" if second != "ifm" else "a_in"
    names = {"c": "f_c"}
    found = models.run(model, {entry: X["in"]} | {names[n]: a for n, a in given.items()})
    np.testing.assert_allclose(found[output], expected, rtol=1e-5)
    if second == "func":
        assert [(f.domain, f.name) for f in model.functions] == [("my.domain", "f_NegSquare")]
        assert {p.key: p.value for p in model.metadata_props} == {"author": "somebody"}


def _identity(kind: int, shape: list) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["in"], ["out"], "id")
    return models.model([node], [models.info("in", kind, shape)], [models.info("out", kind, shape)], opset=11)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (_identity(TensorProto.INT64, [2, 3]), "dtypes float32 and int64"),
        (_identity(TensorProto.FLOAT, [2, 4]), r"shapes float32\[2,3\] and float32\[2,4\]"),
        (_identity(TensorProto.FLOAT, [2, 3, 1]), r"shapes float32\[2,3\] and float32\[2,3,1\]"),
    ],
    ids=["dtype", "shape", "rank"],
)
def test_seams_are_checked(second: onnx.ModelProto, why: str) -> None:
    with pytest.raises(ToolError, match=f"-sd: 'out' does not fit model_2.in: {why}"):
        combine([["out", "in"]], onnx_graphs=[models.build("ma"), second], disable_onnxsim=True, non_verbose=True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-sd", "nope", "in"], "no tensor 'nope' to start from; nearest: "),
        (["-sd", "out", "nope"], "no input of mb 'nope'; nearest: 'in'"),
        (["-sd", "out", "in", "out"], "not pairs"),
        (["-sd", "out", "in", "-sd", "out", "in"], "2 models need 1 -sd"),
        (["-sd", "out", "in", "-opam", "a", "a"], "one each, all different"),
    ],
)
def test_refused(words: list[str], why: str, cli: Cli, tmp_path: Path) -> None:
    paths = models.write(tmp_path, "ma", "mb")
    result = cli("snc4onnx", "-if", *paths, *words, "-of", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and listing(tmp_path) == ["ma.onnx", "mb.onnx"]


def test_two_inputs_from_one_model() -> None:
    add = models.model(
        [helper.make_node("Sub", ["p", "q"], ["r"], "sub")],
        [models.info(n, models.F, [2, 3]) for n in "pq"], [models.info("r", models.F, [2, 3])], opset=11,
    )  # fmt: skip
    model = combine(
        [["out", "p", "in", "q"]], onnx_graphs=[models.build("ma"), add], disable_onnxsim=True, non_verbose=True
    )
    models.assert_same(models.run(model, X), {"r": -np.maximum(X["in"], 0) - X["in"]})


def test_constants_fold_into_the_node_by_default(cli: Cli, tmp_path: Path) -> None:
    """The old default, under the old name: onnxsim makes the Constant an initializer."""
    constant = models.model(
        [helper.make_node("Constant", [], ["k"], "c", value=models.weights("v", 2, 3))], [],
        [models.info("k", models.F, [2, 3])],
    )  # fmt: skip
    add = models.model(
        [helper.make_node("Add", ["x", "k"], ["y"], "add")], [models.info(n, models.F, [2, 3]) for n in "xk"],
        [models.info("y", models.F, [2, 3])],
    )  # fmt: skip
    for name, made in (("c", constant), ("add", add)):
        (tmp_path / f"{name}.onnx").write_bytes(made.SerializeToString())
    words = ["-if", tmp_path / "c.onnx", tmp_path / "add.onnx", "-sd", "k", "k", "-of", tmp_path / "o.onnx"]
    result = cli("snc4onnx", *words)
    assert result.code == 0 and "simplified with onnxsim: 2 -> 1 nodes" in result.text
    model = onnx.load(tmp_path / "o.onnx")
    assert [n.op_type for n in model.graph.node] == ["Add"] and len(model.graph.initializer) == 1
    assert cli("tune", "combine", *words).code == 0
    assert len(onnx.load(tmp_path / "o.onnx").graph.node) == 2


def test_the_yards_recipe_makes_one_node_with_three_constants(cli: Cli, tmp_path: Path) -> None:
    """Three Constants and a NonMaxSuppression, made with sog4onnx and joined with snc4onnx, as the article does."""
    scalars = {"max_output_boxes_per_class": ("int64", "[20]"), "iou_threshold": ("float32", "[0.5]"),
               "score_threshold": ("float32", "[-inf]")}  # fmt: skip
    for name, (word, value) in scalars.items():
        words = [
            "--op_type",
            "Constant",
            "--opset",
            11,
            "--op_name",
            f"{name}_op",
            "--output_variables",
            name,
            word,
            "[1]",
        ]
        words += ["--attributes", "value", word, value, "--output_onnx_file_path", tmp_path / f"{name}.onnx"]
        assert cli("sog4onnx", *words).code == 0
    words = ["--op_type", "NonMaxSuppression", "--opset", 11, "--op_name", "nms"]
    words += ["--input_variables", "boxes", "float32", "[1,50,4]", "--input_variables", "scores", "float32", "[1,3,50]"]
    for name, (word, _) in scalars.items():
        words += ["--input_variables", f"{name}_in", word, "[1]"]
    words += ["--output_variables", "selected", "int64", "['N',3]", "--attributes", "center_point_box", "int64", 0]
    assert cli("sog4onnx", *words, "--output_onnx_file_path", tmp_path / "nms.onnx").code == 0
    head = tmp_path / "nms.onnx"
    for name in scalars:
        words = ["-if", tmp_path / f"{name}.onnx", head, "-sd", name, f"{name}_in", "-of", tmp_path / "head.onnx"]
        result = cli("snc4onnx", *words)
        assert result.code == 0, result.err
        head = tmp_path / "head.onnx"
    made = onnx.load(head)
    assert [n.op_type for n in made.graph.node] == ["NonMaxSuppression"] and len(made.graph.initializer) == 3
    assert [v.name for v in made.graph.input] == ["boxes", "scores"] and made.ir_version <= 9
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 1, (1, 50, 2))
    given = {"boxes": np.concatenate([corner, corner + 0.2], 2), "scores": rng.uniform(0, 1, (1, 3, 50))}
    found = models.run(made, {n: a.astype(np.float32) for n, a in given.items()})["selected"]
    assert found.shape[1] == 3 and set(found[:, 1]) == {0, 1, 2} and max(np.bincount(found[:, 1])) <= 20
    assert found[0, 2] == given["scores"][0, 0].argmax()


@pytest.mark.parametrize(
    "path", models.real("mnist_8", "vittrack", "yunet_n_dynamic", "ppocr_rec_en_number", "dtln_stage2")
)
def test_real_models_with_a_head(path: Path) -> None:
    """A scaling behind the first output, twice: by the tool, and in numpy."""
    whole = onnx.load(path)
    port = whole.graph.output[0]
    opset = next(e.version for e in whole.opset_import if not e.domain)
    head = models.model(
        [helper.make_node("Neg", ["h"], ["negative"], "head")],
        [onnx.ValueInfoProto(name="h", type=port.type)], [onnx.ValueInfoProto(name="negative", type=port.type)],
        opset=opset, checked=False,
    )  # fmt: skip
    model = combine([[port.name, "h"]], onnx_graphs=[whole, head], disable_onnxsim=True, non_verbose=True)
    given = models.real_feeds(path)
    np.testing.assert_allclose(models.run(model, given)["negative"], -models.run(path, given)[port.name], rtol=1e-5)
