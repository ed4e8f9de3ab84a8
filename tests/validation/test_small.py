"""Small nets of every family: their files are right, and the check says so; with an error in them it says that.

``python -m tests.validation.alarms --only small,small-quantised`` and ``plant --small 30`` look at many more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from onnx2tf_lite import convert
from tests.models import golden

from . import plant, small
from .alarms import Case, alarm

#: Family, seed, kind of file: accused once, for channels of several scales, or of results that are nothing by chance.
RIGHT = [
    ("image", 1, "integer_quant"),
    ("detector", 0, "full_integer_quant"),
    ("perceptron", 3, "integer_quant"),
    ("regression", 4, "integer_quant"),
    ("heads", 6, "integer_quant_with_int16_act"),
    ("classifier", 1, "weight_only_int4"),
]


def written(family: str, seed: int, folder: Path) -> small.Net:
    """One of the nets, in a file."""
    net = small.net(family, seed)
    onnx.save(net.proto, folder / "net.onnx")
    return replace(net, path=folder / "net.onnx")


@pytest.mark.parametrize("family, seed, kind", RIGHT)
def test_right_files_match(family: str, seed: int, kind: str, tmp_path: Path) -> None:
    net = written(family, seed, tmp_path)
    case = Case(net.name, family, lambda: net.path, (kind,), net.samples)
    assert alarm(case, net.path, tmp_path / "out") is None


def test_one_number_per_channel_moves_from_one_set_of_operands_to_the_next(tmp_path: Path) -> None:
    net = written("regression", 4, tmp_path)
    result = convert(net.path, tmp_path / "out", outputs=("float32",), non_verbose=True)
    assert result.check and result.check.files[0].coverage
    assert result.check.files[0].coverage.percent == 100, result.check.files[0].verdict


@pytest.mark.parametrize("family, seed, kind", [RIGHT[0], ("classifier", 1, "float32")])
def test_wrong_ones_do_not(family: str, seed: int, kind: str, tmp_path: Path) -> None:
    net: golden.Model = written(family, seed, tmp_path)
    found = plant.tally(plant.Model.of(net, tmp_path, kind), 4, 0, tmp_path)
    assert found.found == found.effective > 0, found.missed
