"""16-bit floats in float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnx2tf_lite import passes

from .conftest import model


@pytest.mark.parametrize("kind, dtype", [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_what_is_folded_is_not_rounded(kind: str, dtype: type) -> None:
    """The root of 3 in 11 (or 8) bits is 2e-4 (or 2e-3) off."""
    proto = model(f"({kind}[2,3] x) => ({kind}[2,3] y) {{ k = Sqrt (three) y = Mul (x, k) }}", three=np.array(3, dtype))
    graph, _ = passes.optimize(passes.load(proto))
    (node,) = graph.nodes
    assert node.op == "Mul" and all(t.dtype == np.float32 for t in [*graph.inputs, *graph.outputs, *node.inputs])
    assert node.inputs[1].values == pytest.approx(np.sqrt(3), rel=1e-7)


def test_bodies_and_attributes_are_widened_and_large_weights_stay_where_they_are() -> None:
    weights = np.arange(64 * 64).reshape(64, 64).astype(np.float16)
    proto = model("""(float[1,64] x, bool c) => (float[1,64] y) {
        h = Cast <to = 10> (x)
        b = If (c) <then_branch = t () => (float16[1,64] p) { p = MatMul (h, w) },
                    else_branch = e () => (float16[1,64] n) { n = ConstantOfShape <value = float16[1] {15360}> (size) }>
        y = Cast <to = 1> (b) }""", w=weights, size=np.array([1, 64]))  # fmt: skip
    graph = passes.load(proto)
    passes.run("widen", graph)
    cast, branches, _ = graph.nodes
    product, filled = (branches.attrs[k].nodes[0] for k in ("then_branch", "else_branch"))
    assert cast.attrs["to"] == onnx.TensorProto.FLOAT and filled.attrs["value"].values == np.float32(1), (
        "15360 are the bits of 1"
    )
    held = product.inputs[1]._values
    assert isinstance(held, passes.LazyTensor) and held.dtype == np.float32 and held.nbytes == 4 * weights.size
    np.testing.assert_array_equal(product.inputs[1].values, weights.astype(np.float32))
