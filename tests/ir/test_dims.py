"""What is proved of symbolic extents holds for every size."""

from __future__ import annotations

import random
from itertools import product

import pytest

from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.dims import Dim

N, M = dims.symbol("N"), dims.symbol("M")
SIZES = [{"N": n, "M": m} for n, m in product((1, 2, 3, 5, 8, 9), (1, 2, 7, 16))]


def expression(rng: random.Random, depth: int) -> Dim:
    if depth == 0:
        leaves: list[Dim] = [N, M, rng.randint(-9, 9)]
        return rng.choice(leaves)
    a, b, k = expression(rng, depth - 1), expression(rng, depth - 1), rng.choice([2, 3, 4, 8])
    results: list[Dim] = [a + b, a - b, a * rng.randint(-8, 8), dims.floordiv(a, k), dims.floordiv(a, -3),
                          dims.modulo(a, k), dims.maximum(a, b), dims.minimum(a, b),
                          b + dims.floordiv(a, k) * rng.choice([8, -8])]  # fmt: skip
    return rng.choice(results)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_what_is_proved_nonnegative_is(depth: int) -> None:
    rng = random.Random(depth)
    proved = [e for e in (expression(rng, depth) for _ in range(500)) if dims.nonnegative(e)]
    assert len(proved) > 100
    for e in proved:
        assert min(dims.evaluate(e, values) for values in SIZES) >= 0, e


@pytest.mark.parametrize("dim", [
    N - 1, N * M - 1, dims.modulo(N - 100, 8), dims.maximum(N - 7, 0), N - 8 * dims.floordiv(N, 8),
    8 * dims.ceildiv(N, 8) - N, dims.maximum(-N, M),
], ids=str)  # fmt: skip
def test_what_can_be_proved(dim: Dim) -> None:
    assert dims.nonnegative(dim)


def test_a_ratio_is_no_number() -> None:
    assert not dims.is_static([1, dims.Ratio(7, 2)])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_text_of_an_extent_means_it(depth: int) -> None:
    rng = random.Random(depth)
    for e in (expression(rng, depth) for _ in range(300)):
        for values in SIZES:
            assert eval(str(e), {"min": min, "max": max}, dict(values)) == dims.evaluate(e, values), e
