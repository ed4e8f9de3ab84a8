"""Goals of mixed precision: what is raised, in which kinds of file, and what is said where nothing reaches them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite.quantization import RECIPES, Goal
from onnx2tf_lite.quantization.trials import Fidelity
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.quantization.test_quantising import DIGITS, INTEGER, dtypes, lowest, quiet, real
from tests.validation.models import cnn

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
