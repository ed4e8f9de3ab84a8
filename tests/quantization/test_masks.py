"""Masks of attention in integers: the laws by which they are cut off, and what is left of a model that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from onnx2tf_lite import compile, passes, validation
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Quant, building, copy_graph
from onnx2tf_lite.quantization import masks, scales
from onnx2tf_lite.quantization.calibrate import calibrate
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.quantization.test_quantising import lowest, quiet
from tests.validation.models import model

I8 = np.dtype(np.int8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("masked", [0.0, 0.5, 0.9])
def test_what_is_below_the_floor_counts_for_nothing(seed: int, masked: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 40)) * 4
    x[:, 1:][rng.random((3, 39)) < masked] = -1e9
    least = masks.floor(x)
    exact, found = softmax(x, -1), softmax(np.maximum(x, least), -1)
    assert np.abs(found - exact).max() <= masks.SHARE
    assert found[x < least].sum() <= 3 * masks.SHARE
    assert least > -60, "a row's largest is what it is measured from"


def saturated(real: np.ndarray, quant: Quant) -> np.ndarray:
    return quant.stored(np.asarray(real, np.float64))


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
@pytest.mark.parametrize("operand", [(-4.0, 4.0), (0.0, 1.0), (-3.0, 0.0)])
@pytest.mark.parametrize("result", [(-20.0, 4.0), (0.0, 6.0)])
def test_constants_beyond_a_result_are_as_good_as_those_at_its_ends(
    kind: str, operand: tuple[float, float], result: tuple[float, float]
) -> None:
    """Every integer of the operand by every constant, in real arithmetic, saturated."""
    x, made = (scales.of_range(*ends, I8) for ends in (operand, result))
    constants = np.array([-3.4e38, -1e4, -30, -3, -0.1, 0, 0.1, 3, 30, 1e4, 3.4e38])
    graph = Graph()
    with building(graph):
        op = b.emit(kind, graph.add_input("x", (1,), np.dtype(np.float32)), b.lift(np.float32([1]))).producer
    assert op is not None
    cut = masks.within(op, constants, x, made)
    every = x.real(np.arange(-128, 128)).astype(np.float64)[:, None]
    combine = np.add if kind == "ADD" else np.multiply
    assert (saturated(combine(every, cut), made) == saturated(combine(every, constants), made)).all()
    assert np.abs(cut).max() < 6000, "no number that would have all steps of a scale"


def attention(mask: float, where: bool = False) -> onnx.ModelProto:
    """A head of causal attention over 8 places; ``mask``: what future ones have added, or get."""
    future = np.triu(np.ones((8, 8), bool), 1)
    masked = "Where(future, low, scores)" if where else "Add(scores, bias)"
    weights = {"future": future, "low": np.float32(mask)} if where else {"bias": np.where(future, mask, 0)}
    text = f"""g (float[1,8,16] x) => (float[1,8,16] y)
    {{ q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) kt = Transpose<perm=[0,2,1]>(k)
       scores = MatMul(q, kt) seen = {masked} share = Softmax<axis=-1>(seen) y = MatMul(share, v) }}"""
    normal = {n: (np.random.default_rng(i).normal(size=(16, 16)) / 5).astype(np.float32) for i, n in enumerate(WEIGHTS)}
    arrays = {n: np.asarray(w, np.float32 if n == "bias" else None) for n, w in weights.items()}
    return model(text, **normal, **arrays)


WEIGHTS = ("wq", "wk", "wv")
SAMPLES = {"x@onnx": np.random.default_rng(9).normal(size=(24, 8, 16)).astype(np.float32)}


LEAST = float(np.finfo(np.float32).min)
MASKS = {
    "added-1e4": (-1e4, False),
    "added-least": (LEAST, False),
    "added-inf": (-np.inf, False),
    "chosen-1e4": (-1e4, True),
    "chosen-least": (LEAST, True),
    "chosen-inf": (-np.inf, True),
}


@pytest.mark.parametrize("kind, least", [("integer_quant", 28.0), ("integer_quant_with_int16_act", 38.0)])
@pytest.mark.parametrize("mask, where", MASKS.values(), ids=MASKS)
def test_masked_attention_is_as_good_as_any(mask: float, where: bool, kind: str, least: float, tmp_path: Path) -> None:
    result = quiet(attention(mask, where), tmp_path, [kind], calibration=SAMPLES)
    assert result.exit_code == 0 and lowest(result, kind) > least


def test_what_something_else_reads_is_not_cut() -> None:
    found = []
    for extra in ("", "z = Relu(seen)"):
        proto = attention(-1e4)
        if extra:
            proto.graph.node.append(onnx.helper.make_node("Neg", ["seen"], ["z"], "z"))
            proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [1, 8, 8]))
        tuned, _ = passes.optimize(passes.load(proto))
        graph = copy_graph(compile.run(tuned, compile.STAGES))
        spreads = calibrate(graph, lambda: [{"x": a[None]} for a in SAMPLES["x@onnx"][:4]]).spreads
        found.append(min(s.low for s in spreads.values()))
    assert found[0] > -100 and found[1] < -9000


@pytest.mark.parametrize("factor", [0.0625, 0.125])
def test_a_wrong_scale_of_scores_is_found(factor: float, tmp_path: Path) -> None:
    """Scores that are cut off are forgiven only where what is made of them is right."""
    proto = attention(-1e4)
    file = quiet(proto, tmp_path, ["integer_quant"], calibration=SAMPLES).files["integer_quant"]
    flat = FlatFile(file)
    softmax_reads = next(op.inputs[0] for op in flat.operators if op.name == "SOFTMAX")
    scale = flat.tensors[softmax_reads].scale
    content = file.read_bytes()
    assert content.count(scale.tobytes()) == 1
    file.write_bytes(content.replace(scale.tobytes(), (scale * np.float32(factor)).tobytes()))
    onnx.save(proto, tmp_path / "m.onnx")
    report = validation.check(tmp_path / "m.onnx", file, {n: a[:2] for n, a in SAMPLES.items()})
    assert report.exit_code == 1
