"""Infinities and NaN in whole models: on both runtimes what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnx2tf_lite import convert
from tests.harness import check_model, compile_model

INF = np.float32(np.inf)
HEADER = '<ir_version: 8, opset_import: ["" : 18]>\n'
F = np.float32
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F)


ATTENTION = """
    g (float[b,2,t,4] q, float[b,2,4,t] k, float[b,2,t,4] v, bool[b,1,t,t] m) => (float[b,2,t,4] y)
    <float z = {0}, float low = {-inf}> {
        mask = Where(m, z, low)
        s = MatMul(q, k)
        a = Add(s, mask)
        p = Softmax<axis = -1>(a)
        n = IsNaN(p)
        pp = Where(n, z, p)
        y = MatMul(pp, v)
    }
"""
MASK = np.array([[[[1, 1, 0], [0, 0, 0], [1, 0, 1]]]], bool)
ROWS = np.array([[0, -INF, 0, 0], [-INF] * 4], F)
MODELS: dict[str, tuple[str, Mapping[str, np.ndarray]]] = {
    "attention with a blocked row": (
        ATTENTION,
        {"q": normal(1, 2, 3, 4), "k": normal(1, 2, 4, 3), "v": normal(1, 2, 3, 4), "m": MASK},
    ),
    "no guard: NaN comes out": (
        "g (float[2,4] s, bool[2,4] m) => (float[2,4] y) <float z = {0}, float low = {-inf}> { "
        "w = Where(m, z, low) a = Add(s, w) y = Softmax<axis = -1>(a) }",
        {"s": normal(2, 4), "m": np.array([[1, 0, 1, 1], [0, 0, 0, 0]], bool)},
    ),
    "a mask as input": (
        "g (float[2,4] s, float[2,4] m) => (float[2,4] y) <float z = {0}> { "
        "a = Add(s, m) p = Softmax<axis = -1>(a) n = IsNaN(p) y = Where(n, z, p) }",
        {"s": normal(2, 4), "m": ROWS},
    ),
    "the smallest number is no infinity": (
        "g (float[2,4] s, float[2,4] m) => (float[2,4] y) "
        "<float one = {1}, float low = {-3.4028235e38}, float z = {0}> { "
        "i = Sub(one, m) w = Mul(i, low) a = Add(s, w) p = Softmax<axis = -1>(a) n = IsNaN(p) y = Where(n, z, p) }",
        {"s": normal(2, 4), "m": np.array([[1, 0, 1, 1], [0, 0, 0, 0]], F)},
    ),
    "infinity asked for": (
        "g (float[1,4] x, float[1,4] m) => (float[1,4] c, bool[1,4] i, float[1,4] d) { "
        "a = Add(x, m) c = Add(a, m) i = IsInf(c) d = Sub(c, a) }",
        {"x": normal(1, 4), "m": np.array([[0, -INF, INF, 1]], F)},
    ),
    "division by zero": (
        "g (float[1,4] x, float[1,4] m) => (float[1,4] y, float[1,4] z, float[1,4] w, float[1,4] d) { "
        "r = Reciprocal(m) y = Mul(x, r) z = Sub(x, r) w = Max(y, z) d = Div(x, m) }",
        {"x": np.array([[1, -2, 0, 3]], F), "m": np.array([[0, 0, 1, 2]], F)},
    ),
    "logarithm of zero": (
        "g (float[1,4] x) => (float[1,4] y) <float one = {1}> { r = Relu(x) l = Log(r) y = Add(l, one) }",
        {"x": np.array([[0, -1, 1, 2]], F)},
    ),
    "softplus by hand": (
        "g (float[1,4] x) => (float[1,4] y) <float one = {1}> { e = Exp(x) a = Add(e, one) y = Log(a) }",
        {"x": np.array([[0, -100, 100, 2]], F)},
    ),
    "sigmoid by hand": (
        "g (float[1,4] x) => (float[1,4] y) <float one = {1}> { e = Exp(x) a = Add(e, one) y = Div(e, a) }",
        {"x": np.array([[0, -100, 100, 2]], F)},
    ),
    "tangent by hand": (
        "g (float[1,4] x) => (float[1,4] y) { "
        "m = Neg(x) e = Exp(x) f = Exp(m) a = Sub(e, f) c = Add(e, f) y = Div(a, c) }",
        {"x": np.array([[0, -100, 100, 2]], F)},
    ),
    "NaN through maxima and minima": (
        "g (float[2,3] x) => (float[2,3] a, float[2,3] b, float[2,3] c, float[2,3] d, float[2] e, float[2] f) "
        "<float one = {1}, float z = {0}, int64[1] axes = {1}> { "
        "q = Sqrt(x) a = Max(q, one) b = Min(q, one) c = Clip(q, z, one) d = Max(q, q) "
        "e = ReduceMax<keepdims = 0>(q, axes) f = ReduceMin<keepdims = 0>(q, axes) }",
        {"x": np.array([[-1, 4, 9], [4, 0.25, 1]], F)},
    ),
    "infinite constants": (
        "g (float[3] x) => (float[3] y, float[3] z) <float[3] c = {inf, -inf, 1}> { y = Sub(x, c) z = Mul(x, c) }",
        {"x": np.array([1, 2, 0], F)},
    ),
    "a running maximum": (
        "g (float[5] x, int64 n) => (float y, float z) <float low = {-inf}, bool yes = {1}, float one = {1}> { "
        "y = Loop(n, yes, low) <body = b (int64 i, bool go, float best) => (bool on, float next) { "
        "on = Identity(go) e = Gather(x, i) next = Max(best, e) }> z = Add(y, one) }",
        {"x": normal(5), "n": np.array(0, np.int64)},
    ),
}


def model(name: str) -> ModelProto:
    return parser.parse_model(HEADER + MODELS[name][0])


@pytest.mark.parametrize("name", MODELS)
def test_as_in_onnx(name: str) -> None:
    with np.errstate(all="ignore"):
        check_model(model(name), MODELS[name][1])


@pytest.mark.parametrize("name", MODELS)
def test_in_tensorflow(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    given = {"onnx_graph": model(name), "output_folder_path": tmp_path, "test_data": MODELS[name][1]}
    result = convert(**given, outputs=["saved_model"], verbosity="error")
    assert result.check is not None
    assert result.exit_code == 0, [file.verdict for file in result.check.files]


PLAIN = {
    "a causal mask": "g (float[2,3,3] s) => (float[2,3,3] y) <float[3,3] m = {0, -inf, -inf, 0, 0, -inf, 0, 0, 0}> { "
    "a = Add(s, m) y = Softmax<axis = -1>(a) }",
    "a residual": "g (float[2,3] x) => (float[2,3] y) { r = Relu(x) y = Add(x, r) }",
    "layer normalisation": "g (float[2,3] x) => (float[2,3] y) <int64[1] axes = {1}, float eps = {1e-5}> { "
    "m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes) "
    "e = Add(v, eps) s = Sqrt(e) y = Div(d, s) }",
    "swish by hand": "g (float[2,3] x) => (float[2,3] y) <float one = {1}> { "
    "n = Neg(x) e = Exp(n) a = Add(e, one) y = Div(x, a) }",
    "mish by hand": "g (float[2,3] x) => (float[2,3] y) <float one = {1}> { "
    "e = Exp(x) a = Add(e, one) l = Log(a) t = Tanh(l) y = Mul(x, t) }",
}


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_is_added_where_no_infinity_is_seen(name: str) -> None:
    kinds = {op.kind.name for op in compile_model(parser.parse_model(HEADER + PLAIN[name])).ops}
    assert not kinds & {"SELECT_V2", "STABLEHLO_ADD", "STABLEHLO_MULTIPLY"}, kinds
