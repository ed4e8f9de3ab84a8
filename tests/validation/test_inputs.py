"""Inputs that suit the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from onnx2tf_lite import ConversionError, convert, passes, validation
from onnx2tf_lite.ir.dims import symbol
from onnx2tf_lite.ir.graph import Placement, Value
from onnx2tf_lite.validation.feeds import extents, inputs
from onnx2tf_lite.validation.feeds.inputs import InputSpec
from onnx2tf_lite.validation.original.reference import Reference
from onnx2tf_lite.validation.whole.samples import CheckOptions, Samples

from .models import model

LOOKUPS = {
    "directly": "y = Gather(table, ids)",
    "through a cast and a reshape": "a = Cast<to=7>(ids)\n b = Unsqueeze(a, axes)\n y = Gather(table, b)",
    "smallest of two tables": "z = Gather(big, ids)\n y = Gather(table, ids)",
}


@pytest.mark.parametrize("body", LOOKUPS.values(), ids=LOOKUPS)
def test_ids_stay_below_the_vocabulary(body: str) -> None:
    output = "float[N,1,M,4] y" if "axes" in body else "float[N,M,4] y"
    proto = model(f"g (int64[N,M] ids) => ({output}) {{ {body} }}", table=(7, 4), big=(90, 4), axes=np.array([1]))
    (spec,) = inputs.describe(passes.load(proto))
    assert spec.facts.high == 7
    drawn = spec.random((1000,), np.random.default_rng(0), high=8)
    assert set(drawn) == set(range(7)) and drawn.dtype == np.int64


def test_scattering_ids_are_distinct() -> None:
    proto = model("g (int64[5] ids, float[5,4] x) => (float[6,4] y) { i = Unsqueeze(ids, axes)\n"
                  " e = Expand(i, to)\n y = ScatterElements<axis=0>(table, e, x) }",
                  table=(6, 4), axes=np.array([1]), to=np.array([5, 4]))  # fmt: skip
    ids = next(s for s in inputs.describe(passes.load(proto)) if s.name == "ids")
    drawn = ids.random((5,), np.random.default_rng(0), high=8)
    assert len(set(drawn)) == 5 and set(drawn) <= set(range(6))


def place(shape: tuple, perm: tuple[int, ...]) -> Placement:
    """A tensor of ONNX ``shape`` that is stored in the order ``perm``."""
    stored = tuple(shape[p] for p in perm)
    return Placement(Value("x", stored, np.dtype(np.float32)), stored, tuple(np.argsort(perm)), shape)


NHWC = (0, 2, 3, 1)
SPEC = [InputSpec("x", np.dtype(np.float32), (1, 3, 4, 5))]


def test_dynamic_dimensions_vary_and_hints_hold() -> None:
    n, h, w = symbol("batch"), symbol("height"), symbol("width")
    places = {"x": place((n, 3, h, w), NHWC)}
    found = [a["x"].shape for _, a in extents.generate(SPEC, places, {"x": (-1, 3, 20, -1)})]
    assert found[0] == (1, 3, 20, 8)
    assert {s[2] for s in found} == {20}


def test_generation_is_seeded() -> None:
    places = {"x": place((1, 3, 4, 5), NHWC)}
    first, second = (next(extents.generate(SPEC, places, {}))[1]["x"] for _ in range(2))
    assert np.array_equal(first, second) and 0.5 < first.std() < 1.5


@pytest.mark.parametrize("order", [(0, 1, 2, 3), NHWC], ids=["ONNX", "stored"])
def test_user_data_in_either_order(order: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random((1, 3, 4, 5))
    ((_, feeds),) = inputs.from_user({"x": array.transpose(order)}, SPEC, {"x": place((1, 3, 4, 5), NHWC)})
    assert np.array_equal(feeds["x"], array.astype(np.float32))


def test_several_samples_in_one_array() -> None:
    array = np.random.default_rng(0).random((6, 4, 5, 3))
    samples = inputs.from_user({"": array}, SPEC, {"x": place((1, 3, 4, 5), NHWC)})
    assert [s["x"].shape for _, s in samples] == [(1, 3, 4, 5)] * 6


@pytest.mark.parametrize("name, moved", [("x@onnx", False), ("x@stored", True), ("x@nhwc", True), ("x", None)])
def test_equal_extents_need_a_word(name: str, moved: bool | None) -> None:
    spec, places = [InputSpec("x", np.dtype(np.float32), (1, 4, 4, 4))], {"x": place((1, 4, 4, 4), NHWC)}
    array = np.random.default_rng(0).random((1, 4, 4, 4)).astype(np.float32)
    if moved is None:
        with pytest.raises(ConversionError, match="x@stored"):
            inputs.from_user({name: array}, spec, places)
    else:
        ((_, feeds),) = inputs.from_user({name: array}, spec, places)
        assert np.array_equal(feeds["x"], array.transpose(0, 3, 1, 2) if moved else array)


@pytest.mark.parametrize("name, shape", [("y", (1, 3, 4, 5)), ("x", (1, 3, 4)), ("x", (1, 9, 9, 9))])
def test_unfit_data_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConversionError, match="test data"):
        inputs.from_user({name: np.zeros(shape)}, SPEC, {"x": place((1, 3, 4, 5), NHWC)})


HALVED = """
g (float[1,2,T] x) => (float[1,3,U] y) {
  a = MaxPool<kernel_shape=[2], strides=[2]>(x)
  b = MaxPool<kernel_shape=[2], strides=[2]>(a)
  c = MaxPool<kernel_shape=[2], strides=[2]>(b)
  d = MaxPool<kernel_shape=[2], strides=[2]>(c)
  e = MaxPool<kernel_shape=[2], strides=[2]>(d)
  f = MaxPool<kernel_shape=[2], strides=[2]>(e)
  y = Conv(f, w)
}"""


def test_extents_are_such_that_the_model_makes_something(tmp_path: Path) -> None:
    """Below 64 it makes nothing, which TFLite's kernels refuse."""
    proto = model(HALVED, w=(3, 2, 1))
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    report = validation.check(proto, made.files["float32"])
    assert report.exit_code == 0 and [s["x"][2] for s in report.samples] == [64, 96]
    asked = validation.check(proto, made.files["float32"], hints={"x": (1, 2, 8)})
    assert asked.exit_code == 2
    why = "at these sizes the window of 'd' does not fit into [1] (ONNX Runtime makes a result up)"
    assert f"{why}: give larger ones (--shape)" in asked.files[0].verdict


def test_value_hints_fill_inputs() -> None:
    """By name, and ``*`` for the others; a name that is no input is an error."""
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[2,3] x, int64[2] y, float[2] z) => (float[2,3] a)'
        " { c = Cast <to = 1> (y) d = Add(c, z) s = Constant <value = int64[2] {2, 1}> () e = Reshape(d, s)"
        " a = Add(x, e) }"
    )
    reference = Reference.of(proto, passes.load(proto))
    samples = Samples(reference, CheckOptions(fills={"x": 0.5, "*": 2}))
    samples.draw([])
    feeds = samples.samples[0].feeds
    assert {name: set(np.ravel(array).tolist()) for name, array in feeds.items()} == {"x": {0.5}, "y": {2}, "z": {2.0}}
    assert feeds["y"].dtype == np.int64
    with pytest.raises(ConversionError, match="no such input to give a value"):
        Samples(reference, CheckOptions(fills={"w": 1})).draw([])


def test_values_that_were_let_go_of_are_computed_again() -> None:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[2,3] x) => (float[2,3] a) { d = Neg(x) a = Abs(d) }'
    )
    samples = Samples(Reference.of(proto, passes.load(proto)), CheckOptions())
    samples.draw([])
    samples.read(["d", "a"])
    (sample,) = samples.samples
    known = dict(sample.expected)
    samples.let_go({"a"})
    assert list(sample.expected) == ["a"] and samples.held == {"a"}
    assert not np.shares_memory(sample.expected["a"], known["a"])
    samples.read(["d", "a"])
    assert all(np.array_equal(sample.expected[n], known[n]) for n in "da") and known["d"].any()


STEPS = {
    "Scan": ("float[1,4] x, float[T,1,4] rows", """z, all = Scan<num_scan_inputs=1, body = b
        (float[1,4] v, float[1,4] r) => (float[1,4] w, float[1,4] u) { w = MatMul(v, m)
        u = Add(w, r) }>(x, rows)""", "float[1,4] z, float[T,1,4] all"),
    "LSTM": ("float[T,1,4] rows", "z = LSTM<hidden_size=4>(rows, w, r)", "float[T,1,1,4] z"),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_what_goes_step_by_step_also_takes_one_step(case: str, tmp_path: Path) -> None:
    """An axis of steps is no batch, though it is the first one."""
    given, body, results = STEPS[case]
    wanted = {"m": (4, 4)} if case == "Scan" else {"w": (1, 16, 4), "r": (1, 16, 4)}
    proto = model(f"g ({given}) => ({results}) {{ {body} }}", **wanted)  # type: ignore[arg-type]
    done = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], non_verbose=True)
    assert done.exit_code == 0
    counts = [shapes["rows"][0] for shapes in done.check.samples]
    assert counts[-1] == 1 and len(set(counts)) == 3


def test_places_of_an_unpooling_are_distinct_and_below_its_result(tmp_path: Path) -> None:
    """ONNX Runtime takes them for places in the output_shape; ONNX's own test has them in the result without it."""
    text = """g (float[1,1,2,2] x, int64[1,1,2,2] places, int64[4] shape) => (float[1,1,5,5] y) {
        y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(x, places, shape) }"""
    proto = model(text)
    specs = {s.name: s for s in inputs.describe(passes.load(proto))}
    drawn = specs["places"].random((1, 1, 2, 2), np.random.default_rng(0), high=8)
    assert specs["places"].facts.high == 16 and len(set(drawn.ravel())) == 4
    feeds = {"x": np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2), "shape": np.array([1, 1, 5, 5]),
             "places": np.array([5, 7, 13, 15]).reshape(1, 1, 2, 2)}  # fmt: skip
    (y,) = Reference.of(proto, passes.load(proto)).open().run(feeds).values()
    assert {tuple(map(int, i)): y[0, 0][tuple(i)] for i in np.argwhere(y[0, 0])} == {
        (1, 1): 1, (1, 3): 2, (3, 1): 3, (3, 3): 4
    }  # fmt: skip
    done = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], non_verbose=True)
    assert done.exit_code == 0
