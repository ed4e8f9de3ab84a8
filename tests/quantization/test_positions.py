"""What says which elements are read stays float in integer files, as users write them, judged on unseen samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Op, Value, building
from onnx2tf_lite.quantization import coarse, plan
from onnx2tf_lite.quantization.positions import Positions, positions
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.quantization.test_quantising import quiet
from tests.validation.models import model

F32 = np.dtype(np.float32)
SEEN, UNSEEN = 24, 8
LEAST, GARBAGE = 25.0, 17.0  # dB with the rule, and without
KIND = "integer_quant"
Draw = Callable[[np.random.Generator], np.ndarray]
Parts = tuple[tuple[str, str], Mapping[str, np.ndarray], Mapping[str, Draw]]  # of a case, behind its text


def uniform(*shape: int) -> Draw:
    return lambda rng: rng.uniform(-1, 1, shape).astype(np.float32)


def corners(rng: np.random.Generator) -> np.ndarray:
    """Three regions as x1 y1 x2 y2."""
    low, size = rng.uniform(0, 10, (3, 2)), rng.uniform(2, 9, (3, 2))
    return np.concatenate([low, low + size], 1).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """``text``: of the nodes behind ``z``, a convolution of the image ``x``; ``ends``: of further inputs, and of y."""

    text: str
    ends: tuple[str, str]
    weights: Mapping[str, tuple[int, ...] | np.ndarray]
    inputs: Mapping[str, Draw]
    opset: int = 17

    def model(self) -> onnx.ModelProto:
        given, made = self.ends
        text = f"g (float[1,4,16,20] x{given}) => ({made} y) {{ z = Conv<pads=[1,1,1,1]>(x, w) {self.text} }}"
        proto = model(text, w=(4, 4, 3, 3), **self.weights)
        proto.opset_import[0].version = self.opset
        return proto

    def samples(self, count: int, seed: int) -> dict[str, np.ndarray]:
        """By input name, ``count`` of them along the first axis."""
        rng = np.random.default_rng(seed)
        draws = {"x": uniform(1, 4, 16, 20), **self.inputs}
        return {name: np.concatenate([draw(rng) for _ in range(count)]) for name, draw in draws.items()}


BASE = np.stack(np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 16)), -1)[None].astype(np.float32)
GRID: Parts = (", float[1,9,11,2] grid", "float[1,4,9,11]"), {}, {"grid": uniform(1, 9, 11, 2)}
ROIS: Parts = (", float[3,4] rois", "float[3,4,3,3]"), {"i": np.zeros(3, np.int64)}, {"rois": corners}
CASES = {
    "GridSample": Case("y = GridSample<align_corners=1>(z, grid)", *GRID),
    "border": Case('y = GridSample<padding_mode="border">(z, grid)', *GRID),
    "bicubic": Case('y = GridSample<mode="bicubic", align_corners=1>(z, grid)', *GRID),
    "nearest": Case('y = GridSample<mode="nearest">(z, grid)', *GRID),
    "RoiAlign": Case("y = RoiAlign<output_height=3, output_width=3, sampling_ratio=2>(z, rois, i)", *ROIS),
    "flow": Case(
        """f = Conv<pads=[1,1,1,1]>(x, v) t = Transpose<perm=[0,2,3,1]>(f) s = Mul(t, few) grid = Add(s, base)
        y = GridSample<align_corners=1>(z, grid)""",
        ("", "float[1,4,16,20]"),
        {"v": (2, 4, 3, 3), "few": np.full((), 0.1, np.float32), "base": BASE},
        {},
    ),
}


def decibels(case: Case, proto: onnx.ModelProto, file: Path) -> float:
    """Signal to noise on samples that calibration has not seen, against ONNX Runtime."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    run = Interpreter(str(file)).get_signature_runner()
    power, noise = 0.0, 0.0
    for seed in range(1, 1 + UNSEEN):
        feeds = case.samples(1, seed)
        (want,) = session.run(["y"], feeds)
        (got,) = run(**{n: np.moveaxis(a, 1, -1) if n == "x" else a for n, a in feeds.items()}).values()
        power += float(np.square(want).sum())
        noise += float(np.square(np.moveaxis(got, -1, 1) - want).sum())
    return 10 * float(np.log10(power / noise))


@pytest.mark.parametrize("name", CASES)
def test_elements_are_those_that_the_model_reads(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    proto = case.model()
    result = quiet(proto, tmp_path, [KIND], calibration=case.samples(SEEN, 0))
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    assert decibels(case, proto, result.files[KIND]) > LEAST
    assert result.report["quantisation"]["int8 activations"]["positions"], "the report says which"


@pytest.mark.parametrize("name", ["GridSample", "flow"])
def test_rounded_positions_are_garbage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files with the rule taken out: what the test above is for."""
    case = CASES[name]
    monkeypatch.setattr(plan, "positions", lambda graph: Positions())
    result = quiet(case.model(), tmp_path, [KIND], calibration=case.samples(SEEN, 0))
    assert result.exit_code == 1 and decibels(case, case.model(), result.files[KIND]) < GARBAGE


def test_a_layer_that_says_where_has_16_bits_where_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An affine transform of the whole image: its six numbers move every element."""
    affine = Case(
        """m = GlobalAveragePool(x) f = Flatten(m) t = Gemm<transB=1>(f, v, bias) r = Reshape(t, shape)
        g0 = MatMul(base, r) grid = Reshape(g0, size) y = GridSample<align_corners=1>(z, grid)""",
        ("", "float[1,4,16,20]"),
        {
            "v": (6, 4),
            "bias": np.float32([0.8, 0, 0, 0.8, 0, 0]),
            "shape": np.int64([1, 3, 2]),
            "base": np.concatenate([BASE.reshape(-1, 2), np.ones((320, 1))], 1)[None].astype(np.float32),
            "size": np.int64([1, 16, 20, 2]),
        },
        {"x": lambda rng: (rng.uniform(-1, 1, (1, 4, 16, 20)) + rng.uniform(-1, 1, (1, 4, 1, 1))).astype(np.float32)},
    )
    data = affine.samples(SEEN, 0)
    finer = quiet(affine.model(), tmp_path / "finer", [KIND], calibration=data).files[KIND]
    monkeypatch.setattr(coarse, "positions", lambda graph: Positions())
    plain = quiet(affine.model(), tmp_path / "plain", [KIND], calibration=data).files[KIND]
    widths = [[t.dtype for op in file.operators if op.name == "FULLY_CONNECTED" for t in [file.tensors[op.outputs[0]]]]
              for file in map(FlatFile, (finer, plain))]  # fmt: skip
    assert widths == [[np.int16], [np.int8]]
    assert decibels(affine, affine.model(), finer) > decibels(affine, affine.model(), plain) + 1


def test_files_that_are_integer_throughout_are_refused(tmp_path: Path) -> None:
    case = CASES["GridSample"]
    with pytest.raises(ConversionError, match=r"or say which elements are read.*ask for integer_quant"):
        quiet(case.model(), tmp_path, ["full_integer_quant"], calibration=case.samples(SEEN, 0))


def test_a_model_of_integers_that_reads_at_computed_places_needs_no_data(tmp_path: Path) -> None:
    text = """s, zero) d = DequantizeLinear(q, s, zero)
        g1 = GridSample<mode="nearest", padding_mode="border">(d, grid)
        p = QuantizeLinear(g1, s, zero) y = DequantizeLinear(p, s, zero)"""
    weights = {"s": np.full((), 0.05, np.float32), "zero": np.zeros((), np.int8)}
    case = Case(f"q = QuantizeLinear(x, {text}", GRID[0], weights, GRID[2])
    result = quiet(case.model(), tmp_path, [KIND])
    assert result.exit_code == 0, [file.verdict for file in result.check.files]


# ------------------------------------------------------------------------------------------------ the rule


def program(build: Callable[[Value], Value]) -> Graph:
    graph = Graph()
    x = graph.add_input("x", (5, 8), F32)
    with building(graph):
        graph.outputs = [build(x)]
    return graph


def layer(x: Value) -> Value:
    return b.fully_connected(x, np.full((8, 8), 0.5, np.float32))


def names(ops: object) -> list[str]:
    return [op.kind.name for op in ops]  # type: ignore[attr-defined]


def in_order(graph: Graph, found: set[Op]) -> list[str]:
    return names(op for op in graph.ops if op in found)


def test_it_begins_behind_learned_layers_and_takes_the_shares_along() -> None:
    def build(x: Value) -> Value:
        place = layer(layer(x)) * 3.0
        low = b.floor(place)
        read = b.gather(np.ones((9, 8), np.float32), b.cast(low, np.int32))
        return read * b.reshape(1.0 - (place - low), (5, 8, 1)) + b.reshape(x, (5, 8, 1))

    graph = program(build)
    found = positions(graph)
    assert in_order(graph, found.ops) == ["MUL", "FLOOR", "CAST", "SUB", "SUB", "RESHAPE"]
    assert len(found.layers) == 1 and found.layers[0] in graph.ops[1:], "the last of the layers"


@pytest.mark.parametrize("choose", ["ARG_MAX", "comparison"])
def test_what_is_chosen_by_its_size_is_noise_like_others(choose: str) -> None:
    def build(x: Value) -> Value:
        scores = x * 2.0
        best = b.arg("ARG_MAX", scores, -1) if choose == "ARG_MAX" else b.cast(b.greater(scores, 0.0), np.int32)
        return b.gather(np.ones((9, 8), np.float32), best)

    graph = program(build)
    assert "MUL" not in in_order(graph, positions(graph).ops)


def test_extents_of_run_time_are_positions() -> None:
    def build(x: Value) -> Value:
        size = b.cast(b.reshape(b.reduce("MEAN", x, [0, 1]), (1,)) * 4.0, np.int32)
        return b.broadcast_to(b.reshape(x, (1, 40)), (*b.dims_of(size), 40)) * 2.0

    graph = program(build)
    assert in_order(graph, positions(graph).ops)[:3] == ["MEAN", "RESHAPE", "MUL"]


def test_a_whole_result_that_indexes_nothing_is_none() -> None:
    graph = program(lambda x: b.cast(b.floor(x * 255.0), np.int32))
    assert not positions(graph).ops
