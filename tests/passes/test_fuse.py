# ruff: noqa: E501 (tables: a case is a line)
"""Each fusion in the spellings exporters use, and beside it the near miss that must not fuse."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite import passes
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.passes.match import may_occur

from .conftest import law, load, model, ops

F = np.float32
NUMBERS = {
    "half": F(0.5), "one": F(1), "two": F(2), "three": F(3), "six": F(6), "zero": F(0), "sixth": F(1 / 6), "root2": F(2**0.5),
    "inv2": F(2**-0.5), "c": F(0.044715), "k": F((2 / np.pi) ** 0.5), "five": F(5), "near6": F(5.998), "eps": F(1e-5), "slope": F(0.3),
    "g": np.linspace(0.5, 2, 8).astype(F), "b": np.linspace(-1, 1, 8).astype(F), "last": np.array([-1]), "first": np.array([1]),
    "s3": np.array([2, 3, -1]), "s1": np.array([2, 1, -1]), "sq": np.array([3, 2, -1]), "sx": np.array([2, 6, 4, 8]), "sh": np.array([2, 6, 32]),
    "o3": np.array([0.5, 1, 2], F), "z3": np.array([3, -1, 0], F), "o2": np.array([1, 2], F), "z2": np.array([0, 1], F), "o1": np.array([2], F), "z1": np.array([1], F), "g6": np.linspace(0.5, 2, 6).astype(F).reshape(6, 1, 1),
    "b6": np.linspace(-1, 1, 6).astype(F).reshape(1, 6, 1, 1), "hw": np.array([2, 3]), "g2": np.ones((4, 8), F) * 2, "bad": np.ones((6, 1, 1), F), "g4": np.ones((1, 1, 8), F) * 3,
}  # fmt: skip
SIX = "a = Add (x, three)  q = Clip (a, zero, six)"
RELU6 = "a = Add (x, three)  r = Relu (a)  q = Min (r, six)"
MEAN = "m = ReduceMean (x, last)  d = Sub (x, m)"
GROUPS = "r = Reshape (x, s3)  n = InstanceNormalization (r, o3, z3)"
SPREAD = "w = ReduceMean (s, last)  e = Add (w, eps)  r = Sqrt (e)"

# fusion, text, the operator it becomes
FUSES = [
    ("hardswish", f"{SIX}  p = Mul (x, q)  y = Div (p, six)", "HardSwish"),
    ("hardswish", f"{SIX}  p = Mul (q, x)  y = Mul (p, sixth)", "HardSwish"),
    ("hardswish", f"{SIX}  p = Div (q, six)  y = Mul (x, p)", "HardSwish"),
    ("hardswish", "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)  y = Mul (h, x)", "HardSwish"),
    ("hardswish", f"{RELU6}  p = Mul (q, sixth)  y = Mul (x, p)", "HardSwish"),
    ("hardswish", f"{RELU6}  p = Mul (x, q)  y = Div (p, six)", "HardSwish"),
    ("hardswish", "a = Mul (x, sixth)  s = Add (a, half)  q = Clip (s, zero, one)  y = Mul (x, q)", "HardSwish"),
    ("hardswish", "a = Div (x, six)  s = Add (half, a)  r = Relu (s)  q = Min (one, r)  y = Mul (q, x)", "HardSwish"),
    ("hardsigmoid", f"{RELU6}  y = Div (q, six)", "HardSigmoid"),
    ("hardsigmoid", f"{SIX}  y = Div (q, six)", "HardSigmoid"),
    ("hardsigmoid", "a = Mul (x, slope)  q = Add (a, half)  y = Clip (q, zero, one)", "HardSigmoid"),
    ("mish", "a = Exp (x)  q = Add (one, a)  s = Log (q)  t = Tanh (s)  y = Mul (t, x)", "Mish"),
    ("mish", "a = Softplus (x)  t = Tanh (a)  y = Mul (x, t)", "Mish"),
    ("gelu", "d = Div (x, root2)  e = Erf (d)  s = Add (e, one)  p = Mul (x, s)  y = Mul (p, half)", "Gelu"),
    ("gelu", "d = Mul (x, inv2)  e = Erf (d)  s = Add (e, one)  p = Mul (half, x)  y = Mul (p, s)", "Gelu"),
    ("gelu", "d = Div (x, root2)  e = Erf (d)  s = Add (e, one)  p = Mul (s, half)  y = Mul (x, p)", "Gelu"),
    (
        "gelu",
        "u = Pow (x, three)  v = Mul (u, c)  w = Add (x, v)  z = Mul (w, k)  t = Tanh (z)  s = Add (t, one)  p = Mul (x, half)  y = Mul (p, s)",
        "Gelu",
    ),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  n = Div (d, r)  o = Mul (n, g)  y = Add (o, b)", "LayerNormalization"),
    ("layernorm", f"{MEAN}  s = Mul (d, d)  {SPREAD}  n = Div (d, r)  o = Mul (g4, n)  y = Add (b, o)", "LayerNormalization"),
    ("layernorm", f"{MEAN}  s = Mul (d, d)  {SPREAD}  i = Reciprocal (r)  n = Mul (d, i)  y = Mul (n, g)", "LayerNormalization"),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  y = Div (d, r)", "LayerNormalization"),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  n = Div (d, r)  y = Mul (n, g2)".replace("last", "hw"), "LayerNormalization"),
    ("groupnorm", f"{GROUPS}  y = Reshape (n, sx)", "GroupNormalization"),
    ("groupnorm", f"{GROUPS}  q = Reshape (n, sx)  m = Mul (q, g6)  y = Add (b6, m)", "GroupNormalization"),
    ("groupnorm", f"{GROUPS}  q = Reshape (n, sx)  y = Mul (g6, q)", "GroupNormalization"),
    ("groupnorm", f"{GROUPS}  q = Reshape (n, sx)  m = Mul (q, g6)  y = Add (b6, m)".replace("3", "1"), "GroupNormalization"),
    ("rmsnorm", f"s = Pow (x, two)  {SPREAD}  n = Div (x, r)  y = Mul (n, g)", "RMSNormalization"),
    ("rmsnorm", f"s = Mul (x, x)  {SPREAD}  i = Div (one, r)  n = Mul (x, i)  y = Mul (g, n)", "RMSNormalization"),
]  # fmt: skip
NEAR = [
    ("hardswish", "a = Add (x, three)  q = Clip (a, zero, five)  p = Mul (x, q)  y = Div (p, six)", None),
    ("hardswish", f"{SIX}  p = Mul (x, q)  y = Div (p, near6)", None),
    ("hardswish", "a = Add (x, two)  r = Relu (a)  q = Min (r, six)  p = Mul (x, q)  y = Div (p, six)", None),
    ("hardswish", f"{RELU6}  t = Tanh (x)  p = Mul (t, q)  y = Div (p, six)", None),
    ("hardswish", "h = HardSigmoid (x)  y = Mul (h, x)", "alpha=0.2"),
    ("hardswish", f"{SIX}  p = Mul (x, q)  z = Div (p, six)  y = Add (z, q)", "'q' is read elsewhere"),
    ("hardsigmoid", "a = Mul (x, b)  q = Add (a, half)  y = Clip (q, zero, one)", "not one number"),
    ("mish", "a = Exp (x)  q = Add (two, a)  s = Log (q)  t = Tanh (s)  y = Mul (t, x)", None),
    ("mish", "a = Softplus (x)  t = Tanh (a)  n = Neg (x)  y = Mul (n, t)", None),
    ("gelu", "d = Div (x, two)  e = Erf (d)  s = Add (e, one)  p = Mul (x, s)  y = Mul (p, half)", None),
    ("layernorm", f"{MEAN}  s = Pow (d, three)  {SPREAD}  y = Div (d, r)", None),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  y = Div (d, r)".replace("last", "first"), "not the last ones"),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  y = Div (d, r)".replace("(x, last)", "(x, hw)"), "differ"),
    ("layernorm", f"{MEAN}  s = Pow (d, two)  {SPREAD}  y = Div (x, r)", None),
    ("groupnorm", f"{GROUPS}  y = Reshape (n, sx)".replace("s3", "sq").replace("o3", "o2").replace("z3", "z2"), "its shapes"),
    ("groupnorm", f"{GROUPS}  y = Reshape (n, sh)", "its shapes"),
    ("groupnorm", "a = Abs (o3)  r = Reshape (x, s3)  n = InstanceNormalization (r, a, z3)  y = Reshape (n, sx)", None),
    ("rmsnorm", f"s = Mul (x, g)  {SPREAD}  n = Div (x, r)  y = Mul (n, g)", None),
]  # fmt: skip


def build(text: str):
    used = {k: v for k, v in NUMBERS.items() if k in text.replace("(", " ").replace(")", " ").replace(",", " ").split()}
    return model(f"(float[2,6,4,8] x) => (float[{'2,6,32' if 'sh)' in text else '2,6,4,8'}] y) {{ {text} }}", **used)


@pytest.mark.parametrize(("name", "text", "op"), FUSES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(FUSES)])
def test_fuses(name: str, text: str, op: str) -> None:
    graph, result = law(name, build(text), rtol=2e-5 if name != "gelu" else 1e-4)
    assert ops(graph) == {op: 1} and result.notes == ["fused 1"]


@pytest.mark.parametrize(("name", "text", "reason"), NEAR, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(NEAR)])
def test_near_miss(name: str, text: str, reason: str | None) -> None:
    graph, result = law(name, build(text))
    assert not result.modified
    told = passes.explain(graph, name)
    assert reason is None or (any(reason in t for t in told) and any(reason in n for n in result.notes))


def shuffle(mid: list[int], perm: list[int], out: list[int], source: str = "2,8,4,6"):
    text = f"(float[{source}] x) => (float[n,c,h,w] y) {{ a = Reshape (x, p) t = Transpose <perm = {perm}> (a) y = Reshape (t, q) }}"
    return model(text, p=np.array(mid), q=np.array(out))


SHUFFLES = [
    ("crd", [2, 2, 2, 2, 4, 6], [0, 1, 4, 2, 5, 3], [2, 2, 8, 12], {"blocksize": 2, "mode": "CRD"}),
    ("dcr", [2, 2, 2, 2, 4, 6], [0, 3, 4, 1, 5, 2], [2, 2, 8, 12], {"blocksize": 2, "mode": "DCR"}),
    ("space to depth", [2, 8, 2, 2, 3, 2], [0, 3, 5, 1, 2, 4], [2, 32, 2, 3], {"blocksize": 2}),
    ("another permutation", [2, 2, 2, 2, 4, 6], [0, 1, 4, 3, 5, 2], [2, 2, 8, 12], None),
    ("unequal blocks", [2, 2, 1, 4, 4, 6], [0, 1, 4, 2, 5, 3], [2, 2, 4, 24], None),
    ("another split", [2, 2, 2, 2, 6, 4], [0, 1, 4, 2, 5, 3], [2, 2, 12, 8], None),
    ("another target", [2, 2, 2, 2, 4, 6], [0, 1, 4, 2, 5, 3], [2, 4, 4, 12], None),
]  # fmt: skip


@pytest.mark.parametrize(("mid", "perm", "out", "attrs"), [s[1:] for s in SHUFFLES], ids=[s[0] for s in SHUFFLES])
def test_pixel_shuffle(mid: list, perm: list, out: list, attrs: dict | None) -> None:
    graph, result = law("pixelshuffle", shuffle(mid, perm, out))
    assert result.modified == (attrs is not None)
    assert attrs is None or (len(graph.nodes) == 1 and graph.nodes[0].attrs == attrs)


def test_pixel_shuffle_of_a_free_batch() -> None:
    graph, _ = law("pixelshuffle", shuffle([-1, 2, 2, 2, 4, 6], [0, 1, 4, 2, 5, 3], [-1, 2, 8, 12], "n,8,4,6"))
    assert ops(graph) == {"DepthToSpace": 1}


OPEN = [
    ("n,6,4,8", [0, 3, -1], [-1, 6, 4, 8], True),
    ("n,6,4,8", [-1, 3, 64], [-1, 6, 4, 8], True),
    ("n,6,h,8", [0, 3, -1], [0, 6, -1, 8], True),
    ("n,6,h,8", [0, 3, -1], [-1, 6, 4, 8], False),  # for other extents something else than x
    ("n,6,4,8", [-1, 3, 32], [-1, 6, 4, 8], False),  # half of the rows of a group
    ("n,6,4,8", [0, 3, -1], [-1, 12, 4, 4], False),
    ("n,6,4,8", [0, 3, -1], [-1, 6, 8, 4], False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "seen", "back", "fuses"), OPEN)
def test_group_norm_of_an_open_batch(source: str, seen: list, back: list, fuses: bool) -> None:
    """As many elements leave a single -1 no choice."""
    text = f"(float[{source}] x) => (float[a,b,c,d] y) {{ r = Reshape (x, s)  n = InstanceNormalization (r, o3, z3)  y = Reshape (n, t) }}"
    proto = model(text, s=np.array(seen), t=np.array(back), o3=NUMBERS["o3"], z3=NUMBERS["z3"])
    for n in (1, 2, 3):
        graph, _ = law("groupnorm", proto, rtol=2e-5, n=n, h=4)
        assert ops(graph) == ({"GroupNormalization": 1} if fuses else {"Reshape": 2, "InstanceNormalization": 1})


def test_kept_node() -> None:
    graph = load("(float[2] x) => (float[2] y) { a = Softplus (x) t = Tanh (a) y = Mul (x, t) }")
    graph.nodes[1].name = "mine"
    assert not passes.run("mish", graph, passes.PassOptions(keep_nodes=frozenset({"mine"}))).modified


def test_explain_tells_the_nearest_miss() -> None:
    graph = load("(float[2] x) => (float[2] y) { s = Softplus (x) t = Tanh (s) n = Neg (x) y = Mul (n, t) }")
    assert passes.explain(graph, "mish") == ["Mul 'y': 3 operators agree with Mul(x, Tanh(Softplus(x)))"]


def test_an_old_graph_is_refused() -> None:
    with pytest.raises(ConversionError, match="run the pass upgrade first"):
        passes.run("gelu", load("(float[2] x) => (float[2] y) { y = Relu (x) }", 13))


@pytest.mark.parametrize("name", passes.FUSIONS)
def test_patterns_are_skipped_unread_where_an_operator_is_missing(name: str) -> None:
    """What their words alone say is what the parsed patterns say."""
    fusion = passes.FUSIONS[name]
    assert len(fusion.patterns) == len(fusion.texts)
    for text, pattern in zip(fusion.texts, fusion.patterns, strict=True):
        words = {next(iter(sorted(call.operators))) for call in pattern.calls}
        assert may_occur(text, words) and pattern.may_occur(words) and pattern in fusion.possible(words)
        for word in words:
            few = words - {word}
            assert may_occur(text, few) == pattern.may_occur(few)
