"""Activation functions against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, normal, run_node, whole

X = np.concatenate([normal(40, scale=3), [-100, -20, -1, -0.5, 0, 0.5, 1, 20, 89]]).astype(np.float32)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}), ("HardSwish", {}), ("Softsign", {}), ("Mish", {}),
    ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("Elu", {}), ("Elu", {"alpha": 2.0}), ("Selu", {}),
    ("Selu", {"alpha": 1.2, "gamma": 0.7}), ("Celu", {}), ("Celu", {"alpha": 2.0}), ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}),
    ("ThresholdedRelu", {"alpha": 0.7}), ("Shrink", {"bias": 0.2, "lambd": 0.6}),
]  # fmt: skip


@pytest.mark.parametrize(
    "name, attrs", CASES, ids=lambda v: v if isinstance(v, str) else ",".join(map(str, v.values()))
)
def test_activation(name: str, attrs: dict[str, Any]) -> None:
    check_node(name, [X], rtol=1e-5, atol=3e-6, **attrs)


@pytest.mark.parametrize("name", ["Swish", "SwiGLU"])
def test_newest_activations(name: str) -> None:
    inputs = [X[:40]] if name == "Swish" else [X[:40], X[5:45]]
    check_node(name, inputs, opset=24 if name == "Swish" else 28, alpha=1.5, atol=3e-6)


@pytest.mark.parametrize("slope", [(4,), (4, 1, 1), (1, 4, 1, 1), (1,), (5, 6)], ids=str)
@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
def test_prelu(slope: tuple[int, ...], const: tuple[int, ...]) -> None:
    x = normal(2, 5, 3, 4) if slope == (4,) else normal(2, 4, 5, 6)
    check_node("PRelu", [x, normal(*slope, seed=1)], const=const)


def test_prelu_of_rank_5_and_of_integers() -> None:
    check_node("PRelu", [normal(1, 3, 2, 2, 2), normal(3, 1, 1, 1)], const=[1])
    check_node("PRelu", [whole(4, 3, dtype=np.int32), whole(3, dtype=np.int32)], const=[1])


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_relu_of_integers(dtype: str) -> None:
    check_node("Relu", [whole(10, dtype=dtype)])


def test_softplus_keeps_small_values() -> None:
    x = np.linspace(-80, 0, 50, dtype=np.float32)
    for got in run_node("Softplus", [x]).values():
        np.testing.assert_allclose(got[0], np.log1p(np.exp(x.astype(np.float64))), rtol=1e-5)


@pytest.mark.parametrize("name", ["Relu", "Mish", "Gelu", "Softplus"])
def test_dynamic_batch(name: str) -> None:
    check_node(name, [normal(3, 4, 5)], dynamic=[0], atol=3e-6)


def test_prelu_of_a_slope_that_may_not_fit_the_kernel() -> None:
    check_node("PRelu", [normal(2, 3, 4), normal(3, 1, seed=1)], const=(1,), dynamic=[(0, 1)])
