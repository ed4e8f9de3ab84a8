"""soc4onnx: operators are converted, not relabelled, and what cannot be is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.soc4onnx import change

from . import models
from .cli import Cli, cli, listing
from .models import BOOL, I64, F, info, node

__all__ = ["cli"]


def changed(before: ModelProto, opset: int, **options: Any) -> ModelProto:
    after = change(opset, onnx_graph=before, non_verbose=True, **options)
    onnx.checker.check_model(after, full_check=True)
    assert {e.domain: e.version for e in after.opset_import}[""] == opset
    return after


def single(op: str, *extra: str, opset: int, shape: list[Any], inits: list[Any] = (), **attributes: Any) -> ModelProto:  # type: ignore[assignment]
    layer = node(op, ["x", *extra], ["y"], "n", **attributes)
    return models.model([layer], [info("x", F, shape)], [info("y", F, [None] * len(shape))], inits, opset=opset)


def untyped(made: ModelProto) -> ModelProto:
    """With the output's shape as inferred."""
    made.graph.output[0].type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    made.graph.output[0].CopyFrom(found.graph.output[0])
    return made


def ops(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


# --- up --------------------------------------------------------------------------------------------------------------

UP = [
    pytest.param(single("Squeeze", opset=11, shape=[1, 3], axes=[0]), 13, id="Squeeze: axes become an input"),
    pytest.param(single("ReduceSum", opset=11, shape=[2, 3], axes=[1]), 13, id="ReduceSum"),
    pytest.param(single("ReduceMean", opset=17, shape=[2, 3], axes=[1]), 18, id="ReduceMean"),
    pytest.param(single("Clip", opset=10, shape=[2, 3], min=-0.5, max=0.5), 17, id="Clip"),
    pytest.param(single("Softmax", opset=11, shape=[2, 3, 4], axis=1), 17, id="Softmax over all axes from one on"),
    pytest.param(single("Dropout", opset=11, shape=[2, 3], ratio=0.5), 17, id="Dropout"),
    pytest.param(single("Pad", opset=10, shape=[2, 3], pads=[0, 1, 1, 0], value=2.0), 17, id="Pad"),
]


@pytest.mark.parametrize(("before", "opset"), UP)
def test_up(before: ModelProto, opset: int) -> None:
    given = models.feeds(before)
    models.assert_same(models.run(changed(untyped(before), opset), given), models.run(before, given))


@pytest.mark.parametrize("name", ["ln11", "ma", "loopm", "ifm", "dup", "func", "custom", "scalarin"])
def test_every_opset_from_the_models_own_to_21(name: str) -> None:
    before = models.build(name)
    given = models.feeds(before)
    own = {e.domain: e.version for e in before.opset_import}[""]
    for opset in range(own, 22):
        models.assert_same(models.run(changed(before, opset), given), models.run(before, given))


REAL_UP = (
    "mnist_8",
    "deeplab_v3_mnv2_257",
    "dtln_stage2",
    "ssd_head.ts11",
    "slices.ts11",
    "bert.ts13",
    "if_scripted.ts13",
)


@pytest.mark.parametrize("path", models.real(*REAL_UP))
def test_real_models_up(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    change(18, str(path), str(target), non_verbose=True)
    given = models.real_feeds(path)
    models.assert_same(models.run(target, given), models.run(path, given), rtol=1e-4)


def test_linear_resize_of_opset_10_stays_asymmetric() -> None:
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    before = untyped(single("Resize", "s", opset=10, shape=[1, 1, 3, 3], inits=[scales], mode="linear"))
    given = models.feeds(before)
    models.assert_same(models.run(changed(before, 17), given), models.run(before, given))


def test_bodies_are_converted_and_keep_their_weights() -> None:
    """Large weights of bodies are not shown to the converter's result, and come back."""
    branches = {}
    for word in ("then", "else"):
        big = models.weights(f"{word}_w", 20, 20)
        inner = [
            node("Squeeze", ["x"], [f"{word}_s"], f"{word}_squeeze", axes=[0]),
            node("MatMul", [f"{word}_s", big.name], [f"{word}_y"], f"{word}_mm"),
        ]
        inner[1].doc_string = "kept"
        branches[f"{word}_branch"] = helper.make_graph(inner, word, [], [info(f"{word}_y", F, [2, 20])], [big])
    before = models.model(
        [node("If", ["c"], ["y"], "if0", **branches)], [info("c", BOOL, []), info("x", F, [1, 2, 20])],
        [info("y", F, [2, 20])], opset=11,
    )  # fmt: skip
    after = changed(before, 17)
    body = after.graph.node[0].attribute[0].g
    assert [n.doc_string for n in body.node if n.op_type == "MatMul"] == ["kept"]
    given = models.feeds(before)
    for taken in (True, False):
        fed = given | {"c": np.array(taken)}
        models.assert_same(models.run(after, fed), models.run(before, fed))


def function_model(opset: int) -> ModelProto:
    axes = {"axes": [1]} if opset < 18 else {}
    inner = [node("ReduceMean", ["a"], ["m"], "mean", **axes), node("Sub", ["a", "m"], ["b"], "sub")]
    if opset >= 18:
        inner[0].input.append("one")
        inner.insert(0, node("Constant", [], ["one"], "one", value_ints=[1]))
    own = helper.make_function("d", "Centre", ["a"], ["b"], inner, [helper.make_opsetid("", opset)])
    call = node("Centre", ["x"], ["y"], "call", domain="d")
    io = [info("x", F, [2, 3])], [info("y", F, [2, 3])]
    return models.model([call], *io, domains=["d"], functions=[own], opset=opset)


@pytest.mark.parametrize(("old", "new"), [(17, 18), (18, 17), (18, 13)])
def test_functions_are_converted(old: int, new: int) -> None:
    """onnx refuses a function of another opset than the model's where its operators differ."""
    after = changed(function_model(old), new)
    assert after.functions[0].opset_import[0].version == new
    x = np.array([[1, 2, 3], [4, 5, 9]], np.float32)
    models.assert_same(models.run(after, {"x": x}), {"y": x - x.mean(1, keepdims=True)})


def test_the_rest_stays_as_it_was() -> None:
    """Unchanged nodes to the byte, other domains, metadata, unread nodes, the IR version."""
    before = models.build("func")
    before.graph.node.append(node("Neg", ["t"], ["unread"], "unread"))
    helper.set_model_props(before, {"author": "somebody"})
    after = changed(before, 18)
    for entry in (*after.opset_import, *after.functions[0].opset_import):
        entry.version = 17 if not entry.domain else entry.version
    assert after == before


# --- down ------------------------------------------------------------------------------------------------------------


def ints_of(name: str, *values: int) -> list[Any]:
    return [models.ints(name, *values)]


DOWN = [
    pytest.param(single("Squeeze", "a", opset=17, shape=[1, 3], inits=ints_of("a", 0)), 11, id="Squeeze"),
    pytest.param(single("ReduceMax", "a", opset=18, shape=[2, 3], inits=ints_of("a", -1)), 7, id="axes from the end"),
    pytest.param(single("Softmax", opset=17, shape=[2, 3, 4]), 9, id="Softmax, last axis"),
    pytest.param(single("Softmax", opset=17, shape=[2, 3, 4], axis=1), 11, id="Softmax, inner axis"),
    pytest.param(single("LogSoftmax", opset=17, shape=[2, 3, 4], axis=-3), 11, id="LogSoftmax, first axis"),
    pytest.param(single("Reshape", "s", opset=17, shape=[2, 3], inits=ints_of("s", 3, 2), allowzero=1), 13,
                 id="allowzero without a zero"),
    pytest.param(single("Gelu", opset=20, shape=[2, 3]), 11, id="Gelu in simple operators"),
    pytest.param(single("Mish", opset=18, shape=[2, 3]), 11, id="Mish"),
    pytest.param(single("HardSwish", opset=17, shape=[2, 3]), 11, id="HardSwish"),
    pytest.param(single("MaxPool", opset=17, shape=[1, 1, 4, 4], kernel_shape=[2, 2], dilations=[1, 1]), 7,
                 id="dilations of one"),
    pytest.param(single("GridSample", "g", opset=20, shape=[1, 1, 4, 4], mode="linear",
                        inits=[models.weights("g", 1, 2, 2, 2)]), 16, id="GridSample: other words"),
    pytest.param(single("Slice", "a", "b", opset=17, shape=[4, 3], inits=[*ints_of("a", 1), *ints_of("b", 3)]), 9,
                 id="Slice"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "opset"), DOWN)
def test_down(before: ModelProto, opset: int) -> None:
    before = untyped(before)
    given = models.feeds(before)
    models.assert_same(models.run(changed(before, opset), given), models.run(before, given))


@pytest.mark.parametrize("extent", [6, 7], ids=["even", "uneven"])
def test_split_into_a_number_of_parts(extent: int) -> None:
    layer = node("Split", ["x"], ["a", "b", "c"], "split", num_outputs=3)
    sizes = [3, 3, 1] if extent == 7 else [2, 2, 2]
    outputs = [info(n, F, [k]) for n, k in zip("abc", sizes, strict=True)]
    after = changed(models.model([layer], [info("x", F, [extent])], outputs, opset=18), 11)
    x = np.arange(extent, dtype=np.float32)
    models.assert_same(models.run(after, {"x": x}), dict(zip("abc", np.split(x, np.cumsum(sizes)[:2]), strict=True)))


@pytest.mark.parametrize(("bounds", "opset"), [({"start": 1}, 13), ({"end": -1}, 11), ({"start": -2, "end": 2}, 9)])
def test_parts_of_a_shape(bounds: dict[str, int], opset: int) -> None:
    shape = [2, 3, 4]
    expected = shape[bounds.get("start") : bounds.get("end")]
    before = models.model(
        [node("Shape", ["x"], ["y"], "s", **bounds)], [info("x", F, shape)], [info("y", I64, [len(expected)])]
    )
    given = models.feeds(before)
    models.assert_same(models.run(changed(before, opset), given), {"y": np.array(expected)})


def test_layer_normalization_becomes_simple_operators() -> None:
    before = models.build("ln17")
    after = changed(before, 11)
    assert "LayerNormalization" not in ops(after) and len(ops(after)) > 5
    given = models.feeds(before)
    models.assert_same(models.run(after, given), models.run(before, given), rtol=1e-4)


REAL_DOWN = (
    ("vittrack", 11), ("super_resolution_espcn", 11), ("go1_joystick_policy", 7), ("vit.dynamo", 13),
    ("gpt.dynamo", 11), ("swin_windows.dynamo", 13), ("convnext_block.dynamo", 11), ("lstm.dynamo", 11),
    ("loop_scripted.ts17", 8),
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "opset"),
    [pytest.param(*p.values, o, id=f"{n} to {o}", marks=p.marks) for n, o in REAL_DOWN for p in models.real(n)],
)
def test_real_models_down(path: Path, opset: int, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    change(opset, str(path), str(target), non_verbose=True)
    assert {e.domain: e.version for e in onnx.load(target).opset_import}[""] == opset
    given = models.real_feeds(path)
    models.assert_same(models.run(target, given), models.run(path, given), rtol=1e-4)


# --- errors ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = [
    pytest.param(single("GridSample", "g", opset=16, shape=[1, 1, 4, 4], inits=[models.weights("g", 1, 2, 2, 2)]), 15,
                 "opset 16 cannot become 15: opset 15 has no GridSample", id="no such operator"),
    pytest.param(single("Resize", "", "s", opset=13, shape=[1, 1, 4, 4], mode="linear",
                        inits=[numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")]), 10,
                 "Resize 'n': before 11 coordinates", id="another meaning"),
    pytest.param(single("DepthToSpace", opset=13, shape=[1, 4, 2, 2], blocksize=2, mode="CRD"), 10,
                 "DepthToSpace 'n': it has no attribute 'mode'", id="attribute"),
    pytest.param(single("Slice", "a", "b", "c", "d", opset=13, shape=[4],
                        inits=[*ints_of("a", 0), *ints_of("b", 4), *ints_of("c", 0), *ints_of("d", 2)]), 9,
                 "Slice 'n': input 4 has no counterpart", id="input"),
    pytest.param(single("Relu", opset=17, shape=[2]), 6, "6 is below 7, where broadcasting", id="too old"),
    pytest.param(single("Relu", opset=17, shape=[2]), 999, "there is no opset 999: the newest is", id="too new"),
    pytest.param(single("Relu", opset=17, shape=[2]), 0, "there is no opset 0", id="zero"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "opset", "what"), IMPOSSIBLE)
def test_what_cannot_be_is_named(before: ModelProto, opset: int, what: str, cli: Cli, tmp_path: Path) -> None:
    onnx.save(untyped(before), tmp_path / "m.onnx")
    result = cli("soc4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx", "-os", opset)
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == ["m.onnx"]


def test_run_time_values_cannot_become_attributes() -> None:
    layer = node("TopK", ["x", "k"], ["y", "i"], "n")
    outputs = [info("y", F, ["a"]), info("i", I64, ["a"])]
    before = models.model([layer], [info("x", F, [9]), info("k", I64, [1])], outputs)
    with pytest.raises(ToolError, match="TopK 'n': its input 1 is an attribute there, and is only known at run time"):
        changed(before, 9)


def test_every_node_that_cannot_be_is_listed() -> None:
    nodes = [node("Max", ["x", "x"], ["t"], "first"), node("Min", ["t", "x"], ["y"], "second")]
    before = models.model(nodes, [info("x", I64, [2])], [info("y", I64, [2])])
    with pytest.raises(ToolError, match=r"Max 'first'.*int64.*Min 'second'.*int64"):
        changed(before, 11)


# --- --force ---------------------------------------------------------------------------------------------------------


def test_force_changes_only_the_number(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "custom")
    result = cli("soc4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-os", 13, "--force")
    assert result.code == 0 and "WARNING: no operator was converted" in result.text
    before, after = onnx.load(source), onnx.load(tmp_path / "o.onnx")
    assert {e.domain: e.version for e in after.opset_import} == {"": 13, "com.microsoft": 1}
    after.opset_import[0].version = 17
    assert after == before


def test_force_is_checked(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "ln17")
    result = cli("soc4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-os", 11, "--force")
    assert result.code == 1 and "LayerNormalization" in result.err and not (tmp_path / "o.onnx").exists()


def test_what_was_rewritten_is_said(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "ln11")
    result = cli("soc4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-os", 18)
    assert "rewrote 2 ReduceMean" in result.text and "opset 11 to 18" in result.text
    assert onnx.load(tmp_path / "o.onnx").ir_version == 8
    newest = cli("soc4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-os", 21)
    assert "IR version 8 to 10, which opset 21 needs" in newest.text
