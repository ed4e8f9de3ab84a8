# ruff: noqa: E501 (tables: a case is a line)
"""Every upgrade rule: the old form by ONNX Runtime, onnx.reference or its definition in numpy, against the new."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnx2tf_lite import passes
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.model.upgrade import RULES

from .conftest import feeds, model, same, session

F = np.float32


class Case(NamedTuple):
    name: str
    opset: int
    text: str
    constants: dict[str, np.ndarray] = {}  # noqa: RUF012 (nobody writes to it)
    truth: Callable[..., object] | None = None
    """The definition, where no runtime knows the old form: inputs by position -> the output (or the list of them)."""


def arr(*dims: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(dims).astype(F)


def softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
    e = np.exp(flat - flat.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(x.shape).astype(F)


def hardmax(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return np.eye(flat.shape[1], dtype=F)[flat.argmax(1)].reshape(x.shape)


def bn(x: np.ndarray, s: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (x - m) / np.sqrt(v + 1e-5) * s + b


X = "(float[2,3,4,5] x) => (float[2,3,4,5] y)"
U = "(float[1,2,4,4] x) => (float[1,2,n,m] y)"
SEL = {"a": F(1.6732), "g": F(1.0507)}
STAT = {"s": arr(3), "b": arr(3, seed=2), "m": arr(3, seed=3), "v": np.abs(arr(3, seed=4)) + F(0.5)}
WIDE = {k: np.abs(arr(3, 4, 5, seed=i)) + F(0.5) for i, k in enumerate("sbmv")}
RNN = {"w": arr(1, 4, 3), "r": arr(1, 4, 4, seed=2)}
GRU = {"w": arr(1, 12, 3), "r": arr(1, 12, 4, seed=2)}
LSTM = {"w": arr(1, 16, 3), "r": arr(1, 16, 4, seed=2)}
SEQ = "(float[5,2,3] x) => (float[5,1,2,4] y)"


def recurrent(op: str, weights: dict[str, np.ndarray]) -> Callable[[np.ndarray], object]:
    """Version 7 without the attribute that version 1 had."""

    def run(x: np.ndarray) -> object:
        return session(model(f"{SEQ} {{ y = {op} <hidden_size = 4> (x, w, r) }}", 7, 8, **weights)).run(None, {"x": x})[
            0
        ]

    return run


def window(x: np.ndarray) -> np.ndarray:
    """Sums over 3x3 windows with a border of zeros."""
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum((p[..., i : i + x.shape[2], j : j + x.shape[3]] for i in range(3) for j in range(3)), np.zeros_like(x))


CASES = [
    Case("softmax-1 over all", 11, f"{X} {{ y = Softmax (x) }}"),
    Case("softmax-1 axis 2", 9, f"{X} {{ y = Softmax <axis = 2> (x) }}"),
    Case("softmax-1 last", 9, f"{X} {{ y = Softmax <axis = 3> (x) }}"),
    Case("softmax-11 negative", 11, f"{X} {{ y = Softmax <axis = -2> (x) }}"),
    Case("softmax-1 one wide axis", 9, "(float[2,3,1,1] x) => (float[2,3,1,1] y) { y = Softmax (x) }"),
    Case("softmax-1 dynamic", 9, "(float[n,3,h,5] x) => (float[n,3,h,5] y) { y = Softmax (x) }"),
    Case("logsoftmax-1", 9, f"{X} {{ y = LogSoftmax (x) }}"),
    Case("hardmax-1", 9, f"{X} {{ y = Hardmax (x) }}", truth=hardmax),
    Case("clip-6", 6, f"{X} {{ y = Clip <min = -0.5, max = 0.5> (x) }}"),
    Case("clip-6 one bound", 10, f"{X} {{ y = Clip <max = 0.5> (x) }}"),
    Case("clip-1", 1, f"{X} {{ y = Clip <min = -0.5, consumed_inputs = [0]> (x) }}", truth=lambda x: x.clip(-0.5)),
    Case("pad-2 constant", 2, "(float[2,3] x) => (float[4,6] y) { y = Pad <pads = [1,2,1,1], value = 2.5> (x) }"),
    Case("pad-2 reflect", 10, '(float[2,3] x) => (float[4,5] y) { y = Pad <mode = "reflect", pads = [1,1,1,1]> (x) }'),
    Case(
        "pad-1",
        1,
        "(float[2,3] x) => (float[4,3] y) { y = Pad <paddings = [1,0,1,0]> (x) }",
        truth=lambda x: np.pad(x, ((1, 1), (0, 0))),
    ),
    Case("slice-1", 9, "(float[4,5] x) => (float[2,4] y) { y = Slice <axes = [0,1], starts = [1,-4], ends = [3,9]> (x) }"),
    Case("slice-1 no axes", 9, "(float[4,5] x) => (float[2,5] y) { y = Slice <starts = [1], ends = [3]> (x) }"),
    Case(
        "upsample-1",
        1,
        f'{U} {{ y = Upsample <height_scale = 2.0, width_scale = 3.0, mode = "nearest"> (x) }}',
        truth=lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    Case("upsample-7 nearest", 7, f'{U} {{ y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 1.5]> (x) }}'),
    Case("upsample-7 linear", 8, f'{U} {{ y = Upsample <mode = "linear", scales = [1.0, 1.0, 2.0, 1.5]> (x) }}'),
    Case("upsample-9", 9, f'{U} {{ y = Upsample <mode = "linear"> (x, s) }}', {"s": np.array([1, 1, 2, 2], F)}),
    Case("resize-10 up", 10, f"{U} {{ y = Resize (x, s) }}", {"s": np.array([1, 1, 2, 1.5], F)}),
    Case("resize-10 down", 10, f"{U} {{ y = Resize (x, s) }}", {"s": np.array([1, 1, 0.5, 0.6], F)}),
    Case("resize-10 both", 10, f"{U} {{ y = Resize (x, s) }}", {"s": np.array([1, 1, 0.6, 2], F)}),
    Case("resize-10 linear", 10, f'{U} {{ y = Resize <mode = "linear"> (x, s) }}', {"s": np.array([1, 1, 2, 0.5], F)}),
    Case("squeeze-1", 11, "(float[1,3,1] x) => (float[3] y) { y = Squeeze <axes = [0,2]> (x) }"),
    Case("squeeze-1 all", 11, "(float[1,3,1] x) => (float[3] y) { y = Squeeze (x) }"),
    Case("unsqueeze-1", 11, "(float[3] x) => (float[1,3,1] y) { y = Unsqueeze <axes = [0,2]> (x) }"),
    *(
        Case(f"reduce{r}-1".lower(), 11, f"(float[2,3,4] x) => (float[2,1,4] y) {{ a = Abs (x) y = Reduce{r} <axes = [1]> (a) }}")
        for r in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    ),
    Case("reducemean-13", 13, "(float[2,3,4] x) => (float y) { y = ReduceMean <keepdims = 0> (x) }"),
    Case("split-2", 2, "(float[6,2] x) => (float[2,2] y, float[4,2] z) { y, z = Split <split = [2,4]> (x) }"),
    Case("split-2 equal", 11, "(float[2,6] x) => (float[2,3] y, float[2,3] z) { y, z = Split <axis = 1> (x) }"),
    Case("split-13 equal", 13, "(float[6,2] x) => (float[3,2] y, float[3,2] z) { y, z = Split (x) }"),
    Case(
        "split-1",
        1,
        "(float[6,2] x) => (float[3,2] y, float[3,2] z) { y, z = Split (x) }",
        truth=lambda x: [x[:3], x[3:]],
    ),
    Case("dropout-7", 9, f"{X} {{ y = Dropout <ratio = 0.3> (x) }}"),
    Case(
        "dropout-10 mask",
        10,
        "(float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout (x) }",
        truth=lambda x: [x, np.ones(x.shape, bool)],
    ),
    Case("dropout-1", 1, f"{X} {{ y = Dropout <is_test = 1> (x) }}", truth=lambda x: x),
    Case("dropout-12", 12, f"{X} {{ y = Dropout (x, r) }}", {"r": F(0.4)}),
    Case("batchnorm-9", 9, f"{X} {{ y = BatchNormalization (x, s, b, m, v) }}", STAT),
    Case("batchnorm-7 spatial", 7, f"{X} {{ y = BatchNormalization <spatial = 1> (x, s, b, m, v) }}", STAT),
    Case(
        "batchnorm-7 per activation",
        7,
        f"{X} {{ y = BatchNormalization <spatial = 0> (x, s, b, m, v) }}",
        WIDE,
        lambda x: bn(x, *(WIDE[k] for k in "sbmv")),
    ),
    Case(
        "batchnorm-1",
        1,
        f"{X} {{ y = BatchNormalization <is_test = 1, consumed_inputs = [0,0,0,1,1]> (x, s, b, m, v) }}",
        STAT,
        lambda x: bn(x, *(STAT[k].reshape(3, 1, 1) for k in "sbmv")),
    ),
    Case(
        "groupnorm-18",
        18,
        "(float[2,6,4] x) => (float[2,6,4] y) { y = GroupNormalization <num_groups = 3> (x, s, b) }",
        {"s": arr(3), "b": arr(3, seed=5)},
    ),
    Case(
        "groupnorm-18 scale from outside",
        18,
        "(float[2,6,4] x, float[3] s, float[3] b) => (float[2,6,4] y) { y = GroupNormalization <num_groups = 3> (x, s, b) }",
    ),
    Case("topk-1", 9, "(float[2,6] x) => (float[2,3] y, int64[2,3] i) { y, i = TopK <k = 3> (x) }"),
    Case("argmax-1", 7, "(float[2,6] x) => (int64[2,1] y) { y = ArgMax <axis = 1> (x) }"),
    Case("reshape-1", 1, "(float[2,6] x) => (float[3,4] y) { y = Reshape <shape = [3,4]> (x) }", truth=lambda x: x.reshape(3, 4)),
    Case("cast-1", 1, '(float[2,3] x) => (int32[2,3] y) { y = Cast <to = "INT32"> (x) }', truth=lambda x: x.astype(np.int32)),
    Case("concat-1", 1, "(float[2,3] x) => (float[2,6] y) { y = Concat (x, x) }", truth=lambda x: np.concatenate([x, x], 1)),
    Case(
        "tile-1",
        1,
        "(float[2,3] x) => (float[2,6] y) { y = Tile (x, n, a) }",
        {"n": np.array(2, np.int64), "a": np.array(1, np.int64)},
        lambda x: np.tile(x, (1, 2)),
    ),
    Case("gemm-6", 6, "(float[2,3] x) => (float[2,4] y) { y = Gemm <broadcast = 1> (x, w, c) }", {"w": arr(3, 4), "c": arr(4)},
         lambda x: x @ arr(3, 4) + arr(4)),
    Case("prelu-6", 6, f"{X} {{ y = PRelu (x, s) }}", {"s": arr(3)}, lambda x: np.where(x < 0, x * arr(3).reshape(3, 1, 1), x)),
    Case("prelu-6 shared", 6, f"{X} {{ y = PRelu (x, s) }}", {"s": arr(1)}, lambda x: np.where(x < 0, x * arr(1), x)),
    Case("prelu-7", 7, f"{X} {{ y = PRelu (x, s) }}", {"s": arr(3, 1, 1)}),
    Case(
        "selu-1",
        1,
        f"{X} {{ y = Selu (x) }}",
        truth=lambda x: np.where(x > 0, SEL["g"] * x, SEL["g"] * SEL["a"] * (np.exp(x) - 1)).astype(F),
    ),
    Case("elu-1", 1, f"{X} {{ y = Elu <consumed_inputs = [0]> (x) }}", truth=lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    Case("relu-1", 1, f"{X} {{ y = Relu <consumed_inputs = [0]> (x) }}", truth=lambda x: np.maximum(x, 0)),
    Case("lppool-1", 1, "(float[1,2,4] x) => (float[1,2,3] y) { y = LpPool <kernel_shape = [2], p = 2.0> (x) }",
         truth=lambda x: np.sqrt(x[..., :-1] ** 2 + x[..., 1:] ** 2)),
    Case("globallppool-1", 1, "(float[1,2,4] x) => (float[1,2,1] y) { y = GlobalLpPool <p = 1.0> (x) }",
         truth=lambda x: np.abs(x).sum(2, keepdims=True)),
    Case("scatter-9", 9, "(float[3,3] x) => (float[3,3] y) { y = Scatter <axis = 1> (x, i, u) }",
         {"i": np.array([[1], [0], [2]]), "u": arr(3, 1)}),
    Case("roialign-10", 10, "(float[1,2,6,6] x) => (float[1,2,2,2] y) { y = RoiAlign <output_height = 2, output_width = 2> (x, r, i) }",
         {"r": np.array([[0, 0, 4, 4]], F), "i": np.array([0])}),
    Case("gridsample-16", 16, '(float[1,2,4,4] x) => (float[1,2,3,3] y) { y = GridSample <mode = "bicubic"> (x, g) }',
         {"g": np.tanh(arr(1, 3, 3, 2))}),
    Case("dft-17", 17, "(float[1,4,4,1] x) => (float[1,4,4,2] y) { y = DFT (x) }"),
    Case("rnn-1", 1, f"{SEQ} {{ y, h = RNN <hidden_size = 4, output_sequence = 1> (x, w, r) }}", RNN, recurrent("RNN", RNN)),
    Case("lstm-1", 1, f"{SEQ} {{ y = LSTM <hidden_size = 4, output_sequence = 1> (x, w, r) }}", LSTM, recurrent("LSTM", LSTM)),
    Case("gru-1", 1, f'{SEQ} {{ y, h = GRU <hidden_size = 4, output_sequence = 1, direction = "foward"> (x, w, r) }}', GRU, recurrent("GRU", GRU)),
    Case("gru-7", 7, f"{SEQ} {{ y = GRU <hidden_size = 4> (x, w, r) }}", GRU),
    Case("constant-12", 12, "(float[2] x) => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Add (x, c) }"),
    Case("sum-6", 6, "(float[2] x, float[2] z) => (float[2] y) { y = Sum (x, z) }"),
    Case("averagepool-1", 1, "(float[1,1,4,4] x) => (float[1,1,4,4] y) { y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) }",
         truth=lambda x: window(x) / window(np.ones_like(x))),
    *(
        Case(f"{op}-6 axis".lower(), 6, f"(float[2,3,4] x) => ({out}[2,3,4] y) {{ a = Abs (x) y = {op} <broadcast = 1, axis = 1> (a, b) }}",
             {"b": np.abs(arr(3))}, lambda x, f=f: f(np.abs(x), np.abs(arr(3))[:, None]))
        for op, out, f in (
            ("Add", "float", np.add), ("Sub", "float", np.subtract), ("Mul", "float", np.multiply), ("Div", "float", np.divide),
            ("Pow", "float", np.power), ("Greater", "bool", np.greater), ("Less", "bool", np.less),
        )
    ),
    *(
        Case(f"{op}-6 axis".lower(), 6, f"(bool[2,3,4] x) => (bool[2,3,4] y) {{ y = {op} <broadcast = 1, axis = 0> (x, b) }}",
             {"b": np.array([True, False])}, lambda x, f=f: f(x, np.array([True, False])[:, None, None]))
        for op, f in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor), ("Equal", np.equal))
    ),
    Case("add-6 suffix", 6, "(float[2,3] x) => (float[2,3] y) { y = Add <broadcast = 1> (x, b) }", {"b": arr(3)}, lambda x: x + arr(3)),
    Case("add-6 one element", 6, "(float[2,3] x) => (float[2,3] y) { y = Add <broadcast = 1, axis = 0> (x, b) }", {"b": arr(1)},
         lambda x: x + arr(1)),
]  # fmt: skip


def expected(case: Case, proto: onnx.ModelProto, given: dict[str, np.ndarray]) -> list:
    if case.truth is not None:
        found = case.truth(*given.values())
        return found if isinstance(found, list) else [np.asarray(found)]
    return run(proto, given)


def run(proto: onnx.ModelProto, given: dict[str, np.ndarray]) -> list:
    try:
        return session(proto).run(None, given)
    except Exception as e:  # a form, old or very new, that ONNX Runtime has no kernel for
        assert "NOT_IMPLEMENTED" in str(e) or "opset" in str(e).lower(), e
    if all(n.op_type not in ("GlobalLpPool", "RoiAlign") for n in proto.graph.node):
        return list(ReferenceEvaluator(proto).run(None, given))
    proto.opset_import[0].version = min(proto.opset_import[0].version, 20)  # in 22 these only gained types
    return session(proto).run(None, given)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_rule(case: Case) -> None:
    proto = model(case.text, case.opset, 8, **case.constants)
    graph = passes.load(proto)
    first = passes.run("upgrade", graph)
    assert first.modified and graph.opset == max(case.opset, passes.TARGET)
    after = passes.to_proto(graph)
    onnx.checker.check_model(after, full_check=True)
    given = feeds(proto)
    same(expected(case, proto, given), run(after, given))
    assert not passes.run("upgrade", graph).modified


def test_every_rule_has_a_case() -> None:
    text = " ".join(c.text for c in CASES)
    assert [op for op in RULES if f"{op} " not in text and op != "Scan"] == []


def test_every_changed_schema_is_known() -> None:
    """An operator whose attributes became inputs, lost a default or vanished has a rule, or is listed here with a reason."""
    unchanged = {
        "consumed_inputs": "dropped for every operator",
        "Constant": "read by the loader",
    }
    history: dict[str, list] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, []).append(schema)
    missing = []
    for op, versions in history.items():
        versions.sort(key=lambda s: s.since_version)
        for old, new in pairwise(versions):
            gone = set(old.attributes) - set(new.attributes) - set(unchanged)
            if (gone or (new.deprecated and not old.deprecated)) and op not in RULES:
                missing.append((op, new.since_version, gone))
    assert missing == []


def test_training_dropout_stays() -> None:
    graph = passes.load(model(f"{X} {{ y = Dropout (x, r, t) }}", 13, r=F(0.4), t=np.array(True)))
    passes.run("upgrade", graph)
    assert [n.op for n in graph.nodes] == ["Dropout"]


def test_unknown_rank_is_an_error() -> None:
    text = "(float[2,3] x) => (float[2,3] y) { y = Add <broadcast = 1, axis = 0> (x, b) }"
    graph = passes.load(model(text, 6, 8, b=arr(2)))
    graph.inputs[0].shape = None
    with pytest.raises(ConversionError, match="needs the rank of 'x'"):
        passes.run("upgrade", graph)


def test_newer_opset_than_onnx_knows() -> None:
    proto = model(f"{X} {{ y = Relu (x) }}", 23)
    proto.opset_import[0].version = 9999
    assert passes.load(proto).opset == onnx.defs.onnx_opset_version()
