"""The law of the emitters: both files of one graph compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.ir.kinds import KINDS
from tests.emitters.cases import CASES, program
from tests.harness import invoke

pytest.importorskip("tensorflow")
from onnx2tf_lite.emitters import saved_model

TOLERANCE = 1e-5  # of each result's maximum: what XNNPACK attains (docs/kernels.md, rule 17)


def variants() -> list[Any]:
    return [
        pytest.param(case, dynamic, id=f"{name}{'-dynamic' if dynamic else ''}")
        for name, case in CASES.items()
        for dynamic in ((False, True) if "[N" in case[0] else (False,))
    ]


def assert_agree(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    if a.dtype.kind == "f":
        scale = np.max(np.abs(a), initial=0) or 1
        assert np.max(np.abs(a - b), initial=0) <= TOLERANCE * scale
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("case", "dynamic"), variants())
def test_emitters_agree(case, dynamic, tmp_path):
    graph, feeds = program(case, dynamic)
    path = tmp_path / "model.tflite"
    tflite.write(graph, path)
    keys = saved_model.write(graph, tmp_path)
    run = saved_model.load(tmp_path)
    ours = run({keys[n]: a for n, a in feeds.items()})
    for plain in (True, False):
        theirs = invoke(str(path), feeds, plain)
        assert set(theirs) == set(graph.output_names)
        for name, array in theirs.items():
            assert_agree(array, ours[keys[name]])


def test_every_kind_has_a_case():
    used = set()
    for case in CASES.values():
        graph, _ = program(case, False)
        used |= {op.kind.name for g in [graph, *graph.subgraphs()] for op in g.ops}
    agreeing = {name for name, kind in KINDS.items() if not kind.stateful and kind.operator}  # random numbers do not
    assert used >= agreeing
