"""DepthToSpace, SpaceToDepth and LRN against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, normal, run_node

DYNAMIC = {"static": (), "image": (0, (0, 2), (0, 3))}


@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, dynamic: str) -> None:
    check_node("DepthToSpace", [normal(2, 12, 3, 4)], blocksize=2, mode=mode, dynamic=DYNAMIC[dynamic])


def test_space_to_depth() -> None:
    check_node("SpaceToDepth", [normal(2, 3, 6, 4)], blocksize=2)


LRN = {"size": 5, "alpha": 0.3, "beta": 0.6, "bias": 1.5}


def test_lrn() -> None:
    graph = check_node("LRN", [normal(2, 7, 5, 4, scale=3)], dynamic=(0, (0, 2)), **LRN)
    assert "LOCAL_RESPONSE_NORMALIZATION" in [op.kind.name for op in graph.ops]


@pytest.mark.parametrize("shape, size", [((2, 7, 5), 3), ((1, 7, 3, 2), 4)], ids=str)
def test_lrn_by_its_definition(shape: tuple[int, ...], size: int) -> None:
    """ONNX: squares from channel c - floor((size - 1) / 2) to c + ceil((size - 1) / 2)."""
    x = normal(*shape, scale=3)
    low, high = (size - 1) // 2, size // 2
    total = np.stack([(x[:, max(0, c - low) : c + high + 1] ** 2).sum(1) for c in range(shape[1])], 1)
    want = x / (LRN["bias"] + LRN["alpha"] / size * total) ** LRN["beta"]
    for got in run_node("LRN", [x], **(LRN | {"size": size})).values():
        np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)
