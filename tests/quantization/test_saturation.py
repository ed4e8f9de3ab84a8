"""Right layers that look wrong: operands that are made for one lead beyond the ranges that were calibrated, and what
saturates there is right; results that have the scale of an operand may be small beside its steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from .test_quantising import quiet

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,32,32] x) => (float[1,5] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, k)
    a = Relu(c)
    m = GlobalAveragePool(a)
    f = Flatten(m)
    y = MatMul(f, w)
}
"""


@pytest.mark.parametrize("kind", ["integer_quant", "full_integer_quant"])
def test_channels_that_were_never_seen_apart(kind: str, tmp_path: Path) -> None:
    """Means of noise hardly differ between the samples; those that are made for the last layer do."""
    model, rng = parser.parse_model(TEXT), np.random.default_rng(8)
    for name, shape in (("k", (8, 3, 3, 3)), ("w", (8, 5))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    samples = ((rng.uniform(size=(8, 3, 32, 32)) - 0.485) / 0.229).astype(np.float32)
    result = quiet(model, tmp_path, [kind], calibration={"x": samples})
    assert result.exit_code == 0, [file.verdict for file in result.check.files]


POOLED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,4,44,44] x, float[1,4,2,2] z) => (float[1,4,2,2] y) {
    m = AveragePool<kernel_shape = [40, 40], strides = [4, 4]>(x)
    y = Add(m, z)
}
"""


@pytest.mark.parametrize("kind", ["integer_quant", "full_integer_quant"])
def test_a_mean_that_is_small_beside_the_steps_of_what_it_is_of(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = {n: rng.normal(size=(12, 4, *e)).astype(np.float32) for n, e in (("x", (44, 44)), ("z", (2, 2)))}
    result = quiet(parser.parse_model(POOLED), tmp_path, [kind], calibration=samples)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
