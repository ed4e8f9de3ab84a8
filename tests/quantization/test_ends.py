"""Inputs and outputs of integer files: of the dtype that was asked for, with every goal, or it is said that not."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import compile, passes
from onnx2tf_lite.ir.graph import Graph, Quant, copy_graph
from onnx2tf_lite.quantization import RECIPES, CalibrationData, Goal, Quantiser
from onnx2tf_lite.quantization.calibrate import Statistics
from onnx2tf_lite.quantization.outside import as_dtype
from onnx2tf_lite.quantization.recipes import I8, I16
from onnx2tf_lite.quantization.stage import Chosen
from onnx2tf_lite.quantization.trials import Trials
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.models import golden, onnx_quantised
from tests.validation.models import model

from .test_quantising import INTEGER, dtypes, quiet, real

#: Of the samples the first third is what goals are judged on.
SAMPLES, JUDGED = 12, 4


def curves() -> onnx.ModelProto:
    """Three functions of every element, without weights, which have 8 bits in all kinds."""
    return model("""g (float[1,3,6,6] x) => (float[1,3,6,6] y) { a = Mul(x, x) b = Add(a, x) y = Sigmoid(b) }""")


def samples(count: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, 6, 6)).astype(np.float32)


def ratio(got: np.ndarray, want: np.ndarray) -> float:
    noise = np.square(got.astype(np.float64) - want).sum()
    return float(10 * np.log10(np.square(want.astype(np.float64)).sum() / noise)) if noise else np.inf


def worst(path: Path, proto: onnx.ModelProto, x: np.ndarray) -> float:
    """The least SQNR, in dB, of a file's output beside ONNX Runtime."""
    from onnxruntime import InferenceSession

    session = InferenceSession(proto.SerializeToString())
    got = run(path, x.transpose(0, 2, 3, 1))
    want = [session.run(None, {"x": sample[None]})[0].transpose(0, 2, 3, 1) for sample in x]
    return min(ratio(a, b) for a, b in zip(got, want, strict=True))


#: By what is asked of the ends, and the dtypes of those of full_integer_quant.
ENDS: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "int8": ({}, ("int8", "int8")),
    "uint8": ({"input_output_quant_dtype": "uint8"}, ("uint8", "uint8")),
    "uint8 to int8": ({"input_quant_dtype": "uint8"}, ("uint8", "int8")),
    "float32 to uint8": ({"input_quant_dtype": "float32", "output_quant_dtype": "uint8"}, ("float32", "uint8")),
}
#: What it takes: all has 42 dB in 8 bits, 47 in 16 bits between ends of 8, 76 in 16 bits.
GOALS = {"none": None, "nothing": 30.0, "16 bits": 44.5, "ends of more": 60.0, "floats": 90.0}


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("takes", GOALS)
def test_every_kind_has_the_ends_that_are_asked_for_and_says_whether_the_goal_is_reached(
    takes: str, ends: str, tmp_path: Path
) -> None:
    goal, (asked, wanted) = GOALS[takes], ENDS[ends]
    kinds = dict.fromkeys(INTEGER, ("float32", "float32"))
    kinds |= {"full_integer_quant": wanted, "full_integer_quant_with_int16_act": ("int16", "int16")}
    proto, x = curves(), samples()
    given = asked | ({} if goal is None else {"min_sqnr": goal})
    result = quiet(proto, tmp_path, list(kinds), calibration={"x@onnx": x}, **given)
    assert {kind: dtypes(path) for kind, path in result.files.items()} == kinds
    closed = [kind for kind, dtypes in kinds.items() if "float32" not in dtypes]
    assert not any(Integers.of(FlatFile(result.files[kind])).floats for kind in closed)
    reached = {kind: worst(path, proto, x[:JUDGED]) for kind, path in result.files.items()}
    below = {kind for kind, found in reached.items() if goal is not None and found < goal}
    said = result.missed
    assert {kind for kind in kinds if any(_names(kind, kinds[kind]) in line for line in said)} == below, reached
    assert result.exit_code == bool(below) and all(f"SQNR {goal:g} dB" in line for line in said)
    needs = {"ends of more": {"full_integer_quant"}, "floats": {kind for kind in kinds if kind.startswith("full")}}
    assert below == needs.get(takes, set())
    if takes == "16 bits":
        decided = [result.report["quantisation"][_names(k, kinds[k]).rstrip(":")]["raised"] for k in INTEGER[:2]]
        assert all(rows and {row["as"] for row in rows} == {"int16"} for rows in decided)


def _names(kind: str, ends: tuple[str, str]) -> str:
    """What the summary calls the choice for a kind."""
    inner = f"{RECIPES[kind].activations} activations"
    if "float32" not in ends:
        return f"{inner}, integer throughout:"
    return f"{inner}:" if set(ends) == {"float32"} else f"{inner}, inputs of {ends[0]}, outputs of {ends[1]}:"


def test_raised_ends_are_requantised(tmp_path: Path) -> None:
    """All that has a kernel of 16 bits computes in them, between ends of 8."""
    asked: dict[str, Any] = {"calibration": {"x@onnx": samples()}, "min_sqnr": 90.0}
    file = FlatFile(quiet(curves(), tmp_path, ["full_integer_quant"], **asked).files["full_integer_quant"])
    layers = [file.tensors[op.inputs[0]].dtype.name for op in file.operators if op.name in ("MUL", "ADD")]
    around = [op for op in file.operators if op.name == "QUANTIZE"]
    moved = [tuple(file.tensors[v].dtype.name for v in (op.inputs[0], op.outputs[0])) for op in around]
    assert (layers, moved) == (["int16", "int16"], [("int8", "int16"), ("int16", "int8")])


class Kept(Quantiser):
    """One that keeps the trials it chooses by."""

    def _choose(self, graph: Graph, base: np.dtype, found: Statistics, ends: tuple[np.dtype, np.dtype]) -> Chosen:
        self.prepared, self.found = copy_graph(graph), found
        return super()._choose(graph, base, found, ends)


@pytest.mark.parametrize("kind", INTEGER)
def test_the_goal_is_reached_where_any_widths_reach_it(kind: str) -> None:
    """Brute force over the widths of all operations; and none that is raised could be lowered again."""
    proto, _ = passes.optimize(passes.load(curves()))
    graph = compile.run(proto, compile.STAGES)
    recipe = RECIPES[kind]
    for sqnr in (30.0, 42.0, 44.5, 46.0, 60.0, 74.0, 90.0):
        quantiser = Kept(CalibrationData.of({"x@onnx": samples()}, ()), goal=Goal(sqnr))
        next(compile.branches(copy_graph(graph), [kind], compile.Settings(quantiser=quantiser)))
        (chosen,) = quantiser.chosen.values()
        assert chosen.choice is not None and recipe.activations is not None
        twin = quantiser.prepared
        judged = [{"x": x[None]} for x in samples()[:JUDGED]]
        trials = Trials(twin, quantiser.found, judged, ends=quantiser.ends(recipe))
        levels = [recipe.activations, *[I16] * (recipe.activations == I8), *[None] * (not trials.closed)]
        reached = {
            widths
            for widths in product(levels, repeat=len(twin.ops))
            if trials.run(dict(zip(twin.ops, widths, strict=True)), chosen.ranges).worst >= sqnr
        }
        assert (chosen.choice.missed is not None) == (not reached)
        if reached:
            assert tuple(chosen.widths) in reached
            raised = [i for i, width in enumerate(chosen.widths) if width != recipe.activations]
            lowered = {(*chosen.widths[:i], recipe.activations, *chosen.widths[i + 1 :]) for i in raised}
            assert not lowered & reached and len(raised) == len(chosen.choice.raised)


def test_parameters_of_other_widths_stand_for_the_same_numbers() -> None:
    """Brute force: every integer of 8 bits is one of 16, and those of 8 bits reach as far as all of 16."""
    for dtype, zero in product((np.dtype(np.int8), np.dtype(np.uint8)), (-128, -3, 0, 127)):
        first = 128 if dtype == np.uint8 else 0
        quant = Quant(np.float32([0.37]), np.array([zero + first]), dtype)
        stored = np.arange(quant.ends[0], quant.ends[1] + 1).astype(dtype)
        wide, other = as_dtype(quant, I16), as_dtype(quant, np.dtype(np.uint8 if dtype == np.int8 else np.int8))
        assert wide is not None and other is not None
        for same in (wide, other):
            np.testing.assert_array_equal(same.real(same.stored(quant.real(stored))), quant.real(stored))
        ends = wide.real(np.array(wide.ends))
        for narrow in (as_dtype(wide, I8), as_dtype(wide, np.dtype(np.uint8))):
            assert narrow is not None
            reach = narrow.real(np.array(narrow.ends))
            assert np.abs(reach - ends).max() <= 0.51 * narrow.scale[0] and narrow.scale[0] < 258 * wide.scale[0]
    assert as_dtype(Quant(np.float32([1, 2]), np.zeros(2, np.int64), I8, axis=0), I16) is None


OWN = ["S8S8", "U8U8", "QAT-like", "QOperator S8S8"]


@pytest.mark.parametrize("form", OWN)
def test_a_model_of_8_bit_scales_of_its_own_has_the_ends_of_each_kind(form: str, tmp_path: Path) -> None:
    """Those of 16 bits hold exactly what its 8 bits do: the same results as with float ends, bit for bit."""
    (case,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, case, onnx_quantised.FORMS[form])
    result = quiet(source, tmp_path / "out", INTEGER)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    ends = {kind: dtypes(path) for kind, path in result.files.items()}
    wanted = [("float32",) * 2, ("int8",) * 2, ("float32",) * 2, ("int16",) * 2]
    assert ends == dict(zip(INTEGER, wanted, strict=True))
    assert not any(Integers.of(FlatFile(path)).floats for path in result.files.values())
    _, data = real("mnist_8", 2)
    x = next(iter(data.values()))
    plain, _, _, wide = (run(path, x) for path in result.files.values())
    np.testing.assert_array_equal(wide, plain)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """The real numbers of the result on each sample."""
    from ai_edge_litert.interpreter import Interpreter

    engine, file = Interpreter(str(path)), FlatFile(path)
    engine.allocate_tensors()
    given, made = (file.tensors[end[0]] for end in (file.inputs, file.outputs))
    found = []
    for sample in x.reshape(len(x), *engine.get_input_details()[0]["shape"]):
        engine.set_tensor(engine.get_input_details()[0]["index"], given.stored(sample) if given.quantised else sample)
        engine.invoke()
        result = engine.get_tensor(engine.get_output_details()[0]["index"])
        found.append(made.real(result) if made.quantised else result)
    return np.stack(found)
