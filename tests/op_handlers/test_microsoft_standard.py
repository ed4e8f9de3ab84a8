"""Operators that ONNX has too, under ONNX Runtime's names, and a few of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model
from tests.op_handlers.microsoft_nodes import check, check_against, model_of
from tests.op_handlers.nodes import i64, normal, scalar, whole

F32, I32 = np.float32, np.int32


@pytest.mark.parametrize("const", [(1,), ()], ids=["const", "run_time"])
@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, 1, -2])
def test_trilu(k: int | None, upper: int, const: tuple[int, ...]) -> None:
    check("Trilu", [normal(2, 4, 5), None if k is None else scalar(k)], const=const, upper=upper, dynamic=(0,))


@pytest.mark.parametrize("pads", [i64(0, 1, 2, 1), i64(0, 1, 2, 1)[None]], ids=["vector", "row"])
@pytest.mark.parametrize("mode,value", [("constant", [F32(3)]), ("constant", []), ("edge", []), ("reflect", [])])
def test_pad(mode: str, value: list[Any], pads: np.ndarray) -> None:
    check("Pad", [normal(4, 5), pads, *value], const=(1, 2), mode=mode, dynamic=(0,))


@pytest.mark.parametrize("x", [np.array([2, 1, 1, 3, 4, 3], F32), normal(20).round()], ids=["documented", "random"])
def test_unique(x: np.ndarray) -> None:
    check("Unique", [x], outputs=(F32, np.int64, np.int64))


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_expand_dims(axis: int) -> None:
    check("ExpandDims", [normal(3, 4), scalar(axis, I32)], const=(1,), dynamic=(0,))


def test_gather_nd() -> None:
    check("GatherND", [normal(3, 4, 5), np.array([[0, 1], [2, 3]])], dynamic=(1,))


@pytest.mark.parametrize("delta", [[], [scalar(2, I32)]], ids=["", "delta"])
@pytest.mark.parametrize("const", [(0, 1, 2), ()], ids=["const", "run_time"])
def test_range(delta: list[Any], const: tuple[int, ...]) -> None:
    check("Range", [scalar(1, I32), scalar(8, I32), *delta], const=const, outputs=(I32,))


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode: str, padding_mode: str, align_corners: int) -> None:
    grid = np.random.default_rng(1).uniform(-1.2, 1.2, (2, 3, 4, 2)).astype(F32)
    check("GridSample", [normal(2, 3, 5, 6), grid], mode=mode, padding_mode=padding_mode, align_corners=align_corners,
          rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_cdist(metric: str) -> None:
    check("CDist", [normal(5, 8), normal(4, 8, seed=1)], metric=metric, dynamic=((0, 0), (1, 0)), rtol=1e-4, atol=1e-5)


ROIS = np.array([[0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [0.9, 0.8, 0.1, 0.3], [-0.3, 0.2, 1.2, 0.7]], F32)


@pytest.mark.parametrize("size", [(3, 4), (1, 5), (2, 1)], ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_crop_and_resize(mode: str, size: tuple[int, int]) -> None:
    batch = np.array([0, 1, 1, 0], I32)
    check("CropAndResize", [normal(2, 3, 6, 7), ROIS, batch, np.array(size, I32)], const=(3,), mode=mode,
          extrapolation_value=0.5, dynamic=((0, 0), 1, 2), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("length", [12, 64])
def test_fourier_transforms(length: int) -> None:
    """No CPU kernel: against numpy."""
    x = normal(2, 3, length)
    spectrum = np.fft.rfft(x.astype(np.float64))
    pairs = np.stack([spectrum.real, spectrum.imag], -1).astype(F32)
    check_against([pairs], "Rfft", [x], signal_ndim=1, normalized=0, onesided=1, atol=1e-4)
    check_against([x], "Irfft", [pairs], signal_ndim=1, normalized=0, onesided=1, atol=1e-5)


@pytest.mark.parametrize("name,inputs,attributes,what", [
    ("CDist", [normal(5, 8), normal(4, 8)], {"metric": "cosine"}, "metric 'cosine'"),
    ("Rfft", [normal(2, 8, 8)], {"signal_ndim": 2}, "use signal_ndim 1"),
    ("Tokenizer", [whole(2, 3)], {}, "no lowering is known for this operator"),
], ids=["metric", "axes", "unknown"])  # fmt: skip
def test_refusals(name: str, inputs: list[Any], attributes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConversionError, match=rf"com\.microsoft\.{name} .*{what}"):
        compile_model(model_of(name, inputs, **attributes))


def test_channels_in_blocks_are_refused_with_the_way_out() -> None:
    model = model_of("ReorderInput", [normal(1, 16, 4, 4)], domain="com.microsoft.nchwc")
    model.opset_import.add(domain="com.microsoft.nchwc", version=1)
    with pytest.raises(ConversionError, match=r"nchwc\.ReorderInput .*processor .* -> save .* ORT_ENABLE_EXTENDED"):
        compile_model(model)
