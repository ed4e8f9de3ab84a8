"""Sums of very many numbers, beside those that numpy makes in float64."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.dims import Shape
from onnx2tf_lite.ir.graph import Graph, building
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.legalize.sums import split
from tests.harness import run_tflite


def program(kind: str, shape: Shape, axes: tuple[int, ...], keepdims: bool, dtype: type = np.float32) -> Graph:
    graph = Graph()
    x = graph.add_input("x", shape, np.dtype(dtype))
    with building(graph):
        graph.outputs = [b.reduce(kind, x, axes, keepdims)]
    graph.output_names = ["y"]
    split(graph)
    verify(graph)
    return graph


@pytest.mark.parametrize("kind", ["MEAN", "SUM"])
@pytest.mark.parametrize(
    "shape, axes, keepdims",
    [((1, 1000, 600, 2), (1, 2), False), ((3, 700, 300), (0, 1, 2), True), ((2, 600000), (1,), True),
     ((600000, 1), (0, 1), False), ((1, 400, 2, 1000), (1, 3), False)],
)  # fmt: skip
def test_long_sums_are_exact(kind: str, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> None:
    x = (3 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    right = (np.mean if kind == "MEAN" else np.sum)(x.astype(np.float64), axis=axes, keepdims=keepdims)
    for runtime, got in run_tflite(program(kind, shape, axes, keepdims), {"x": x}).items():
        np.testing.assert_allclose(got["y"], right, rtol=1e-5, err_msg=runtime)


@pytest.mark.parametrize(
    "kind, shape, dtype",
    [("MEAN", (1, 300, 300, 8), np.float32), ("MEAN", (1, dims.symbol("H"), 4000, 8), np.float32),
     ("REDUCE_MAX", (1, 1000, 1000, 2), np.float32), ("SUM", (1, 1000, 1000, 2), np.int32),
     ("SUM", (1, 1, 131101, 1), np.float32), ("SUM", (1, 1, (1 << 63) - 1, 1), np.float32)],
    ids=["short", "of an unknown length", "a maximum", "integers", "a prime", "of an extent that is only claimed"],
)  # fmt: skip
def test_others_stay(kind: str, shape: Shape, dtype: type) -> None:
    assert [op.kind.name for op in program(kind, shape, (1, 2), False, dtype).ops] == [kind]
