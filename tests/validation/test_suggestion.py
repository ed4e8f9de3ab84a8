"""What mixed precision would raise: said where few layers introduce most of the noise, in terminal, page and JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.validation.figures.judge import compare, tolerance
from onnx2tf_lite.validation.page import render
from onnx2tf_lite.validation.reports.report import FileReport, Report, Row
from onnx2tf_lite.validation.reports.show import show, to_text

from .models import model

#: x^8 and back: 8 bits of x^8 hold little of small x.
POWERS = """g (float[1,3,6,6] x) => (float[1,3,6,6] y)
    { a = Mul(x, x) b = Mul(a, a) c = Mul(b, b) d = Sqrt(c) e = Sqrt(d) f = Sqrt(e) h = Add(f, x) y = Tanh(h) }"""


def row(index: int, decibels: float, dtype: str = "int8") -> Row:
    """A layer of which as much is left."""
    reference = np.random.default_rng(index).normal(size=(1, 8, 4, 4)).astype(np.float32)
    found = compare(reference * np.float32(1 + 10 ** (-decibels / 20)), reference, tolerance("quantised", False))
    shape = reference.shape
    return Row(f"conv_{index}", "Conv", f"t{index}", shape, shape, (0, 1, 2, 3), "float32", found, "XNNPACK", index,
               stored_dtype=dtype, isolated=found)  # fmt: skip


def report(layers: list[Row], output: float) -> FileReport:
    rows = [*layers, row(99, output, "float32")]
    return FileReport("quantised", "m.tflite", "", "", ("XNNPACK",), rows[-1:], rows, metric="sqnr")


NOISY = [row(0, 20), row(1, 50), row(2, 40), row(3, 23), row(4, 50)]


def test_those_are_named_that_introduce_most() -> None:
    text = "1 of 5 8-bit layers introduce 66% of the noise: layer 0 conv_0; mixed precision keeps such ones in 16 bits"
    assert report(NOISY, 18).suggestion.startswith(text)
    text = "2 of 6 8-bit layers introduce 79% of the noise: layer 3 conv_3, layer 0 conv_0;"
    assert report([row(0, 24.2), *NOISY[1:3], row(3, 24), row(4, 30), row(5, 30)], 18).suggestion.startswith(text)


@pytest.mark.parametrize(
    "file",
    [
        report(NOISY, 31),
        report([row(i, 20) for i in range(8)], 12),
        report([row(i, 20, "int16") for i in range(2)] + [row(i, 40, "float32") for i in range(4)], 18),
        report([replace(layer, isolated=None) for layer in NOISY], 18),
        replace(report(NOISY, 18), metric="max"),
    ],
    ids=["good enough", "all alike", "no 8 bits", "none isolated", "a model with scales of its own"],
)
def test_nothing_is_suggested_where_nothing_is_to_be_raised(file: FileReport) -> None:
    assert file.suggestion == ""


def test_it_is_what_helps_and_is_said_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal((12, 3, 6, 6)).astype(np.float32)
    asked = {"onnx_graph": model(POWERS), "outputs": ["integer_quant"], "calibration": {"x@onnx": x}, "check": "layers"}
    result = convert(output_folder_path=tmp_path / "plain", **asked)
    (file,) = result.check.files
    assert "layer 3 d" in file.suggestion and f"note: {file.suggestion}" in capsys.readouterr().out
    told = io.StringIO()
    show(Report(files=[file]), stream=told)
    assert f"note: {file.suggestion}" in told.getvalue()
    assert json.loads(to_text(result.check))["files"][0]["suggestion"] == file.suggestion
    assert file.suggestion.partition(";")[0] in render(result.check)
    better = convert(output_folder_path=tmp_path / "better", min_sqnr=30.0, **asked)
    assert "Sqrt_0" in {row["node"] for row in better.report["quantisation"]["int8 activations"]["raised"]}
    assert better.check.files[0].suggestion == ""
