# ruff: noqa: E501 (tables: a case is a line)
"""Folding: inside the budget, in one session, and never what must stay."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite import passes

from .conftest import feeds, law, load, model, ops, same, session

I = np.int64  # noqa: E741
N = np.arange(5, dtype=np.float32)


def test_chain_of_constants() -> None:
    text = "(float[5] x) => (float[5] y) { a = Add (c, c) b = Mul (a, c) d = Sqrt (b) y = Add (x, d) }"
    graph, result = law("fold", model(text, c=N))
    assert ops(graph) == {"Add": 1}
    assert result.notes == ["folded 3 constant nodes"]


def test_static_shape_and_size() -> None:
    text = "(float[2,3] x) => (int64[2] s, int64 n) { s = Shape (x) n = Size (x) }"
    graph, _ = law("fold", model(text))
    assert ops(graph) == {}
    np.testing.assert_array_equal(graph.outputs[0].values, [2, 3])


@pytest.mark.parametrize(
    "part",
    ["d = Gather (s, i)", "d = Slice (s, i, j)", "d = Shape <start = 1, end = 2> (x)"],
    ids=["gather", "slice", "range"],
)
def test_known_dimension_of_a_dynamic_shape(part: str) -> None:
    text = f"(float[n,3,4] x) => (int64[1] y) {{ s = Shape (x) {part} y = Add (d, i) }}"
    graph, _ = law("fold", model(text, i=np.array([1]), j=np.array([2])))
    assert "Add" not in ops(graph)
    np.testing.assert_array_equal(graph.outputs[0].values, [4])


def test_unknown_dimension_stays() -> None:
    text = "(float[n,3] x) => (int64[1] y) { s = Shape (x) y = Gather (s, i) }"
    graph, result = law("fold", model(text, i=np.array([0])))
    assert ops(graph) == {"Shape": 1, "Gather": 1} and not result.modified


def test_reshape_by_a_computed_shape() -> None:
    """[batch, -1, 4] computed from the input is the constant [0, -1, 4]."""
    text = """(float[n,h,4] x) => (float[n,m,4] y)
      { s = Shape (x) b = Gather (s, i) t = Concat <axis = 0> (b, j) y = Reshape (x, t) }"""
    graph, _ = law("fold", model(text, i=np.array([0]), j=np.array([-1, 4])))
    assert [n.inputs[1].values.tolist() for n in graph.nodes if n.op == "Reshape"] == [[0, -1, 4]]


def c6(height: int, width: int, depth: int, features: int) -> str:
    return f"""(float[1,{features},{height},{width},{depth}] x) => (float[1,{features},{height},{width},{depth}] y)
      {{ r = Range (zero, end, one)  u = Reshape (r, form)  i = Tile (u, times)  y = GatherElements <axis = 2> (x, i) }}"""


def meshgrid(height: int, width: int, depth: int, features: int) -> dict:
    return {
        "zero": I(0), "one": I(1), "end": I(height),
        "form": np.array([1, 1, height, 1, 1]), "times": np.array([1, features, 1, width, depth]),
    }  # fmt: skip


def test_the_meshgrid_of_the_seed_stays_tiny() -> None:
    """seed-techniques C6: 1x16x320x180x320 int64 would be 2.2 GB."""
    size = (320, 180, 320, 16)
    graph, _ = passes.optimize(load(c6(*size), **meshgrid(*size)))
    assert len(passes.to_proto(graph).SerializeToString()) < 10_000
    assert ops(graph) == {"Gather": 1}  # the index differs along one axis only
    folded = passes.run("fold", load(c6(*size), **meshgrid(*size)))
    assert ops(folded.graph)["Tile"] == 1 and any("left Tile" in n and "2,359,296,000" in n for n in folded.notes)


def test_the_meshgrid_in_small_is_right() -> None:
    proto = model(c6(4, 3, 5, 2), **meshgrid(4, 3, 5, 2))
    graph, _ = passes.optimize(passes.load(proto), passes.PassOptions(fold_budget=16))
    given = feeds(proto)
    same(session(proto).run(None, given), session(passes.to_proto(graph)).run(None, given))


def test_budget_is_net_growth() -> None:
    text = "(float[1,600] x) => (float[1,600] y) { t = Transpose <perm = [1,0]> (w) y = MatMul (x, t) }"
    weights = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
    graph, _ = law("fold", model(text, w=weights), passes.PassOptions(fold_budget=0))
    assert ops(graph) == {"MatMul": 1}


def test_budget_is_spent_once() -> None:
    """Two results of 400 bytes each, and room for one of them, whatever the number of rounds."""
    text = "(float[100] x) => (float[100] y) { a = Expand (c, s) b = Expand (d, s) e = Add (x, a) y = Mul (e, b) }"
    graph = load(text, c=N[1:2], d=N[2:3], s=np.array([100]))
    passes.run("shapes", graph)
    one = passes.PASSES["fold"].make(passes.PassOptions(fold_budget=500))
    for _ in range(3):
        one(graph)
    assert ops(graph)["Expand"] == 1


def test_small_tile_folds_and_unlocks_the_rest() -> None:
    text = "(float[10] x) => (float[10] y) { t = Tile (c, r) s = Sqrt (t) y = Add (x, s) }"
    graph, _ = law("fold", model(text, c=N, r=np.array([2])))
    assert ops(graph) == {"Add": 1}


def test_size_that_follows_from_another_fold() -> None:
    """The repeats are computed, so the size of the Tile is only known after the first round."""
    text = "(float[n] x) => (float[n] y) { r = Where (b, p, q) t = Tile (c, r) s = ReduceSum <keepdims = 0> (t) y = Add (x, s) }"
    graph, _ = law("fold", model(text, c=N, b=np.array([True]), p=np.array([3]), q=np.array([4])))
    assert ops(graph) == {"Add": 1}


@pytest.mark.parametrize(
    "text",
    [
        "(float[5] x) => (float[5] y) { q = QuantizeLinear (c, s, z) d = DequantizeLinear (q, s, z) y = Add (x, d) }",
        "(float[5] x) => (float[5] y) { r = RandomNormalLike (c) m = Mul (r, e) y = Add (x, m) }",
    ],
    ids=["quantisation", "random"],
)
def test_what_stays(text: str) -> None:
    graph = load(text, c=N, s=np.float32(0.1), z=np.uint8(3), e=np.float32(0))
    before = ops(graph)
    passes.run("shapes", graph)
    assert not passes.run("fold", graph).modified and ops(graph) == before


def test_kept_node() -> None:
    text = "(float[5] x) => (float[5] y) { a = Sqrt (c) y = Add (x, a) }"
    graph = load(text, c=N)
    graph.nodes[0].name = "mine"
    passes.run("shapes", graph)
    assert not passes.run("fold", graph, passes.PassOptions(keep_nodes=frozenset({"mine"}))).modified


BRANCHES = """(float[2] x) => (float[2] y) {
  y = If (c) <then_branch = t () => (float[2] r) { k = Add (x, x) r = Relu (k) },
              else_branch = e () => (float[2] r) { k = Mul (x, x) r = Neg (k) }> }"""


@pytest.mark.parametrize(("condition", "left"), [(True, {"Add": 1, "Relu": 1}), (False, {"Mul": 1, "Neg": 1})])
def test_decided_if(condition: bool, left: dict[str, int]) -> None:
    graph, _ = law("fold", model(BRANCHES, c=np.array(condition)))
    assert ops(graph) == left and graph.outputs[0].inputs[0].op in ("Relu", "Neg")


def test_decided_if_that_hands_a_constant_through() -> None:
    text = """(float[2] x) => (float[2] y, float[2] z) {
      y, z = If (c) <then_branch = t () => (float[2] r, float[2] s) { r = Identity (k) s = Relu (x) },
                     else_branch = e () => (float[2] r, float[2] s) { r = Neg (x) s = Neg (x) }> }"""
    law("fold", model(text, c=np.array(True), k=N[:2]))


def test_constants_inside_a_body() -> None:
    text = """(bool c, float[5] x) => (float[5] y) {
      y = If (c) <then_branch = t () => (float[5] r) { a = Sqrt (k) r = Add (x, a) },
                  else_branch = e () => (float[5] r) { r = Neg (x) }> }"""
    graph, result = law("fold", model(text, k=N))
    assert result.modified and [n.op for n in graph.nodes[0].attrs["then_branch"].nodes] == ["Add"]
