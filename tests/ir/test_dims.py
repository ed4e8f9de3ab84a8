"""What is proved of symbolic extents holds for every size."""

from __future__ import annotations

import random
from itertools import product

import pytest

from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.dims import Dim
from onnx2tf_lite.ir.kinds.shapes import broadcast

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


def test_extents_broadcast_as_numbers_do() -> None:
    """Wherever they do: two are equal, or one of them is 1."""
    rng = random.Random(0)
    pairs = [(expression(rng, 2), expression(rng, 1)) for _ in range(2000)]
    pairs = [(a, b) for a, b in pairs if not (isinstance(a, int) and isinstance(b, int))]
    seen = 0
    for a, b in [*pairs, (N, 2 * M), (2 * N + 4, N), (N + 1, M)]:
        (dim,) = broadcast((a,), (b,))
        for values in SIZES:
            x, y = dims.evaluate(a, values), dims.evaluate(b, values)
            if x >= 1 and y >= 1 and (x == y or 1 in (x, y)):
                seen += 1
                assert dims.evaluate(dim, values) == max(x, y), (a, b, values)
    assert seen > 1000
    assert broadcast((N,), (2 * M,)) == (2 * M,) and broadcast((N + 1, M), (1, N)) == (N + 1, dims.maximum(M, N))


def test_a_ratio_is_no_number() -> None:
    assert not dims.is_static([1, dims.Ratio(7, 2)])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_text_of_an_extent_means_it(depth: int) -> None:
    rng = random.Random(depth)
    for e in (expression(rng, depth) for _ in range(300)):
        for values in SIZES:
            assert eval(str(e), {"min": min, "max": max}, dict(values)) == dims.evaluate(e, values), e
