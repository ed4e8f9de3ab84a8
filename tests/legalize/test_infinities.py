"""-inf in sums, where it is seen: by the rule, on both runtimes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.legalize.dtypes import legalize
from tests.harness import run_tflite

INF = np.float32(np.inf)
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
BLOCKED = np.triu(np.ones((3, 4), bool), 1)
MASK = np.where(BLOCKED, -INF, np.float32(0))


def compiled(function: Callable[..., Value]) -> Graph:
    graph = Graph()
    x, p = graph.add_input("x", X.shape, np.float32), graph.add_input("p", BLOCKED.shape, bool)
    with building(graph):
        graph.outputs = [function(x, p)]
    graph.outputs[0].name = "y"
    graph.output_names = ["y"]
    verify(legalize(graph), "legalize")
    return graph


SEEN: dict[str, tuple[Callable[..., Value], np.ndarray]] = {
    "a constant mask": (lambda x, p: x + MASK, np.where(BLOCKED, -INF, X)),
    "a broadcast mask": (lambda x, p: x + MASK[0], X + MASK[0]),
    "a computed mask": (lambda x, p: x + b.where(p, -INF, np.float32(0)), X + MASK),
    "chosen otherwise": (lambda x, p: x + b.where(p, np.float32(0), -INF), X + np.where(BLOCKED, 0, -INF)),
    "one side partly": (lambda x, p: x + b.where(p, MASK[::-1].copy(), np.float32(2)),
                        X + np.where(BLOCKED, MASK[::-1], np.float32(2))),
    "a mask of numbers": (lambda x, p: x + b.where(p, -INF, x), X + np.where(BLOCKED, -INF, X)),
    "two masks": (lambda x, p: (x + MASK[0]) + b.where(p, -INF, np.float32(0)), X + MASK[0] + MASK),
    "behind views": (lambda x, p: b.transpose(b.transpose(b.where(p, -INF, x), (1, 0)) + np.float32(1), (1, 0)),
                     np.where(BLOCKED, -INF, X) + 1),
    "a reshaped mask": (lambda x, p: b.reshape(x, (12,)) + b.reshape(b.where(p, -INF, x), (12,)),
                        (X + np.where(BLOCKED, -INF, X)).ravel()),
    "in front of a maximum": (lambda x, p: b.reduce("REDUCE_MAX", x + MASK[0], (0,)), (X + MASK[0]).max(0)),
    "in a comparison": (lambda x, p: b.cast(b.equal(b.reduce("REDUCE_MAX", x + MASK[0], (0,)), -INF), np.float32),
                        np.float32([0, 1, 1, 1])),
    "times a remainder": (lambda x, p: (x + MASK[0]) * (np.float32(1) - b.floor_mod(b.floor(x), np.float32(2)) * 2),
                          (X + MASK[0]) * (1 - np.floor(X) % 2 * 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_is_there(name: str) -> None:
    function, expected = SEEN[name]
    for outputs in run_tflite(compiled(function), {"x": X, "p": BLOCKED}).values():
        np.testing.assert_array_equal(np.isneginf(outputs["y"]), np.isneginf(expected))
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-6)


UNSEEN: dict[str, Callable[..., Value]] = {
    "softmax": lambda x, p: b.softmax(x + MASK),
    "no infinity": lambda x, p: x + X,
    "nothing known": lambda x, p: x + x,
    "a finite comparison": lambda x, p: b.cast(b.equal(x + MASK, np.float32(0)), np.float32),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_costs_nothing_where_it_is_not_seen(name: str) -> None:
    assert "SELECT_V2" not in {op.kind.name for op in compiled(UNSEEN[name]).ops}


def test_a_long_chain_of_sums() -> None:
    def chain(x: Value, p: Value) -> Value:
        for _ in range(2000):
            x = x + np.float32(0.001)
        return x + MASK

    graph = compiled(chain)
    assert [op.kind.name for op in graph.ops].count("SELECT_V2") == 1
