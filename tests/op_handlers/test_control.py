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


RANKS = """
agraph (bool c, float[2,3] x) => (float[K] y) <int64[1] flat = {-1}> {
    t = If (c) <then_branch = g1 () => (float[6] a) { p = Exp(x) a = Reshape(p, flat) },
                else_branch = g2 () => (float[2,3] b) { b = Neg(x) }>
    READER
}"""
READERS = {
    "reshape": "y = Reshape(t, flat)",
    "later": "u = Sqrt(t) v = Add(u, t) y = Reshape(v, flat)",
    "twice": "u = Reshape(t, flat) v = Relu(t) w = Reshape(v, flat) y = Add(u, w)",
    "in a branch": """y = If (c) <then_branch = g3 () => (float[6] d) { d = Reshape(t, flat) },
                                  else_branch = g4 () => (float[6] e) { f = Reshape(t, flat) e = Neg(f) }>""",
    "in a loop": """two = Constant<value_int = 2>() start = Reshape(x, flat)
        y = Loop (two, , start) <body = g3 (int64 i, bool d, float[6] e) => (bool f, float[6] g) {
            f = Identity(d) h = Reshape(t, flat) g = Add(e, h) }>""",
}


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers_of_branches_of_different_ranks_move_into_them(reader: str, flag: bool) -> None:
    check(RANKS.replace("READER", reader), c=np.array(flag), x=X)


def test_an_output_of_different_ranks_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"output 'y': the branches give .*f32\[6\] and .*f32\[2,3\]: different"):
        compile_model(model(RANKS.replace("READER", "y = Neg(t)")))


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


LOOSE = """
agraph (int64 m, int64[1] n, float[4,3] x) => (float[K,P,3] s, float[Q] last)
<bool go = {1}, int64[1] zero = {0}, float[1] start = {0.0}> {
    last, s = Loop (m, go, start) <body = g (int64 i, bool c, float[Q] a) => (bool d, float[R] b, float[P,3] e) {
        d = Identity(c)
        f = Slice(x, zero, n, zero)
        g = Cast<to = 1>(i)
        e = Add(f, g)
        one = Constant<value_ints = [1]>()
        b = ReduceSum<keepdims = 0>(e, one)
    }>
}"""


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("trips", [1, 4])
def test_scan_output_with_an_extent_of_the_body(trips: int, rows: int) -> None:
    """How many rows the slice has is read in the body."""
    feeds = {"m": np.array(trips, np.int64), "n": np.array([rows], np.int64)}
    check(LOOSE, **feeds, x=np.arange(12, dtype=np.float32).reshape(4, 3))


def test_scan_output_with_an_extent_of_a_body_that_never_runs() -> None:
    feeds = {"m": np.array(0, np.int64), "n": np.array([2], np.int64), "x": np.ones((4, 3), np.float32)}
    for outputs in run_tflite(compile_model(model(LOOSE)), feeds).values():
        assert len(outputs["s"]) == 0 and outputs["last"].tolist() == [0]


def test_rows_of_such_an_extent_alone_are_none_where_the_body_never_runs() -> None:
    text = """
    agraph (int64 m, int64[1] n, float[4] x) => (float[K,P] s) <bool go = {1}, int64[1] zero = {0}> {
        s = Loop (m, go) <body = g (int64 i, bool c) => (bool d, float[P] e) { d = Identity(c) e = Slice(x, zero, n) }>
    }"""
    feeds = {"m": np.array(0, np.int64), "n": np.array([2], np.int64), "x": np.ones(4, np.float32)}
    for outputs in run_tflite(compile_model(model(text)), feeds).values():
        assert len(outputs["s"]) == 0


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("trips", [0, 2])
def test_run_time_trips_and_condition(flag: bool, trips: int) -> None:
    text = """
    agraph (int64 n, bool go, float[2,3] x, float[3] k) => (float[2,3] y, int64 count)
    <int64 zero = {0}, int64 one = {1}> {
        w = Exp(k)
        y, count = Loop (n, go, x, zero) <body = g (int64 i, bool c, float[2,3] a, int64 m)
                                                   => (bool d, float[2,3] b, int64 o) {
            b = Mul(a, w) o = Add(m, one) d = Identity(c) }>
    }"""
    check(text, n=np.array(trips, np.int64), go=np.array(flag), x=X, k=X[0])


def test_scan_reads_values_from_outside() -> None:
    text = """
    agraph (float[N,3] x, float[3] k) => (float[3] y, float[K,3] z) <float[3] start = {0, 1, 2}, float zero = {0}> {
        w = Neg(k)
        y, z = Scan <num_scan_inputs = 1, body = g (float[3] a, float[3] p) => (float[3] b, float[3] c) {
            d = Mul(p, w)
            b = Add(a, d)
            s = ReduceSum<keepdims = 0>(b)
            big = Greater(s, zero)
            c = If (big) <then_branch = h1 () => (float[3] e) { e = Exp(w) },
                          else_branch = h2 () => (float[3] f) { f = Sub(b, k) }>
        }> (start, x)
    }"""
    check(text, x=X - 2, k=X[1])


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


@pytest.mark.parametrize("batch", [1, 3])
def test_scan_of_opset_8(batch: int) -> None:
    """A batch of scans along axis 1."""
    text = """
    <ir_version: 3, opset_import: ["" : 8]>
    agraph (float[B,2] h, float[B,T,2] u, float[B,T] v) => (float[B,2] z, float[B,T,2] y, float[B,T] w) {
        z, y, w = Scan <num_scan_inputs = 2, directions = [0, 1],
                        body = g (float[2] a, float[2] p, float q) => (float[2] b, float[2] r, float s) {
            t = Mul(a, q)
            b = Add(t, p)
            r = Neg(b)
            s = Exp(q)
        }> (, h, u, v)
    }"""
    rng = np.random.default_rng(0)
    shapes = {"h": (batch, 2), "u": (batch, 4, 2), "v": (batch, 4)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    check_model(onnx.parser.parse_model(text), feeds, rtol=1e-5, atol=1e-5)


def test_scan_of_opset_8_with_lengths_is_refused() -> None:
    text = """
    <ir_version: 3, opset_import: ["" : 8]>
    agraph (int64[B] n, float[B,2] h, float[B,T,2] u) => (float[B,2] z) {
        z = Scan <num_scan_inputs = 1, body = g (float[2] a, float[2] p) => (float[2] b) { b = Add(a, p) }> (n, h, u)
    }"""
    with pytest.raises(ConversionError, match=r"Scan 'z': sequence_lens have no newer form"):
        compile_model(onnx.parser.parse_model(text))
