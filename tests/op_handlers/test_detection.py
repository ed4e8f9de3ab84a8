"""NonMaxSuppression against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, i64

F32 = np.float32


def candidates(images: int, classes: int, count: int, centre: bool = False) -> list[Any]:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 10, (images, count, 2))
    size = rng.uniform(1, 6, (images, count, 2))
    boxes = np.concatenate([low + size / 2, size] if centre else [low, low + size], -1)
    return [
        boxes.astype(F32),
        rng.permutation(images * classes * count).reshape(images, classes, count).astype(F32) / 50,
    ]


@pytest.mark.parametrize("dynamic", [(), ((0, 1), (1, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("centre", [0, 1])
@pytest.mark.parametrize("const", [(2, 3, 4), ()], ids=["const", "run_time"])
def test_images_and_classes(const: tuple[int, ...], centre: int, dynamic: tuple) -> None:
    inputs = [*candidates(2, 3, 20, bool(centre)), i64(5), np.array([0.3], F32), np.array([0.7], F32)]
    check_node("NonMaxSuppression", inputs, const=const, center_point_box=centre, dynamic=dynamic)


def test_more_wanted_than_there_are_and_no_threshold() -> None:
    check_node("NonMaxSuppression", [*candidates(1, 1, 8), i64(100), np.array([0.9], F32)], const=(2, 3))


@pytest.mark.parametrize("centre", [0, 1])
def test_an_open_number_of_images_and_classes(centre: int) -> None:
    inputs = [*candidates(2, 3, 20, bool(centre)), i64(5), np.array([0.3], F32), np.array([0.7], F32)]
    dynamic = [(i, axis) for i in (0, 1) for axis in range(3)]
    check_node("NonMaxSuppression", inputs, center_point_box=centre, dynamic=dynamic)


@pytest.mark.parametrize("dynamic", [(), ((0, 1), (1, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("iou", [0.0, 0.3, 1.0])
def test_boxes_without_an_area_and_a_limit_of_one(iou: float, dynamic: tuple) -> None:
    """Each is chosen once: the kernel would choose what does not overlap with itself for ever."""
    boxes, scores = candidates(1, 2, 20)
    boxes[0, 3, 2] = boxes[0, 3, 0]
    boxes[0, 7, 3] = boxes[0, 7, 1]
    boxes[0, 11:14] = 0
    check_node("NonMaxSuppression", [boxes, scores, i64(20), np.array([iou], F32)], const=(2, 3), dynamic=dynamic)
