"""GridSample and RoiAlign against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, normal


def grid(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1.4, 1.4, shape).astype(np.float32)


@pytest.mark.parametrize("dynamic", [(), (0, 1, (0, 2), (0, 3), (1, 1))], ids=["static", "dynamic"])
@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(mode: str, padding: str, corners: int, dynamic: tuple) -> None:
    inputs = [normal(2, 3, 6, 5), grid(2, 4, 7, 2)]
    check_node("GridSample", inputs, mode=mode, padding_mode=padding, align_corners=corners, dynamic=dynamic, atol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_grid_sample_of_a_volume(padding: str) -> None:
    check_node("GridSample", [normal(1, 2, 4, 5, 3), grid(1, 2, 3, 4, 3)], padding_mode=padding, atol=1e-5)


@pytest.mark.parametrize("dynamic", [(), ((0, 2), (1, 0), (2, 0))], ids=["static", "dynamic"])
@pytest.mark.parametrize("rule", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode: str, rule: str, dynamic: tuple) -> None:
    rois = np.array([[0, 0, 18, 14], [3, 2, 9, 30], [-4, -4, 6, 6]], np.float32)
    inputs = [normal(2, 3, 12, 10), rois, np.array([0, 1, 1], np.int64)]
    check_node("RoiAlign", inputs, mode=mode, coordinate_transformation_mode=rule, output_height=3, output_width=2,
               sampling_ratio=2, spatial_scale=0.5, atol=1e-5, opset=21, dynamic=dynamic)  # fmt: skip
