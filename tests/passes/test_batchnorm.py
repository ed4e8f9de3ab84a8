# ruff: noqa: E501 (tables: a case is a line)
"""BatchNormalization folds wherever that is exact, and is arithmetic elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite import passes

from .conftest import law, model, ops


def arr(*dims: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(dims).astype(np.float32)


def bn(channels: int) -> dict[str, np.ndarray]:
    made = {k: arr(channels, seed=i) for i, k in enumerate("sbm")}
    return {**made, "v": np.abs(arr(channels, seed=9)) + np.float32(0.5)}


BN = "BatchNormalization"

# name, text, weights, channels, what is left
CASES = [
    ("conv before", "c = Conv <pads = [1,1,1,1]> (x, w)  y = {BN} (c, s, b, m, v)", {"w": arr(6, 4, 3, 3)}, 6, {"Conv": 1}),
    ("conv with bias", "c = Conv (x, w, k)  y = {BN} (c, s, b, m, v)", {"w": arr(6, 4, 1, 1), "k": arr(6)}, 6, {"Conv": 1}),
    ("grouped conv before", "c = Conv <group = 2> (x, w)  y = {BN} (c, s, b, m, v)", {"w": arr(6, 2, 3, 3)}, 6, {"Conv": 1}),
    ("transposed conv", "c = ConvTranspose (x, w)  y = {BN} (c, s, b, m, v)", {"w": arr(4, 6, 3, 3)}, 6, {"ConvTranspose": 1}),
    (
        "grouped transposed conv",
        "c = ConvTranspose <group = 2, strides = [2,2]> (x, w, k)  y = {BN} (c, s, b, m, v)",
        {"w": arr(4, 3, 3, 3), "k": arr(6)},
        6,
        {"ConvTranspose": 1},
    ),
    ("conv behind", "n = {BN} (x, s, b, m, v)  y = Conv (n, w, k)", {"w": arr(6, 4, 3, 3), "k": arr(6)}, 4, {"Conv": 1}),
    ("grouped conv behind", "n = {BN} (x, s, b, m, v)  y = Conv <group = 2> (n, w)", {"w": arr(6, 2, 3, 3)}, 4, {"Conv": 1}),
    ("padded conv behind", "n = {BN} (x, s, b, m, v)  y = Conv <pads = [1,1,1,1]> (n, w)", {"w": arr(6, 4, 3, 3)}, 4,
     {"Mul": 1, "Add": 1, "Conv": 1}),
    ("same conv behind", '''n = {BN} (x, s, b, m, v)  y = Conv <auto_pad = "SAME_UPPER"> (n, w)''', {"w": arr(6, 4, 3, 3)}, 4,
     {"Mul": 1, "Add": 1, "Conv": 1}),
    ("transposed conv behind", "n = {BN} (x, s, b, m, v)  y = ConvTranspose (n, w)", {"w": arr(4, 6, 3, 3)}, 4,
     {"Mul": 1, "Add": 1, "ConvTranspose": 1}),
    ("alone", "r = Relu (x)  y = {BN} (r, s, b, m, v)", {}, 4, {"Relu": 1, "Mul": 1, "Add": 1}),
    ("conv read twice", "c = Conv (x, w)  n = {BN} (c, s, b, m, v)  y = Sub (n, c)", {"w": arr(6, 4, 3, 3)}, 6,
     {"Conv": 1, "Mul": 1, "Add": 1, "Sub": 1}),
    ("conv, relu, bn", "c = Conv (x, w)  r = Relu (c)  y = {BN} (r, s, b, m, v)", {"w": arr(6, 4, 3, 3)}, 6,
     {"Conv": 1, "Relu": 1, "Mul": 1, "Add": 1}),
    ("shared weights", "c = Conv (x, w)  n = {BN} (c, s, b, m, v)  d = Conv (x, w)  y = Sub (n, d)", {"w": arr(6, 4, 3, 3)}, 6,
     {"Conv": 2, "Mul": 1, "Add": 1, "Sub": 1}),
    ("computed parameters", "k = Abs (v)  y = {BN} (x, s, b, m, k)", {}, 4, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "channels", "left"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_image(text: str, weights: dict, channels: int, left: dict | None) -> None:
    proto = model(
        f"(float[2,4,8,8] x) => (float[2,d,h,w0] y) {{ {text.replace('{BN}', BN)} }}", **weights, **bn(channels)
    )
    graph, _ = law("batchnorm", proto)
    assert BN not in ops(graph)
    assert left is None or ops(graph) == left


MATRIX = [
    ("gemm before", "c = Gemm (x, w, k)  y = {BN} (c, s, b, m, v)", {"w": arr(4, 6), "k": arr(6)}, 6),
    ("gemm scaled", "c = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w, k)  y = {BN} (c, s, b, m, v)", {"w": arr(6, 4), "k": arr(1, 6)}, 6),
    ("matmul before", "c = MatMul (x, w)  y = {BN} (c, s, b, m, v)", {"w": arr(4, 6)}, 6),
    ("gemm behind", "n = {BN} (x, s, b, m, v)  y = Gemm <alpha = 0.5, beta = 2.0> (n, w, k)", {"w": arr(4, 6), "k": arr(6)}, 4),
    ("gemm behind transposed", "n = {BN} (x, s, b, m, v)  y = Gemm <transB = 1> (n, w)", {"w": arr(6, 4)}, 4),
    ("matmul behind", "n = {BN} (x, s, b, m, v)  y = MatMul (n, w)", {"w": arr(4, 6)}, 4),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "channels"), [c[1:] for c in MATRIX], ids=[c[0] for c in MATRIX])
def test_matrix(text: str, weights: dict, channels: int) -> None:
    proto = model(f"(float[3,4] x) => (float[3,6] y) {{ {text.replace('{BN}', BN)} }}", **weights, **bn(channels))
    graph, _ = law("batchnorm", proto)
    assert ops(graph) == {"Gemm": 1}


@pytest.mark.parametrize(("scale", "bias", "left"), [(1, 0, {"Identity": 1}), (2, 0, {"Mul": 1}), (1, 3, {"Add": 1})])
def test_what_does_nothing_is_dropped(scale: float, bias: float, left: dict) -> None:
    one = np.ones(4, np.float32)
    weights = {"s": one * scale, "b": one * bias, "m": one * 0, "v": one}
    text = "(float[2,4,8] x) => (float[2,4,8] y) { y = BatchNormalization <epsilon = 0.0> (x, s, b, m, v) }"
    graph, _ = law("batchnorm", model(text, **weights))
    assert ops(graph) == left


def test_kept_and_training() -> None:
    text = "(float[2,4,8] x) => (float[2,4,8] y) { y, p, q = BatchNormalization <training_mode = 1> (x, s, b, m, v) }"
    graph = passes.load(model(text, **bn(4)))
    assert not passes.run("batchnorm", graph).modified
