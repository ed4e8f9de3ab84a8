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
    "attention": (
        "g (float[1,2,4,8] x) => (float[1,2,4,4] y) { t = Transpose <perm = [0,1,3,2]> (x) m = MatMul(x, t)"
        " y = Softmax(m) }",
        (1, 2, 4, 8),
        (1, 2, 4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, given, gives", [*IMAGES.values(), *PLAIN.values()], ids=[*IMAGES, *PLAIN])
def test_the_rule(text: str, given: tuple[int, ...], gives: tuple[int, ...]) -> None:
    assert list(stored(text).values()) == [given, gives]


@pytest.mark.parametrize("text, given, gives", [*IMAGES.values(), *PLAIN.values()], ids=[*IMAGES, *PLAIN])
def test_nothing_moves_where_that_is_asked_for(text: str, given: tuple[int, ...], gives: tuple[int, ...]) -> None:
    graph = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}').graph
    shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in [*graph.input, *graph.output]]
    assert list(stored(text, io_layout="onnx").values()) == shapes


@pytest.mark.parametrize("case", PLAIN)
def test_every_input_is_moved_where_that_is_asked_for(case: str) -> None:
    text, _, gives = PLAIN[case]
    graph = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}').graph
    (name,) = [v.name for v in graph.input]
    batch, channels, *space = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert list(stored(text, io_layout="channels-last").values()) == [(batch, *space, channels), gives]
    kept = stored(text, io_layout="channels-last", keep_ncw_or_nchw_or_ncdhw_input_names=[name])
    assert kept[name] == (batch, channels, *space)


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
