"""What the parts of quantisation promise each on its own."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx2tf_lite import compile
from onnx2tf_lite.fusion import qdq
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Placement, building
from onnx2tf_lite.ir.lattices import bytes_of
from onnx2tf_lite.quantization import calibrate, flat, ranges, rounding, scales
from onnx2tf_lite.quantization.annotate import annotate
from onnx2tf_lite.quantization.prepare import prepare
from onnx2tf_lite.quantization.recipes import I8, I16
from onnx2tf_lite.quantization.runner import ProgramRunner
from onnx2tf_lite.quantization.samples import CalibrationData
from onnx2tf_lite.quantization.trials import plan_of
from tests.harness import prepare as prepared
from tests.validation.models import cnn

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(NUMBERS, NUMBERS)
def test_zero_is_exact_and_the_range_is_reached(a: float, c: float) -> None:
    low, high = min(a, c), max(a, c)
    for dtype in (I8, I16):
        quant = scales.of_range(low, high, dtype)
        assert quant.real(quant.stored(np.zeros(1, np.float32)))[0] == 0
        step = float(quant.scale[0])
        ends = np.array([min(low, 0), max(high, 0)], np.float32)
        assert np.abs(quant.real(quant.stored(ends)) - ends).max() <= step * (1 + 1e-5) + 1e-6 * np.abs(ends).max()


def test_weights_have_a_scale_for_each_channel_and_zero_point_0() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    quant = scales.of_weights(weights, 0)
    assert quant.scale.shape == (4,) and not quant.zero_point.any()
    assert np.abs(quant.stored(weights)).max(axis=(1, 2, 3)).tolist() == [127] * 4
    assert scales.of_weights(weights, None).scale.size == 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 127), st.floats(1e-6, 1e3))
def test_weights_that_were_bytes_are_the_same_bytes_times_a_scale(seed: int, most: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.integers(-most, most, (3, 40), endpoint=True)
    weights = (steps * (scale * rng.uniform(0.1, 1, (3, 1))).astype(np.float32)).astype(np.float32)
    found = bytes_of(weights)
    assert found is not None
    whole = np.round(weights / found[:, None])
    assert np.abs(whole).max() <= 127 and np.allclose(whole * found[:, None], weights, rtol=1e-6, atol=0)


def test_other_weights_were_no_bytes() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 40)).astype(np.float32)
    bytes_alone = np.round(127 * weights / np.abs(weights).max(1, keepdims=True)).astype(np.float32)
    assert bytes_of(weights) is None and bytes_of(bytes_alone) is not None
    bytes_alone[3, 39] += 0.1
    assert bytes_of(bytes_alone) is None


def program(function: Any, *shapes: tuple[int, ...]) -> Graph:
    """A float program with inputs in the order of the file."""
    graph = Graph()
    with building(graph):
        values = [graph.add_input(f"x{i}", s, np.float32) for i, s in enumerate(shapes)]
        graph.outputs = [function(*values)]
    graph.output_names = ["y"]
    graph.placements = {v.name: Placement(v, v.shape, tuple(range(v.rank)), v.shape) for v in values}
    return graph


def conv(x: Any, seed: int = 0, **attrs: Any) -> Any:
    weights = np.random.default_rng(seed).normal(size=(6, 3, 3, 4)).astype(np.float32)
    form = {"padding": "SAME", "strides": (1, 1), "dilations": (1, 1), "activation": None} | attrs
    return b.emit("CONV_2D", x, b.lift(weights), b.lift(np.zeros(6, np.float32)), **form)


def depthwise(x: Any) -> Any:
    weights = np.random.default_rng(1).normal(size=(1, 3, 3, 4)).astype(np.float32)
    form = {"padding": "VALID", "strides": (2, 2), "dilations": (1, 1), "activation": None, "multiplier": 1}
    return b.emit("DEPTHWISE_CONV_2D", x, b.lift(weights), b.lift(np.zeros(4, np.float32)), **form)


LINEAR = {
    "conv": (lambda x: conv(x), (1, 8, 8, 4)),
    "conv-strides": (lambda x: conv(x, strides=(2, 1), padding="VALID"), (1, 8, 8, 4)),
    "conv-dilated": (lambda x: conv(x, dilations=(2, 2)), (1, 9, 9, 4)),
    "conv-groups": (lambda x: conv(x, groups=2), (1, 8, 8, 8)),
    "depthwise": (depthwise, (1, 9, 9, 4)),
    "dense": (lambda x: b.fully_connected(x, np.eye(4, dtype=np.float32)[:3]), (5, 4)),
}


@pytest.mark.parametrize(("function", "shape"), LINEAR.values(), ids=LINEAR)
def test_operands_times_weights_are_results(function: Any, shape: tuple[int, ...]) -> None:
    graph = program(function, shape)
    (op,) = graph.ops
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    runner = ProgramRunner(graph)
    runner.run({"x0": x})
    windows = rounding.operands(op, x, 400, np.random.default_rng(3))
    products = np.matmul(windows, rounding.grouped(op, op.inputs[1].data).transpose(0, 2, 1))
    made = products.transpose(1, 0, 2).reshape(windows.shape[1], -1)
    known = runner.results()["y"].reshape(-1, made.shape[1])
    nearest = np.abs(made[:, None] - known[None]).max(2).min(1)
    assert nearest.max() < 1e-4, "a window of the operand gives a result that the kernel does not"


def test_rounding_by_moments_is_better_and_right_on_average() -> None:
    graph = program(lambda x: b.fully_connected(x, np.random.default_rng(0).normal(size=(8, 32))), (64, 32))
    (op,) = graph.ops
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(4000, 4)) @ rng.normal(size=(4, 32)) + rng.normal(size=32)).astype(np.float32)
    moments = rounding.Moments()
    moments.add(rows[None])
    weights = op.inputs[1].data.astype(np.float32)
    quant = scales.of_weights(weights, 0)
    plain = quant.real(quant.stored(weights))
    better, shift = rounding.rounded(op, weights, quant, moments)
    np.testing.assert_allclose(quant.real(quant.stored(better)), better, rtol=1e-5, atol=1e-7)

    def error(w: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
        return np.asarray(rows @ (w - weights).T - shift)

    assert np.square(error(better, shift)).mean() < 0.2 * np.square(error(plain)).mean()
    assert np.abs(error(better, shift).mean(0)).max() < 1e-4


@pytest.mark.parametrize("mean, serves", [(1.0, True), (0.0, False)], ids=["alike", "by-chance"])
def test_few_windows_are_believed_where_others_say_the_same(mean: float, serves: bool) -> None:
    """Rounding by fewer windows than weights fits those alone, unless all are alike."""
    graph = program(lambda x: b.fully_connected(x, np.random.default_rng(0).normal(size=(16, 256))), (1, 256))
    (op,) = graph.ops
    rng = np.random.default_rng(1)
    samples = (rng.normal(size=(1, 256)) * 4 * mean + rng.normal(size=(12, 256))).astype(np.float32)
    moments = rounding.Moments()
    for number, row in enumerate(samples, start=1):
        moments.take(row[None, None], number, len(samples))
    assert moments.known and moments.count == 9 and moments.whole.count == 12
    weights = op.inputs[1].data.astype(np.float32)
    quant = scales.of_weights(weights, 0)
    better, shift = rounding.rounded(op, weights, quant, moments)
    plain = quant.real(quant.stored(weights))
    assert serves != (np.allclose(better, plain, atol=1e-6) and not shift.any())


@pytest.mark.parametrize("extents, count, most", [((3, 3, 1), 50, 9), ((1, 1, 2), 50, 2), ((9, 9, 1), 50, 50)])
def test_windows_are_counted_once(extents: tuple[int, ...], count: int, most: int) -> None:
    x = np.arange(np.prod(extents) * 4, dtype=np.float32).reshape(extents[2], *extents[:2], 4)
    (op,) = program(lambda x: conv(x), x.shape).ops
    windows = rounding.operands(op, x, count, np.random.default_rng(0))
    assert windows.shape == (1, most, 36)
    if most < count:
        assert len(np.unique(windows[0], axis=0)) == most


PREPARED = {
    "square": (lambda x: b.emit("SQUARE", x), (1, 3, 4, 8)),
    "squared-difference": (lambda x: b.squared_difference(x, b.reduce("MEAN", x, (1, 2), True)), (1, 3, 4, 8)),
    "quotient": (lambda x: b.div(x, np.float32([1, 2, 4, 8, 0.5, 3, 5, 7])), (1, 3, 4, 8)),
    "total": (lambda x: b.reduce("SUM", x, (1, 2)), (1, 3, 4, 8)),
    "hard-swish": (lambda x: b.emit("HARD_SWISH", x), (1, 3, 4, 8)),
    "depth-to-space": (lambda x: b.emit("DEPTH_TO_SPACE", x, block=2), (1, 3, 4, 8)),
    "space-to-depth": (lambda x: b.emit("SPACE_TO_DEPTH", x, block=2), (1, 4, 6, 3)),
}


@pytest.mark.parametrize(("function", "shape"), PREPARED.values(), ids=PREPARED)
def test_preparing_keeps_the_function(function: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    results, kinds = [], []
    for ready in (False, True):
        graph = program(function, shape)
        if ready:
            prepare(graph, wide=True)
        kinds.append([op.kind.name for op in graph.ops])
        runner = ProgramRunner(graph)
        runner.run({"x0": x})
        results.append(runner.results()["y"])
    assert kinds[0] != kinds[1]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_a_range_ends_where_no_reader_tells_numbers_apart() -> None:
    def silu(x: Any) -> Any:
        return b.mul(x, b.logistic(x))

    def residual(x: Any) -> Any:
        a = b.abs_(x)
        return b.relu(b.add(silu(a), a))

    graph = program(residual, (1, 4))
    names = {op.kind.name: op.outputs[0].name for op in graph.ops}
    assert flat.limits(graph) == {names["ADD"]: (0, np.inf)}, "ABS has a reader that tells all numbers apart"
    graph = program(lambda x: silu(b.neg(x)), (1, 4))
    assert flat.limits(graph) == {graph.ops[0].outputs[0].name: flat.SILU}


GATES = {
    "silu": (b.logistic, -10.0),
    "hard-swish": (lambda x: b.emit("ADD", x, b.lift(np.float32(3)), activation="RELU6"), -3.0),
}


@pytest.mark.parametrize(("gate", "closed"), GATES.values(), ids=GATES)
def test_a_gate_of_scaled_channels_ends_the_range_where_it_is_closed_for_all(gate: Any, closed: float) -> None:
    def gated(x: Any, factor: Any) -> Any:
        x = b.neg(x)
        return b.mul(x, gate(b.mul(x, np.float32(factor))))

    factor = [1, 0.5, 0.25]
    for factors, ends in (([factor], (4 * closed, np.inf)), ([[1, -1, 1]], None)):
        graph = program(lambda x, f=factors: gated(x, f), (1, 3))
        assert flat.limits(graph).get(graph.ops[0].outputs[0].name) == ends
    graph, x = program(lambda x: gated(x, factor), (1, 3)), np.full((1, 3), -4 * closed, np.float32)
    runner = ProgramRunner(graph)
    results = []
    for more in (0, 1000):
        runner.run({"x0": x + np.float32(more)})
        results.append(runner.results()["y"])
    assert np.abs(results[1] - results[0]).max() < 2e-3, "numbers beyond the range are as good as its end"


RESIZED = {"asymmetric": (False, (33, 17), (257, 41)), "corners": (True, (10, 1), (67, 5))}


@pytest.mark.parametrize(("corners", "old", "new"), RESIZED.values(), ids=RESIZED)
def test_resizing_by_finer_elements_keeps_positions(corners: bool, old: Any, new: Any) -> None:
    def resize(x: Any) -> Any:
        return b.emit("RESIZE_BILINEAR", x, size=new, align_corners=corners, half_pixel_centers=False)

    x = np.sign(np.random.default_rng(0).normal(size=(1, *old, 2))).astype(np.float32)  # as steep as can be
    plain, graph = program(resize, x.shape), program(resize, x.shape)
    found = calibrate.calibrate(graph, lambda: [{"x0": x}])
    prepare(graph, wide=False)
    assert [op.kind.name for op in graph.ops] == ["RESIZE_BILINEAR"] * 2
    spreads = calibrate.calibrate(graph, lambda: [{"x0": x}])
    runners = [ProgramRunner(plain), ProgramRunner(graph)]
    widths = dict.fromkeys(graph.ops, I8)
    annotate(plan_of(graph, graph, widths, ranges.extremes_of(spreads), spreads, True))
    qdq(graph)
    assert [op.kind.name for op in graph.ops].count("RESIZE_BILINEAR") == 2
    assert {v.dtype for op in graph.ops if op.is_a("RESIZE_BILINEAR") for v in op.outputs} == {I8}
    step = (found.spreads["x0"].high - found.spreads["x0"].low) / 255
    runners.append(ProgramRunner(graph))
    for runner in runners:
        runner.run({"x0": x})
    exact, finer, integer = (runner.results()["y"] for runner in runners)
    np.testing.assert_allclose(finer, exact, atol=2e-5)
    assert np.abs(integer - exact).max() <= 2.5 * step, "three roundings, and a step of the positions"


def test_what_nobody_reads_is_not_looked_at() -> None:
    """The interpreter need not write it: of a loop it is memory that something else had before."""
    graph = program(lambda x: b.split(x, (2, 2), 1)[0], (1, 4))
    (op,) = graph.ops
    assert [*calibrate.tensors(graph)] == [*graph.inputs, op.outputs[0]]


def test_policies_stay_within_the_extremes_and_cut_a_tail() -> None:
    spread = calibrate.Spread()
    x = np.concatenate([np.random.default_rng(0).normal(size=100_000), [80.0]])
    spread.widen(x)
    spread.count(x)
    found = {name: policy(spread) for name, policy in ranges.POLICIES.items()}
    assert found["extremes"] == (spread.low, 80.0)
    assert all(spread.low <= low <= 0 <= high <= 80 for low, high in found.values())
    assert found["percentile"][1] < 10 and found["least squares"][1] < 80


def test_numbers_that_hardly_differ_are_counted() -> None:
    """Of an untrained network, whose results are all but constant."""
    x = np.float32(0.5) + np.arange(100, dtype=np.float32) * np.spacing(np.float32(0.5))
    spread = calibrate.Spread()
    spread.widen(x)
    spread.count(x)
    assert spread.counts.sum() == 100 and spread.counts.max() == 1


def test_samples_in_either_layout_with_mean_and_deviation(tmp_path: Path) -> None:
    graph = compile.run(prepared(cnn()), compile.STAGES)
    (spec,) = graph.inputs
    x = np.random.default_rng(0).random((6, 3, 12, 10), np.float32)
    np.save(tmp_path / "x.npy", x.transpose(0, 2, 3, 1))
    rows = [(spec.name, tmp_path / "x.npy", [[[[0.1, 0.2, 0.3]]]], [[[[0.5]]]])]
    found = list(CalibrationData.of(None, rows).samples(graph))
    mean = np.float32([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)
    whole = np.concatenate([s[spec.name] for s in found])
    np.testing.assert_allclose(whole, (x[: len(whole)] - mean) / 0.5, rtol=1e-5)


def test_one_sample_is_in_memory_at_a_time(tmp_path: Path) -> None:
    graph = program(lambda x: b.relu(x), (1, 256, 256, 3))
    np.save(tmp_path / "x.npy", np.zeros((64, 256, 256, 3), np.float32))
    data = CalibrationData.of(tmp_path / "x.npy", ())
    tracemalloc.start()
    assert sum(1 for _ in data.samples(graph)) == 64
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 256 * 256 * 3 * 4
