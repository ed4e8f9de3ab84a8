"""Windows of three rows in pairs of rows: the law in exact numbers, the same results, and where it does not fire."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Quant, Value, constant, copy_graph
from onnx2tf_lite.targets.forms import fit, windows
from tests.fusion.programs import assert_close, kinds, program, random_feeds, run, vector, weights


def conv(x: Value, out: int = 32, kernel: tuple[int, int] = (3, 3), **attrs: object) -> Value:
    given = {"strides": (1, 1), "dilations": (1, 1), "padding": "SAME", "activation": "RELU", "groups": None, **attrs}
    return b.emit("CONV_2D", x, weights(out, *kernel, 32), constant(vector(out)), **given)


def in_pairs(graph: Graph) -> Graph:
    result = copy_graph(graph)
    fit(result, ["windows"], late=True)
    return result


def test_the_law_in_exact_numbers() -> None:
    rng = np.random.default_rng(0)
    d, w = (rng.integers(-9, 10, (size, 100)).astype(object) * Fraction(1) for size in (4, 3))
    products = [x * f for x, f in zip(windows.spread([*d]), windows.filters(w), strict=True)]
    first, second = (x + y for x, y in windows.gathered(products))
    assert all(first == (w * d[:3]).sum(0)) and all(second == (w * d[1:]).sum(0))


@pytest.mark.parametrize("height", [6, 7])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 1), (3, 4)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("step", [1, 2])
def test_same_numbers(height: int, kernel: tuple[int, int], padding: str, step: int) -> None:
    extent = height + 2 * (padding == "VALID")
    graph = program(lambda x: conv(x, 40, kernel, padding=padding, dilations=(1, step)), (2, extent, 9, 32))
    pairs = in_pairs(graph)
    assert kinds(pairs).count("CONV_2D") == 4 and kinds(graph).count("CONV_2D") == 1
    feeds = random_feeds(graph)
    for runtime in ("plain", "default"):
        assert_close(run(pairs, feeds, runtime)["y0"], run(graph, feeds, runtime)["y0"], runtime)


@pytest.mark.parametrize(
    ("shape", "attrs"),
    [((1, 8, 8, 32), {"strides": (2, 2)}),
     ((1, 8, 8, 32), {"strides": (2, 1)}),
     ((1, 8, 8, 32), {"dilations": (2, 1)}),
     ((1, 8, 8, 32), {"kernel": (1, 3)}),
     ((1, 8, 8, 32), {"kernel": (5, 5)}),
     ((1, 8, 8, 32), {"out": 16}),
     ((1, 8, 8, 64), {}),  # two groups
     ((1, 7, 8, 32), {"padding": "VALID"}),  # five rows
     ((1, dims.symbol("h"), 8, 32), {}),
     ((dims.symbol("n"), 8, 8, 32), {})],
)  # fmt: skip
def test_where_it_stays(shape: tuple[dims.Dim, ...], attrs: dict[str, object]) -> None:
    graph = program(lambda x: conv(x, **attrs), shape)
    assert kinds(in_pairs(graph)) == kinds(graph)


def test_integers_stay() -> None:
    graph = program(conv, (1, 8, 8, 32))
    weights_of = graph.ops[0].inputs[1]
    assert weights_of is not None
    weights_of.quant = Quant(np.ones(1), np.zeros(1, np.int64), np.dtype(np.int8))
    assert kinds(in_pairs(graph)) == kinds(graph)
