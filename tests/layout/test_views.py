"""View algebra against numpy, bit-exact: docs/layout.md, 8.2."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.ir import dims
from onnx2tf_lite.layout.views import Atoms, key_of, order_for, runs


def regroup(rng: random.Random, size: int) -> tuple[int, ...]:
    """A random shape of ``size`` elements, unit axes included."""
    shape = []
    while size > 1 and rng.random() < 0.8:
        factor = rng.choice([d for d in range(1, size + 1) if size % d == 0])
        shape.append(factor)
        size //= factor
    shape.append(size)
    for _ in range(rng.randrange(2)):
        shape.insert(rng.randrange(len(shape) + 1), 1)
    return tuple(shape)


def stored_as(atoms: Atoms, array: np.ndarray, base: Any, view: Any) -> np.ndarray:
    """The view's array, computed from the base's by atoms alone."""
    leaves = atoms.refined(base)
    order: list[Any] = [a for axis in leaves for a in axis]
    split = array.reshape([atoms.sizes[a] for a in order])
    wanted = [a for axis in atoms.refined(view) for a in axis]
    return split.transpose([order.index(a) for a in wanted]).reshape(atoms.shape(view))


@pytest.mark.parametrize("block", range(40))
def test_chains_equal_numpy(block: int) -> None:
    rng = random.Random(block)
    for _ in range(500):  # 20,000 chains in all
        shape = tuple(rng.choice([1, 2, 2, 3, 4, 6]) for _ in range(rng.randrange(5)))
        array = np.arange(int(np.prod(shape))).reshape(shape)
        atoms = Atoms()
        base = view = atoms.axes(shape)
        expected = array
        for _ in range(rng.randint(1, 6)):
            if rng.random() < 0.5 and expected.ndim:
                perm = rng.sample(range(expected.ndim), expected.ndim)
                expected, view = expected.transpose(perm), tuple(view[p] for p in perm)
            else:
                target = regroup(rng, expected.size)
                reshaped = atoms.reshape(view, target)
                if reshaped is None:
                    continue  # a barrier: not a view
                expected, view = expected.reshape(target), reshaped
        np.testing.assert_array_equal(stored_as(atoms, array, base, view), expected)


@pytest.mark.parametrize("seed", range(200))
def test_moving_by_runs_equals_moving_by_atoms(seed: int) -> None:
    rng = random.Random(seed)
    have = tuple(range(rng.randint(1, 6)))
    want = tuple(rng.sample(have, len(have)))
    pieces = runs(have, want)
    assert sum(pieces, ()) == have
    assert sum((p for a in want for p in pieces if p[0] == a), ()) == want


def test_whole_axes_are_found_whatever_their_sizes() -> None:
    atoms = Atoms()
    axes = atoms.axes((4, 4, 4, 4))
    for order in ((0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 2, 3)):
        assert order_for(axes, key_of([axes[a] for a in order]), (0, 1, 2, 3)) == order
    assert order_for(axes, key_of(axes)[:-1], (0, 1, 2, 3)) is None


def test_a_merged_axis_is_no_whole_axis_of_another_order() -> None:
    atoms = Atoms()
    n, c, h, w = atoms.axes((2, 3, 4, 5))
    merged = (n, (*c, *h), w)
    assert order_for(merged, key_of((n, h, c, w)), (0, 1, 2)) is None
    assert order_for(merged, key_of((n, c, h, w)), (0, 1, 2)) == (0, 1, 2)


def test_symbolic_extents_factor_where_they_provably_do() -> None:
    n, h, w = (dims.symbol(s) for s in "NHW")
    atoms = Atoms()
    axes = atoms.axes((n, 8, h, w))
    flat = atoms.reshape(axes, (n, 8, h * w))
    assert flat is not None and len(flat[2]) == 2
    assert atoms.reshape(axes, (n, 2, 4, h * w)) is not None
    assert atoms.reshape(axes, (n * 8, w, h)) is None  # h and w may differ
    assert atoms.reshape(axes, (n, 8, w, h)) is None


def test_zero_extent_is_a_barrier() -> None:
    atoms = Atoms()
    assert atoms.reshape(atoms.axes((0, 3)), (3, 0)) is None
