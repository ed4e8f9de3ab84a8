"""The algebra of linear maps, against its definition written out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnx2tf_lite.passes import layers
from onnx2tf_lite.passes.linear import LinearMap, added, composable, composed, composed_size, diagonal, sum_size


def apply(linear: LinearMap, x: np.ndarray) -> np.ndarray:
    """y of x [inputs, *grid] as the docstring of the module defines it."""
    axes = list(zip(x.shape[1:], linear.slack, linear.strides, strict=True))
    places = [(n - 1 + slack) // stride + 1 for n, slack, stride in axes]
    y = np.empty((linear.outputs, *places))
    inside, rows = linear.weights.shape[1], linear.outputs // linear.groups
    for o, *p in itertools.product(range(linear.outputs), *map(range, places)):
        total = linear.bias[o]
        for i, *t in itertools.product(range(inside), *map(range, linear.window)):
            at = [
                q * s + a + u * d
                for q, s, a, u, d in zip(p, linear.strides, linear.starts, t, linear.steps, strict=True)
            ]
            if all(0 <= a < n for a, n in zip(at, x.shape[1:], strict=True)):
                total += linear.weights[(o, i, *t)] * x[(o // rows * inside + i, *at)]
        y[(o, *p)] = total
    return y


def draw(rng: np.random.Generator, inputs: int, outputs: int, stride: int, slack: int, grid: int = 1) -> LinearMap:
    """A map with random groups, window, step and start."""
    groups = int(rng.choice([g for g in (1, 2, 4) if inputs % g == outputs % g == 0]))
    window = tuple(rng.integers(1, 4, grid).tolist())
    steps, starts = tuple(rng.integers(1, 3, grid).tolist()), tuple((-rng.integers(0, 4, grid)).tolist())
    weights = rng.standard_normal((outputs, inputs // groups, *window))
    return LinearMap(weights, rng.standard_normal(outputs), groups, (stride,) * grid, steps, starts, (slack,) * grid)


@pytest.mark.parametrize("seed", range(30))
def test_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stride, slack, grid = int(rng.integers(1, 3)), int(rng.integers(-1, 2)), int(rng.integers(0, 3))
    maps = [draw(rng, 4, 4, stride, slack, grid) for _ in range(rng.integers(2, 4))]
    if stride == 1 and slack == 0:
        maps.append(diagonal(rng.standard_normal(4), grid))
    both = added(maps)
    assert len({m.frame for m in maps}) == 1 and both.weights.size == sum_size(maps)
    x = rng.standard_normal((4, *rng.integers(5, 8, grid)))
    np.testing.assert_allclose(apply(both, x), sum(apply(m, x) for m in maps), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_composition(seed: int) -> None:
    """Where it is said to be possible it is right, and it is possible where one map looks at one place."""
    rng = np.random.default_rng(seed)
    inner, outer = draw(rng, 4, 4, 1, 0), draw(rng, 4, 2, int(rng.integers(1, 3)), 0)
    point = diagonal(rng.standard_normal(4), 1).raised(rng.standard_normal(4))
    reach = outer.steps[0] * (outer.window[0] - 1)
    unpadded = replace(outer, starts=(0,), slack=(-reach,))
    matrix = LinearMap(rng.standard_normal((2, 4, 1)), rng.standard_normal(2), 1, (2,), (1,), (0,), (0,))
    tiles = LinearMap(rng.standard_normal((4, 4, 3)), np.zeros(4), 1, (3,), (1,), (0,), (-2,), tiles=True)
    dense = replace(outer, steps=(1,))
    x = rng.standard_normal((4, 9))
    for a, b in (
        (dense, tiles),
        (unpadded, point),
        (outer, diagonal(np.arange(4) - 1.5, 1)),
        (matrix, inner),
        (matrix, point),
    ):
        assert composable(a, b)
        both = composed(a, b)
        assert both.weights.size == composed_size(a, b)
        np.testing.assert_allclose(apply(both, x), apply(a, apply(b, x)), rtol=1e-12, atol=1e-12)


def test_padding_sees_zeros_and_not_the_bias() -> None:
    """The padded window of a map with a bias: what would come out is another function."""
    rng = np.random.default_rng(0)
    outer = LinearMap(rng.standard_normal((2, 4, 3)), np.zeros(2), 1, (1,), (1,), (-1,), (0,))
    inner = diagonal(np.ones(4), 1).raised(np.ones(4))
    assert not composable(outer, inner)
    x = rng.standard_normal((4, 9))
    assert not np.allclose(apply(composed(outer, inner), x), apply(outer, apply(inner, x)))
    apart = LinearMap(rng.standard_normal((4, 4, 2)), np.zeros(4), 1, (2,), (1,), (0,), (-1,))
    assert not composable(outer, apart), "a last element that no window reads would be seen beyond the border"
    assert not composable(outer, outer) and composable(outer, diagonal(np.ones(4), 1))


def test_a_window_that_only_a_model_claims_is_not_made() -> None:
    """Its weights would be 26 TB."""
    extents = [1 << 20, 1 << 20]
    x, y = gs.Variable("x", np.float32, (1, 3, *extents)), gs.Variable("y", np.float32, (1, 3, 1, 1))
    node = gs.Node("AveragePool", inputs=[x], outputs=[y], attrs={"kernel_shape": extents})
    assert layers.read(node, layers.Arrangement(4, last=False)) is None
    node.attrs["kernel_shape"] = [2, 2]
    assert layers.read(node, layers.Arrangement(4, last=False)) is not None
