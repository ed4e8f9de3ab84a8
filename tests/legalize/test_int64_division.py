"""int64 division, which no kernel has: exact for random and for awkward operands, on both runtimes."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, building
from onnx2tf_lite.legalize.dtypes import legalize
from tests.harness import run_tflite

EDGES = [1, 2, 3, 7, 2**24 - 1, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**53 + 1, 2**62 - 1, 2**63 - 1]


def operands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    small, big = rng.integers(-1000, 1000, 2000), rng.integers(-(2**63) + 1, 2**63 - 1, 2000)
    bits = rng.integers(0, 63, 4000)
    mixed = rng.integers(1, 2**63 - 1, 4000) >> bits
    edges = np.array([s * e for e in EDGES for s in (1, -1)])
    grid = np.meshgrid(np.append(edges, 0), edges)
    x = np.concatenate([small, big, mixed, grid[0].ravel()])
    y = np.concatenate([big, small, rng.permutation(mixed), grid[1].ravel()])
    return x, np.where(y == 0, 1, y)


def truncated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array(
        [abs(a) // abs(c) * (1 if (a < 0) == (c < 0) else -1) for a, c in zip(x.tolist(), y.tolist(), strict=True)]
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [("DIV", truncated), ("FLOOR_DIV", np.floor_divide)], ids=["div", "floor"]
)
def test_every_quotient_is_exact(kind: str, expected) -> None:
    x, y = operands()
    graph = Graph()
    values = [graph.add_input(n, x.shape, np.int64) for n in "xy"]
    with building(graph):
        graph.outputs = [b.emit(kind, *values, **({"activation": None} if kind == "DIV" else {}))]
    graph.output_names = ["z"]
    legalize(graph)
    for runtime, outputs in run_tflite(graph, {"x": x, "y": y}).items():
        np.testing.assert_array_equal(outputs["z"], expected(x, y), err_msg=runtime)
