"""Pools against ONNX Runtime: ceil_mode, counting of pads, dilation, indices; static and dynamic extents."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import new_runtime
from tests.op_handlers.nodes import check_node, normal, whole

WINDOWS = {
    "plain": {"kernel_shape": [3, 2]},
    "stride": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "uneven_pads": {"kernel_shape": [3, 4], "strides": [2, 1], "pads": [0, 2, 1, 3]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "ceil_pads": {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1},
    "ceil_last_in_pad": {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "same_upper": {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
    "same_lower": {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"},
    "dilated": {"kernel_shape": [2, 3], "dilations": [3, 2], "strides": [1, 2], "pads": [1, 2, 2, 1]},
    "dilated_ceil": {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [2, 2], "ceil_mode": 1},
}
DYNAMIC = {"static": (), "image": (0, (0, 2), (0, 3))}


@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool(case: str, dynamic: str) -> None:
    check_node("MaxPool", [normal(2, 3, 10, 9) - 3], dynamic=DYNAMIC[dynamic], **WINDOWS[case])


@pytest.mark.parametrize("include", [pytest.param(0, id=""), pytest.param(1, id="include_pad", marks=new_runtime)])
@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("case", WINDOWS)
def test_average_pool(case: str, dynamic: str, include: int) -> None:
    check_node(
        "AveragePool", [normal(2, 3, 10, 9)], dynamic=DYNAMIC[dynamic], count_include_pad=include, **WINDOWS[case]
    )


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("case", ["pads", "same_upper"])
def test_lp_pool(case: str, p: int) -> None:
    check_node("LpPool", [normal(2, 3, 10, 9)], p=p, **WINDOWS[case])


@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("column_major", [0, 1])
@pytest.mark.parametrize("case", ["pads", "uneven_pads", "ceil", "same_upper", "dilated"])
def test_max_pool_indices(case: str, column_major: int, dynamic: str) -> None:
    x = whole(2, 2, 7, 6, dtype=np.float32)  # with ties
    check_node("MaxPool", [x], outputs=2, storage_order=column_major, dynamic=DYNAMIC[dynamic], **WINDOWS[case])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_max_pool_of_integers(dtype: str) -> None:
    low = 0 if dtype == "uint8" else -128
    check_node("MaxPool", [whole(1, 2, 6, 6, low=low, high=low + 100, dtype=dtype)], **WINDOWS["pads"])


OTHER_RANKS = {
    "1d": ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "1d_ceil": ((2, 3, 11), {"kernel_shape": [4], "strides": [3], "ceil_mode": 1}),
    "3d": ((1, 2, 6, 7, 5), {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2], "pads": [1, 1, 0, 0, 1, 1]}),
    "3d_dilated": ((1, 2, 6, 7, 5), {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 2]}),
}


@pytest.mark.parametrize("dynamic", [(), (0, (0, 2))], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("case", OTHER_RANKS)
def test_pools_of_other_ranks(case: str, name: str, dynamic: tuple) -> None:
    shape, attrs = OTHER_RANKS[case]
    check_node(name, [normal(*shape)], dynamic=dynamic, **attrs)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pools(name: str, shape: tuple[int, ...]) -> None:
    check_node(name, [normal(*shape)], dynamic=(0, (0, 2)), opset=21)  # ONNX Runtime has GlobalLpPool up to 21


def test_pad_of_average_becomes_same_where_it_is() -> None:
    graph = check_node("AveragePool", [normal(1, 2, 8, 8)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], dynamic=((0, 2),))
    assert [op.kind.name for op in graph.ops if op.kind.name not in ("TRANSPOSE", "RESHAPE")] == ["AVERAGE_POOL_2D"]


def test_max_unpool() -> None:
    x, indices = normal(1, 1, 2, 2), np.array([5, 7, 13, 15], np.int64).reshape(1, 1, 2, 2)
    check_node("MaxUnpool", [x, indices], kernel_shape=[2, 2], strides=[2, 2])
