"""AffineGrid, DeformConv, Col2Im and MaxRoiPool against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.op_handlers.nodes import check_node, i64, node_model, normal, run_node


@pytest.mark.parametrize("const", [(1,), ()], ids=["constant", "runtime"])
@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 4, 5)], ids=str)
def test_affine_grid(size: tuple[int, ...], corners: int, const: tuple) -> None:
    r = len(size) - 2
    check_node("AffineGrid", [normal(size[0], r, r + 1), i64(*size)], align_corners=corners, const=const)


def test_affine_grid_of_one_row_begins_at_its_edge() -> None:
    """As ONNX's reference implementation; ONNX Runtime puts the row in the middle."""
    inputs = [normal(2, 2, 3), i64(2, 3, 1, 5)]
    model = node_model("AffineGrid", inputs, align_corners=1)
    with np.errstate(divide="ignore"):
        (expected,) = ReferenceEvaluator(model).run(None, {"x0": inputs[0], "x1": inputs[1]})
    for (got,) in run_node("AffineGrid", inputs, align_corners=1).values():
        np.testing.assert_allclose(got, expected, atol=1e-6)


DEFORM: dict[str, Any] = {
    "plain": ({}, 1, 1),
    "strides_pads_dilations": ({"strides": [2, 1], "pads": [1, 2, 1, 2], "dilations": [1, 2]}, 1, 1),
    "groups": ({"group": 2, "offset_group": 2, "pads": [1, 1, 1, 1]}, 2, 2),
}


@pytest.mark.parametrize("dynamic", [(), (0, 2, 4, (0, 2), (2, 2), (4, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("const", [(1, 3), ()], ids=["weights", "runtime"])
@pytest.mark.parametrize("case", DEFORM)
def test_deform_conv(case: str, const: tuple, dynamic: tuple) -> None:
    attrs, group, offset_group = DEFORM[case]
    strides, pads, dilations = attrs.get("strides", [1, 1]), attrs.get("pads", [0] * 4), attrs.get("dilations", [1, 1])
    out = [(d + pads[i] + pads[i + 2] - dilations[i] * 2 - 1) // strides[i] + 1 for i, d in enumerate((7, 6))]
    inputs = [normal(2, 4, 7, 6), normal(4, 4 // group, 3, 3), normal(2, offset_group * 18, *out, seed=1), normal(4),
              np.abs(normal(2, offset_group * 9, *out, seed=2))]  # fmt: skip
    check_node("DeformConv", inputs, const=const, dynamic=dynamic, rtol=1e-4, atol=2e-5, **attrs)


COL2IM = {
    "plain": ([5, 5], [1, 5], {}),
    "strides": ([5, 5], [3, 3], {"strides": [2, 2]}),
    "pads": ([5, 6], [2, 3], {"pads": [1, 0, 1, 2]}),
    "dilations": ([6, 6], [2, 2], {"dilations": [1, 5]}),
    "volume": ([3, 4, 5], [1, 2, 3], {}),
}


@pytest.mark.parametrize("const", [(1, 2), ()], ids=["constant", "runtime"])
@pytest.mark.parametrize("case", COL2IM)
def test_col2im(case: str, const: tuple) -> None:
    image, block, attrs = COL2IM[case]
    r = len(image)
    strides, pads, dilations = (
        attrs.get(n, d) for n, d in (("strides", [1] * r), ("pads", [0] * 2 * r), ("dilations", [1] * r))
    )
    moves = [(image[i] + pads[i] + pads[i + r] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(r)]
    x = normal(2, 3 * int(np.prod(block)), int(np.prod(moves)))
    check_node("Col2Im", [x, i64(*image), i64(*block)], const=const, **attrs)


@pytest.mark.parametrize("dynamic", [(), (0, (0, 2), (1, 0))], ids=["static", "dynamic"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_max_roi_pool(scale: float, dynamic: tuple) -> None:
    rois = np.array([[0, 0, 0, 5, 7], [1, 2, 1, 4, 3], [1, 9, 3, 40, 30], [0, 3, 3, 3, 3]], np.float32)
    check_node(
        "MaxRoiPool", [normal(2, 3, 10, 9), rois], pooled_shape=[3, 2], spatial_scale=scale, opset=21, dynamic=dynamic
    )
