"""Determinants and inverses against numpy in float64, also where elimination without pivoting fails."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.harness import compile_model, run_tflite
from tests.op_handlers.nodes import normal, run_node

SWAPPED = np.eye(5, dtype=np.float32)[[3, 0, 4, 1, 2]]  # every pivot but the right one is zero
CASES = {
    "1x1": normal(2, 1, 1), "2x2": normal(4, 2, 2), "8x8": normal(3, 8, 8), "24x24": normal(24, 24),
    "batches": normal(2, 3, 4, 4),
    "swapped": SWAPPED, "small_pivot": np.array([[1e-8, 1], [1, 1]], np.float32),
}  # fmt: skip


@pytest.mark.parametrize("dynamic", [(), (0,)], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", [*CASES, "singular"])
def test_det(case: str, dynamic: tuple) -> None:
    x = CASES.get(case, np.ones((3, 3), np.float32))
    if dynamic and x.ndim == 2:
        dynamic = (0, (0, 1))
    expected = np.linalg.det(x.astype(np.float64))
    scale = float(np.prod(np.linalg.norm(x, axis=-1), axis=-1).max())  # Hadamard's bound
    for (got,) in run_node("Det", [x], dynamic=dynamic).values():
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6 * scale)


def test_det_beyond_float32_has_the_sign() -> None:
    for seed in range(6):  # of both signs
        x = normal(40, 40, seed=seed, scale=100.0)
        sign, size = np.linalg.slogdet(x.astype(np.float64))
        assert size > np.log(np.finfo(np.float32).max)
        for (got,) in run_node("Det", [x]).values():
            assert got == sign * np.inf


@pytest.mark.parametrize("case", CASES)
def test_inverse(case: str) -> None:
    x = CASES[case]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    node = helper.make_node("Inverse", ["x"], ["y"], domain="com.microsoft")
    graph = helper.make_graph([node], "g", [info], [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    expected = np.linalg.inv(x.astype(np.float64))
    for outputs in run_tflite(compile_model(model), {"x": x}).values():
        np.testing.assert_allclose(outputs["y"], expected, atol=2e-4 * np.abs(expected).max())
