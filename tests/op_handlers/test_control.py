"""If, Loop and Scan against ONNX Runtime; models are written in ONNX's text form."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir.graph import Graph
from tests.harness import check_model, compile_model, run_tflite


def model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')


def check(text: str, **feeds: np.ndarray) -> Graph:
    return check_model(model(text), feeds, rtol=1e-5, atol=1e-5)


def kinds(graph: Graph) -> list[str]:
    return [op.kind.name for op in graph.ops]


X = np.arange(6, dtype=np.float32).reshape(2, 3)

IF = """
agraph (bool c, float[N,3] x) => (float[N,3] y) {
    z = Relu(x)
    y = If (c) <then_branch = g1 () => (float[N,3] a) { a = Add(x, z) },
                else_branch = g2 () => (float[N,3] b) { t = Neg(x) b = Sub(t, x) }>
}"""


@pytest.mark.parametrize("flag", [True, False])
def test_if_reads_values_from_outside(flag: bool) -> None:
    assert "IF" in kinds(check(IF, c=np.array(flag), x=X - 2))


@pytest.mark.parametrize("flag", [True, False])
def test_branches_of_different_extents(flag: bool) -> None:
    text = """
    agraph (bool c, float[N,3] x) => (float[M,3] y) {
        t = If (c) <then_branch = g1 () => (float[P,3] a) { a = Concat <axis = 0> (x, x) },
                    else_branch = g2 () => (float[Q,3] b) { b = Identity(x) }>
        y = Neg(t)
    }"""
    check(text, c=np.array(flag), x=X)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_condition_on_static_shapes_leaves_one_branch(rows: int) -> None:
    text = f"""
    agraph (float[{rows},3] x) => (float[K] y)
    <int64 zero = {{0}}, int64[1] ax = {{0}}, int64 one = {{1}}, int64[1] flat = {{-1}}> {{
        s = Shape(x)
        d = Gather(s, zero)
        c = Equal(d, one)
        t = If (c) <then_branch = g1 () => (float[3] a) {{ a = Squeeze(x, ax) }},
                    else_branch = g2 () => (float[{rows},3] b) {{ b = Identity(x) }}>
        y = Reshape(t, flat)
    }}"""
    assert "IF" not in kinds(check(text, x=X[:rows]))


def test_branches_of_different_ranks_are_refused() -> None:
    text = """
    agraph (bool c, float[2,3] x) => (float[K] y) <int64[1] flat = {-1}> {
        t = If (c) <then_branch = g1 () => (float[6] a) { a = Reshape(x, flat) },
                    else_branch = g2 () => (float[2,3] b) { b = Neg(x) }>
        y = Reshape(t, flat)
    }"""
    with pytest.raises(ConversionError, match="different ranks"):
        compile_model(model(text))


def test_if_inside_if_reads_through_both() -> None:
    text = """
    agraph (bool c, bool d, float[N,3] x) => (float[N,3] y) {
        w = Exp(x)
        y = If (c) <then_branch = g1 () => (float[N,3] a) {
                a = If (d) <then_branch = g3 () => (float[N,3] e) { e = Mul(x, w) },
                            else_branch = g4 () => (float[N,3] f) { f = Neg(w) }> },
            else_branch = g2 () => (float[N,3] b) { b = Identity(x) }>
    }"""
    for c, d in ((True, True), (True, False), (False, True)):
        check(text, c=np.array(c), d=np.array(d), x=X)


LOOP = """
agraph (int64 n, float[N,3] x) => (float[N,3] y, float[K,N,3] s) <bool go = {1}> {
    k = Exp(x)
    y, s = Loop (n, go, x) <body = g (int64 i, bool c, float[N,3] a) => (bool d, float[N,3] b, float[N,3] e) {
        d = Identity(c)
        f = Cast <to = 1> (i)
        b = Add(a, f)
        e = Mul(b, k)
    }>
}"""


@pytest.mark.parametrize("trips", [1, 4])
def test_loop_with_run_time_trips_collects_rows(trips: int) -> None:
    check(LOOP, n=np.array(trips, np.int64), x=X)


def test_no_iteration() -> None:
    """The carried value is the initial one; ONNX Runtime gives an empty scan output no extents: rows count."""
    results = run_tflite(compile_model(model(LOOP)), {"n": np.array(0, np.int64), "x": X})
    for outputs in results.values():
        np.testing.assert_array_equal(outputs["y"], X)
        assert len(outputs["s"]) == 0


def test_constant_trips_write_into_a_buffer() -> None:
    text = LOOP.replace("int64 n, ", "").replace("<bool go = {1}>", "<bool go = {1}, int64 n = {5}>")
    graph = check(text, x=X)
    bodies = [op.kind.name for g in graph.subgraphs() for op in g.ops]
    assert "DYNAMIC_UPDATE_SLICE" in bodies


def test_loop_until_a_condition() -> None:
    text = """
    agraph (float x) => (float y, int64 count)
    <bool go = {1}, float limit = {100.0}, int64 zero = {0}, int64 one = {1}> {
        y, count = Loop (, go, x, zero) <body = g (int64 i, bool c, float a, int64 k) => (bool d, float b, int64 m) {
            b = Add(a, a)
            m = Add(k, one)
            d = Less(b, limit)
        }>
    }"""
    check(text, x=np.array(3, np.float32))


def test_carried_value_that_grows() -> None:
    text = """
    agraph (int64 n, float[2,3] x) => (float[M,3] y) <bool go = {1}> {
        y = Loop (n, go, x) <body = g (int64 i, bool c, float[P,3] a) => (bool d, float[Q,3] b) {
            d = Identity(c)
            b = Concat <axis = 0> (a, x)
        }>
    }"""
    check(text, n=np.array(3, np.int64), x=X)


def test_body_needs_an_extent_from_outside() -> None:
    """N is no axis of anything the body reads: it arrives as an operand."""
    text = """
    agraph (int64 n, float[N,3] x) => (float[K] y) <bool go = {1}, float[1] start = {0.0}> {
        s = Shape(x)
        y = Loop (n, go, start) <body = g (int64 i, bool c, float[1] a) => (bool d, float[1] b) {
            d = Identity(c)
            t = Cast <to = 1> (s)
            zero = Constant <value_ints = [0]> ()
            u = Gather(t, zero)
            b = Add(a, u)
        }>
    }"""
    check(text, n=np.array(3, np.int64), x=X)


def test_scan_over_two_sequences_in_both_directions() -> None:
    text = """
    agraph (float[3] h, float[T,3] u, float[3,T] v) => (float[3] z, float[K,3] y, float[3,K] w) {
        z, y, w = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
                        scan_output_axes = [0, 1], scan_output_directions = [1, 0],
                        body = g (float[3] a, float[3] p, float[3] q) => (float[3] b, float[3] r, float[3] s) {
            t = Add(a, p)
            b = Mul(t, q)
            r = Neg(b)
            s = Sub(p, q)
        }> (h, u, v)
    }"""
    rng = np.random.default_rng(0)
    check(
        text, h=X[0], u=rng.standard_normal((4, 3)).astype(np.float32), v=rng.standard_normal((3, 4)).astype(np.float32)
    )


def test_loop_inside_if_inside_loop() -> None:
    text = """
    agraph (int64 n, float[N] x) => (float[N] y) <bool go = {1}, int64 two = {2}, int64 one = {1}, int64 zero = {0}> {
        y = Loop (n, go, x) <body = g (int64 i, bool c, float[N] a) => (bool d, float[N] b) {
            d = Identity(c)
            r = Mod(i, two)
            e = Equal(r, zero)
            b = If (e) <then_branch = g1 () => (float[N] p) {
                    p = Loop (two, go, a) <body = h (int64 j, bool k, float[N] q) => (bool l, float[N] m) {
                        l = Identity(k)
                        m = Add(q, x)
                    }> },
                else_branch = g2 () => (float[N] o) { o = Neg(a) }>
        }>
    }"""
    check(text, n=np.array(4, np.int64), x=X[0])
