"""Convolutions against ONNX Runtime: 1-D to 3-D, pads, groups, dilation; static and dynamic extents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite import convert
from tests.harness import compile_model
from tests.op_handlers.nodes import check_node, node_model, normal, whole

DYNAMIC = {"static": (), "batch": (0,), "image": (0, (0, 2), (0, 3))}

# name -> (x, weights, attributes)
CONV = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    "pads": ((1, 3, 9, 8), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "uneven_pads": ((1, 3, 9, 8), (4, 3, 3, 5), {"pads": [0, 2, 1, 3], "strides": [2, 1]}),
    "same_upper": ((1, 3, 9, 8), (4, 3, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same_lower": ((1, 3, 9, 8), (4, 3, 3, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "valid": ((1, 3, 9, 8), (4, 3, 3, 3), {"auto_pad": "VALID"}),
    "dilated": ((1, 3, 13, 12), (4, 3, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "grouped": ((2, 6, 9, 8), (8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((2, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "multiplier": ((1, 3, 9, 8), (6, 1, 3, 2), {"group": 3}),
    "depthwise_dilated": ((1, 4, 12, 12), (4, 1, 3, 3), {"group": 4, "dilations": [2, 2]}),
    "one_channel_group": ((1, 1, 9, 8), (4, 1, 3, 3), {"group": 1}),
}


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("case", CONV)
def test_conv(case: str, dynamic: str, bias: bool) -> None:
    x, w, attrs = CONV[case]
    if bias and dynamic != "static":
        pytest.skip("bias does not depend on extents")
    inputs = [normal(*x), normal(*w, seed=1), *([normal(w[0], seed=2)] if bias else [])]
    graph = check_node("Conv", inputs, const=(1, 2), dynamic=DYNAMIC[dynamic], atol=1e-5, **attrs)
    assert not any(op.kind.name == "SPLIT" for op in graph.ops)


@pytest.mark.parametrize("case", ["uneven_pads", "dilated", "grouped", "multiplier"])
def test_conv_with_weights_given_at_run_time(case: str) -> None:
    x, w, attrs = CONV[case]
    check_node("Conv", [normal(*x), normal(*w, seed=1), normal(w[0], seed=2)], atol=1e-5, **attrs)


@pytest.mark.parametrize("case", ["uneven_pads", "same_lower", "dilated", "grouped", "multiplier"])
def test_conv_with_weights_of_unknown_extents(case: str) -> None:
    x, w, attrs = CONV[case]
    dynamic = [(i, axis) for i in (0, 1) for axis in range(4)]
    check_node("Conv", [normal(*x), normal(*w, seed=1)], dynamic=dynamic, atol=1e-5, **attrs)


CONV_1D_3D = {
    "1d": ((2, 3, 11), (4, 3, 3), {"pads": [1, 2], "strides": [2]}),
    "1d_same": ((2, 3, 11), (4, 3, 4), {"auto_pad": "SAME_LOWER"}),
    "1d_depthwise": ((2, 4, 11), (8, 1, 3), {"group": 4, "dilations": [2]}),
    "3d": ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"pads": [0, 1, 1, 1, 1, 1], "strides": [1, 2, 1]}),
    "3d_grouped": ((1, 4, 5, 6, 7), (6, 2, 3, 3, 3), {"group": 2}),
    "3d_dilated": ((1, 2, 7, 6, 7), (3, 2, 3, 3, 3), {"dilations": [2, 1, 2]}),
}


@pytest.mark.parametrize("dynamic", [(), (0, (0, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", CONV_1D_3D)
def test_conv_of_other_ranks(case: str, dynamic: tuple) -> None:
    x, w, attrs = CONV_1D_3D[case]
    inputs = [normal(*x), normal(*w, seed=1), normal(w[0], seed=2)]
    check_node("Conv", inputs, const=(1, 2), dynamic=dynamic, atol=1e-5, **attrs)


@pytest.mark.parametrize("padding", [{}, {"pads": [2, 1, 3, 2, 1, 3]}], ids=["valid", "same"])
def test_the_kernel_dilates_in_three_dimensions(padding: dict[str, list[int]]) -> None:
    """TFLite's; TensorFlow's has zeros between the weights instead."""
    inputs, attrs = [normal(1, 2, 9, 8, 9), normal(3, 2, 3, 3, 3, seed=1)], {"dilations": [2, 1, 3], **padding}
    graph = check_node("Conv", inputs, const=(1,), atol=1e-5, **attrs)
    (conv,) = [op for op in graph.ops if op.kind.name == "CONV_3D"]
    assert conv.attrs["dilations"] == (2, 1, 3) and conv.inputs[1].shape == (3, 3, 3, 2, 3)
    model = node_model("Conv", inputs, const=(1,), **attrs)
    (filled,) = [op for op in compile_model(model, branch="float").ops if op.kind.name == "CONV_3D"]
    assert filled.attrs["dilations"] == (1, 1, 1) and filled.inputs[1].shape == (5, 3, 7, 2, 3)
    assert np.count_nonzero(filled.inputs[1].data) == inputs[1].size
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    assert convert(onnx_graph=model, disable_model_save=True, outputs=["saved_model"], non_verbose=True).exit_code == 0


TRANSPOSED: dict[str, Any] = {
    "plain": ((1, 3, 5, 4), (3, 2, 3, 3), {}),
    "stride": ((2, 3, 5, 4), (3, 2, 3, 3), {"strides": [2, 2]}),
    "unet": ((1, 3, 5, 4), (3, 2, 2, 2), {"strides": [2, 2]}),
    "torch_same": ((1, 3, 5, 4), (3, 2, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "output_padding": ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "padding_beyond": ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 3], "output_padding": [2, 1]}),
    "uneven_pads": ((1, 3, 5, 4), (3, 2, 4, 3), {"strides": [3, 2], "pads": [0, 2, 1, 0]}),
    "kernel_below_stride": ((1, 3, 5, 4), (3, 2, 2, 1), {"strides": [3, 2]}),
    "output_shape": ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [14, 8]}),
    "output_shape_upper": ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [14, 8],
                                                              "auto_pad": "SAME_UPPER"}),
    "same_upper": ((1, 3, 5, 4), (3, 2, 4, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same_lower": ((1, 3, 5, 4), (3, 2, 4, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "dilated": ((1, 3, 5, 4), (3, 2, 3, 2), {"strides": [2, 1], "dilations": [2, 3]}),
    "grouped": ((1, 4, 5, 4), (4, 3, 3, 3), {"strides": [2, 2], "group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((2, 4, 5, 4), (4, 1, 4, 4), {"strides": [2, 2], "group": 4, "pads": [1, 1, 1, 1]}),
    "depthwise_more": ((1, 3, 5, 4), (3, 2, 3, 3), {"strides": [3, 2], "group": 3, "output_padding": [1, 0],
                                                          "dilations": [1, 2]}),
    "1d": ((2, 3, 6), (3, 2, 4), {"strides": [3], "pads": [1, 0]}),
    "3d": ((1, 2, 3, 4, 3), (2, 3, 3, 2, 2), {"strides": [2, 2, 1], "pads": [1, 0, 0, 1, 0, 0]}),
    "3d_grouped": ((1, 4, 3, 4, 3), (4, 3, 2, 2, 2), {"strides": [2, 2, 2], "group": 2}),
}  # fmt: skip


@pytest.mark.parametrize("dynamic", [(), (0, (0, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(case: str, dynamic: tuple) -> None:
    x, w, attrs = TRANSPOSED[case]
    if dynamic and "output_shape" in attrs:
        pytest.skip("output_shape fixes the extents")
    inputs = [normal(*x), normal(*w, seed=1), normal(w[1] * attrs.get("group", 1), seed=2)]
    check_node("ConvTranspose", inputs, const=(1, 2), dynamic=dynamic, atol=1e-5, **attrs)


@pytest.mark.parametrize("case", ["plain", "unet", "torch_same"])
def test_usual_transposed_convolutions_need_no_slice(case: str) -> None:
    x, w, attrs = TRANSPOSED[case]
    graph = check_node("ConvTranspose", [normal(*x), normal(*w, seed=1)], const=(1,), dynamic=(0, (0, 2)), **attrs)
    assert not any(op.kind.name in ("SLICE", "PAD") and op.outputs[0].rank == 4 for op in graph.ops)


def test_conv_integer_is_exact_beyond_float_precision() -> None:
    x, w = (
        whole(1, 300, 3, 3, low=0, high=256, dtype=np.uint8),
        whole(4, 300, 3, 3, low=0, high=256, dtype=np.uint8, seed=1),
    )
    check_node("ConvInteger", [x, w, np.uint8(3)], const=(1, 2))
