"""Every kind of the vocabulary, written as a one-operation file and run on both runtimes, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.ir.kinds import KINDS
from onnx2tf_lite.ir.verify import verify
from tests.emitters import numpy_ops
from tests.emitters.cases import CASES, program
from tests.harness import run_tflite

TOLERANCE = 1e-5  # of each result's maximum: what XNNPACK attains (docs/kernels.md, rule 17)


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
    else:
        scale = np.max(np.abs(want), initial=0) or 1
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize(("name", "dynamic"), [
    pytest.param(name, dynamic, id=name + "-dynamic" * dynamic)
    for name, (spec, _) in CASES.items() for dynamic in ((False, True) if "[N" in spec else (False,))
])  # fmt: skip
def test_kind(name, dynamic):
    static, feeds = program(CASES[name], False)
    wanted = numpy_ops.run(static, list(feeds.values()))
    graph, _ = program(CASES[name], dynamic)
    verify(graph)
    for outputs in run_tflite(graph, feeds).values():
        for output, want in zip(graph.output_names, wanted, strict=True):
            assert_close(outputs[output], want)


def test_every_kind_has_a_case():
    used = {op.kind.name for case in CASES.values() for g in [program(case, True)[0]] for op in g.ops}
    used |= {op.kind.name for case in CASES.values() for g in program(case, True)[0].subgraphs() for op in g.ops}
    random = {name for name, kind in KINDS.items() if kind.stateful}  # tests/op_handlers/test_randomness.py
    replaced = {name for name, kind in KINDS.items() if kind.operator is None}  # before anything is written
    assert set(KINDS) - used == replaced | random
