"""sbi4onnx: several samples at once give what they give one by one, or the tool says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sbi4onnx import initialize

from . import models
from .cli import Cli, cli, listing
from .models import I64, F, info, node

__all__ = ["cli"]


def batched(before: ModelProto, text: str = "N", **options: Any) -> ModelProto:
    after = initialize(onnx_graph=before, initialization_character_string=text, non_verbose=True, **options)
    onnx.checker.check_model(after, full_check=True)
    return after


def shape(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def assert_stacks(
    before: Any, after: Any, given: list[dict[str, Any]], axes: dict[str, int], out_axis: int = 0
) -> None:
    """One run on all samples against a run on each."""
    single = [models.run(before, g) for g in given]
    fed = {n: np.concatenate([g[n] for g in given], axes[n]) if n in axes else given[0][n] for n in given[0]}
    wanted = {n: np.concatenate([s[n] for s in single], out_axis) for n in single[0]}
    models.assert_same(models.run(after, fed), wanted, rtol=1e-4)


def one(*nodes: onnx.NodeProto, shape: list[Any], out: list[Any], inits: Any = (), opset: int = 17) -> ModelProto:
    return models.model(list(nodes), [info("x", F, shape)], [info("y", F, out)], inits, opset=opset)


@pytest.mark.parametrize("name", ["cnn", "convbn", "flat", "flatc", "multiuse", "ln17", "resizedyn"])
def test_samples_are_stacked(name: str) -> None:
    before = models.build(name)
    after = batched(before)
    assert shape(after.graph.input[0])[0] == shape(after.graph.output[0])[0] == "N"
    x = after.graph.input[0].name
    assert_stacks(before, after, [models.feeds(before, seed) for seed in range(3)], {x: 0})


REAL = (
    "mnist_8", "yolox_nano_416", "go1_joystick_policy", "vittrack", "gpt.dynamo", "swin_windows.dynamo",
    "mobilenet_inverted_residual_se.dynamo", "segmentation_aspp.dynamo", "yolo_head.dynamo", "einsum_attention.ts13",
)  # fmt: skip


@pytest.mark.parametrize("path", models.real(*REAL))
def test_real_models(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    initialize(str(path), output_onnx_file_path=str(target), initialization_character_string="N", non_verbose=True)
    given = models.real_feeds(path)
    rng = np.random.default_rng(7)
    other = {n: a + rng.standard_normal(a.shape) if a.dtype.kind == "f" else a[::-1] for n, a in given.items()}
    axes = dict.fromkeys(given, 0)
    assert_stacks(path, target, [given, {n: a.astype(given[n].dtype) for n, a in other.items()}], axes)


def test_the_known_command(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sbi4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-ics", "N", "-dos")
    assert result.code == 0, result.err
    assert "Reshape 'reshape0': [1, 8] -> [0, 8]" in result.text
    assert "as in single runs, stacked" in result.text


@pytest.mark.parametrize("text", ["N", "batch", "-1"])
def test_names(text: str) -> None:
    after = batched(models.build("multiuse"), text)
    assert shape(after.graph.input[0]) == shape(after.graph.output[0]) == [text, 3, 4, 5]


@pytest.mark.parametrize(("rows", "name"), [(4, "cnn"), (1, "cnn"), (3, "ma"), (1, "ma"), (7, "ma")])
def test_a_number_is_a_number(rows: int, name: str) -> None:
    """Also one that is no multiple of what it was."""
    before = models.build(name)
    after = batched(before, str(rows))
    assert shape(after.graph.input[0])[0] == shape(after.graph.output[0])[0] == rows
    x = np.concatenate([models.feeds(before, k)[after.graph.input[0].name] for k in range(7)])
    size = shape(before.graph.input[0])[0]
    name, out = before.graph.input[0].name, before.graph.output[0].name
    single = [models.run(before, {name: x[k : k + size]})[out] for k in range(0, len(x) - size + 1, size)]
    got = models.run(after, {name: x[:rows]})
    models.assert_same(got, {out: np.concatenate(single)[:rows]}, rtol=1e-4)


RESHAPES = [
    pytest.param([1, 4, 4], [1, -1], [1, 16], id="[1,-1]"),
    pytest.param([1, 4, 4], [1, 16], [1, 16], id="[1,16]"),
    pytest.param([1, 4, 4], [4, 4], [4, 4], id="batch merged"),
    pytest.param([2, 3, 4], [2, 3, 2, 2], [2, 3, 2, 2], id="split elsewhere"),
    pytest.param([2, 3, 4], [6, 4], [6, 4], id="batch of two merged"),
    pytest.param([2, 2, 2], [2, 2, 2], [2, 2, 2], id="the same number thrice"),
    pytest.param([2, 3, 4], [2, -1, 2], [2, 6, 2], id="one left open"),
]


@pytest.mark.parametrize("zero", [0, 1], ids=["", "allowzero"])
@pytest.mark.parametrize("held", ["", "value", "value_ints"], ids=["initializer", "Constant node", "plain numbers"])
@pytest.mark.parametrize(("source", "target", "out"), RESHAPES)
def test_shapes_of_reshape(source: list[int], target: list[int], out: list[int], held: str, zero: int) -> None:
    tensor = models.ints("s", *target)
    layer = node("Reshape", ["x", "s"], ["y"], "r", allowzero=zero)
    value = {held: target if held == "value_ints" else tensor}
    nodes = [node("Constant", [], ["s"], "s", **value), layer] if held else [layer]
    before = one(*nodes, shape=source, out=out, inits=[] if held else [tensor])
    assert_stacks(before, batched(before), [models.feeds(before, k) for k in range(3)], {"x": 0})


OTHERS = [
    pytest.param(one(node("Expand", ["x", "s"], ["y"], "e"), shape=[2, 1], out=[2, 3], inits=[models.ints("s", 2, 3)]),
                 id="Expand"),
    pytest.param(one(node("Slice", ["x", "a", "b"], ["y"], "s"), shape=[2, 4], out=[2, 3],
                     inits=[models.ints("a", 0, 1), models.ints("b", 2, 4)]), id="Slice to the old end"),
    pytest.param(one(node("Resize", ["x", "", "", "s"], ["y"], "r"), shape=[1, 2, 3, 3], out=[1, 2, 6, 6],
                     inits=[models.ints("s", 1, 2, 6, 6)]), id="Resize to sizes"),
    pytest.param(one(node("Tile", ["x", "s"], ["y"], "t"), shape=[1, 2], out=[1, 4], inits=[models.ints("s", 1, 2)]),
                 id="Tile"),
]  # fmt: skip


@pytest.mark.parametrize("before", OTHERS)
def test_constants_of_other_operators(before: ModelProto) -> None:
    assert_stacks(before, batched(before), [models.feeds(before, k) for k in range(3)], {"x": 0})


def test_a_number_that_is_not_the_batch_stays() -> None:
    """Reshape [3,16] to [48] of a constant that happens to have the batch's number."""
    nodes = [node("Reshape", ["k", "s"], ["f"], "r"), node("Add", ["x", "f"], ["y"], "a")]
    before = one(*nodes, shape=[3, 6], out=[3, 6], inits=[models.weights("k", 2, 3), models.ints("s", 1, 6)])
    after = batched(before)
    assert_stacks(before, after, [models.feeds(before, k) for k in range(2)], {"x": 0})
    (target,) = [t for t in after.graph.initializer if t.name == "s"]
    np.testing.assert_array_equal(numpy_helper.to_array(target), [1, 6])


def test_a_shape_as_output_is_not_batched() -> None:
    before = models.model([node("Shape", ["x"], ["y"], "s")], [info("x", F, [1, 3, 5])], [info("y", I64, [3])])
    after = batched(before)
    assert shape(after.graph.output[0]) == [3]
    np.testing.assert_array_equal(models.run(after, {"x": np.zeros((4, 3, 5), np.float32)})["y"], [4, 3, 5])


def lstm(state: Any) -> ModelProto:
    """x[time,batch,2] with initial states of zeros, or given as an input."""
    names = ["x", "w", "r", "", "", "h", "h"]
    inits = [models.weights("w", 1, 12, 2), models.weights("r", 1, 12, 3)]
    inputs = [info("x", F, [5, 1, 2])]
    if state is None:
        inputs.append(info("h", F, [1, 1, 3]))
    else:
        inits.append(numpy_helper.from_array(state, "h"))
    layer = node("LSTM", names, ["y"], "lstm", hidden_size=3)
    return models.model([layer], inputs, [info("y", F, [5, 1, 1, 3])], inits)


def test_a_batch_axis_per_input() -> None:
    before = lstm(None)
    after = batched(before, input_names=["x:1", "h:1"])
    assert [shape(v) for v in after.graph.input] == [[5, "N", 2], [1, "N", 3]]
    assert shape(after.graph.output[0]) == [5, 1, "N", 3]
    assert_stacks(before, after, [models.feeds(before, k) for k in range(3)], {"x": 1, "h": 1}, out_axis=2)


def test_an_initial_state_of_zeros_goes() -> None:
    before = lstm(np.zeros((1, 1, 3), np.float32))
    after = batched(before, axis=1)
    assert_stacks(before, after, [models.feeds(before, k) for k in range(3)], {"x": 1}, out_axis=2)


def test_another_initial_state_is_an_error() -> None:
    with pytest.raises(ToolError, match=r"the old batch size is fixed in the graph.*LSTM 'lstm' \(h\)"):
        batched(lstm(np.ones((1, 1, 3), np.float32)), axis=1)


def test_an_input_of_another_size_stays() -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"], "m")]
    before = models.model(nodes, [info("x", F, [1, 4]), info("w", F, [4, 2])], [info("y", F, [1, 2])])
    after = batched(before)
    assert [shape(v) for v in after.graph.input] == [["N", 4], [4, 2]]


def test_functions_stay() -> None:
    after = batched(models.build("func"))
    assert [f.name for f in after.functions] == ["NegSquare"] and shape(after.graph.output[0]) == ["N", 3]


def test_before_ir_4_every_initializer_is_an_input() -> None:
    layer = node("Reshape", ["x", "s"], ["y"], "r")
    before = one(layer, shape=[1, 4], out=[1, 4], inits=[models.ints("s", 1, 4)], opset=8)
    before.ir_version = 3
    before.graph.input.append(info("s", I64, [2]))
    after = batched(before, input_names=["x"])
    assert {t.name for t in after.graph.initializer} < {v.name for v in after.graph.input}


WRONG = [
    pytest.param(["-ics", "0"], "'0' is neither a name nor a size", id="zero"),
    pytest.param(["-ics", "N", "--inputs", "X"], "no graph input 'X'; nearest: 'x'", id="input"),
    pytest.param(["-ics", "N", "--inputs", "x:7"], "x [6, 3] has no axis 7", id="axis"),
    pytest.param(["-ics", "N", "--axis", "5"], "no input has an axis 5", id="--axis"),
    pytest.param(["-ics", "N"], "", id="Split of the batch"),
]


@pytest.mark.parametrize(("words", "what"), WRONG)
def test_wrong_requests_write_nothing(words: list[str], what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "splitm")
    result = cli("sbi4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == ["splitm.onnx"]


def test_different_sizes_are_no_batch() -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"], "m")]
    before = models.model(nodes, [info("x", F, [1, 4]), info("w", F, [4, 2])], [info("y", F, [1, 2])])
    with pytest.raises(ToolError, match="one batch, and several sizes: x 1, w 4"):
        batched(before, input_names=["x", "w"])


def picks(kind: str) -> ModelProto:
    """Models whose number of rows depends on the data; one of the columns is the sample's."""
    if kind == "NonZero":
        return models.model([node("NonZero", ["b"], ["y"])], [info("b", F, [1, 6])], [info("y", I64, [2, "M"])])
    most = numpy_helper.from_array(np.array([3]), "most")
    iou = numpy_helper.from_array(np.array([0.5], np.float32), "iou")
    made = node("NonMaxSuppression", ["b", "s", "most", "iou"], ["y"], "nms")
    ends = [info("b", F, [1, 6, 4]), info("s", F, [1, 2, 6])]
    return models.model([made], ends, [info("y", I64, ["M", 3])], [most, iou])


@pytest.mark.parametrize("kind", ["NonZero", "NonMaxSuppression"])
@pytest.mark.parametrize("text", ["N", "4"])
def test_rows_that_depend_on_the_data(kind: str, text: str) -> None:
    before = picks(kind)
    after = batched(before, text)
    assert shape(after.graph.output[0]) == shape(before.graph.output[0])
    given, axis = [models.feeds(before, seed) for seed in range(4)], int(kind == "NonZero")
    for k, feeds in enumerate(given if kind == "NonZero" else ()):
        feeds["b"][0, :k] = 0
    single = [next(iter(models.run(before, g).values())) for g in given]
    for k, rows in enumerate(single):
        np.moveaxis(rows, axis, 0)[:, 0] += k
    got = models.run(after, {n: np.concatenate([g[n] for g in given]) for n in given[0]})
    np.testing.assert_array_equal(got["y"], np.concatenate(single, axis))


def test_what_is_there_once_is_repeated() -> None:
    """The class token of a transformer, as exported: a constant, and one that an Expand of the old batch made."""
    token = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(1, 1, 4), "token")
    sizes = numpy_helper.from_array(np.array([1, 1, 4]), "sizes")
    nodes = [
        node("Expand", ["token", "sizes"], ["t"], "expand"),
        node("Concat", ["t", "x", "token"], ["y"], "cat", axis=1),
    ]
    before = one(*nodes, shape=[1, 2, 4], out=[1, 4, 4], inits=[token, sizes])
    after = batched(before)
    assert shape(after.graph.output[0]) == ["N", 4, 4]
    assert_stacks(before, after, [models.feeds(before, seed) for seed in range(3)], {"x": 0})


def test_the_batch_is_where_its_name_is() -> None:
    nodes = [node("Transpose", ["s"], ["t"], perm=[1, 0, 2]), node("Add", ["x", "t"], ["y"])]
    ends = [info("x", F, ["batch", 1, 3]), info("s", F, [1, "batch", 3])]
    after = batched(models.model(nodes, ends, [info("y", F, ["batch", 1, 3])]))
    assert [shape(v) for v in after.graph.input] == [["N", 1, 3], [1, "N", 3]]
