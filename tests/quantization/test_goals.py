"""Goals of mixed precision: what is raised, in which kinds of file, and what is said where nothing reaches them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError
from onnx2tf_lite.quantization import RECIPES, Goal
from onnx2tf_lite.quantization.trials import EXACT, Fidelity, _decibels
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.models import golden, onnx_quantised
from tests.quantization.test_quantising import DIGITS, INTEGER, dtypes, lowest, quiet, real
from tests.validation.models import cnn, model

from .test_ends import SAMPLES, curves

CLOSED = [kind for kind in INTEGER if RECIPES[kind].outside]


@pytest.mark.parametrize("asked, held", [({}, 4), ({"min_sqnr": 1.0}, 6)], ids=["plain", "goal"])
def test_a_goal_is_judged_on_more_samples(asked: dict[str, float], held: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((18, 3, 12, 10)).astype(np.float32)
    result = quiet(cnn("1"), tmp_path, ["integer_quant"], calibration={"image@onnx": x}, **asked)
    assert (result.report["quantisation"]["held_out"], result.report["quantisation"]["samples"]) == (held, 18 - held)


def test_mixed_precision_reaches_its_goal_and_says_how(tmp_path: Path) -> None:
    path, data = real("mnist_8")
    plain = lowest(quiet(path, tmp_path, ["integer_quant"], calibration=data), "integer_quant")
    goal = plain + 3
    result = quiet(path, tmp_path, ["integer_quant"], calibration=data, min_sqnr=goal)
    decided = result.report["quantisation"]["int8 activations"]
    assert lowest(result, "integer_quant") >= goal - 0.2
    assert (
        decided["raised"] and decided["trials"] > 0 and all(r["as"] in ("int16", "float32") for r in decided["raised"])
    )


def digits() -> dict[str, np.ndarray]:
    with np.load(DIGITS / "heldout.npz") as held:
        images = np.asarray(held["images"], np.float32)[:64]
    return {"image@onnx": images.reshape(len(images), 1, *images.shape[-2:])}


def ends(kind: str) -> tuple[str, str]:
    """The dtypes that inputs and outputs of a kind are promised to have."""
    recipe = RECIPES[kind]
    one = recipe.activations.name if recipe.outside and recipe.activations else "float32"
    return one, one


def test_integer_throughout_with_a_goal_that_16_bits_reach(tmp_path: Path) -> None:
    asked = {"calibration": digits(), "min_sqnr": 37.0}
    result = quiet(DIGITS / "digits.onnx", tmp_path, ["integer_quant", "full_integer_quant"], **asked)
    assert result.exit_code == 0 and not result.missed
    for kind, path in result.files.items():
        assert dtypes(path) == ends(kind)
    assert not Integers.of(FlatFile(result.files["full_integer_quant"])).floats
    decided = result.report["quantisation"]["int8 activations, integer throughout"]
    assert decided["raised"] and {row["as"] for row in decided["raised"]} == {"int16"}
    assert decided["sqnr"]["after"]["logits"] >= 37.0 > decided["sqnr"]["before"]["logits"]


@pytest.mark.parametrize("kind", INTEGER)
def test_a_goal_beyond_the_outputs_own_steps(kind: str, tmp_path: Path) -> None:
    path, data = real("mnist_8", 4)
    result = quiet(path, tmp_path, [kind], calibration=data, min_sqnr=70.0)
    closed = kind in CLOSED
    assert dtypes(result.files[kind]) == ends(kind)
    assert (result.exit_code, len(result.missed)) == (int(closed), int(closed))
    if closed:
        assert not Integers.of(FlatFile(result.files[kind])).floats
        assert "SQNR 70 dB not reached" in result.missed[0] and "with float inputs and outputs" in result.missed[0]
    else:
        assert lowest(result, kind) >= 70.0


def test_a_goal_that_is_missed_counts_without_a_check(tmp_path: Path) -> None:
    path, data = real("mnist_8", 4)
    asked = {"calibration": data, "min_sqnr": 70.0, "check": "none"}
    assert quiet(path, tmp_path, ["full_integer_quant"], **asked).exit_code == 1


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_ends_that_were_raised_are_of_the_type_asked_for(dtype: str, tmp_path: Path) -> None:
    asked = {"input_quant_dtype": dtype, "output_quant_dtype": dtype, "min_sqnr": 37.0}
    result = quiet(DIGITS / "digits.onnx", tmp_path, ["full_integer_quant"], calibration=digits(), **asked)
    decided = result.report["quantisation"]["int8 activations, integer throughout"]
    assert "FULLY_CONNECTED" in {row["operator"] for row in decided["raised"]}, "the last one, in 16 bits"
    assert result.exit_code == 0 and dtypes(result.files["full_integer_quant"]) == (dtype, dtype)


@pytest.mark.parametrize(
    "goal, worst, agreement, met",
    [
        (Goal(30), 30.0, 0.0, True),
        (Goal(30), 29.9, 1.0, False),
        (Goal(agreement=0.5), 0.0, 0.5, True),
        (Goal(30, 0.9), 31.0, 0.8, False),
    ],
)
def test_when_a_goal_is_met(goal: Goal, worst: float, agreement: float, met: bool) -> None:
    assert goal.met(Fidelity({"y": worst}, agreement=agreement)) is met


def test_a_goal_is_none_for_integers_of_the_model_s_own(tmp_path: Path) -> None:
    (case,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, case, onnx_quantised.FORMS["S8S8"])
    result = quiet(source, tmp_path / "out", ["integer_quant"], min_sqnr=90.0)
    assert any("SQNR 90 dB is no goal for the model's own integers" in word for word in result.warnings)


INTEGERS = "g (float[1,4] x) => (int64[1,1] y) { a = Mul(x, x) y = ArgMax<axis=1>(a) }"


@pytest.mark.parametrize("proto, goal, said", [
    (curves, {"min_agreement": 0.9}, r"min_agreement: no output is \[batch, classes\] -> .*--min-sqnr"),
    (lambda: model(INTEGERS), {"min_sqnr": 20.0}, "min_sqnr: no output has real numbers -> end the model"),
], ids=["classes", "numbers"])  # fmt: skip
def test_a_goal_that_no_output_can_be_judged_by_is_an_error(
    proto: Callable[[], onnx.ModelProto], goal: dict[str, float], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=said):
        quiet(proto(), tmp_path, ["integer_quant"], random_calibration=True, **goal)
    assert not list(tmp_path.iterdir())


def test_a_share_of_samples_is_a_goal_too_and_is_told_without_a_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes that are 1 apart in 2,000: neither 8 bits nor 16 between ends of 8 tell them apart."""
    x = np.zeros((SAMPLES, 8), np.float32)
    x[:, 0], x[np.arange(SAMPLES), 1 + np.arange(SAMPLES) % 3] = 2000, 2001
    proto = model("g (float[1,8] x) => (float[1,8] y) { a = Add(x, x) y = Mul(a, half) }", half=np.float32([0.5] * 8))
    asked: dict[str, Any] = {"calibration": {"x": x}, "min_agreement": 0.99, "check": "none"}
    result = quiet(proto, tmp_path, ["integer_quant", "full_integer_quant"], **asked)
    (line,) = result.missed
    assert line.startswith("int8 activations, integer throughout: the same argmax on 99 % of the samples not reached: ")
    assert "the argmax is the same on 0 % of the samples" in line and line in capsys.readouterr().err
    assert result.exit_code == 1
    assert quiet(proto, tmp_path / "open", ["integer_quant"], **asked).exit_code == 0


def test_words_of_what_is_missing() -> None:
    outcome = Fidelity({"a": 20.0, "b": 40.0, "c": float("-inf")}, agreement=0.5)
    assert Goal(30.0).missing(outcome) == ["output 'a' has 20.0 dB", "output 'c' has -inf dB"]
    assert Goal(agreement=0.6).missing(outcome) == ["the argmax is the same on 50 % of the samples"]
    assert Goal(10.0, 0.5).met(Fidelity({"a": 20.0}, agreement=0.5)) and Goal().met(outcome)


def test_what_is_no_number_is_no_signal() -> None:
    one = np.ones(3, np.float32)
    assert _decibels(one, one) > EXACT
    assert _decibels(np.full(3, np.nan, np.float32), one) == _decibels(np.full(3, np.inf, np.float32), one) == -np.inf
