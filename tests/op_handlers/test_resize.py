"""Resize against ONNX Runtime: modes, coordinate rules, run-time extents; which form of the operator is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from onnx2tf_lite.errors import ConversionError
from tests import harness
from tests.op_handlers.nodes import check_node, i64, node_model, normal, run_node, whole

RULES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
F32 = np.float32


def scales(*values: float) -> np.ndarray:
    return np.array(values, F32)


def kinds(graph: object) -> set[str]:
    return {op.kind.name for op in graph.ops}  # type: ignore[attr-defined]


@pytest.mark.parametrize("sizes", [(14, 12), (3, 10), (1, 1)], ids=str)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_to_sizes(mode: str, rule: str, sizes: tuple[int, int]) -> None:
    if rule == "half_pixel_symmetric" and mode == "nearest":
        pytest.skip("places half way depend on the last bit")
    inputs = [normal(1, 2, 7, 6), None, None, i64(1, 2, *sizes)]
    check_node("Resize", inputs, const=(3,), mode=mode, coordinate_transformation_mode=rule, atol=1e-5)


@pytest.mark.parametrize("rule, factors", [
    (rule, factors) for rule in ("half_pixel", "align_corners", "asymmetric")
    for factors in ((2, 2), (1.5, 0.5) if rule == "align_corners" else (1.7, 0.6))
], ids=str)  # fmt: skip
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_by_scales(mode: str, rule: str, factors: tuple[float, float]) -> None:
    inputs = [normal(2, 2, 8, 6), None, scales(1, 1, *factors)]
    check_node("Resize", inputs, const=(2,), mode=mode, coordinate_transformation_mode=rule, atol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 3), (5, 13)], ids=str)
@pytest.mark.parametrize("rule", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_nearest_mode(nearest: str, rule: str, sizes: tuple[int, int]) -> None:
    inputs = [normal(1, 2, 8, 6), None, None, i64(1, 2, *sizes)]
    check_node("Resize", inputs, const=(3,), nearest_mode=nearest, coordinate_transformation_mode=rule)


IMAGE = (0, (0, 2), (0, 3))


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("rule", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("factor", [2, 0.5], ids=str)
def test_scales_of_dynamic_images(factor: float, rule: str, mode: str) -> None:
    if rule == "align_corners" and factor < 1:
        pytest.skip("refused: see test_corners_of_a_fractional_length_have_two_meanings")
    inputs = [normal(2, 2, 7, 6), None, scales(1, 1, factor, factor)]
    check_node("Resize", inputs, const=(2,), dynamic=IMAGE, mode=mode, coordinate_transformation_mode=rule, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_run_time_sizes(mode: str, rule: str) -> None:
    inputs = [normal(1, 2, 7, 6), None, None, i64(1, 2, 11, 4)]
    check_node("Resize", inputs, mode=mode, coordinate_transformation_mode=rule, atol=1e-5)


def test_run_time_scales() -> None:
    check_node("Resize", [normal(1, 2, 7, 6), None, scales(1, 1, 2.5, 1.5)], mode="linear", atol=1e-5)


CORNERS = ("align_corners", "tf_crop_and_resize")
ROI = np.array([0, 0, 0.2, -0.4, 1, 1, 0.9, 1.2], F32)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("rule", CORNERS)
@pytest.mark.parametrize("dynamic", [(), IMAGE], ids=["fixed", "dynamic"])
def test_corners_of_a_fractional_length_have_two_meanings(dynamic: tuple[Any, ...], rule: str, mode: str) -> None:
    """7 * 0.5 is 3.5 for ONNX's reference implementation and 3 for ONNX Runtime, whose results differ."""
    inputs = [normal(2, 2, 7, 6), ROI, scales(1, 1, 0.5, 0.5)]
    options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": rule}
    model, feeds = node_model("Resize", inputs, const=(1, 2), **options), {"x0": inputs[0]}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    assert not np.allclose(harness.reference(model, feeds)["y0"], expected)
    with pytest.raises(ConversionError, match="two meanings"):
        check_node("Resize", inputs, const=(1, 2), dynamic=dynamic, **options)


def test_nearest_places_on_which_all_agree_are_converted() -> None:
    """The second of two results lies at 2 / 1.25 or 2 / 1 of an axis of 3: element 2 when rounded, for both."""
    inputs = [normal(1, 2, 3, 3), None, scales(1, 1, 0.75, 0.75)]
    check_node("Resize", inputs, const=(2,), coordinate_transformation_mode="align_corners")
    with pytest.raises(ConversionError, match="two meanings"):
        check_node("Resize", [normal(1, 2, 5, 5), None, scales(1, 1, 0.5, 0.5)], const=(2,), nearest_mode="floor",
                   coordinate_transformation_mode="align_corners")  # fmt: skip


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("rule", CORNERS)
def test_corners_of_run_time_scales_are_those_of_the_reference_implementation(rule: str, mode: str) -> None:
    inputs = [normal(2, 2, 7, 6), ROI, scales(1, 1, 0.5, 1.7)]
    options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": rule}
    names = ("x0", "x1", "x2")
    (expected,) = ReferenceEvaluator(node_model("Resize", inputs, **options)).run(
        None, dict(zip(names, inputs, strict=True))
    )
    for (got,) in run_node("Resize", inputs, **options).values():
        np.testing.assert_allclose(got, np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("rule", CORNERS)
def test_corners_of_run_time_scales_that_give_whole_lengths(rule: str, mode: str) -> None:
    inputs = [normal(1, 2, 8, 6), ROI, scales(1, 1, 0.5, 1.5)]
    check_node("Resize", inputs, mode=mode, coordinate_transformation_mode=rule, atol=1e-5)


@pytest.mark.parametrize("const, dynamic", [((3,), ()), ((), ()), ((3,), IMAGE)], ids=["fixed", "sizes", "image"])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialias(mode: str, exclude: int, const: tuple[int, ...], dynamic: tuple[Any, ...]) -> None:
    inputs = [normal(1, 2, 9, 8), None, None, i64(1, 2, 4, 11)]
    check_node("Resize", inputs, const=const, dynamic=dynamic, mode=mode, antialias=1, exclude_outside=exclude,
               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("const, dynamic", [((2,), IMAGE), ((), ())], ids=["image", "scales"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialias_by_scales(mode: str, const: tuple[int, ...], dynamic: tuple[Any, ...]) -> None:
    inputs = [normal(1, 2, 9, 8), None, scales(1, 1, 0.25, 0.6)]
    check_node("Resize", inputs, const=const, dynamic=dynamic, mode=mode, antialias=1, atol=1e-5)


@pytest.mark.parametrize("const, dynamic", [((3,), ()), ((), ()), ((3,), IMAGE)], ids=["fixed", "sizes", "image"])
@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_aspect_ratio(policy: str, const: tuple[int, ...], dynamic: tuple[Any, ...]) -> None:
    inputs = [normal(1, 2, 9, 8), None, None, i64(7, 13)]
    check_node("Resize", inputs, const=const, dynamic=dynamic, axes=[2, 3], mode="linear",
               keep_aspect_ratio_policy=policy, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("const", [(1, 3), (3,), (1,), ()], ids=["fixed", "roi", "sizes", "both"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_crop_and_resize(mode: str, const: tuple[int, ...]) -> None:
    inputs = [normal(1, 2, 9, 8), ROI, None, i64(1, 2, 5, 7)]
    check_node("Resize", inputs, const=const, mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
               extrapolation_value=7.0, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("const", [(1, 3), ()], ids=["fixed", "run time"])
@pytest.mark.parametrize("sizes", [(5, 7), (1, 4)], ids=str)
def test_crop_of_some_axes(sizes: tuple[int, int], const: tuple[int, ...]) -> None:
    inputs = [normal(1, 2, 9, 8), np.array([0.1, 0.9, 0.6, 0.2], F32), None, i64(*sizes)]
    check_node("Resize", inputs, const=const, axes=[3, 2], mode="linear",
               coordinate_transformation_mode="tf_crop_and_resize", atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    "shape, sizes", [((2, 3, 7), (2, 3, 12)), ((1, 2, 4, 5, 6), (1, 2, 7, 5, 9)), ((5, 6), (8, 3))], ids=str
)
def test_other_ranks(shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    check_node("Resize", [normal(*shape), None, None, i64(*sizes)], const=(3,), mode="linear", atol=1e-5)


def test_integers_are_gathered() -> None:
    inputs = [whole(1, 2, 5, 4, dtype=np.int8), None, scales(1, 1, 2, 2)]
    check_node("Resize", inputs, const=(2,), nearest_mode="floor", coordinate_transformation_mode="asymmetric")


@pytest.mark.parametrize("mode, rule, kind", [
    ("linear", "half_pixel", "RESIZE_BILINEAR"), ("linear", "align_corners", "RESIZE_BILINEAR"),
    ("linear", "asymmetric", "RESIZE_BILINEAR"), ("nearest", "half_pixel", "RESIZE_NEAREST_NEIGHBOR"),
    ("cubic", "half_pixel", "BATCH_MATMUL"),
])  # fmt: skip
def test_the_kernel_is_used_where_it_is_exact(mode: str, rule: str, kind: str) -> None:
    inputs = [normal(1, 2, 8, 6), None, scales(1, 1, 2, 2)]
    graph = check_node("Resize", inputs, const=(2,), mode=mode, coordinate_transformation_mode=rule, atol=1e-5)
    assert kind in kinds(graph)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_upsampling_of_a_dynamic_image_is_one_kernel(mode: str) -> None:
    inputs = [normal(1, 2, 8, 6), None, scales(1, 1, 2, 2)]
    graph = check_node("Resize", inputs, const=(2,), dynamic=IMAGE, mode=mode, atol=1e-5)
    assert kinds(graph) & {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"} and "GATHER" not in kinds(graph)
