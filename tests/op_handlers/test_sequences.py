"""Sequences and optionals inside a graph, against ONNX Runtime; models are written in ONNX's text form."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper

from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir.graph import Graph
from onnx2tf_lite.op_handlers.lower import lower
from tests.harness import check_model, compile_model
from tests.op_handlers.nodes import IN_PROCESS, i64, normal, scalar


def model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')


@IN_PROCESS
def check(text: str, **feeds: np.ndarray) -> Graph:
    return check_model(model(text), feeds, rtol=1e-5, atol=1e-5)


def kinds(graph: Graph) -> set[str]:
    return {op.kind.name for g in (graph, *graph.subgraphs()) for op in g.ops}


X, Y, Z = (normal(2, 3, seed=seed) for seed in range(3))
THREE = "float[2,3] x, float[2,3] y, float[2,3] z"
LISTED = "s = SequenceConstruct(x, y, z)"


# ------------------------------------------------------------------------------------------------ constant positions


@pytest.mark.parametrize("at", [0, 2, -1, -3])
def test_element(at: int) -> None:
    graph = check(
        f"a ({THREE}) => (float[2,3] r) <int64 p = {{{at}}}> {{ {LISTED} r = SequenceAt(s, p) }}", x=X, y=Y, z=Z
    )
    assert kinds(graph) == {"IDENTITY"}


@pytest.mark.parametrize("at", [0, 1, 3, -1, -3])
def test_insert(at: int) -> None:
    text = f"""a ({THREE}, float[1,3] w) => (float[7,3] r) <int64 p = {{{at}}}> {{
        {LISTED} t = SequenceInsert(s, w, p) r = ConcatFromSequence<axis = 0>(t) }}"""
    check(text, x=X, y=Y, z=Z, w=X[:1])


@pytest.mark.parametrize("at", [0, 2, -1, -3, None])
def test_erase(at: int | None) -> None:
    text = f"""a ({THREE}) => (float[4,3] r, int64 n) <int64 p = {{{at or 0}}}> {{
        {LISTED} t = SequenceErase(s{"" if at is None else ", p"})
        r = ConcatFromSequence<axis = 0>(t) n = SequenceLength(t) }}"""
    check(text, x=X, y=Y, z=Z)


def test_empty_sequence_is_filled() -> None:
    text = f"""a ({THREE}) => (float[2,2,3] r, int64 n) <int64 p = {{0}}> {{
        e = SequenceEmpty() n = SequenceLength(e)
        f = SequenceInsert(e, x) g = SequenceInsert(f, y, p) h = Identity(g)
        r = ConcatFromSequence<axis = 0, new_axis = 1>(h) }}"""
    check(text, x=X, y=Y, z=Z)


@pytest.mark.parametrize(("axis", "new", "dims"), [(0, 0, "6,3"), (-1, 0, "2,9"), (1, 1, "2,3,3"), (-1, 1, "2,3,3")])
def test_concat(axis: int, new: int, dims: str) -> None:
    text = f"""a ({THREE}) => (float[{dims}] r) {{
        {LISTED} r = ConcatFromSequence<axis = {axis}, new_axis = {new}>(s) }}"""
    check(text, x=X, y=Y, z=Z)


OUTSIDE = {
    "at": ("float[2,3]", 5, "r = SequenceAt(s, p)"),
    "negative": ("float[2,3]", -3, "r = SequenceAt(s, p)"),
    "erase": ("int64", 2, "t = SequenceErase(s, p) r = SequenceLength(t)"),
    "insert": ("int64", 3, "t = SequenceInsert(s, x, p) r = SequenceLength(t)"),
}


@pytest.mark.parametrize(("kind", "at", "call"), OUTSIDE.values(), ids=OUTSIDE)
def test_a_position_outside_is_refused(kind: str, at: int, call: str) -> None:
    text = f"a (float[2,3] x) => ({kind} r) <int64 p = {{{at}}}> {{ s = SequenceConstruct(x, x) {call} }}"
    with pytest.raises(ConversionError, match=rf"Sequence.* position {at} is outside a sequence of 2"):
        compile_model(model(text))


# ------------------------------------------------------------------------------------------------ run-time positions


@pytest.mark.parametrize("at", [0, 2, -1, -3])
def test_element_at_run_time(at: int) -> None:
    text = f"a ({THREE}, int64 p) => (float[2,3] r) {{ {LISTED} r = SequenceAt(s, p) }}"
    check(text, x=X, y=Y, z=Z, p=scalar(at))


@pytest.mark.parametrize("at", [0, 1, 3, -1, -3])
def test_insert_at_run_time(at: int) -> None:
    text = f"""a ({THREE}, float[2,3] w, int64 p) => (float[8,3] r, int64 n) {{
        {LISTED} t = SequenceInsert(s, w, p) r = ConcatFromSequence<axis = 0>(t) n = SequenceLength(t) }}"""
    check(text, x=X, y=Y, z=Z, w=X - Y, p=scalar(at))


@pytest.mark.parametrize("at", [0, 1, 2, -1, -3])
def test_erase_at_run_time(at: int) -> None:
    text = f"""a ({THREE}, int64 p) => (float[2,6] r, float[2,3] q) <int64 last = {{-1}}> {{
        {LISTED} t = SequenceErase(s, p) r = ConcatFromSequence<axis = 1>(t)
        u = SequenceErase(t) q = SequenceAt(u, last) }}"""
    check(text, x=X, y=Y, z=Z, p=scalar(at))


def test_different_shapes_need_a_known_position() -> None:
    text = "a (float[2] x, float[3] y, int64 p) => (float[N] r) { s = SequenceConstruct(x, y) r = SequenceAt(s, p) }"
    with pytest.raises(ConversionError, match=r"SequenceAt .* needs elements of one shape .*x: f32\[2\], y: f32\[3\]"):
        compile_model(model(text))


# ------------------------------------------------------------------------------------------------ splits


@pytest.mark.parametrize(
    ("split", "attrs", "count"),
    [
        ("", "", 4),
        ("", "axis = 1, keepdims = 0", 6),
        ("", "axis = -1", 6),
        ("int64 split = {3}", "axis = 1, keepdims = 0", 2),
        ("int64 split = {3}", "", 2),
        ("int64[3] split = {1, 0, 3}", "keepdims = 0", 3),
        ("int64[1] split = {6}", "axis = 1", 1),
    ],
)
@pytest.mark.parametrize("at", [0, -1])
def test_split(split: str, attrs: str, count: int, at: int) -> None:
    held = ", ".join(filter(None, [split, f"int64 p = {{{at}}}"]))
    text = f"""a (float[4,6] x) => (float[N] r, int64 n) <{held}, int64[1] flat = {{-1}}> {{
        s = SplitToSequence<{attrs or "axis = 0"}>(x{", split" if split else ""})
        n = SequenceLength(s) e = SequenceAt(s, p) r = Reshape(e, flat) }}"""
    check(text, x=normal(4, 6))


def test_split_at_run_time() -> None:
    text = """a (float[4,6] x, int64[2] split) => (float[N,6] r, float[M,6] q) <int64 one = {1}, int64 zero = {0}> {
        s = SplitToSequence(x, split) r = SequenceAt(s, one) q = SequenceAt(s, zero) }"""
    check(text, x=normal(4, 6), split=i64(1, 3))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("new", [0, 1])
def test_as_many_parts_as_run_time_says(axis: int, keep: int, new: int) -> None:
    text = f"""a (float[N,M] x) => (float[K] r, int64 n, float[L] e) <int64 p = {{-2}}, int64[1] flat = {{-1}}> {{
        s = SplitToSequence<axis = {axis}, keepdims = {keep}>(x) n = SequenceLength(s)
        t = SequenceErase(s) u = SequenceInsert(t, f) f = SequenceAt(s, p) e = Reshape(f, flat)
        v = ConcatFromSequence<axis = 0, new_axis = {new}>(u) r = Reshape(v, flat) }}"""
    head, tail = text.split("u = SequenceInsert(t, f) f = SequenceAt(s, p)")
    check(f"{head} f = SequenceAt(s, p) u = SequenceInsert(t, f) {tail}", x=normal(4, 3))


def test_a_number_of_parts_that_is_no_extent_is_refused() -> None:
    text = "a (float[N] x) => (int64 n) <int64 split = {2}> { s = SplitToSequence(x, split) n = SequenceLength(s) }"
    with pytest.raises(ConversionError, match="their number is only known at run time"):
        compile_model(model(text))


# ------------------------------------------------------------------------------------------------ SequenceMap


@pytest.mark.parametrize("rows", ["2", "N"], ids=["unrolled", "run time"])
def test_map(rows: str) -> None:
    text = f"""a (float[{rows},3] x, float[3] y) => (float[K,3] r, float[K,3] q, int64 n) {{
        k = Exp(y)
        s = SplitToSequence<keepdims = 0>(x)
        t, u = SequenceMap (s, y) <body = g (float[3] p, float[3] o) => (float[3] b, float[3] c) {{
            d = Mul(p, k)
            b = Add(d, o)
            c = Neg(d)
        }}>
        n = SequenceLength(t)
        r = ConcatFromSequence<axis = 0, new_axis = 1>(t)
        q = ConcatFromSequence<axis = 0, new_axis = 1>(u) }}"""
    graph = check(text, x=X, y=Y[0])
    assert ("WHILE" in kinds(graph)) == (rows == "N")


def test_map_over_two_sequences_of_different_shapes() -> None:
    text = """a (float[2] x, float[3] y) => (float[5] r) {
        s = SequenceConstruct(x, y) t = SequenceConstruct(x, y)
        u = SequenceMap (s, t) <body = g (float[N] p, float[N] o) => (float[N] b) { b = Mul(p, o) }>
        r = ConcatFromSequence<axis = 0>(u) }"""
    check(text, x=X[0, :2], y=Y[0])


def test_lengths_must_agree() -> None:
    text = """a (float[2] x) => (float[4] r) {
        s = SequenceConstruct(x, x) t = SequenceConstruct(x)
        u = SequenceMap (s, t) <body = g (float[2] p, float[2] o) => (float[2] b) { b = Mul(p, o) }>
        r = ConcatFromSequence<axis = 0>(u) }"""
    with pytest.raises(ConversionError, match="different lengths"):
        compile_model(model(text))


# ------------------------------------------------------------------------------------------------ control flow


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("longer", ["y", "y, x"], ids=["equal", "longer"])
def test_if_gives_a_sequence(flag: bool, longer: str) -> None:
    """Sequences of different lengths: their readers move into the branches."""
    text = f"""a (bool c, float[2,3] x, float[2,3] y) => (float[M,3] r, int64 n) {{
        s = If (c) <then_branch = g1 () => (seq(float[2,3]) a) {{ p = Neg(x) a = SequenceConstruct(p, {longer}) }},
                    else_branch = g2 () => (seq(float[2,3]) b) {{ b = SequenceConstruct(y, x) }}>
        t = SequenceInsert(s, x)
        n = SequenceLength(t)
        r = ConcatFromSequence<axis = 0>(t) }}"""
    check(text, c=np.array(flag), x=X, y=Y)


BODY = """body = g (int64 i, bool c, seq(float[3]) a) => (bool d, seq(float[3]) b) {
    d = Identity(c)
    e = SequenceAt(s, i)
    f = Mul(e, k)
    b = SequenceInsert(a, f) }"""


@pytest.mark.parametrize("rows", ["2", "N"], ids=["unrolled", "run time"])
@pytest.mark.parametrize("start", ["SequenceEmpty()", "SequenceConstruct(k)"], ids=["empty", "one"])
def test_loop_collects_a_sequence(rows: str, start: str) -> None:
    text = f"""a (float[{rows},3] x, float[3] k) => (float[K,3] r, int64 n) <bool go = {{1}}> {{
        s = SplitToSequence<keepdims = 0>(x) m = SequenceLength(s) o = {start}
        t = Loop (m, go, o) <{BODY}>
        n = SequenceLength(t) r = ConcatFromSequence<axis = 0, new_axis = 1>(t) }}"""
    graph = check(text, x=X, k=Y[0])
    assert ("WHILE" in kinds(graph)) == (rows == "N")


@pytest.mark.parametrize("trips", [1, 5])
def test_loop_state_of_constant_length(trips: int) -> None:
    """A queue: the first leaves, a new one comes."""
    text = """a (int64 m, float[2,3] x, float[2,3] y) => (float[4,3] r) <bool go = {1}, int64 zero = {0}> {
        o = SequenceConstruct(x, y)
        t = Loop (m, go, o) <body = g (int64 i, bool c, seq(float[2,3]) a) => (bool d, seq(float[2,3]) b) {
            d = Identity(c)
            f = SequenceAt(a, zero) e = SequenceErase(a, zero) h = Neg(f) b = SequenceInsert(e, h) }>
        r = ConcatFromSequence<axis = 0>(t) }"""
    graph = check(text, m=scalar(trips), x=X, y=Y)
    assert "WHILE" in kinds(graph)


def test_elements_of_different_shapes_are_collected_one_by_one() -> None:
    text = """a (float[5] x) => (float[6] r, float[3] v) <bool go = {1}, int64 three = {3}, int64[1] zero = {0}> {
        o = SequenceEmpty()
        t, v = Loop (three, go, o) <body = g (int64 i, bool c, seq(float[N]) a) => (bool d, seq(float[N]) b, float w) {
            d = Identity(c)
            one = Constant<value_ints = [1]>() j = Reshape(i, one) n = Add(j, one)
            e = Slice(x, zero, n) b = SequenceInsert(a, e) w = ReduceSum<keepdims = 0>(e) }>
        r = ConcatFromSequence<axis = 0>(t) }"""
    assert "WHILE" not in kinds(check(text, x=normal(5)))


def test_a_sequence_that_changes_its_kind_of_element_is_refused() -> None:
    text = """a (int64 m, float[2] x, float[3] y) => (int64 n) <bool go = {1}> {
        o = SequenceConstruct(x, y)
        t = Loop (m, go, o) <body = g (int64 i, bool c, seq(float[N]) a) => (bool d, seq(float[N]) b) {
            d = Identity(c) b = SequenceInsert(a, x) }>
        n = SequenceLength(t) }"""
    with pytest.raises(ConversionError, match="a length that the iterations change needs elements of one shape"):
        compile_model(model(text))


# ------------------------------------------------------------------------------------------------ optionals


def test_optionals() -> None:
    text = """a (float[3] x) => (bool h, bool t, float[3] r, bool q) {
        o = Optional(x)
        h = OptionalHasElement(o) t = OptionalHasElement(x)
        r = OptionalGetElement(o)
        q = OptionalHasElement() }"""
    check(text, x=X[0])


def test_an_optional_sequence() -> None:
    text = """a (float[3] x) => (float[6] r) {
        s = SequenceConstruct(x, x)
        o = Optional(s)
        e = OptionalGetElement(o)
        r = ConcatFromSequence<axis = 0>(e) }"""
    check(text, x=X[0])


def empty_optional(reader: str, out: onnx.ValueInfoProto) -> onnx.ModelProto:
    """If gives x or nothing; ``reader`` reads that."""
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [3])
    kind = helper.make_optional_type_proto(tensor)
    sides = [
        helper.make_graph([node], name, [], [helper.make_value_info(name, kind)])
        for node, name in (
            (helper.make_node("Optional", ["x"], ["a"]), "a"),
            (helper.make_node("Optional", [], ["b"], type=tensor), "b"),
        )
    ]
    nodes = [
        helper.make_node("If", ["c"], ["o"], then_branch=sides[0], else_branch=sides[1]),
        helper.make_node(reader, ["o"], ["r"], "reader"),
    ]
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, []),
              helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])]  # fmt: skip
    graph = helper.make_graph(nodes, "g", inputs, [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("flag", [True, False])
@IN_PROCESS
def test_an_optional_that_run_time_decides(flag: bool) -> None:
    out = helper.make_tensor_value_info("r", TensorProto.BOOL, [])
    check_model(empty_optional("OptionalHasElement", out), {"c": np.array(flag), "x": X[0]})


def test_nothing_to_get() -> None:
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])
    with pytest.raises(ConversionError, match=r"OptionalGetElement 'reader' .*the optional is empty"):
        compile_model(empty_optional("OptionalGetElement", out))


# ------------------------------------------------------------------------------------------------ edges


FLOATS = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2, "N"]))


def refused(node: onnx.NodeProto, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> str:
    graph = helper.make_graph([node], "g", inputs, outputs)
    with pytest.raises(ConversionError) as raised:
        compile_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    return str(raised.value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (FLOATS, "is seq(float[2,N])"),
        (helper.make_optional_type_proto(FLOATS), "is optional(seq(float[2,N]))"),
        (helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.INT64, [])), "is optional(int64[])"),
        (helper.make_tensor_type_proto(TensorProto.STRING, [2]), "holds text"),
    ],
    ids=["sequence", "optional sequence", "optional", "text"],
)
def test_an_input_that_is_no_numeric_tensor(kind: onnx.TypeProto, text: str) -> None:
    edge, out = helper.make_value_info("edge", kind), helper.make_value_info("o", kind)
    said = refused(helper.make_node("Identity", ["edge"], ["o"]), [edge], [out])
    assert said.startswith(f"input 'edge': {text}, and ") and "input_names_to_interrupt_model_conversion" in said


def test_an_output_that_is_a_sequence() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, "N"])
    said = refused(helper.make_node("SequenceConstruct", ["x"], ["y"]), [x], [helper.make_value_info("y", FLOATS)])
    assert said.startswith("output 'y': is seq(float[2,N]), and ") and "output_names_to_interrupt" in said


def test_an_operator_that_takes_tensors_only() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["s"]), helper.make_node("Relu", ["s"], ["y"], "r")]
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])])
    with pytest.raises(ConversionError, match=r"Relu 'r' .*an operand is sequence\(x: f32\[2\]\)"):
        lower(gs.import_onnx(helper.make_model(graph)))
