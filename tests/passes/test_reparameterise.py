# ruff: noqa: E501 (tables: a case is a line)
"""Linear layers become one where that is exact and costs no more, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx2tf_lite import passes
from onnx2tf_lite.passes import reparameterise

from .conftest import law, model, ops

F = np.float32


def arr(*dims: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(dims).astype(F) * F(0.3)


NUMBERS = {
    "w1": arr(6, 6, 1, 1), "w3": arr(6, 6, 3, 3, seed=2), "w5": arr(6, 6, 5, 5, seed=3), "wide": arr(6, 6, 1, 7), "tall": arr(6, 6, 7, 1),
    "d3": arr(6, 1, 3, 3), "d5": arr(6, 1, 5, 5), "g3": arr(6, 3, 3, 3), "k": arr(6), "c": arr(6, 1, 1), "k1": arr(1, 6, 1, 1, seed=7), "map": arr(6, 8, 8), "two": F(2),
    "up": arr(64, 6, 1, 1), "down": arr(2, 64, 1, 1), "out": arr(64, 2, 1, 1), "w8": arr(6, 8, 1, 1), "p8": arr(6, 8, 3, 3), "ones": np.ones((2, 2, 8, 8), F),
    "ramp": arr(2, 2, 8, 8), "m": arr(8, 8), "n": arr(8, 8, seed=5), "v": arr(8), "thin": arr(80, 2), "back": arr(2, 80), "high": arr(8, 80), "full": arr(80, 80),
}  # fmt: skip
P1, P2 = "<pads = [1,1,1,1]>", "<pads = [2,2,2,2]>"
TWO = "<strides = [2,2]>"
POOL = "AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>"

# name, text, what is left
MERGES = [
    ("3x3 + 1x1", f"a = Conv {P1} (x, w3, k)  b = Conv (x, w1, k)  y = Add (a, b)", {"Conv": 1}),
    ("1x1 + 3x3 + identity", f"a = Conv (x, w1)  b = Conv {P1} (x, w3)  s = Add (a, b)  y = Add (x, s)", {"Conv": 1}),
    ("difference", f"a = Conv {P1} (x, w3, k)  y = Sub (x, a)", {"Conv": 1}),
    ("scaled identity with a bias", f"a = Conv {P1} (x, w3)  i = Mul (c, x)  j = Add (i, c)  y = Add (a, j)", {"Conv": 1}),
    ("divided identity", f"a = Conv {P1} (x, w3)  i = Div (x, two)  y = Add (a, i)", {"Conv": 1}),
    ("depthwise", "a = Conv <group = 6, pads = [1,1,1,1]> (x, d3)  b = Conv <group = 6, pads = [2,2,2,2]> (x, d5, k)  s = Add (a, x)  y = Add (s, b)", {"Conv": 1}),
    ("grouped and depthwise", "a = Conv <group = 2, pads = [1,1,1,1]> (x, g3)  b = Conv <group = 6, pads = [1,1,1,1]> (x, d3, k)  y = Add (a, b)", {"Conv": 1}),
    ("strides", f"a = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w3)  b = Conv {TWO} (x, w1)  y = Add (a, b)", {"Conv": 1}),
    ("dilated within a larger window", f"a = Conv {P2} (x, w5)  b = Conv <pads = [2,2,2,2], dilations = [2,2]> (x, w3)  y = Add (a, b)", {"Conv": 1}),
    ("both dilated", "a = Conv <pads = [2,2,2,2], dilations = [2,2]> (x, w3)  b = Conv (x, w1)  y = Add (a, b)", {"Conv": 1}),
    ("average pool", f"a = Conv {P1} (x, w3)  b = {POOL} (x)  y = Add (a, b)", {"Conv": 1}),
    ("with another tensor", f"r = Relu (x)  a = Conv {P1} (x, w3)  s = Add (a, r)  y = Add (s, x)", {"Relu": 1, "Conv": 1, "Add": 1}),
    ("without another tensor", f"r = Relu (x)  a = Conv {P1} (x, w3)  s = Sub (a, r)  y = Add (s, x)", {"Relu": 1, "Conv": 1, "Sub": 1}),
    ("two sources", f"r = Relu (x)  a = Conv {P1} (x, w3)  b = Conv {P1} (r, w3)  s = Add (a, r)  t = Add (b, x)  y = Add (s, t)", {"Relu": 1, "Conv": 2, "Add": 1}),
    ("a constant for every place stays", f"a = Conv {P1} (x, w3)  s = Add (a, map)  y = Add (s, x)", {"Conv": 1, "Add": 1}),
    ("only what pays", "a = Conv <pads = [0,3,0,3]> (x, wide)  b = Conv <pads = [3,0,3,0]> (x, tall)  s = Add (a, b)  y = Add (s, x)", {"Conv": 2, "Add": 1}),
    ("1x1 behind 1x1", "a = Conv (x, w1, k)  y = Conv (a, w1, k)", {"Conv": 1}),
    ("1x1 behind 3x3", f"a = Conv {P1} (x, w3, k)  y = Conv (a, w1, k)", {"Conv": 1}),
    ("3x3 behind 1x1, unpadded", f"a = Conv (x, w1, k)  y = Conv {TWO} (a, w3, k)", {"Conv": 1}),
    ("3x3 behind 1x1 without bias", f"a = Conv (x, w1)  y = Conv {P1} (a, w3, k)", {"Conv": 1}),
    ("arithmetic between", "a = Conv (x, w1, k)  b = Mul (a, c)  d = Add (b, c)  y = Conv (d, w1)", {"Conv": 1}),
    ("sum that becomes a chain", "a = Conv (x, w1)  b = Add (a, x)  y = Conv (b, w1)", {"Conv": 1}),
    ("constant channels", "j = Concat <axis = 1> (x, ones)  y = Conv (j, w8, k)", {"Conv": 1}),
    ("layer scale", f"a = Conv {P1} (x, w3, k)  h = Mul (a, c)  y = Add (x, h)", {"Conv": 1}),
    ("layer scale, the other way round", f"a = Conv {P1} (x, w3, k)  h = Mul (c, a)  y = Add (h, x)", {"Conv": 1}),
    ("divided and taken away", f"a = Conv {P1} (x, w3, k)  h = Div (a, c)  y = Sub (x, h)", {"Conv": 1}),
    ("scaled in steps", f"a = Conv {P1} (x, w3, k)  h = Mul (two, a)  i = Add (c, h)  j = Sub (i, k1)  q = Mul (j, c)  y = Add (q, x)", {"Conv": 1}),
    ("two scaled layers", f"a = Conv {P1} (x, w3)  h = Mul (a, c)  b = Conv (x, w1, k)  q = Mul (b, two)  y = Add (h, q)", {"Conv": 1}),
    ("a scaled sum", f"a = Conv {P1} (x, w3, k)  s = Add (a, x)  h = Mul (s, c)  b = Conv (x, w1)  t = Sub (h, b)  q = Div (t, two)  y = Add (x, q)", {"Conv": 1}),
    ("a scaled depthwise layer", "a = Conv <group = 6, pads = [1,1,1,1]> (x, d3, k)  h = Mul (a, c)  y = Add (x, h)", {"Conv": 1}),
    ("a scaled average pool", f"a = Conv {P1} (x, w3)  b = {POOL} (x)  h = Mul (b, c)  y = Sub (a, h)", {"Conv": 1}),
    ("a scaled layer of a layer", f"e = Conv (x, w1)  a = Conv {P1} (e, w3)  h = Mul (a, c)  y = Add (x, h)", {"Conv": 1}),
    ("an identity scaled in steps", f"a = Conv {P1} (x, w3)  i = Add (x, c)  j = Mul (i, c)  y = Add (a, j)", {"Conv": 1}),
    ("layer scale with another tensor", f"r = Relu (x)  a = Conv {P1} (x, w3)  h = Mul (a, c)  s = Sub (h, r)  y = Add (s, x)", {"Relu": 1, "Conv": 1, "Sub": 1}),
]  # fmt: skip
STAYS = [
    ("other places", f"a = Conv {TWO} (x, w1)  b = Conv <strides = [2,2], pads = [0,0,1,1]> (x, w3)  y = Add (a, b)", {"Conv": 2, "Add": 1}),
    ("relu between", "a = Conv (x, w1)  r = Relu (a)  y = Conv (r, w1)", {"Conv": 2, "Relu": 1}),
    ("read elsewhere", "a = Conv (x, w1)  b = Conv (a, w1)  y = Mul (a, b)", {"Conv": 2, "Mul": 1}),
    ("a bias seen by padding", f"a = Conv (x, w1, k)  y = Conv {P1} (a, w3)", {"Conv": 2}),
    ("a bottleneck", "u = Conv (x, up)  r = Relu (u)  a = Conv (r, down)  y = Conv (a, out)", {"Conv": 3, "Relu": 1}),
    ("windows across each other", "a = Conv <pads = [0,3,0,3]> (x, wide)  b = Conv <pads = [3,0,3,0]> (x, tall)  y = Add (a, b)", {"Conv": 2, "Add": 1}),
    ("uneven pool", f"a = Conv {P1} (x, w3)  b = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (x)  y = Add (a, b)", {"Conv": 1, "AveragePool": 1, "Add": 1}),
    ("two tensors", f"r = Relu (x)  a = Conv {P1} (x, w3)  b = Conv {P1} (r, w3)  y = Add (a, b)", {"Relu": 1, "Conv": 2, "Add": 1}),
    ("a product of tensors", f"r = Relu (x)  a = Conv {P1} (x, w3)  b = Mul (x, r)  y = Add (a, b)", {"Relu": 1, "Conv": 1, "Mul": 1, "Add": 1}),
    ("no layer at all", "a = Mul (x, c)  y = Add (a, x)", {"Mul": 1, "Add": 1}),
    ("constant channels that vary", "j = Concat <axis = 1> (x, ramp)  y = Conv (j, w8)", {"Concat": 1, "Conv": 1}),
    ("constant channels seen by padding", f"j = Concat <axis = 1> (x, ones)  y = Conv {P1} (j, p8)", {"Concat": 1, "Conv": 1}),
    ("a factor for every place", f"a = Conv {P1} (x, w3)  h = Mul (a, map)  y = Add (x, h)", {"Conv": 1, "Mul": 1, "Add": 1}),
    ("a factor along another axis", f"a = Conv {P1} (x, w3)  h = Mul (a, v)  y = Add (x, h)", {"Conv": 1, "Mul": 1, "Add": 1}),
    ("a factor that is a tensor", f"a = Conv {P1} (x, w3)  r = Relu (x)  h = Mul (a, r)  y = Add (x, h)", {"Conv": 1, "Relu": 1, "Mul": 1, "Add": 1}),
    ("relu in front of the factor", f"a = Conv {P1} (x, w3)  r = Relu (a)  h = Mul (r, c)  y = Add (x, h)", {"Conv": 1, "Relu": 1, "Mul": 1, "Add": 1}),
    ("a layer read before its factor", f"a = Conv {P1} (x, w3)  h = Mul (a, c)  s = Add (x, h)  y = Div (s, a)", {"Conv": 1, "Mul": 1, "Add": 1, "Div": 1}),
    ("a scaled layer of another tensor", f"r = Relu (x)  a = Conv {P1} (r, w3)  h = Mul (a, c)  y = Add (x, h)", {"Relu": 1, "Conv": 1, "Mul": 1, "Add": 1}),
    ("scaled windows across each other", "a = Conv <pads = [0,3,0,3]> (x, wide)  h = Mul (a, c)  b = Conv <pads = [3,0,3,0]> (x, tall)  q = Mul (b, c)  y = Add (h, q)", {"Conv": 2, "Mul": 2, "Add": 1}),
    ("pads that depend on extents", '''a = Conv <auto_pad = "SAME_UPPER"> (x, w3)  b = Conv (x, w1)  y = Add (a, b)''', {"Conv": 2, "Add": 1}),
]  # fmt: skip
ROWS = [
    ("product + identity", "a = MatMul (x, m)  y = Add (a, x)", {"MatMul": 1}),
    ("scaled product + identity", "a = MatMul (x, m)  b = Mul (v, a)  y = Add (b, x)", {"MatMul": 1}),
    ("product with a bias, scaled, + identity", "a = MatMul (x, m)  b = Add (a, v)  e = Div (b, v)  y = Sub (x, e)", {"MatMul": 1, "Add": 1}),
    ("two products with biases", "a = MatMul (x, m)  b = Add (a, v)  e = MatMul (x, n)  y = Add (b, e)", {"MatMul": 1, "Add": 1}),
    ("products in a row", "a = MatMul (x, m)  b = Add (a, v)  y = MatMul (b, n)", {"MatMul": 1, "Add": 1}),
    ("low rank", "h = MatMul (x, high)  r = Relu (h)  a = MatMul (r, thin)  y = MatMul (a, back)", {"MatMul": 3, "Relu": 1}),
    ("low rank beside a full matrix", "h = MatMul (x, high)  r = Relu (h)  a = MatMul (r, thin)  b = MatMul (a, back)  e = MatMul (r, full)  y = Add (b, e)", {"MatMul": 4, "Relu": 1, "Add": 1}),
]  # fmt: skip


def slices(count: int = 4, step: int = 2) -> str:
    """Concat of phases, as detectors begin: rows first, then columns."""
    places = [(0, 0), (1, 0), (0, 1), (1, 1)][:count]
    lines = [
        f"r{y}{x} = Slice (x, n{y}, big, ax2, n{step})  c{y}{x} = Slice (r{y}{x}, n{x}, big, ax3, n{step})"
        for y, x in places
    ]
    return f"{'  '.join(lines)}  j = Concat <axis = 1> ({', '.join(f'c{y}{x}' for y, x in places)})"


STARTS = {"n0": np.array([0]), "n1": np.array([1]), "n2": np.array([2]), "n3": np.array([3]), "big": np.array([1 << 40]), "ax2": np.array([2]), "ax3": np.array([3])}  # fmt: skip


@pytest.mark.parametrize("attributes", ["", "<pads = [1,1,1,1]>", "<pads = [0,1,1,2], strides = [2,1]>"])
def test_phases(attributes: str) -> None:
    """A convolution of every second element is one of all, with a window twice as large and twice the stride."""
    text = f"(float[2,6,8,12] x) => (float[2,d,e,f] y) {{ {slices()}  y = Conv {attributes} (j, w, k) }}"
    graph, _ = law("reparameterise", model(text, w=arr(5, 24, 3, 3), k=arr(5), **STARTS))
    assert ops(graph) == {"Conv": 1}
    assert graph.nodes[0].attrs["kernel_shape"] == [6, 6]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (slices(2), "2,6,8,12"),  # half of the elements: the window would look at all
        (slices(1), "2,6,9,12"),  # the last row is no part of a pair
        (slices().replace("Concat <axis = 1>", "Concat <axis = 2>"), "2,6,8,12"),
        (slices().replace("n0", "n2").replace("n1", "n2"), "2,6,8,12"),  # the first places are left out
    ],
)
def test_other_slices(text: str, sizes: str) -> None:
    joined = text.partition("Concat")[2].count("c") if "axis = 1" in text else 1
    whole = f"(float[{sizes}] x) => (float[2,d,e,f] y) {{ {text}  y = Conv <pads = [1,1,1,1]> (j, w) }}"
    proto = model(whole, w=arr(5, 6 * joined, 3, 3), **STARTS)
    assert not law("reparameterise", proto)[1].modified


def test_slices_that_others_read_stay() -> None:
    text = (
        f"(float[2,6,8,12] x) => (float[2,d,e,f] y, float[2,6,4,6] q) {{ {slices()}  y = Conv (j, w)  q = Relu (c00) }}"
    )
    graph, _ = law("reparameterise", model(text, w=arr(5, 24, 3, 3), **STARTS))
    assert ops(graph) == {"Conv": 1, "Relu": 1, "Slice": 2}


def build(text: str, sizes: str) -> onnx.ModelProto:
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    result = ",".join("abcd"[: sizes.count(",") + 1])
    held = {k: v for k, v in NUMBERS.items() if k in words}
    return model(f"(float[{sizes}] x) => (float[{result}] y) {{ {text} }}", **held)


@pytest.mark.parametrize(("text", "left"), [c[1:] for c in MERGES], ids=[c[0] for c in MERGES])
def test_merges(text: str, left: dict) -> None:
    graph, _ = law("reparameterise", build(text, "2,6,8,8"))
    assert ops(graph) == left


@pytest.mark.parametrize(("text", "left"), [c[1:] for c in STAYS], ids=[c[0] for c in STAYS])
def test_stays(text: str, left: dict) -> None:
    graph, result = law("reparameterise", build(text, "2,6,8,8"))
    assert ops(graph) == left and not result.modified


@pytest.mark.parametrize(("text", "left"), [c[1:] for c in ROWS], ids=[c[0] for c in ROWS])
@pytest.mark.parametrize("sizes", ["5,8", "2,5,8", "1,2,5,8"])
def test_products(text: str, left: dict, sizes: str) -> None:
    graph, _ = law("reparameterise", build(text, sizes))
    matrices = sizes.count(",") == 1 and "low rank" not in text and left["MatMul"] == 1
    assert ops(graph) == ({"Gemm": 1} if matrices else left)


def test_gemm_with_factors() -> None:
    text = "a = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, m, v)  b = Gemm (a, n, v)  y = Add (b, x)"
    graph, _ = law("reparameterise", build(text, "5,8"))
    assert ops(graph) == {"Gemm": 1}, "the chain leaves a sum"


def test_extents_known_at_run_time() -> None:
    text = build(MERGES[1][1], "N,6,H,W")
    graph, _ = law("reparameterise", text, N=2, H=7, W=9)
    assert ops(graph) == {"Conv": 1}


KEPT = [
    (MERGES[0][1], "a", {"Conv": 2, "Add": 1}),
    (f"a = Conv {P1} (x, w3)  h = Mul (a, c)  y = Add (x, h)", "a", {"Conv": 1, "Mul": 1, "Add": 1}),
    (f"a = Conv {P1} (x, w3)  h = Mul (a, c)  y = Add (x, h)", "h", {"Conv": 1, "Mul": 1, "Add": 1}),
]


@pytest.mark.parametrize(("text", "kept", "left"), KEPT)
def test_kept_nodes_and_outputs_stay(text: str, kept: str, left: dict) -> None:
    proto = build(text, "2,6,8,8")
    for node in proto.graph.node:
        node.name = node.output[0]
    options = passes.PassOptions(keep_nodes=frozenset([kept]))
    graph, result = law("reparameterise", proto, options)
    assert ops(graph) == left and not result.modified
    proto.graph.output.append(onnx.helper.make_tensor_value_info(kept, 1, [2, 6, 8, 8]))
    assert not law("reparameterise", proto)[1].modified


def test_weights_beyond_float32_stay() -> None:
    big = np.full((6, 6, 1, 1), 2e38, F)
    text = "(float[2,6,8,8] x) => (float[2,6,8,8] y) { a = Conv (x, w)  b = Conv (x, w)  y = Add (a, b) }"
    graph = passes.load(model(text, w=big))
    passes.run("shapes", graph)
    assert not passes.run("reparameterise", graph).modified


def test_large_weights_that_others_use_are_not_copied() -> None:
    shared = arr(64, 64, 3, 3)
    text = f"(float[1,64,4,4] x) => (float[1,64,4,4] y) {{ a = Conv {P1} (x, w)  s = Add (a, x)  b = Conv {P1} (s, w)  y = Relu (b) }}"
    assert not law("reparameterise", model(text, w=shared))[1].modified
    assert law("reparameterise", model(text.replace("(s, w)", "(s, v)"), w=shared, v=arr(64, 64, 3, 3, seed=4)))[
        1
    ].modified


def _branch(rng: np.random.Generator, index: int, constants: dict[str, np.ndarray]) -> str:
    """A random linear map of x that keeps the grid, as a line that makes t{index}."""
    kind, half = rng.integers(5), int(rng.integers(3))
    window, pads = 2 * half + 1, [half] * 4
    if kind < 3:
        groups, step = int(rng.choice([1, 2, 6])), int(rng.integers(1, 3))
        constants[f"w{index}"] = arr(6, 6 // groups, window, window, seed=int(rng.integers(1 << 30)))
        pads = [p * step for p in pads]
        return f"t{index} = Conv <group = {groups}, pads = {pads}, dilations = [{step},{step}]> (x, w{index})"
    if kind == 3:
        return f"t{index} = AveragePool <kernel_shape = [{window},{window}], pads = {pads}, count_include_pad = 1> (x)"
    constants[f"w{index}"] = arr(6, 1, 1, seed=index)
    return f"t{index} = {rng.choice(['Mul', 'Add'])} (x, w{index})"


@pytest.mark.parametrize("seed", range(25))
def test_random_sums(seed: int) -> None:
    """Whatever is added, in whatever order: the same numbers, never more nodes, and often one."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}
    count = int(rng.integers(2, 6))
    lines = [_branch(rng, i, constants) for i in range(count)]
    terms = [f"t{i}" for i in range(count)] + ["x"] * int(rng.integers(2))
    for i in range(count):  # factors behind some, numbers or one for each channel
        for _ in range(int(rng.integers(3))):
            constants[f"f{len(lines)}"] = arr(*[(), (6, 1, 1)][int(rng.integers(2))], seed=len(lines)) + F(1.5)
            lines.append(f"m{len(lines)} = {rng.choice(['Mul', 'Div'])} ({terms[i]}, f{len(lines)})")
            terms[i] = f"m{len(lines) - 1}"
    while len(terms) > 1:
        a, b = (terms.pop(int(rng.integers(len(terms)))) for _ in range(2))
        lines.append(f"s{len(lines)} = {rng.choice(['Add', 'Sub'])} ({a}, {b})")
        terms.append(f"s{len(lines) - 1}")
    text = f"(float[1,6,9,9] x) => (float[1,6,9,9] y) {{ {'  '.join(lines)}  y = Relu ({terms[0]}) }}"
    before = model(text, **constants)
    graph, result = law("reparameterise", before)
    assert len(graph.nodes) < len(before.graph.node) or not result.modified


@pytest.mark.parametrize(("budget", "left"), [(6**3, 1), (6**3 - 1, 2)])
def test_products_of_weights_that_take_too_long_stay(monkeypatch: pytest.MonkeyPatch, budget: int, left: int) -> None:
    """A product of two 6 x 6 matrices takes 6 ** 3 multiplications."""
    monkeypatch.setattr(reparameterise, "WORK", budget)
    graph, _ = law("reparameterise", build("a = Conv (x, w1)  y = Conv (a, w1)", "2,6,8,8"))
    assert ops(graph) == {"Conv": left}


def test_sums_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reparameterise, "WORK", 0)
    graph, _ = law("reparameterise", build(MERGES[0][1], "2,6,8,8"))
    assert ops(graph) == MERGES[0][2]
