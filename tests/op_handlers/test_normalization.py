"""Normalisations against ONNX Runtime and the reference implementation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import new_runtime
from tests.op_handlers.nodes import check_node, normal, run_node


@pytest.mark.parametrize("axis", [-1, 1, 0])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_layer_normalization(bias: bool, axis: int) -> None:
    x = normal(2, 3, 4, scale=3) + 1
    shape = x.shape[axis:]
    parameters = [normal(*shape, seed=1), normal(*shape, seed=2)][: 1 + bias]
    options = {"const": [1, 2], "dynamic": [0] if axis else [], "outputs": 3}
    check_node("LayerNormalization", [x, *parameters], axis=axis, rtol=1e-4, atol=1e-5, **options)


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(axis: int) -> None:
    x = normal(2, 3, 4)
    check_node("RMSNormalization", [x, normal(*x.shape[axis:], seed=1)], axis=axis, const=[1], dynamic=[0], rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 3, 4)], ids=str)
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    inputs = [normal(*shape), normal(3, seed=1), normal(3, seed=2)]
    check_node("InstanceNormalization", inputs, const=[1, 2], dynamic=[0], rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_normalization(groups: int) -> None:
    check_node("GroupNormalization", [normal(2, 4, 3, 5), normal(4, seed=1), normal(4, seed=2)], num_groups=groups,
               const=[1, 2], dynamic=[0], rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("p", [pytest.param(1, marks=new_runtime), 2])
@pytest.mark.parametrize("axis", [0, -1])
def test_lp_normalization(axis: int, p: int) -> None:
    check_node("LpNormalization", [normal(3, 4)], axis=axis, p=p, rtol=1e-4, dynamic=[0] if axis else [])


def test_lp_normalization_of_zero_is_zero() -> None:
    for got in run_node("LpNormalization", [np.zeros((2, 3), np.float32)]).values():
        np.testing.assert_array_equal(got[0], np.zeros((2, 3)))


def test_mean_variance_normalization() -> None:
    check_node("MeanVarianceNormalization", [normal(2, 3, 4, 5)], dynamic=[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 4, 5)], ids=str)
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    parameters = [normal(3, seed=1), normal(3, seed=2), normal(3, seed=3), np.abs(normal(3, seed=4)) + 1]
    check_node(
        "BatchNormalization", [normal(*shape), *parameters], const=[1, 2, 3, 4], dynamic=[0], rtol=1e-4, atol=1e-5
    )
    check_node("BatchNormalization", [normal(*shape), *parameters], rtol=1e-4, atol=1e-5)


def test_batch_normalization_in_training() -> None:
    parameters = [normal(3, seed=1), normal(3, seed=2), normal(3, seed=3), np.abs(normal(3, seed=4)) + 1]
    check_node("BatchNormalization", [normal(4, 3, 5), *parameters], training_mode=1, outputs=3, rtol=1e-4, atol=1e-5)
