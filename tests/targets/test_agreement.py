"""The tables against the devices' own tools, on files of one operator: a fact that a tool contradicts is a failure."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from onnx2tf_lite.targets import DEVICES, device
from tests.targets import needs, single
from tests.targets.agreement import disagreement

PROVED = ("micro", "ethos-u55", "ethos-u85", "cpu")
#: One of each operator and of what devices tell apart, in the form that devices are made for.
FEW = [(name, "q8") for name in single.MORE] + [(name, "q8") for name in single.OTHERS]
WHOLE = [*single.files("f32", "q8", "q16", "i32", "i64", "b")]


def each(names: Iterable[str]) -> list[object]:
    """Devices whose tool is installed, as parameters; the others are skipped: nothing contradicts a table there."""
    return [pytest.param(name, marks=needs(device(name).tool)) for name in names]


def _contradicted(device: str, files: list[tuple[str, str]]) -> list[str]:
    found = ((name, form, disagreement(device, name, form)) for name, form in files)
    return [f"{name} {form}: {what}" for name, form, what in found if what]


@pytest.mark.parametrize("name", each(PROVED))
def test_table_and_tool_say_the_same(name: str) -> None:
    assert not _contradicted(name, FEW)


#: Found by the sweep over everything: bools that Vela converts around what it leaves, or does not look at in the bodies
#: of loops; computed axes and some types, on which it crashes; what TFLM's SUB cuts off.
FOUND = {
    "ethos-u55": [("SUB-RELU", "i32"), ("SUB-RELU6", "i32"), ("ADD", "i32"), ("WHILE", "f32"), ("SUM_AT-0", "q16")],
    "ethos-u85": [
        ("ADD-RELU", "i32"),
        ("STRIDED_SLICE-reversed", "b"),
        ("SCATTER_ND-bool", "f32"),
        ("CAST-f32-bool", "i32"),
        ("REDUCE_MAX_AT-1", "i32"),
        ("REDUCE_ANY_AT-1", "f32"),
        ("LESS", "i64"),
        ("MAXIMUM", "i64"),
        ("QUANTIZE-i16", "i32"),
        ("SQUARED_DIFFERENCE", "i32"),
    ],
    "micro": [("GREATER", "q16"), ("SUB-RELU", "i32"), ("SUB-RELU_N1_TO_1", "i32"), ("SUB-RELU6", "i32")],
}


@pytest.mark.parametrize("name", each(FOUND))
def test_what_the_sweep_found(name: str) -> None:
    assert not _contradicted(name, FOUND[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", each(PROVED))
def test_table_and_tool_say_the_same_of_everything(name: str) -> None:
    assert not _contradicted(name, WHOLE)


def test_every_device_that_has_a_tool_is_held_against_it() -> None:
    assert {name for name in DEVICES if device(name).tool} - set(PROVED) == {"ethos-u65"}  # the table of U55


@needs("tflm")
def test_a_wrong_fact_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx2tf_lite.targets.table import Kernel

    row = Kernel("RELU", "f32")
    monkeypatch.setitem(device("micro").rows, "RELU", row)  # type: ignore[arg-type]
    assert "table 'not possible', tool 'runs'" in disagreement("micro", "RELU-4d", "q8")
