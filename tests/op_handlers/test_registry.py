"""Handlers are found without importing those that a model does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onnx2tf_lite import op_handlers
from onnx2tf_lite.op_handlers.registry import FAMILIES, every, find

#: What stands beside the families.
OTHERS = {"__init__", "catalogue", "functions", "lower", "registry"}


def test_no_family_is_forgotten() -> None:
    folder = Path(op_handlers.__file__).parent
    modules = {p.stem for p in folder.iterdir() if (p.suffix == ".py" or (p / "__init__.py").exists())}
    assert set(FAMILIES) == {name for name in modules if not name.startswith("_")} - OTHERS
    assert len(set(FAMILIES)) == len(FAMILIES)


@pytest.mark.parametrize(
    ("operator", "there", "not_there"),
    [
        (("", "Conv"), "convolution", {"arithmetic", "trees", "microsoft", "recurrent"}),
        (("", "LSTM"), "recurrent", {"microsoft", "trees", "classical"}),
        (("ai.onnx.ml", "TreeEnsemble"), "trees", {"resize", "detection", "control"}),
        (("com.microsoft", "FusedConv"), "microsoft", {"foreign", "trees", "resize"}),
    ],
    ids=lambda case: case[1] if isinstance(case, tuple) else "",
)
def test_an_operator_costs_its_family(operator: tuple[str, str], there: str, not_there: set[str]) -> None:
    code = (
        "import sys; from onnx2tf_lite.op_handlers import find; assert find(*sys.argv[1:]) is not None;"
        "print(*(n.split('.')[2] for n in sys.modules if n.startswith('onnx2tf_lite.op_handlers.')))"
    )
    said = subprocess.run([sys.executable, "-c", code, *operator], capture_output=True, text=True, check=True).stdout
    assert there in said.split() and not not_there & set(said.split())


def test_all_of_them_are_found_by_their_names() -> None:
    handlers = every()
    assert len(handlers) > 250 and all(find(*key) is entry for key, entry in handlers.items())
    assert find("", "NoSuchOperator") is None and find("com.example", "Conv") is None
