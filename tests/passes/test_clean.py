# ruff: noqa: E501 (tables: a case is a line)
"""What does nothing goes, what does something stays, and the surface keeps its names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import passes

from .conftest import law, load, model, ops

X = "(float[2,3,4] x) => (float[a,b,c] y)"
ONE = np.ones(1, np.float32)
SAME = {"t": np.array([2, 3, 4]), "z": 0 * ONE, "o": ONE, "p": np.zeros(6, np.int64), "r": np.ones(3, np.int64)}

NO_OPS = [
    "b = Identity (a)",
    "b = Cast <to = 1> (a)",
    "b = Transpose <perm = [0,1,2]> (a)",
    "b = Reshape (a, t)",
    "b = Expand (a, t)",
    "b = Tile (a, r)",
    "b = Pad (a, p)",
    "b = Concat <axis = 0> (a)",
    "b = Sum (a)",
    "b = Clip (a)",
    "b = Add (a, z)",
    "b = Add (z, a)",
    "b = Sub (a, z)",
    "b = Mul (o, a)",
    "b = Div (a, o)",
    "b = Pow (a, o)",
    "k = Transpose <perm = [1,2,0]> (a)  b = Transpose <perm = [2,0,1]> (k)",
    "k = Reshape (a, s)  b = Reshape (k, t)",
]


@pytest.mark.parametrize("text", NO_OPS)
@pytest.mark.parametrize("place", ["inside", "at the output"])
def test_no_op(text: str, place: str) -> None:
    body = f"a = Relu (x)  {text}  y = Neg (b)" if place == "inside" else f"a = Relu (x)  {text.replace('b =', 'y =')}"
    graph, _ = law("clean", model(f"{X} {{ {body} }}", **SAME, s=np.array([24])))
    assert ops(graph) == ({"Relu": 1, "Neg": 1} if place == "inside" else {"Relu": 1})
    assert [t.name for t in graph.outputs] == ["y"]


NEAR = [
    "b = Cast <to = 11> (a)",
    "b = Add (a, wide)",
    "b = Sub (z, a)",
    "b = Div (o, a)",
    "b = Slice (a, k0, k9, k1, minus)",
    "b = Transpose <perm = [0,2,1]> (a)",
    "b = Clip (a, zero)",
]


@pytest.mark.parametrize("text", NEAR)
def test_near_miss(text: str) -> None:
    constants = {
        **SAME, "wide": np.zeros((5, 2, 3, 4), np.float32), "k0": np.array([-1]), "k9": np.array([-99]), "k1": np.array([1]),
        "minus": np.array([-1]), "zero": np.float32(0),
    }  # fmt: skip
    graph = load(
        f"(float[2,3,4] x) => (float[2,3,4] y) {{ a = Relu (x)  {text}  k = Cast <to = 1> (b)  y = Neg (k) }}",
        **constants,
    )
    passes.run("shapes", graph)
    passes.run("clean", graph)
    assert text.split()[2] in ops(graph)


def test_dynamic_reshape_that_is_none() -> None:
    graph, _ = law(
        "clean",
        model("(float[n,3] x) => (float[n,3] y) { a = Relu (x) b = Reshape (a, t) y = Neg (b) }", t=np.array([0, 3])),
    )
    assert ops(graph) == {"Relu": 1, "Neg": 1}


def test_identity_between_input_and_output_stays() -> None:
    graph, result = law("clean", model("(float[2] x) => (float[2] y) { y = Identity (x) }"))
    assert ops(graph) == {"Identity": 1} and not result.modified


def test_two_outputs_of_one_value() -> None:
    graph, _ = law("clean", model("(float[2] x) => (float[2] y, float[2] z) { y = Relu (x) z = Identity (y) }"))
    assert ops(graph) == {"Relu": 1, "Identity": 1}


def test_dead_code_also_in_bodies() -> None:
    text = """(bool c, float[2] x) => (float[2] y) { d = Neg (x) e = Sqrt (d)  h = Exp (x)
      y = If (c) <then_branch = t () => (float[2] r) { u = Abs (h) r = Relu (x) },
                  else_branch = e () => (float[2] s) { s = Neg (x) }> }"""
    graph, _ = law("clean", model(text))
    assert ops(graph) == {"If": 1} and [n.op for n in graph.nodes[0].attrs["then_branch"].nodes] == ["Relu"]


def test_duplicates_and_common_subexpressions(tmp_path: Path) -> None:
    big = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)
    other = big.copy()
    other[-1, -1] += 1
    text = """(float[1,40] x) => (float[1,40] y) { a = MatMul (x, p) b = MatMul (x, q) c = MatMul (x, o)
      d = Add (a, b) y = Add (d, c) }"""
    onnx.save(model(text, p=big, q=big, o=other), tmp_path / "m.onnx")
    graph = passes.load(tmp_path / "m.onnx")
    result = passes.run("clean", graph)
    assert isinstance(graph.nodes[0].inputs[1]._values, passes.LazyTensor)  # compared, and still lazy
    assert ops(graph) == {"MatMul": 2, "Add": 2}
    assert "1 duplicate constant" in result.notes and "1 common subexpression" in result.notes


def test_random_is_never_common() -> None:
    graph = load("(float[2] x) => (float[2] y) { a = RandomNormalLike (x) b = RandomNormalLike (x) y = Sub (a, b) }")
    assert not passes.run("clean", graph).modified


def test_kept() -> None:
    graph = load("(float[2] x) => (float[2] y) { a = Relu (x) b = Identity (a) y = Neg (b) }")
    graph.nodes[1].name = "mine"
    assert not passes.run("clean", graph, passes.PassOptions(keep_nodes=frozenset({"mine"}))).modified


def test_names() -> None:
    graph = load("(float[2] x) => (float[2] y) { a = Relu (x) b = Relu (a) y = Neg (b) }")
    graph.nodes[2].name = "Relu_1"
    assert passes.run("names", graph).modified
    assert [n.name for n in graph.nodes] == ["Relu_0", "Relu_2", "Relu_1"]
    graph.nodes[0].name = "Relu_1"
    passes.run("names", graph)
    assert len({n.name for n in graph.nodes}) == 3
    assert not passes.run("names", graph).modified
