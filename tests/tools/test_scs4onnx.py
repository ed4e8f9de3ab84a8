"""scs4onnx: equal constants are one, to the bit; narrow ones only where ONNX allows it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.scs4onnx import shrinking

from . import models
from .cli import Cli, cli, listing
from .models import BOOL, I64, F, info, node

__all__ = ["cli"]


def shrunk(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    return shrinking(onnx_graph=model, non_verbose=True, **options)[0]


def held(graph: Any) -> dict[str, TensorProto]:
    """Initializers and Constant nodes, by name."""
    nodes = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    return {t.name: t for t in graph.initializer} | nodes


def adds(*values: Any, as_nodes: bool = False) -> onnx.ModelProto:
    """x + value + value + ..."""
    arrays = [numpy_helper.from_array(np.asarray(v), f"k{i}") for i, v in enumerate(values)]
    nodes = [node("Add", ["x" if i == 0 else f"t{i - 1}", f"k{i}"], [f"t{i}"], f"add{i}") for i in range(len(arrays))]
    nodes[-1].output[0] = "y"
    if as_nodes:
        nodes = [node("Constant", [], [t.name], t.name, value=t) for t in arrays] + nodes
    elem = arrays[0].data_type
    return models.model(nodes, [info("x", elem, [2])], [info("y", elem, [2])], [] if as_nodes else arrays)


@pytest.mark.parametrize("name", ["cnn", "ln11", "ln17", "dup", "ifm", "loopm", "func", "sharedk", "convbn"])
def test_computes_the_same(name: str) -> None:
    before = models.build(name)
    after = shrunk(before)
    onnx.checker.check_model(after, full_check=True)
    given = models.feeds(before)
    models.assert_same(models.run(after, given), models.run(before, given))


@pytest.mark.parametrize("path", models.real("mnist_8", "vittrack", "silero_vad_16k_op15", "bert.ts13", "vit.dynamo"))
def test_real_models_compute_the_same_and_hold_nothing_twice(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    after, files = shrinking(str(path), str(target), non_verbose=True)
    given = models.real_feeds(path)
    models.assert_same(models.run(target, given), models.run(path, given))
    contents = [(t.data_type, tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in held(after.graph).values()]
    assert len(contents) == len(set(contents)) and files == []


def test_map_is_printed(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "dup")
    result = cli("scs4onnx", tmp_path / "dup.onnx", tmp_path / "o.onnx", "-m", "shrink", "-d")
    assert "{'w0': ['w1', 'w2']}" in result.text and "{'s0': ['s1']}" in result.text
    assert f"constants: {3 * 1024 + 32} bytes before, {1024 + 16} now" in result.text
    assert list(held(onnx.load(tmp_path / "o.onnx").graph)) == ["s0", "w0"]


def test_paths_need_no_suffix(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "dup")
    source.rename(tmp_path / "model.bin")
    assert cli("scs4onnx", tmp_path / "model.bin", tmp_path / "result").code == 0
    onnx.checker.check_model(str(tmp_path / "result"))


# --- what is equal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "count"),
    [
        pytest.param(([0.0, 1.0], [-0.0, 1.0]), 2, id="signs of zero"),
        pytest.param(([np.nan, 1.0], [np.nan, 1.0]), 1, id="NaN"),
        pytest.param(([1.0, 2.0], [2.0, 1.0]), 2, id="order"),
        pytest.param(([1.0, 2.0], [[1.0, 2.0]]), 2, id="shape"),
        pytest.param((3.0, 3.0), 1, id="scalars"),
    ],
)
@pytest.mark.parametrize("as_nodes", [False, True], ids=["initializers", "Constant nodes"])
def test_equal_is_to_the_bit(values: tuple[Any, Any], count: int, as_nodes: bool) -> None:
    before = adds(*(np.array(v, np.float32) for v in values), as_nodes=as_nodes)
    assert len(held(shrunk(before).graph)) == count


def test_dtypes_differ() -> None:
    inits = [numpy_helper.from_array(np.zeros(2, t), n) for n, t in (("a", np.int32), ("b", np.float32))]
    nodes = [node("Cast", ["a"], ["c"], "cast", to=F), node("Add", ["c", "b"], ["y"], "add")]
    assert len(shrunk(models.model(nodes, [], [info("y", F, [2])], inits)).graph.initializer) == 2


def test_storage_does_not_matter() -> None:
    """float_data and raw_data with the same values are equal."""
    before = adds(np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    before.graph.initializer[1].CopyFrom(helper.make_tensor("k1", F, [2], [1.0, 2.0]))
    assert len(shrunk(before).graph.initializer) == 1


def test_numbers_in_other_attributes_of_constant_nodes() -> None:
    nodes = [
        node("Constant", [], ["a"], "a", value_floats=[1.0, 2.0]),
        node("Constant", [], ["b"], "b", value=numpy_helper.from_array(np.array([1, 2], np.float32))),
        node("Add", ["a", "b"], ["y"], "add"),
    ]
    after = shrunk(models.model(nodes, [], [info("y", F, [2])]))
    assert models.describe(after).count("Constant") == 1
    np.testing.assert_array_equal(models.run(after, {})["y"], [2, 4])


def test_distinct_texts_stay_distinct() -> None:
    texts = [
        helper.make_tensor(n, TensorProto.STRING, [2], v) for n, v in (("a", [b"x\0", b"y"]), ("b", [b"x", b"\0y"]))
    ]
    nodes = [node("Equal", ["a", "b"], ["y"], "equal")]
    after = shrunk(models.model(nodes, [], [info("y", BOOL, [2])], texts, opset=19), check=False)
    assert len(after.graph.initializer) == 2


def test_1500_constants_take_no_second() -> None:
    before = models.build("many")
    started = time.process_time()
    after = shrunk(before, check=False)
    assert time.process_time() - started < 1
    assert len(after.graph.initializer) == 1500


def test_1500_whole_numbers_take_no_second_either() -> None:
    """Narrowing asks every reader of every constant."""
    before = adds(*(np.array([i, i + 1]) for i in range(1500)))
    started = time.process_time()
    shrunk(before, check=False)
    assert time.process_time() - started < 1


def test_overridable_defaults_are_not_shared() -> None:
    """An initializer that is an input as well (IR version 4 on) may be another one at run time."""
    before = adds(np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    before.graph.input.append(info("k0", F, [2]))
    given = {"x": np.zeros(2, np.float32), "k0": np.array([5, 5], np.float32)}
    np.testing.assert_array_equal(models.run(shrunk(before), given)["y"], [6, 7])


def test_before_ir_4_every_initializer_is_an_input() -> None:
    before = adds(np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    before.ir_version, before.opset_import[0].version = 3, 8
    before.graph.input.extend(info(f"k{i}", F, [2]) for i in range(2))
    after = shrunk(before)
    assert [v.name for v in after.graph.input] == ["x", "k0"]


# --- bodies ----------------------------------------------------------------------------------------------------------


def branches(outer: Any, *nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Both branches hold a constant of the same contents as ``outer`` and add it."""
    bodies = {}
    for word in ("then", "else"):
        own = numpy_helper.from_array(np.arange(3, dtype=np.float32), f"{word}_k")
        op = node("Add" if word == "then" else "Mul", ["x", own.name], [f"{word}_out"], word)
        bodies[f"{word}_branch"] = helper.make_graph([op], word, [], [info(f"{word}_out", F, [3])], [own])
    all_nodes = [node("If", ["c"], ["t"], "if0", **bodies), *nodes, node("Add", ["t", "k"], ["y"], "add")]
    io = [info("c", BOOL, []), info("x", F, [3])], [info("y", F, [3])]
    return models.model(all_nodes, *io, [outer] if outer is not None else [])


@pytest.mark.parametrize("late", [False, True], ids=["initializer", "Constant node behind the If"])
def test_bodies_read_the_constant_outside(late: bool) -> None:
    k = numpy_helper.from_array(np.arange(3, dtype=np.float32), "k")
    before = branches(None, node("Constant", [], ["k"], "k", value=k)) if late else branches(k)
    after = shrunk(before)
    onnx.checker.check_model(after, full_check=True)
    (branch,) = [n for n in after.graph.node if n.op_type == "If"]
    assert [len(held(a.g)) for a in branch.attribute] == [0, 0]
    x = np.array([1, 2, 3], np.float32)
    for taken, expected in ((True, [1, 4, 7]), (False, [0, 3, 8])):
        np.testing.assert_array_equal(models.run(after, {"c": np.array(taken), "x": x})["y"], expected)


# --- narrowing -------------------------------------------------------------------------------------------------------


def test_shapes_of_reshape_stay_int64() -> None:
    after = shrunk(models.build("dup"))
    assert held(after.graph)["s0"].data_type == I64


INDEX = numpy_helper.from_array(np.array([1, 1]), "i")
NARROW = [
    pytest.param(node("Gather", ["x", "i"], ["y"], "gather"), TensorProto.INT32, id="Gather takes int32"),
    pytest.param(node("Tile", ["x", "i"], ["y"], "tile"), I64, id="Tile takes int64 only"),
    pytest.param(node("Expand", ["x", "i"], ["y"], "expand"), I64, id="Expand takes int64 only"),
    pytest.param(node("Slice", ["x", "zero", "i"], ["y"], "slice"), TensorProto.INT32, id="Slice, all inputs alike"),
    pytest.param(node("Slice", ["x", "given", "i"], ["y"], "slice"), I64, id="Slice, one input of run time"),
    pytest.param(node("Sub", ["i", "given"], ["y"], "sub"), I64, id="the result would be another type"),
]


@pytest.mark.parametrize(("layer", "elem"), NARROW)
def test_narrows_only_where_the_operator_allows_it(layer: onnx.NodeProto, elem: int) -> None:
    result = info("y", I64, [2]) if layer.op_type == "Sub" else info("y", F, ["rows", "columns"])
    used = [v for v in (info("x", F, [2, 3]), info("given", I64, [2])) if v.name in layer.input]
    inits = [t for t in (INDEX, models.ints("zero", 0, 0)) if t.name in layer.input]
    before = models.model([layer], used, [result], inits)
    after = shrunk(before)
    assert held(after.graph)["i"].data_type == elem
    onnx.checker.check_model(after, full_check=True)
    assert held(shrunk(before, disable_auto_downcast=True).graph)["i"].data_type == I64


@pytest.mark.parametrize(
    ("value", "elem"),
    [
        pytest.param([0, 2**31 - 1], TensorProto.INT32, id="largest int32"),
        pytest.param([0, 2**31], I64, id="one more"),
        pytest.param([0.5, -0.0, np.nan, np.inf], F, id="exact floats"),
        pytest.param([0.1], TensorProto.DOUBLE, id="not exact in float32"),
        pytest.param([1e300], TensorProto.DOUBLE, id="would be infinite"),
    ],
)
def test_narrows_only_what_fits(value: list[float], elem: int) -> None:
    array, elem_y = np.array(value), TensorProto.DOUBLE
    nodes = [node("Cast", ["k"], ["y"], "cast", to=elem_y)]
    before = models.model(
        nodes, [], [info("y", TensorProto.DOUBLE, [len(value)])], [numpy_helper.from_array(array, "k")]
    )
    after = shrunk(before)
    assert held(after.graph)["k"].data_type == elem
    np.testing.assert_array_equal(models.run(after, {})["y"], array.astype(np.float64))


# --- files -----------------------------------------------------------------------------------------------------------


def test_npy_files_lie_beside_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before, target = models.build("dup"), tmp_path / "out" / "m.onnx"
    _, files = shrinking(onnx_graph=before, output_onnx_file_path=str(target), mode="npy", non_verbose=True)
    assert sorted(files) == [str(tmp_path / "out" / f"m_exported_{n}.npy") for n in ("s0", "w0")]
    assert listing(tmp_path / "cwd") == []
    given = models.feeds(before)
    extra = {Path(f).name: np.load(f) for f in files}
    models.assert_same(models.run(target, given | extra), models.run(before, given))


def test_forced_extraction_of_a_merged_constant(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "dup")
    assert cli("scs4onnx", source, tmp_path / "o.onnx", "-fc", "w2").code == 0
    assert [v.name for v in onnx.load(tmp_path / "o.onnx").graph.input] == ["x", "o_exported_w0.npy"]


def test_forced_extraction_of_the_constants_of_a_node(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    assert cli("scs4onnx", source, tmp_path / "o.onnx", "-fo", "gemm0").code == 0
    after = onnx.load(tmp_path / "o.onnx")
    assert [v.name for v in after.graph.input] == ["x", "o_exported_wg.npy", "o_exported_bg.npy"]
    np.testing.assert_array_equal(
        np.load(tmp_path / "o_exported_bg.npy"), numpy_helper.to_array(models.weights("bg", 4))
    )


def test_characters_that_file_names_lack(tmp_path: Path) -> None:
    before = adds(np.array([1, 2], np.float32))
    before.graph.initializer[0].name = before.graph.node[0].input[1] = "a/b:c;d,e"
    shrinking(
        onnx_graph=before, output_onnx_file_path=f"{tmp_path}/m.onnx", non_verbose=True,
        forced_extraction_constant_names=["a/b:c;d,e"],
    )  # fmt: skip
    assert listing(tmp_path) == ["m.onnx", "m_exported_a_b_c_d_e.npy"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        pytest.param(["-fo", "gemm"], "no node 'gemm'; nearest: 'gemm0'", id="unknown node"),
        pytest.param(["-fo", "relu0"], "'relu0' reads no constant", id="node without constants"),
        pytest.param(["-fo", "gemm0", "-fc", "wg"], "exclude each other", id="both"),
    ],
)
def test_errors(words: list[str], what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("scs4onnx", source, tmp_path / "o.onnx", *words)
    assert result.code == 1 and what in result.err and listing(tmp_path) == ["cnn.onnx"]


def test_a_constant_of_a_body_cannot_become_a_file() -> None:
    before = branches(None, node("Identity", ["x"], ["k"], "k"))
    with pytest.raises(ToolError, match="only constants of the main graph"):
        shrunk(before, forced_extraction_constant_names=["then_k"])
