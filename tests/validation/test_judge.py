"""The comparison of two tensors, against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.validation.figures.judge import SLACK, TOLERANCES, compare, tolerance
from onnx2tf_lite.validation.figures.measure import change
from onnx2tf_lite.validation.reports.report import CARRIES, INTRODUCES, FileReport, Row
from onnx2tf_lite.validation.verdict import judged

FLOAT32 = TOLERANCES["float32"]
REFERENCE = np.linspace(-8, 8, 1000, dtype=np.float32).reshape(10, 100)


def moved(by: float, at: int = 17) -> np.ndarray:
    array = REFERENCE.copy()
    array.reshape(-1)[at] += by
    return array


@pytest.mark.parametrize(
    "by, ok", [(0, True), (7e-4, True), (9e-4, False), (-9e-4, False), (np.nan, False), (np.inf, False)]
)
def test_limit_is_a_share_of_the_largest_reference(by: float, ok: bool) -> None:
    found = compare(moved(by), REFERENCE, FLOAT32)
    assert (not found.what) == ok
    assert found.limit == pytest.approx(1e-4 * 8 + 1e-6)


def test_figures_follow_their_definitions() -> None:
    got = REFERENCE * 1.01
    found = compare(got, REFERENCE, FLOAT32)
    error = np.abs(got.astype(np.float64) - REFERENCE)
    assert found.max_abs == pytest.approx(error.max())
    assert found.max_rel == pytest.approx(error.max() / 8)
    assert found.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found.cosine == pytest.approx(1)
    assert found.within == pytest.approx(np.mean(error <= found.limit))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_agree_only_with_themselves(value: float) -> None:
    reference = moved(value)
    assert not compare(reference.copy(), reference, FLOAT32).what
    for other in (0.0, np.nan, np.inf, -np.inf):
        if not np.array_equal(other, value, equal_nan=True):
            got = reference.copy()
            got.reshape(-1)[17] = other
            assert compare(got, reference, FLOAT32).what


def test_the_largest_float_stands_for_infinity() -> None:
    largest = np.finfo(np.float32).max
    assert not compare(moved(largest), moved(np.inf), FLOAT32).what
    assert compare(moved(-largest), moved(np.inf), FLOAT32).what
    assert compare(moved(np.inf), moved(largest), FLOAT32).what


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64"])
def test_integers_are_equal_or_not(dtype: str) -> None:
    reference = np.zeros((4, 5), dtype)
    got = reference.copy()
    assert not compare(got, reference, FLOAT32).what
    got[2, 3] = 1
    assert compare(got, reference, FLOAT32).what


def test_large_integers_are_not_rounded() -> None:
    reference = np.array([2**62], np.int64)
    assert compare(reference + 1, reference, FLOAT32).what


def test_another_shape_is_a_difference() -> None:
    assert "shape [100,10]" in compare(REFERENCE.T, REFERENCE, FLOAT32).what


def test_empty_tensors_agree() -> None:
    assert not compare(np.zeros((0, 3)), np.zeros((0, 3), np.float32), FLOAT32).what


@pytest.mark.parametrize("wrong, ok", [(1, True), (2, False)])
def test_quantised_within_one_step_at_999_of_1000(wrong: int, ok: bool) -> None:
    got = REFERENCE + 0.1
    got.reshape(-1)[: 2 * wrong : 2] += 0.3
    assert (not compare(got, REFERENCE, tolerance("float32", quantised=True), step=0.1).what) == ok


@pytest.mark.parametrize("wrong, ok", [(10, True), (11, False)])
def test_float16_at_99_of_100(wrong: int, ok: bool) -> None:
    got = REFERENCE.copy()
    got.reshape(-1)[:wrong] += 1
    assert (not compare(got, REFERENCE, TOLERANCES["float16"]).what) == ok
    assert compare(got, REFERENCE, FLOAT32).what


def test_argmax_counts_beyond_ties_of_a_step() -> None:
    reference = np.tile(np.arange(1000, dtype=np.float32), (2, 1))
    limit, got = tolerance("float32", quantised=True), reference.copy()
    got[1, 3] = 5000  # one element of two thousand, but it decides the class
    assert not compare(got, reference, limit, step=1.0).what
    assert "largest element" in compare(got, reference, limit, step=1.0, ranked=True).what


def test_what_rounding_does_to_the_reference_is_allowed_threefold() -> None:
    slack = change(moved(0.1), REFERENCE)
    assert slack == pytest.approx(0.1, rel=1e-5)
    assert not compare(moved(0.99 * SLACK * 0.1), REFERENCE, FLOAT32, slack=slack).what
    assert compare(moved(1.01 * SLACK * 0.1), REFERENCE, FLOAT32, slack=slack).what
    assert not compare(moved(7e-4), REFERENCE, FLOAT32, slack=1e-6).slack, "within the limit as it is"


def test_rounding_excuses_what_a_layer_carries_and_not_what_it_introduces() -> None:
    excused, beyond = (compare(moved(0.1), REFERENCE, FLOAT32, slack=slack) for slack in (0.1, 0.01))
    wrong, right = (compare(moved(by), REFERENCE, FLOAT32) for by in (0.1, 0.0))
    assert not excused.what and excused.slack and beyond.what
    row = Row("n", "Conv", "y", (10, 100), (10, 100), None, "float32", excused, "XNNPACK")
    assert judged(row, right).ok and judged(row, right).role == "" and judged(row, None).ok
    accused = judged(row, wrong)
    assert not accused.ok and accused.role == INTRODUCES and accused.difference.what == wrong.what
    failing = Row("n", "Conv", "y", (10, 100), (10, 100), None, "float32", beyond, "XNNPACK")
    assert judged(failing, right).role == CARRIES and not judged(failing, right).ok


def test_a_looser_tolerance_says_so() -> None:
    assert "LOOSENED" in tolerance("float32", False, rtol=1e-2).why
    assert "LOOSENED" not in tolerance("float32", False, rtol=1e-6).why
    assert tolerance("float32", False).rtol == 1e-4


@pytest.mark.parametrize("wrong, ok", [(3, True), (4, False)])
def test_rounding_that_tips_one_step_excuses_no_element_that_is_farther_than_three(wrong: float, ok: bool) -> None:
    reference = np.zeros((1, 10_000), np.float32)
    got = reference.copy()
    got[0, 0] = wrong
    limit = tolerance("float32", quantised=True).isolated
    assert bool(compare(got, reference, limit, step=1.0, slack=1.0).what) is not ok


def test_noise_is_judged_beside_what_the_tensor_is_over_all_samples() -> None:
    limit = tolerance("quantised", quantised=False)
    got, nothing = np.full((1, 4), 0.1, np.float32), np.zeros((1, 4), np.float32)
    assert compare(got, nothing, limit).asked == "SQNR 10 dB"
    assert not compare(got, nothing, limit, usual=1.0).what and compare(got, nothing, limit, usual=0.2).what


def test_a_verdict_names_the_limit_that_was_exceeded() -> None:
    whole = tolerance("quantised", quantised=False)
    reference = np.linspace(-1, 1, 100, dtype=np.float32)
    got = reference + np.float32(0.15)  # 12 dB: enough for a network, not for one of its layers
    row = Row("n", "Conv", "t", (100,), (100,), None, "float32", compare(got, reference, whole), "XNNPACK",
              alone=compare(got, reference, whole.isolated))  # fmt: skip
    report = FileReport("quantised", "f", str(whole), whole.why, (), layers=[row])
    assert report.verdict.endswith("(limit SQNR 15 dB)")
