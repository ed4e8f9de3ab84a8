"""Slices of single elements of the innermost axis have a price, and are avoided where that costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Op, Value, building, constant
from onnx2tf_lite.ir.orders import ALONE
from onnx2tf_lite.layout import assign
from onnx2tf_lite.layout.candidates import Vertex
from onnx2tf_lite.layout.problem import Pin
from onnx2tf_lite.layout.scattered import scattered

from .test_stage import feeds_for, run_by_name

CHANNELS = 16
SHAPE = (1, CHANNELS, 24, 20)


def program(slices: list[tuple[int, int]], stride: int = 1) -> Graph:
    """exp(x), of which channels are taken (first, how many), and which a convolution reads channels-last."""
    graph = Graph()
    x = graph.add_input("x", SHAPE[1:], np.dtype(np.float32))  # no image: stored as it is
    with building(graph):
        y = b.exp(b.reshape(x, SHAPE))
        parts = [b.strided_slice(y, (0, i, 0, 0), (1, i + n * stride, 24, 20), (1, stride, 1, 1)) for i, n in slices]
        weights = constant(np.ones((4, 1, 1, CHANNELS), np.float32))
        window = {"strides": (1, 1), "dilations": (1, 1), "padding": "SAME", "activation": None, "groups": None}
        made = b.emit("CONV_2D", b.channels_last(y), weights, constant(np.zeros(4, np.float32)), **window)
        results = [b.sin(part) for part in parts] + [b.reduce("MEAN", made, (1, 2))]
    return finished(graph, results)


def finished(graph: Graph, results: list[Value]) -> Graph:
    graph.outputs, graph.output_names = results, [f"y{i}" for i in range(len(results))]
    for name, value in zip(graph.output_names, results, strict=True):
        value.name = name
        graph.tensors[name] = value
    graph.tensors |= {v.name: v for v in graph.inputs}
    return graph


def apart(op: Op) -> bool:
    """Does a slice take single elements of the innermost axis?"""
    x, y = op.uses()[0], op.outputs[0]
    inner = max(i for i, d in enumerate(x.shape) if d != 1)
    return y.shape[inner] == 1 or op.attrs.get("strides", (1,) * x.rank)[inner] != 1


def slices(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if op.kind.name in ("SLICE", "STRIDED_SLICE")]


@pytest.mark.parametrize(
    ("taken", "stride", "more"),
    [([(0, 1), (3, 1)], 1, 0),
     ([(0, 3), (1, 3)], 2, 6)],  # the results are images: what was taken is moved, which is little
)  # fmt: skip
def test_they_are_rows(taken: list[tuple[int, int]], stride: int, more: int) -> None:
    graph = program(taken, stride)
    feeds = feeds_for(graph)
    expected = run_by_name(graph, feeds)
    report = assign(graph)
    assert len(slices(graph)) == 2 and not any(map(apart, slices(graph)))
    assert report.cost_bytes == report.emitted_bytes == (CHANNELS + more) * 24 * 20 * 4
    for name, array in run_by_name(graph, feeds).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, err_msg=name)


def test_one_has_the_price_of_so_many_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few elements less than a TRANSPOSE of all, of all of them no more than that; of runs none."""
    found: list[list[int]] = []

    def listened(nodes: Sequence[Vertex], weight: Callable[[Value], int]) -> list[tuple[int, list[Pin]]]:
        values = scattered(nodes, weight)
        found.append([cost for cost, _ in values])
        return values

    monkeypatch.setattr("onnx2tf_lite.layout.stage.scattered", listened)
    one = 24 * 20 * 4
    for taken, price in (([(2, 1)], ALONE * one), ([(i, 1) for i in range(6)], CHANNELS * one), ([(0, 2)], 0)):
        found.clear()
        assign(program(taken))
        assert {sum(costs) for costs in found[:1]} == {price}
