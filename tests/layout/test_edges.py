"""How inputs and outputs are stored: images channels-last, everything else as in ONNX, whatever lies between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from onnx2tf_lite import convert
from tests.harness import check_model


def stored(text: str, **options: object) -> dict[str, tuple[object, ...]]:
    """The stored shape of every input and output of a model in ONNX's text form, which must be converted rightly."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    onnx.checker.check_model(model)
    result = convert(onnx_graph=model, disable_model_save=True, outputs=("float32",), non_verbose=True, **options)
    assert result.exit_code == 0
    return {end.name: end.shape for end in [*result.inputs, *result.outputs]}


def conv(channels: int, made: int = 2) -> str:
    """A convolution of x to c; its weights are in the scope of the graph."""
    values = ", ".join(f"{v:.2f}" for v in np.random.default_rng(0).standard_normal(made * channels * 9))
    return f"w = Constant <value = float[{made},{channels},3,3] {{{values}}}> () c = Conv <pads = [1,1,1,1]> (x, w)"


IMAGES = {
    "convolution": (f"g (float[1,3,8,6] x) => (float[1,2,8,6] c) {{ {conv(3)} }}", (1, 8, 6, 3), (1, 8, 6, 2)),
    "grey picture": (f"g (float[1,1,8,6] x) => (float[1,1,8,6] c) {{ {conv(1, 1)} }}", (1, 8, 6, 1), (1, 8, 6, 1)),
    "square of three": (f"g (float[1,3,3,3] x) => (float[1,2,3,3] c) {{ {conv(3)} }}", (1, 3, 3, 3), (1, 3, 3, 2)),
    "through arithmetic": (
        f"g (float[1,3,8,6] i) => (float[1,2,8,6] y) {{ two = Constant <value = float {{2.0}}> ()"
        f" x = Div(i, two) {conv(3)} y = Sigmoid(c) }}",
        (1, 8, 6, 3),
        (1, 8, 6, 2),
    ),
    "pooled to one pixel": (
        "g (float[1,3,8,6] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }",
        (1, 8, 6, 3),
        (1, 1, 1, 3),
    ),
    "cubic resizing": (
        "g (float[1,3,8,6] x) => (float[1,3,16,12] y) { s = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()"
        ' y = Resize <mode = "cubic"> (x, , s) }',
        (1, 8, 6, 3),
        (1, 16, 12, 3),
    ),
    "pooled in three dimensions": (
        "g (float[1,3,4,8,6] x) => (float[1,3,2,4,3] y)"
        " { y = MaxPool <kernel_shape = [2,2,2], strides = [2,2,2]> (x) }",
        (1, 4, 8, 6, 3),
        (1, 2, 4, 3, 3),
    ),
    "channels reduced and kept": (
        f"g (float[1,3,8,6] x) => (int64[1,1,8,6] y) {{ {conv(3)} y = ArgMax <axis = 1, keepdims = 1> (c) }}",
        (1, 8, 6, 3),
        (1, 8, 6, 1),
    ),
    "a channel picked and put back": (
        f"g (float[1,3,8,6] x) => (float[1,1,8,6] y) {{ {conv(3)} i = Constant <value = int64 {{1}}> ()"
        " a = Constant <value = int64[1] {1}> () p = Gather <axis = 1> (c, i) y = Unsqueeze(p, a) }",
        (1, 8, 6, 3),
        (1, 8, 6, 1),
    ),
    "made grey before it is convolved": (
        f"g (float[1,5,8,6] i) => (float[1,2,8,6] c) {{ k = Constant <value = int64 {{1}}> ()"
        f" a = Constant <value = int64[1] {{1}}> () p = Gather <axis = 1> (i, k) x = Unsqueeze(p, a) {conv(1)} }}",
        (1, 8, 6, 5),
        (1, 8, 6, 2),
    ),
    "an operator with kernels in one order alone": (
        f"g (float[1,3,8,6] x) => (float[1,2,8,6] y) {{ {conv(3)} y = Hardmax <axis = 1> (c) }}",
        (1, 8, 6, 3),
        (1, 8, 6, 2),
    ),
    "an operator that normalises the last axis": (
        f"g (float[1,3,8,6] x) => (float[1,2,8,6] y) {{ {conv(3)} y = Softmax <axis = -1> (c) }}",
        (1, 8, 6, 3),
        (1, 8, 6, 2),
    ),
    "arithmetic alone": ("g (float[1,3,8,6] x) => (float[1,3,8,6] y) { y = Sigmoid(x) }", (1, 8, 6, 3), (1, 8, 6, 3)),
    "flattened": (
        "g (float[2,1,8,6] x) => (float[2,48] y) { f = Flatten(x) y = Relu(f) }",
        (2, 8, 6, 1),
        (2, 48),
    ),
    "cut into patches": (
        "g (float[1,3,8,6] x) => (float[1,12,12] y) { s = Constant <value = int64[6] {1,3,4,2,3,2}> ()"
        " t = Constant <value = int64[3] {1,12,12}> () p = Reshape(x, s)"
        " q = Transpose <perm = [0,2,4,3,5,1]> (p) y = Reshape(q, t) }",
        (1, 8, 6, 3),
        (1, 12, 12),
    ),
}  # fmt: skip

PLAIN = {
    "a detector's boxes": (
        f"g (float[1,3,8,6] x) => (float[1,2,48] y) {{ {conv(3)} s = Constant <value = int64[3] {{0, 2, -1}}> ()"
        " y = Reshape(c, s) }",
        (1, 8, 6, 3),
        (1, 2, 48),
    ),
    "a signal": (
        "g (float[1,3,8] x) => (float[1,3,4] y) { y = MaxPool <kernel_shape = [2], strides = [2]> (x) }",
        (1, 3, 8),
        (1, 3, 4),
    ),
    "channels-last already": (
        f"g (float[1,8,6,3] i) => (float[1,8,6,2] y) {{ x = Transpose <perm = [0,3,1,2]> (i) {conv(3)}"
        " y = Transpose <perm = [0,2,3,1]> (c) }",
        (1, 8, 6, 3),
        (1, 8, 6, 2),
    ),
    "resized channels-last": (
        "g (float[1,8,6,3] x) => (float[1,16,12,3] y) { s = Constant <value = float[4] {1.0, 2.0, 2.0, 1.0}> ()"
        ' y = Resize <mode = "linear"> (x, , s) }',
        (1, 8, 6, 3),
        (1, 16, 12, 3),
    ),
    "anchors behind the pixels": (
        f"g (float[1,3,8,6] x) => (float[1,1,8,6,2] y) {{ {conv(3)} s = Constant <value = int64[5] {{1,1,2,8,6}}> ()"
        " r = Reshape(c, s) y = Transpose <perm = [0,1,3,4,2]> (r) }",
        (1, 8, 6, 3),
        (1, 1, 8, 6, 2),
    ),
    "channels-last and flattened": (
        "g (float[1,8,6,3] x) => (float[1,144] y) { f = Flatten(x) y = Relu(f) }",
        (1, 8, 6, 3),
        (1, 144),
    ),
    "a cache of four heads, each used twice": (
        "g (float[1,4,5,8] x) => (float[1,8,5,5] y) { a = Constant <value = int64[1] {2}> ()"
        " s = Constant <value = int64[5] {1,4,2,5,8}> () t = Constant <value = int64[4] {1,8,5,8}> ()"
        " u = Unsqueeze(x, a) e = Expand(u, s) k = Reshape(e, t) q = Transpose <perm = [0,1,3,2]> (k)"
        " y = MatMul(k, q) }",
        (1, 4, 5, 8),
        (1, 8, 5, 5),
    ),
    "a cache of four heads that grows": (
        "g (float[1,4,5,8] x) => (float[1,4,6,8] y) { n = Constant <value = float[1,4,1,8] {"
        + ", ".join(["0.5"] * 32)
        + "}> () y = Concat <axis = 2> (x, n) }",
        (1, 4, 5, 8),
        (1, 4, 6, 8),
    ),
    "larger integers": (
        "g (int64[1,3,4,5] x) => (int64[1,3,4,5] y) { y = Neg(x) }",
        (1, 3, 4, 5),
        (1, 3, 4, 5),
    ),
    "anchors of a head": (
        f"g (float[1,3,8,6] x) => (float[1,3,8,6,2] y) {{ {conv(3, 6)} s = Constant <value = int64[5] {{1,3,2,8,6}}> ()"
        " r = Reshape(c, s) y = Transpose <perm = [0,1,3,4,2]> (r) }",
        (1, 8, 6, 3),
        (1, 3, 8, 6, 2),
    ),
    "attention": (
        "g (float[1,2,4,8] x) => (float[1,2,4,4] y) { t = Transpose <perm = [0,1,3,2]> (x) m = MatMul(x, t)"
        " y = Softmax(m) }",
        (1, 2, 4, 8),
        (1, 2, 4, 4),
    ),
}  # fmt: skip


def test_what_meets_an_input_that_is_no_picture_is_none() -> None:
    """A table of one head beside the tokens that are turned by it; what is made of both lies as both do."""
    text = "g (float[1,1,6,4] cos, float[1,2,6,4] q) => (float[1,2,6,4] y) { y = Mul(q, cos) }"
    assert stored(text) == {"cos": (1, 1, 6, 4), "q": (1, 2, 6, 4), "y": (1, 2, 6, 4)}


def test_all_results_of_a_node_lie_alike() -> None:
    text = (
        "g (float[1,3,8,6] x) => (float[1,3,8,2] y, int64[1,3,8,2] i) { k = Constant <value = int64[1] {2}> ()"
        " y, i = TopK <axis = 3> (x, k) }"
    )
    assert stored(text) == {"x": (1, 8, 6, 3), "y": (1, 8, 2, 3), "i": (1, 8, 2, 3)}


@pytest.mark.parametrize("text, given, gives", [*IMAGES.values(), *PLAIN.values()], ids=[*IMAGES, *PLAIN])
def test_the_rule(text: str, given: tuple[int, ...], gives: tuple[int, ...]) -> None:
    assert list(stored(text).values()) == [given, gives]


@pytest.mark.parametrize("text, given, gives", [*IMAGES.values(), *PLAIN.values()], ids=[*IMAGES, *PLAIN])
def test_nothing_moves_where_that_is_asked_for(text: str, given: tuple[int, ...], gives: tuple[int, ...]) -> None:
    graph = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}').graph
    shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in [*graph.input, *graph.output]]
    assert list(stored(text, io_layout="onnx").values()) == shapes


@pytest.mark.parametrize("text, given, gives", IMAGES.values(), ids=IMAGES)
def test_images_are_images_under_the_rule_of_onnx2tf(text: str, given: tuple[int, ...], gives: tuple[int, ...]) -> None:
    assert list(stored(text, io_layout="channels-last").values()) == [given, gives]


#: Outputs of what is no image, where its input is moved all the same: those whose axes are the input's follow it.
FOLLOWING = {
    "a signal": (1, 4, 3),
    "resized channels-last": (1, 12, 3, 16),
    "a cache of four heads that grows": (1, 6, 8, 4),
    "larger integers": (1, 4, 5, 3),
}


@pytest.mark.parametrize("case", PLAIN)
def test_every_input_is_moved_where_that_is_asked_for(case: str) -> None:
    text, _, gives = PLAIN[case]
    gives = FOLLOWING.get(case, gives)
    graph = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}').graph
    (name,) = [v.name for v in graph.input]
    batch, channels, *space = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert list(stored(text, io_layout="channels-last").values()) == [(batch, *space, channels), gives]
    kept = stored(text, io_layout="channels-last", keep_ncw_or_nchw_or_ncdhw_input_names=[name])
    assert kept[name] == (batch, channels, *space)


def test_what_is_pinned_is_not_followed() -> None:
    text, *_ = IMAGES["arithmetic alone"]
    assert stored(text, keep_shape_absolutely_input_names=["x"]) == {"x": (1, 3, 8, 6), "y": (1, 3, 8, 6)}
    signal = "g (float[1,3,8,6,4] x) => (float[1,3,8,6,4] y) { y = Relu(x) }"
    assert stored(signal) == {"x": (1, 3, 8, 6, 4), "y": (1, 3, 8, 6, 4)}
    assert stored(signal, channels_last_names=["x"]) == {"x": (1, 8, 6, 4, 3), "y": (1, 8, 6, 4, 3)}


def test_what_lies_inside_does_not_decide() -> None:
    """The same edges of a model to which operations that want ONNX's order are added."""
    plain = f"g (float[1,3,8,6] x) => (float[1,2,8,6] c) {{ {conv(3)} }}"
    flat = (
        f"g (float[1,3,8,6] x) => (float[1,2,8,6] c, float[1,144] y) {{ {conv(3)}"
        " s = Constant <value = int64[2] {1, 144}> () y = Reshape(x, s) }"
    )
    assert stored(flat).items() >= stored(plain).items()


def test_a_grey_picture_takes_test_data_in_either_order() -> None:
    text = IMAGES["grey picture"][0]
    for shape in ((1, 8, 6, 1), (1, 1, 8, 6)):
        stored(text, test_data={"x": np.ones(shape, np.float32)})


def test_a_plain_cnn_has_no_transpose() -> None:
    text, *_ = IMAGES["through arithmetic"]
    graph = check_model(parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}'))
    assert not [op for op in graph.ops if op.kind.name == "TRANSPOSE"]
