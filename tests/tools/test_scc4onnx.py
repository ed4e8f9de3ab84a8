"""scc4onnx: the model computes what it did, from inputs in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.scc4onnx import order_conversion

from . import models
from .cli import Cli, cli, listing
from .models import BOOL, F, info, node

__all__ = ["cli"]

NHWC = [0, 2, 3, 1]


def ordered(before: ModelProto, *orders: Any, **options: Any) -> ModelProto:
    after = order_conversion(*orders, **{"onnx_graph": before, "non_verbose": True} | options)
    onnx.checker.check_model(after, full_check=True)
    return after


def shape(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def ops(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def image(*nodes: onnx.NodeProto, inits: Any = (), opset: int = 17) -> ModelProto:
    """x[1,3,4,5] -> y, of any shape."""
    made = models.model(list(nodes), [info("x", F, [1, 3, 4, 5])], [info("y", F, [None] * 4)], inits, opset=opset)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    made.graph.output[0].CopyFrom(found.graph.output[0])
    return made


# --- axes ------------------------------------------------------------------------------------------------------------


def test_the_known_command(cli: Cli, tmp_path: Path) -> None:
    """An NCHW RGB model takes NHWC BGR."""
    (source,) = models.write(tmp_path, "cnn")
    result = cli("scc4onnx", "-if", source, "-of", tmp_path / "o.onnx", "-ioo", "x", "[0,2,3,1]", "-cci", "x", 1)
    assert result.code == 0, result.err
    after = onnx.load(tmp_path / "o.onnx")
    assert shape(after.graph.input[0]) == [1, 16, 16, 3]
    assert models.describe(after).startswith("x | input_order_convert_transpose_0:Transpose(x)->transpose_out_x conv0:")
    x = models.feeds(models.build("cnn"))["x"]
    got = models.run(after, {"x": x[:, ::-1].transpose(NHWC)})
    models.assert_same(got, models.run(source, {"x": x}))


@pytest.mark.parametrize(
    "name", ["cnn", "multiuse", "convbn", "branch", "sharedk", "scalarin", "topk", "clip", "ln17", "loopm"]
)
def test_axes_of_the_first_input(name: str) -> None:
    before = models.build(name)
    given = models.feeds(before)
    first = next(iter(given))
    perm = list(range(given[first].ndim))[::-1]
    after = ordered(before, {first: perm})
    assert ops(after).count("Transpose") == 1
    models.assert_same(models.run(after, given | {first: given[first].transpose(perm)}), models.run(before, given))


REAL = (
    "mnist_8",
    "yunet_n_dynamic",
    "super_resolution_espcn",
    "vittrack",
    "nhwc_input.ts17",
    "vit.dynamo",
    "unet.ts13",
)


@pytest.mark.parametrize("path", models.real(*REAL))
def test_real_models(path: Path, tmp_path: Path) -> None:
    """Every image input in another order, with its channels reversed where there are three of them."""
    given = models.real_feeds(path)
    orders = {n: NHWC for n, a in given.items() if a.ndim == 4}
    swaps = {n: 1 for n in orders if given[n].shape[1] == 3}
    order_conversion(orders, swaps, str(path), str(tmp_path / "o.onnx"), non_verbose=True)
    fed = {n: a[:, ::-1] if n in swaps else a for n, a in given.items()}
    fed = {n: np.ascontiguousarray(a.transpose(orders[n])) for n, a in fed.items()}
    models.assert_same(models.run(tmp_path / "o.onnx", fed), models.run(path, given), rtol=1e-3)


def test_dynamic_dimensions_move_too() -> None:
    before = models.build("resizedyn")
    after = ordered(before, {"x": NHWC})
    assert shape(after.graph.input[0]) == ["N", 4, 4, 3]


def test_a_body_reads_the_input() -> None:
    before = models.build("ifm")
    for attribute in before.graph.node[1].attribute:
        attribute.g.node[0].input[0] = "x"
    after = ordered(before, {"x": [1, 0]})
    given = models.feeds(before)
    for taken in (True, False):
        fed = given | {"c": np.array(taken)}
        models.assert_same(models.run(after, fed | {"x": given["x"].T}), models.run(before, fed))


def test_transposes_behind_the_input_vanish() -> None:
    """Two of them: one is undone, one is composed."""
    before = models.model(
        [
            node("Transpose", ["x"], ["a"], "to_nhwc", perm=NHWC),
            node("Transpose", ["x"], ["b"], "to_hwnc", perm=[2, 3, 0, 1]),
            node("Relu", ["a"], ["y"], "relu"),
            node("Neg", ["b"], ["z"], "neg"),
        ],
        [info("x", F, [1, 3, 4, 5])], [info("y", F, [1, 4, 5, 3]), info("z", F, [4, 5, 1, 3])],
    )  # fmt: skip
    after = ordered(before, {"x": NHWC})
    assert models.describe(after) == "x | to_hwnc:Transpose(x)->b relu:Relu(x)->y neg:Neg(b)->z | y z"
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x.transpose(NHWC)}), models.run(before, {"x": x}))


def test_a_transpose_that_makes_an_output_stays() -> None:
    before = image(node("Transpose", ["x"], ["y"], "t", perm=NHWC))
    after = ordered(before, {"x": NHWC})
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x.transpose(NHWC)}), {"y": x.transpose(NHWC)})


def test_outputs() -> None:
    """An output that other nodes read as well."""
    before = models.model(
        [node("Relu", ["x"], ["y"], "relu"), node("Neg", ["y"], ["z"], "neg")],
        [info("x", F, [1, 3, 4, 5])], [info("y", F, [1, 3, 4, 5]), info("z", F, [1, 3, 4, 5])],
    )  # fmt: skip
    after = ordered(before, output_orders={"y": NHWC})
    x = models.feeds(before)["x"]
    assert [shape(v) for v in after.graph.output] == [[1, 4, 5, 3], [1, 3, 4, 5]]
    relu = np.maximum(x, 0)
    models.assert_same(models.run(after, {"x": x}), {"y": relu.transpose(NHWC), "z": -relu})


def test_one_input_turned_another_reversed() -> None:
    nodes = [node("Relu", ["a"], ["y"], "ra"), node("Neg", ["b"], ["z"], "nb")]
    before = models.model(
        nodes, [info("a", F, [1, 3, 4, 5]), info("b", F, [1, 3, 4, 5])],
        [info("y", F, [1, 3, 4, 5]), info("z", F, [1, 3, 4, 5])],
    )  # fmt: skip
    after = ordered(before, {"a": NHWC}, {"b": 1})
    given = models.feeds(before)
    fed = {"a": given["a"].transpose(NHWC), "b": given["b"][:, ::-1]}
    models.assert_same(models.run(after, fed), models.run(before, given))


# --- channels --------------------------------------------------------------------------------------------------------

W, MEAN, STD = models.weights("w", 2, 3, 3, 3), models.weights("mean", 1, 3, 1, 1), models.weights("std", 3, 1, 1)
SCALE = numpy_helper.from_array(np.array(2, np.float32), "scale")
CONV = node("Conv", ["x", "w"], ["y"], "conv")
NORMALISED = [
    node("Sub", ["x", "mean"], ["a"], "sub"), node("Div", ["a", "std"], ["b"], "div"),
    node("Mul", ["scale", "b"], ["c"], "mul"), node("Conv", ["c", "w"], ["y"], "conv"),
]  # fmt: skip
FOLDED = [
    pytest.param(image(CONV, inits=[W]), True, id="convolution"),
    pytest.param(image(*NORMALISED, inits=[W, MEAN, STD, SCALE]), True, id="means and factors before it"),
    pytest.param(image(node("Constant", [], ["w"], "w", value=W), CONV), True, id="weights in a Constant node"),
    pytest.param(image(CONV, node("Relu", ["x"], ["r"], "r"), inits=[W]), False, id="another reader"),
    pytest.param(image(node("Conv", ["x", "w3"], ["y"], "conv", group=3), inits=[models.weights("w3", 3, 1, 3, 3)]),
                 False, id="depthwise"),
    pytest.param(image(node("Relu", ["x"], ["r"], "r"), node("Conv", ["r", "w"], ["y"], "conv"), inits=[W]), False,
                 id="not linear before it"),
    pytest.param(image(node("Mul", ["x", "wide"], ["m"], "mul"), node("Conv", ["m", "w"], ["y"], "conv"),
                       inits=[W, models.weights("wide", 3, 4, 5)]), False, id="factor per pixel"),
    pytest.param(image(node("Mul", ["x", "x"], ["m"], "mul"), node("Conv", ["m", "w"], ["y"], "conv"), inits=[W]),
                 False, id="squared"),
]  # fmt: skip


@pytest.mark.parametrize("fold", [True, False], ids=["fold", "no fold"])
@pytest.mark.parametrize(("before", "exact"), FOLDED)
def test_channels_are_reversed_once(before: ModelProto, exact: bool, fold: bool) -> None:
    after = ordered(before, channel_change_inputs={"x": 1}, fold=fold)
    assert ("Gather" not in ops(after)) == (exact and fold)
    assert ops(after).count("Gather") <= 1
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x[:, ::-1]}), models.run(before, {"x": x}))


def test_two_readers_share_one_gather() -> None:
    nodes = [
        node("Relu", ["x"], ["r"], "relu"),
        node("Neg", ["x"], ["n"], "neg"),
        node("Add", ["r", "n"], ["y"], "add"),
    ]
    before = image(*nodes)
    after = ordered(before, channel_change_inputs={"x": 1})
    assert ops(after) == ["Gather", "Relu", "Neg", "Add"]
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x[:, ::-1]}), models.run(before, {"x": x}))


def test_weights_that_others_read_are_copied() -> None:
    nodes = [CONV, node("Conv", ["z", "w"], ["v"], "other")]
    before = models.model(
        nodes, [info("x", F, [1, 3, 4, 5]), info("z", F, [1, 3, 4, 5])],
        [info("y", F, [1, 2, 2, 3]), info("v", F, [1, 2, 2, 3])], [W],
    )  # fmt: skip
    after = ordered(before, channel_change_inputs={"x": 1})
    given = models.feeds(before)
    models.assert_same(models.run(after, given | {"x": given["x"][:, ::-1]}), models.run(before, given))


def test_channels_in_another_place_and_order() -> None:
    before = models.model([node("Relu", ["x"], ["y"], "r")], [info("x", F, [1, 2, 4])], [info("y", F, [1, 2, 4])])
    after = ordered(before, channel_change_inputs={"x": 2}, channels=[2, 1, 0, 3])
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x[:, :, [2, 1, 0, 3]]}), {"y": np.maximum(x, 0)})


def test_the_axis_is_that_of_the_old_layout() -> None:
    before = image(node("Relu", ["x"], ["y"], "relu"))
    after = ordered(before, {"x": NHWC}, {"x": 1})
    x = models.feeds(before)["x"]
    models.assert_same(models.run(after, {"x": x.transpose(NHWC)[..., ::-1]}), {"y": np.maximum(x, 0)})


# --- normalisation ---------------------------------------------------------------------------------------------------


BOTH = {"input_op_names_and_order_dims": {"x": NHWC}, "channel_change_inputs": {"x": 1}}


@pytest.mark.parametrize("more", [{}, BOTH], ids=["alone", "with order and channels"])
def test_normalisation(more: dict[str, Any]) -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    before = models.build("cnn")
    after = ordered(before, normalize={"x": (mean, std)}, **more)
    raw = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
    x = (raw / 255 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    fed = raw[:, ::-1].transpose(NHWC) if more else raw
    models.assert_same(models.run(after, {"x": fed}), models.run(before, {"x": x.astype(np.float32)}), rtol=1e-4)


def test_before_ir_4_every_initializer_is_an_input() -> None:
    before = image(node("Relu", ["x"], ["y"], "relu"), opset=8)
    before.ir_version = 3
    after = ordered(before, channel_change_inputs={"x": 1}, normalize={"x": ([0.5] * 3, [0.5] * 3)})
    assert {t.name for t in after.graph.initializer} < {v.name for v in after.graph.input}


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG = [
    pytest.param([], "nothing asked for: give -ioo, -cci", id="nothing"),
    pytest.param(["-ioo", "X", "[0,2,3,1]"], "no graph input 'X'; nearest: 'x'", id="input"),
    pytest.param(["-cci", "in", "1"], "no graph input 'in'", id="input of -cci"),
    pytest.param(["-oo", "z", "[1,0]"], "-oo: no graph output 'z'; nearest: 'y'", id="output"),
    pytest.param(["-ioo", "x", "[0,1,2]"], "is not an order of the 4 axes of 'x'", id="too short"),
    pytest.param(["-ioo", "x", "[0,1,2,2]"], "is not an order of the 4 axes of 'x'", id="twice"),
    pytest.param(["-cci", "x", "2"], "axis 2 of 'x' [1, 3, 16, 16] does not have 3 channels", id="not three"),
    pytest.param(["-cci", "x", "4"], "axis 4 of 'x'", id="no such axis"),
    pytest.param(["--normalize", "x", "[0.5]", "[0.5]"], "axis 1 of 'x' [1, 3, 16, 16] does not have 1 channels",
                 id="means"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "what"), WRONG)
def test_wrong_requests_write_nothing(words: list[str], what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("scc4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == ["cnn.onnx"]


def test_a_channel_axis_has_to_be_known() -> None:
    before = models.model(
        [node("Relu", ["x"], ["y"], "r")], [info("x", F, [1, "C", 4, 5])], [info("y", F, [1, "C", 4, 5])]
    )
    with pytest.raises(ToolError, match=r"axis 1 of 'x'.*does not have 3 channels"):
        ordered(before, channel_change_inputs={"x": 1})


def test_an_input_that_is_an_output_cannot_be_both() -> None:
    c, y = info("c", BOOL, [1, 2]), info("y", BOOL, [1, 2])
    graph = helper.make_graph([node("Not", ["c"], ["y"], "n")], "g", [c], [c, y])
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ToolError, match="'c' is an output of the model, too"):
        ordered(before, {"c": [1, 0]})


def test_whole_numbers_cannot_be_normalised() -> None:
    kind = TensorProto.UINT8
    before = models.model([node("Identity", ["x"], ["y"], "i")], [info("x", kind, [1, 3])], [info("y", kind, [1, 3])])
    with pytest.raises(ToolError, match="'x' is uint8; only a float"):
        ordered(before, normalize={"x": ([0.5] * 3, [0.5] * 3)})
