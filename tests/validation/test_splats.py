"""Weights that are one number everywhere: a float16 file rounds all of it one way, and several layers read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnx2tf_lite import convert, validation
from tests.validation.models import model

TEXT = """g (float[1,16,6,6] x) => (float[1,16,6,6] y) {
    shape = Constant<value = int64[4] {16, 16, 3, 3}>()
    w = ConstantOfShape<value = float[1] {0.02}>(shape)
    a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) y = Conv<pads=[1,1,1,1]>(b, w) }"""


def _half(folder: Path, value: float) -> Path:
    text = TEXT.replace("0.02", str(value))
    return convert("m", folder, onnx_graph=model(text), outputs=["float16"], check="none", non_verbose=True).files[
        "float16"
    ]


def test_rounding_a_splat_is_no_error(tmp_path: Path) -> None:
    report = validation.check(model(TEXT), _half(tmp_path, 0.02))
    assert report.exit_code == 0 and report.files[0].coverage.percent == 100, report.files[0].verdict


def test_a_wrong_splat_is_one(tmp_path: Path) -> None:
    """Wrong by eight times what float16 rounds at most."""
    report = validation.check(model(TEXT), _half(tmp_path, 0.02 * (1 + 8 * 2.0**-11)))
    assert report.exit_code == 1, report.files[0].verdict


def test_what_it_is_rounded_by_is_half_a_unit_at_most() -> None:
    assert abs(np.float64(np.float16(0.02)) / 0.02 - 1) <= 2.0**-11
