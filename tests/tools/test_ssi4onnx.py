"""ssi4onnx: what is written is true, contradictions are errors, and the input file is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnx2tf_lite.model.types import dims, types
from onnx2tf_lite.model.walk import scopes
from onnx2tf_lite.tools.ssi4onnx import shape_inference

from . import models
from .cli import Cli, cli, listing
from .models import I64, F, info, node

__all__ = ["cli"]


def shaped(before: ModelProto, **options: Any) -> ModelProto:
    after = shape_inference(onnx_graph=before, non_verbose=True, **options)
    onnx.checker.check_model(after, full_check=True)
    return after


def declared(model: ModelProto) -> dict[str, tuple[int, list[int | str | None]]]:
    """Name -> dtype and dimensions (None: not said) of what has a shape."""
    found = {}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            shape = value.type.tensor_type.shape
            dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in shape.dim]
            found[value.name] = value.type.tensor_type.elem_type, dims
    return found


def with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """A copy that has these results as outputs too."""
    copy = ModelProto()
    copy.CopyFrom(model)
    own = {v.name for v in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in own)
    return copy


def assert_true(model: ModelProto, given: dict[str, Any]) -> int:
    """ONNX Runtime makes what is declared; how many tensors were looked at."""
    said = declared(model)
    names = [o for n in model.graph.node for o in n.output if o in said]
    copy = with_outputs(model, names)
    feeds = {n: (a, said[n][1]) for n, a in given.items() if n in said}
    got = {n: (a, said[n][1]) for n, a in models.run(copy, given, names).items()}
    for name, (array, extents) in (feeds | got).items():
        assert helper.np_dtype_to_tensor_dtype(array.dtype) == said[name][0]
        assert len(extents) == array.ndim, name
        for d, k in zip(extents, array.shape, strict=True):
            assert not isinstance(d, int) or d == k, (name, extents, array.shape)
    return len(names)


@pytest.mark.parametrize(
    "name", ["cnn", "ln11", "ln17", "ifm", "loopm", "topk", "convbn", "dataprop", "resizedyn", "func", "booln", "clip"]
)
def test_what_is_written_is_true(name: str) -> None:
    after = shaped(models.build(name))
    assert assert_true(after, models.feeds(after)) > 0


REAL = (
    "mnist_8", "yunet_n_dynamic", "sentence_bilstm", "silero_vad_16k_op15", "ppocr_rec_en_number",
    "bert_dynamic.dynamo", "if_scripted.ts13", "shapes_dynamic.ts13",
)  # fmt: skip


@pytest.mark.parametrize("path", models.real(*REAL))
def test_real_models(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    shape_inference(str(path), output_onnx_file_path=str(target), non_verbose=True)
    after = onnx.load(target)
    assert assert_true(after, models.real_feeds(path)) > 0
    before = onnx.load(path)
    assert models.describe(after) == models.describe(before)
    assert list(before.graph.initializer) == list(after.graph.initializer)


def test_values_of_shape_arithmetic_are_followed() -> None:
    assert declared(shaped(models.build("dataprop")))["f"] == (F, [2, 12])


@pytest.mark.parametrize("name", ["ifm", "loopm"])
def test_bodies_too(name: str) -> None:
    after = shaped(models.build(name))
    body = next(a.g for n in after.graph.node for a in n.attribute if a.HasField("g"))
    inner = {v.name for v in body.value_info}
    assert inner == {o for n in body.node for o in n.output} - {v.name for v in body.output}


@pytest.mark.parametrize(("name", "what"), [("badmm", "MatMul"), ("badshape", "Transpose")])
def test_contradictions_are_errors(name: str, what: str, cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, name)
    result = cli("ssi4onnx", "-if", tmp_path / f"{name}.onnx", "-of", tmp_path / "o.onnx")
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == [f"{name}.onnx"]


def test_without_an_output_the_input_is_only_reported(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    before = source.read_bytes()
    result = cli("ssi4onnx", "-if", source)
    assert result.code == 0 and "shapes: 15 known, 0 symbolic, 0 unknown" in result.text
    assert "outputs: y [1, 4]" in result.text
    assert source.read_bytes() == before and listing(tmp_path) == ["cnn.onnx"]


def test_running_it_again_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert cli("ssi4onnx", "-if", source, "-of", first).code == 0
    assert cli("ssi4onnx", "-if", first, "-of", second).code == 0
    assert first.read_bytes() == second.read_bytes() != source.read_bytes()


def nms() -> ModelProto:
    """The number of boxes is decided by data."""
    nms = node("NonMaxSuppression", ["boxes", "scores", "k"], ["found"], "nms")
    nodes = [nms, node("Neg", ["found"], ["y"], "neg")]
    inputs = [info("boxes", F, [1, 6, 4]), info("scores", F, [1, 1, 6])]
    return models.model(nodes, inputs, [info("y", I64, ["n", 3])], [models.ints("k", 4)])


def test_what_only_the_data_decide_gets_a_name_that_is_carried_on() -> None:
    said = declared(shaped(nms()))
    assert said["found"][1] == ["found_0", 3] and said["y"][1] == ["n", 3]


def test_the_first_that_stays_unknown_is_named(cli: Cli, tmp_path: Path) -> None:
    nodes = [node("Foo", ["x"], ["found"], "foo", domain="org.example"), node("Neg", ["found"], ["y"], "neg")]
    model = models.model(nodes, [info("x", F, [2, 3])], [info("y", F, [2])], domains=["org.example"])
    onnx.save(model, tmp_path / "m.onnx")
    result = cli("ssi4onnx", "-if", tmp_path / "m.onnx")
    assert "the first that is not known: Foo 'foo' -> found" in result.text


def strided(pads: list[int], free: list[int | str | None]) -> ModelProto:
    """Two convolutions with stride 2, a doubling, and all places of the picture behind each other."""
    conv = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads}
    nodes = [
        node("Conv", ["x", "w"], ["a"], "conv0", **conv),
        node("Conv", ["a", "w"], ["b"], "conv1", **conv),
        node("Resize", ["b", "", "twice"], ["c"], "resize", mode="nearest"),
        node("Reshape", ["c", "rows"], ["d"], "reshape"),
        node("Transpose", ["d"], ["y"], "transpose", perm=[0, 2, 1]),
    ]
    twice = helper.make_tensor("twice", F, [4], [1.0, 1.0, 2.0, 2.0])
    constants = [models.weights("w", 2, 2, 3, 3), twice, models.ints("rows", 0, 2, -1)]
    return models.model(nodes, [info("x", F, [1, 2, *free])], [info("y", F, [1, None, 2])], constants)


@pytest.mark.parametrize("free", [["height", "width"], [None, None], ["?", "?"]], ids=["named", "unnamed", "?"])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], ids=str)
def test_an_extent_is_a_formula_that_holds_at_every_size(pads: list[int], free: list[int | str | None]) -> None:
    after = shaped(strided(pads, free))
    said = {name: dims for name, (_, dims) in declared(after).items()}
    assert all(None not in dims for dims in said.values())
    for height, width in [(7, 11), (8, 16), (13, 10), (32, 9)]:
        sizes = dict(zip(said["x"][2:], (height, width), strict=True))
        feeds = {"x": np.zeros((1, 2, height, width), np.float32)}
        for name, array in models.run(with_outputs(after, "abcd"), feeds, list("abcdy")).items():
            for extent, size in zip(said[name], array.shape, strict=True):
                if extent in ("d_2", "y_1"):  # too long for a formula: a name, which means one number
                    sizes.setdefault("d_2", size)
                assert eval(str(extent), {"max": max, "min": min}, sizes) == size, (name, extent)


def test_a_name_that_is_a_formula_gets_brackets() -> None:
    nodes = [node("Concat", ["x", "x"], ["y"], "twice", axis=0)]
    after = shaped(models.model(nodes, [info("x", F, ["h-1", 2])], [info("y", F, [None, 2])]))
    assert declared(after)["y"][1] == ["2*(h-1)", 2]


def test_a_given_extent_reaches_formulas_and_outputs() -> None:
    once = shaped(strided([1, 1, 1, 1], ["height", "width"]))
    after = declared(shaped(once, set_dim={"height": 8, "width": 16}))
    assert after["b"][1] == [1, 2, 2, 4] and after["y"][1] == [1, 32, 2]
    renamed = declared(shaped(once, set_dim={"height": "rows"}))
    assert "rows" in str(renamed["b"][1][2]) and "height" not in str(renamed)


@pytest.mark.parametrize("path", models.real("yunet_n_dynamic", "silero_vad_16k_op15"))
def test_no_extent_of_a_real_model_stays_open(path: Path) -> None:
    """ONNX Runtime's symbolic inference leaves none open on the first and fails on the second.  Ifs of that one have
    results of different ranks in their branches: there is no shape that could be declared."""
    after = shape_inference(str(path), non_verbose=True)
    open_, unranked = list[str](), set[str]()
    for scope in scopes(after):
        known = types(scope.graph)
        for each in scope.graph.node:
            for name in filter(None, each.output):
                shape = dims(known.get(name))
                open_ += [name] if shape is not None and None in shape else []
                unranked |= {each.op_type} if shape is None else set()
    assert not open_ and unranked <= {"If", "Unsqueeze", "Squeeze"}


def test_a_run_fills_the_rest(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "resizedyn")
    result = cli("ssi4onnx", "-if", source, "-of", tmp_path / "o.onnx", "--run", "x:2,3,4,4")
    assert result.code == 0, result.err
    after = onnx.load(tmp_path / "o.onnx")
    said = declared(after)
    assert said["x"] == (F, [2, 3, 4, 4]) and said["y"] == (F, [2, 3, 8, 8])
    assert all(isinstance(d, int) for _, dims in said.values() for d in dims)
    assert assert_true(after, models.feeds(after)) == 4


def test_a_run_knows_foreign_operators() -> None:
    before = models.build("custom")
    before.graph.node.append(node("Neg", ["y"], ["z"], "neg"))
    before.graph.output[0].CopyFrom(info("z", F, [2, 3, 3]))
    assert "y" not in declared(shaped(before))
    assert declared(shaped(before, run_shapes={}))["y"] == (F, [2, 3, 3])


def test_named_dimensions_can_be_set(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "resizedyn")
    result = cli("ssi4onnx", "-if", source, "-of", tmp_path / "o.onnx", "--set-dim", "N=3")
    assert result.code == 0, result.err
    after = onnx.load(tmp_path / "o.onnx")
    assert declared(after)["y"] == (F, [3, 3, 8, 8])
    assert_true(after, models.feeds(after))
    renamed = shaped(models.build("resizedyn"), set_dim={"N": "batch"})
    assert declared(renamed)["x"][1][0] == declared(renamed)["y"][1][0] == "batch"


WRONG = [
    pytest.param(["--set-dim", "M=1"], 1, "no dimension 'M'; nearest: 'N'", id="dimension"),
    pytest.param(["--set-dim", "N"], 2, "'N' is not NAME=VALUE", id="assignment"),
    pytest.param(["--run", "X:2,3,4,4"], 1, "no graph input 'X'; nearest: 'x'", id="input"),
    pytest.param(["--run", "x:2,3,4"], 1, "x is ['N', 3, 4, 4], which cannot be [2, 3, 4]", id="rank"),
    pytest.param(["--run", "x:2,3,5,4"], 1, "which cannot be [2, 3, 5, 4]", id="shape"),
    pytest.param(["--run", "x"], 2, "'x' is not of the form name:1,3,224,224", id="text"),
]


@pytest.mark.parametrize(("words", "code", "what"), WRONG)
def test_wrong_requests_write_nothing(words: list[str], code: int, what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "resizedyn")
    result = cli("ssi4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == code and what in result.err, result.err
    assert listing(tmp_path) == ["resizedyn.onnx"]


def test_over_2_gb_without_loading_it(tmp_path: Path) -> None:
    import resource

    source, before = models.big(tmp_path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = shape_inference(str(source), output_onnx_file_path=str(tmp_path / "o.onnx"), non_verbose=True, check=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert declared(after)["g0"] == declared(after)["y"] == (F, ["n", 100])
    assert (tmp_path / "o.onnx").stat().st_size < 10_000


def test_a_missing_dtype_or_rank_is_filled() -> None:
    before = models.build("ma")
    before.graph.value_info.append(onnx.ValueInfoProto(name="mid0"))
    assert declared(shaped(before))["mid0"] == (F, [2, 3])


def test_nodes_are_put_in_order() -> None:
    before = models.build("cnn")
    wanted = models.describe(before)
    nodes = list(before.graph.node)[::-1]
    del before.graph.node[:]
    before.graph.node.extend(nodes)
    assert models.describe(shaped(before)) == wanted
