"""DFT, STFT and MelWeightMatrix against ONNX Runtime, or onnx's reference implementation for what it lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.harness import new_runtime
from tests.op_handlers.nodes import check_node, node_model, normal, run_node, scalar


def reference(model: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    results = ReferenceEvaluator(model).run(None, feeds)
    assert isinstance(results, list)
    return results


@pytest.mark.parametrize("dynamic", [(), ((0, 1),)], ids=["static", "dynamic"])
@pytest.mark.parametrize("length", [None, 9, 24], ids=["", "cut", "padded"])
@pytest.mark.parametrize(("parts", "inverse", "onesided"), [(1, 0, 0), (1, 0, 1), (2, 0, 0), (2, 1, 0)])
@pytest.mark.parametrize("count", [15, 16])
def test_dft(count: int, parts: int, inverse: int, onesided: int, length: int | None, dynamic: tuple) -> None:
    """Against numpy's in float64: ONNX Runtime's own error is 5e-5 where the length is no power of two."""
    x = normal(2, count, 3, parts)
    inputs = [x, None if length is None else scalar(length), scalar(1)]
    options: dict[str, Any] = {"inverse": inverse, "onesided": onesided, "const": (1, 2), "dynamic": dynamic}
    numbers = x[..., 0].astype(np.float64) + (1j * x[..., 1] if parts == 2 else 0)
    expected = (np.fft.ifft if inverse else np.fft.fft)(numbers, length, axis=1)
    expected = expected[:, : expected.shape[1] // 2 + 1] if onesided else expected
    for (got,) in run_node("DFT", inputs, **options).values():
        np.testing.assert_allclose(got, np.stack([expected.real, expected.imag], -1), atol=2e-5)


@new_runtime
@pytest.mark.parametrize("length", [None, 9], ids=["", "odd"])
def test_inverse_of_a_half_spectrum(length: int | None) -> None:
    inputs = [normal(2, 6, 3, 2), None if length is None else scalar(length), scalar(1)]
    options: dict[str, Any] = {"inverse": 1, "onesided": 1, "const": (1, 2)}
    (expected,) = reference(node_model("DFT", inputs, **options), {"x0": inputs[0]})
    for (got,) in run_node("DFT", inputs, **options).values():
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_axis_at_run_time(axis: int, inverse: int, onesided: int) -> None:
    inputs = [normal(4, 5, 6, 2 if inverse else 1), None, scalar(axis)]
    options: dict[str, Any] = {"inverse": inverse, "onesided": onesided}
    (expected,) = reference(node_model("DFT", inputs, **options), {"x0": inputs[0], "x2": inputs[2]})
    for (got,) in run_node("DFT", inputs, **options).values():
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("count", [64, 1024])
def test_powers_of_two_use_the_kernel(count: int) -> None:
    x = normal(2, count, 1)
    graph = check_node(
        "DFT", [x, None, scalar(1)], onesided=1, const=(2,), atol=1e-6 * float(np.abs(np.fft.fft(x, axis=1)).max())
    )
    assert "RFFT2D" in {op.kind.name for op in graph.ops}


@pytest.mark.parametrize("const", [(1, 2, 3), ()], ids=["constant", "runtime"])
@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("size", [16, 64])
def test_stft(size: int, onesided: int, const: tuple) -> None:
    window = np.hanning(size).astype(np.float32)
    inputs = [normal(2, 200, 1), scalar(10), window, scalar(size)]
    check_node("STFT", inputs, onesided=onesided, const=const, atol=2e-5)


@pytest.mark.parametrize("const", [(0, 1, 2, 3, 4), ()], ids=["constant", "runtime"])
@pytest.mark.parametrize(("bins", "length", "rate"), [(8, 16, 8192), (40, 512, 16000), (20, 64, 16000)])
def test_mel_weight_matrix(bins: int, length: int, rate: int, const: tuple) -> None:
    inputs = [
        *(scalar(v) for v in (bins, length, rate)),
        scalar(20.0, np.float32),
        scalar(7000.0 * rate / 16000, np.float32),
    ]
    (expected,) = reference(node_model("MelWeightMatrix", inputs), {f"x{i}": v for i, v in enumerate(inputs)})
    for (got,) in run_node("MelWeightMatrix", inputs, const=const).values():
        np.testing.assert_allclose(got, expected, atol=1e-6)
