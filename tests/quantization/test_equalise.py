"""Channels that are made alike: the function stays, and whatever cannot be scaled ends the attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Placement, Value
from onnx2tf_lite.ir.tensor_map import TensorMap
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.quantization import flat
from onnx2tf_lite.quantization.equalise import LEVELS, equalise, factors, regions
from onnx2tf_lite.quantization.runner import ProgramRunner
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.models.feeds import feeds
from tests.quantization.nets import efficientnet
from tests.quantization.test_laws import program
from tests.quantization.test_quantising import last_channels, quiet

SHAPE = (1, 8, 8, 4)
CHANNELS = np.array([8, 1, 0.25, 0.05], np.float32)  # of the first layer: how large each is


def weights(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def conv(x: Any, activation: str | None = None, spread: bool = False) -> Any:
    w = weights(4, 3, 3, 4) * (CHANNELS[:, None, None, None] if spread else np.float32(1))
    form = {"padding": "SAME", "strides": (1, 1), "dilations": (1, 1), "activation": activation}
    return b.emit("CONV_2D", x, b.lift(w), b.lift(weights(4) * (CHANNELS if spread else 1)), **form)


def depthwise(x: Any, activation: str | None = None) -> Any:
    form = {"padding": "SAME", "strides": (1, 1), "dilations": (1, 1), "activation": activation, "multiplier": 1}
    return b.emit("DEPTHWISE_CONV_2D", x, b.lift(weights(1, 3, 3, 4)), b.lift(weights(4)), **form)


def squeezed(x: Any) -> Any:
    h = conv(x, spread=True)
    h = b.mul(h, b.logistic(h))
    return conv(b.mul(h, b.logistic(conv(b.reduce("MEAN", h, (1, 2), True)))))


SCALED = {
    "pair": (lambda x: conv(conv(x, spread=True)), 1),
    "relu": (lambda x: conv(conv(x, "RELU", spread=True)), 1),
    "depthwise": (lambda x: conv(depthwise(conv(x, spread=True))), 1),
    "two-readers": (lambda x: b.add(conv(h := conv(x, spread=True)), depthwise(h)), 1),
    "padded": (lambda x: conv(b.pad(conv(x, spread=True), [(0, 0), (1, 1), (0, 2), (0, 0)])), 1),
    "silu": (lambda x: conv(b.mul(h := conv(x, spread=True), b.logistic(h))), 1),
    "hard-swish": (lambda x: conv(b.emit("HARD_SWISH", conv(x, spread=True))), 1),
    "squeeze": (squeezed, 1),
    "one-of-two-operands": (lambda x: conv(b.mul(conv(x, spread=True), depthwise(x, "RELU"))), 1),
}


@pytest.mark.parametrize(("function", "count"), SCALED.values(), ids=SCALED)
def test_the_function_stays(function: Any, count: int) -> None:
    x = 3 * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    plain, graph = program(function, SHAPE), program(function, SHAPE)
    known = factors(graph, regions(graph), [{"x0": x}])
    assert len(known) >= count and equalise(graph, known) == len(known)
    verify(graph, "equalise")
    for factor in known.values():
        assert factor.min() > 0 and factor.max() <= 1 and np.allclose(factor * LEVELS, np.round(factor * LEVELS))
    first = next(iter(known))
    runners = [ProgramRunner(made) for made in (plain, graph)]
    for runner in runners:
        runner.run({"x0": x})
    results = [runner.results()["y"] for runner in runners]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4 * np.abs(results[0]).max())
    before, after = (np.abs(spread(r, first)).reshape(-1, 4).max(0) for r in runners)
    assert after.max() / after.min() < 0.3 * before.max() / before.min(), "the channels are more alike than before"


def spread(runner: ProgramRunner, name: str) -> np.ndarray:
    (value,) = [v for v in runner.names if v.name == name]
    return runner.read(value)


def kept(x: Any) -> Any:
    h = conv(x, spread=True)
    return b.add(conv(h), h)


MISSES = {
    "relu6": lambda x: conv(conv(x, "RELU6", spread=True)),
    "read-by-a-sum": kept,
    "an-output": lambda x: conv(x, spread=True),
    "its-square": lambda x: conv(b.mul(h := conv(x, spread=True), h)),
    "sine": lambda x: conv(b.emit("SIN", conv(x, spread=True))),
    "mean-of-channels": lambda x: b.reduce("MEAN", conv(x, spread=True), (3,), True),
    "padded-with-ones": lambda x: conv(b.pad(conv(x, spread=True), [(0, 0), (1, 1), (0, 0), (0, 0)], np.float32(1))),
}


@pytest.mark.parametrize("function", MISSES.values(), ids=MISSES)
def test_what_cannot_be_scaled_stays(function: Any) -> None:
    graph = program(function, SHAPE)
    assert regions(graph) == []


def test_sums_that_are_cut_off_tell_no_more_apart() -> None:
    graph = program(lambda x: b.emit("ADD", b.abs_(x), b.lift(np.float32(3)), activation="RELU6"), SHAPE)
    assert flat.limits(graph)[graph.ops[0].outputs[0].name] == (-3, 3)


def test_the_map_of_a_file_has_the_factors() -> None:
    value = Value("x", (1, 2, 3), np.dtype(np.float32))
    place = Placement(value, (1, 2, 3), (0, 2, 1), (1, 3, 2), factor=(0.5, 1.0, 0.25))
    content = TensorMap({"t": place}, {"t": "x"}).to_bytes()
    found = TensorMap.from_bytes(content, {"x": (1, 2, 3)}).places["t"]
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(found.restore(array, {}), (array * [0.5, 1, 0.25]).transpose(0, 2, 1))
    np.testing.assert_array_equal(found.store(found.restore(array, {}), {}), array)


@pytest.mark.slow
def test_a_network_of_gates_reaches_30_decibels(tmp_path: Path) -> None:
    import onnxruntime

    source = efficientnet()
    asked = {"calibration": {"x@onnx": pictures(100, 32)}, "check": "none"}
    result = quiet(source, tmp_path, ["full_integer_quant"], **asked)
    decided = result.report["quantisation"]["channels"]
    assert decided["equalised"] == decided["regions"] > 10
    unseen = pictures(0, 12)
    made = last_channels(FlatFile(result.files["full_integer_quant"]), unseen)
    session = onnxruntime.InferenceSession(source.SerializeToString())
    known = [session.run(None, {"x": x[None]})[0] for x in unseen]
    noise = [np.square(y - want).sum() / np.square(want).sum() for y, want in zip(made, known, strict=True)]
    assert -10 * np.log10(noise).mean() >= 30


def pictures(first: int, count: int) -> np.ndarray:
    spec = {"shape": [1, 3, 96, 96], "gen": "image", "layout": "NCHW", "lo": -2, "hi": 2}
    made = [feeds([{"name": "x", "dtype": "float"}], {"x": spec}, first + i)["x"] for i in range(count)]
    return np.concatenate(made)
