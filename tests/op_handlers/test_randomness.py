"""Random operators: their distributions, and that a seed makes runs equal and no seed makes them differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import normal, run_node, scalar

X = normal(100, 200)
#: attributes, mean, standard deviation, lowest, highest
CASES: dict[str, tuple[list[Any], dict[str, Any], float, float, float, float]] = {
    "RandomUniform": ([], {"shape": [100, 200], "low": -1.0, "high": 3.0}, 1, 4 / 12**0.5, -1, 3),
    "RandomUniformLike": ([X], {"low": 2.0, "high": 3.0}, 2.5, 12**-0.5, 2, 3),
    "RandomNormal": ([], {"shape": [100, 200], "mean": 5.0, "scale": 0.5}, 5, 0.5, 2, 8),
    "RandomNormalLike": ([X], {}, 0, 1, -7, 7),
    "Bernoulli": ([np.full((100, 200), 0.3, np.float32)], {}, 0.3, 0.21**0.5, 0, 1),
    "Multinomial": ([np.log(np.tile(np.float32([0.5, 0.25, 0.25]), (100, 1)))], {"sample_size": 200}, 0.75, 0.83, 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_distribution(name: str) -> None:
    inputs, attrs, mean, deviation, low, high = CASES[name]
    for (got,) in run_node(name, inputs, **attrs).values():
        assert got.shape == (100, 200)
        assert low <= got.min() <= got.max() <= high
        assert abs(got.mean() - mean) < 5 * deviation / np.sqrt(got.size)
        assert abs(got.std() - deviation) < 0.02 * max(deviation, 1)


@pytest.mark.parametrize("name", CASES)
def test_seed(name: str) -> None:
    inputs, attrs, *_ = CASES[name]

    def draw(**seed: float) -> list[np.ndarray]:
        return [got for (got,) in run_node(name, inputs, **attrs, **seed).values()]

    seeded, free = draw(seed=1.5), draw()
    np.testing.assert_array_equal(seeded[0], seeded[1])
    assert not np.array_equal(free[0], free[1])


@pytest.mark.parametrize("const", [(1, 2), (1,), ()], ids=["constant", "runtime_mode", "runtime"])
@pytest.mark.parametrize("training", [False, True])
def test_dropout(training: bool, const: tuple) -> None:
    inputs = [np.abs(X) + 1, scalar(0.25, np.float32), scalar(training, bool)]
    for got, mask in run_node("Dropout", inputs, outputs=2, const=const).values():
        np.testing.assert_allclose(got, np.where(mask, inputs[0] / (0.75 if training else 1), 0), rtol=1e-6)
        assert abs(mask.mean() - (0.75 if training else 1)) < 0.02
