"""Where(IsNaN(softmax), 0, softmax) goes where a mask leaves a number in every row, and stays everywhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.legalize.dtypes import legalize
from tests.harness import run_tflite

F32, INF = np.float32, np.float32(np.inf)
X = np.random.default_rng(0).standard_normal((3, 4)).astype(F32)
P = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 1]], bool)  # the second row is masked away
CAUSAL = np.where(np.triu(np.ones((3, 3), bool), 1), -INF, F32(0))
WHOLE = np.where(P, -INF, F32(0))


def scores(x: Value) -> Value:
    return b.matmul(x, b.transpose(x, (1, 0)))


def by_bools(p: Value) -> Value:
    return b.where(p, -INF, F32(0))


# scores of x and of the bools p, and whether a guard is left
CASES: dict[str, tuple[Callable[[Value, Value], Value], Callable[[np.ndarray], np.ndarray], bool]] = {
    "no mask": (lambda x, p: scores(x), lambda s: s, False),
    "a causal mask": (lambda x, p: scores(x) * 0.5 + CAUSAL, lambda s: s * F32(0.5) + CAUSAL, False),
    "a finite mask": (
        lambda x, p: scores(x) + b.cast(p, F32) * -1e9, lambda s: s + P.astype(F32) * F32(-1e9), False
    ),
    "a constant row": (lambda x, p: scores(x) + WHOLE, lambda s: s + WHOLE, True),
    "a mask of bools": (lambda x, p: scores(x) + by_bools(p), lambda s: s + WHOLE, True),
    "scores that are an input": (lambda x, p: b.narrow(x, 1, 0, 3), lambda s: X[:, :3], True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_guard(name: str) -> None:
    function, by_hand, guarded = CASES[name]
    graph = Graph()
    x, p = graph.add_input("x", X.shape, F32), graph.add_input("p", P.shape, bool)
    with building(graph):
        y = b.softmax(function(x, p))
        graph.outputs = [b.where(b.not_equal(y, y), F32(0), y)]
    graph.outputs[0].name, graph.output_names = "y", ["y"]
    legalize(graph)
    assert any(op.is_a("SELECT_V2") and op.outputs[0] is graph.outputs[0] for op in graph.ops) == guarded
    with np.errstate(invalid="ignore"):
        wanted = by_hand(X @ X.T)
        powers = np.exp(wanted - wanted.max(-1, keepdims=True))
        expected = np.nan_to_num(powers / powers.sum(-1, keepdims=True))
    for outputs in run_tflite(graph, {"x": X, "p": P}).values():
        np.testing.assert_allclose(outputs["y"], expected, atol=1e-5)
