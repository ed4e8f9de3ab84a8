# ruff: noqa: E501 (tables: a case is a line)
"""int64 to int32: only what is proven, and never a wrap."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite import passes

from .conftest import law, model, ops

I = np.int64  # noqa: E741
D = np.arange(20, dtype=np.float32).reshape(4, 5)


def dtypes(graph) -> dict[str, str]:
    return {t.name: str(t.dtype) for n in graph.nodes for t in n.outputs}


def test_product_of_any_int32_is_kept() -> None:
    text = """(float[4,5] x, int32[2] j) => (float[2,5] y) {
      a = Cast <to = 7> (j)  b = Mul (a, two)  c = Mod (b, four)  y = Gather (x, c) }"""
    _, result = law("int64", model(text, two=I(2), four=I(4)))
    assert not result.modified and result.notes == ["kept 1 tensor in int64, the range is not proven: b"]


def test_index_arithmetic_of_small_numbers() -> None:
    text = """(float[4,5] x, uint8[2] j) => (float[2,5] y) {
      a = Cast <to = 7> (j)  b = Add (a, one)  c = Mod (b, four)  y = Gather (x, c) }"""
    graph, result = law("int64", model(text, one=I(1), four=I(4)))
    assert set(dtypes(graph).values()) == {"int32", "float32"} and result.notes == ["narrowed 5 tensors to int32"]


def test_constant_index() -> None:
    graph, _ = law("int64", model("(float[4,5] x) => (float[2,5] y) { y = Gather (x, i) }", i=np.array([1, -1])))
    assert graph.nodes[0].inputs[1].dtype == np.int32


def test_tile_of_an_index() -> None:
    text = "(float[4,5] x) => (float[4,5] y) { t = Tile (i, r) y = GatherElements <axis = 0> (x, t) }"
    graph, _ = law("int64", model(text, i=np.array([[3], [1], [0], [2]]), r=np.array([1, 5])))
    assert dtypes(graph)["t"] == "int32" and graph.nodes[0].inputs[1].dtype == np.int64


@pytest.mark.parametrize("number", [1 << 31, -(1 << 31) - 1])
def test_too_big_stays(number: int) -> None:
    text = "(float[4] x, uint8[4] j) => (float[4] y) { a = Cast <to = 7> (j) b = Add (a, n) c = Sub (b, n) y = Gather (x, c) }"
    graph, result = law("int64", model(text, n=I(number)))
    assert not result.modified and dtypes(graph)["b"] == "int64"
    assert any(note.startswith("kept") for note in result.notes)


def test_product_of_two_dimensions_is_not_bounded() -> None:
    text = """(float[n] x, float[p,q] z) => (float[1] y) {
      s = Shape (z) a = Gather (s, i) b = Gather (s, j) c = Mul (a, b) m = Mod (c, k) y = Gather (x, m) }"""
    graph, _ = law("int64", model(text, i=np.array([0]), j=np.array([1]), k=np.array([2])))
    assert dtypes(graph)["c"] == "int64"


def test_outputs_and_other_readers_stay() -> None:
    text = "(float[4] x, uint8[4] j) => (float[4] y, int64[4] a) { a = Cast <to = 7> (j) m = Mod (a, k) y = Gather (x, m) }"
    graph, _ = law("int64", model(text, k=I(4)))
    assert dtypes(graph)["a"] == "int64" and dtypes(graph)["m"] == "int64"


def test_constant_read_in_both_ways() -> None:
    text = "(float[4] x) => (float[2] y, float[2,1] z) { y = Gather (x, i) z = Reshape (y, i) }"
    graph, _ = law("int64", model(text, i=np.array([2, 1])))
    assert [t.dtype for n in graph.nodes for t in n.inputs[1:]] == [np.int32, np.int64]


def test_comparison() -> None:
    text = "(uint8[4] j) => (bool[4] y) { a = Cast <to = 7> (j) y = Equal (a, k) }"
    graph, _ = law("int64", model(text, k=I(1)))
    assert dtypes(graph)["a"] == "int32"


def test_unproven_graph_input() -> None:
    text = "(float[4] x, int64[4] j) => (float[4] y) { a = Add (j, k) m = Mod (a, n) y = Gather (x, m) }"
    graph, result = law("int64", model(text, k=I(1), n=I(4)))
    assert not result.modified and ops(graph) == {"Add": 1, "Mod": 1, "Gather": 1}
    assert passes.run("int64", graph).modified is False
