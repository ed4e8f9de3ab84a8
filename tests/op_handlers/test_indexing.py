"""Gather, scatter, sets and selections against ONNX Runtime and the reference implementation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, i64, normal, run_node, scalar, whole

CONST = pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])


@CONST
@pytest.mark.parametrize(
    "index", [np.array(-1), i64(0, 2), i64(2, -3, 1), np.array([[0, -1], [2, 2]])], ids=lambda i: str(i.tolist())
)
@pytest.mark.parametrize("axis", [0, -1])
def test_gather(axis: int, index: np.ndarray, const: tuple[int, ...]) -> None:
    check_node("Gather", [normal(3, 4, 3), index], axis=axis, const=const, dynamic=[0])


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "uint8"])
def test_gather_dtypes(dtype: str) -> None:
    check_node("Gather", [whole(5, 2, low=0, high=2, dtype=dtype), i64(3, 0, -1)])


@CONST
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int, const: tuple[int, ...]) -> None:
    check_node("GatherElements", [normal(3, 4, 5), whole(3, 4, 5, low=-3, high=3)], axis=axis, const=const)
    check_node("GatherElements", [normal(3, 4, 5), whole(2, 2, 2, low=0, high=2)], axis=axis, const=const)


def test_gather_elements_dynamic() -> None:
    check_node("GatherElements", [normal(3, 4), whole(3, 2, low=-4, high=4)], axis=1, dynamic=[0, 1])
    check_node("GatherElements", [normal(3, 4), whole(2, 4, low=-3, high=3)], axis=0, dynamic=[0])


@CONST
@pytest.mark.parametrize("batch_dims", [0, 1])
def test_gather_nd(batch_dims: int, const: tuple[int, ...]) -> None:
    check_node("GatherND", [normal(2, 3, 4), whole(2, 5, 2, low=-2, high=2)], batch_dims=batch_dims, const=const)


@CONST
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_elements(axis: int, reduction: str, const: tuple[int, ...]) -> None:
    index = np.array([[0, 1, 2], [1, 2, -4]] if axis else [[0, -1, 1], [1, 0, 2]], np.int64)
    if reduction != "none" and not axis:
        index[1] = index[0]
    check_node(
        "ScatterElements", [normal(3, 4), index, normal(2, 3, seed=1)], axis=axis, reduction=reduction, const=const
    )


@CONST
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_nd(reduction: str, const: tuple[int, ...]) -> None:
    index = np.array([[0], [-1]] if reduction == "none" else [[1], [1]], np.int64)
    check_node("ScatterND", [normal(3, 4), index, normal(2, 4, seed=1)], reduction=reduction, const=const)


def test_scatter_dynamic_and_dtypes() -> None:
    check_node("ScatterND", [normal(3, 4), np.array([[0, 1], [2, -1]]), normal(2)], dynamic=[0])
    check_node("ScatterElements", [whole(3, 4), whole(3, 1, low=0, high=4), whole(3, 1)], axis=1, dynamic=[0, 1, 2])
    check_node("ScatterND", [np.zeros((3, 2), bool), np.array([[1]]), np.ones((1, 2), bool)])


@CONST
def test_the_last_of_equal_indices_counts(const: tuple[int, ...]) -> None:
    check_node("ScatterND", [normal(4, 2), np.array([[1], [3], [1]]), normal(3, 2, seed=1)], const=const)
    check_node("ScatterElements", [normal(4, 2), np.array([[1, 0], [1, 0]]), normal(2, 2, seed=1)], const=const)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    start = i64(1, 3) if mode == "circular" else i64(1, 2)
    check_node("TensorScatter", [normal(2, 2, 4, 3), normal(2, 2, 2, 3, seed=1), start], mode=mode, opset=24)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_one_hot_beyond_the_depth_is_off(dtype: str, axis: int) -> None:
    index = np.array([[0, -1, 7], [3, -4, -9]])
    places = np.where(index < 0, index + 4, index)
    want = np.moveaxis(np.where(places[..., None] == np.arange(4), 2.0, -1.0), -1, axis)
    values = np.array([-1.0, 2.0], np.float32)
    for got in run_node("OneHot", [index.astype(dtype), i64(4), values], const=[1, 2], axis=axis).values():
        np.testing.assert_array_equal(got[0], want)


def test_one_hot_with_run_time_depth() -> None:
    check_node("OneHot", [i64(0, 2), scalar(3), i64(5, 6)], dynamic=[0])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
def test_where(dtype: str) -> None:
    x, y = whole(3, 1, low=0, high=2, dtype=dtype), whole(4, low=0, high=2, dtype=dtype, seed=2)
    check_node("Where", [whole(2, 1, 1, low=0, high=2, dtype=bool), x, y])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_non_zero(dtype: str) -> None:
    check_node("NonZero", [whole(3, 4, low=0, high=2, dtype=dtype)])


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_compress(axis: int | None) -> None:
    check_node("Compress", [normal(3, 3), np.array([True, False, True])], **({} if axis is None else {"axis": axis}))


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)], ids=["time first", "batch first"])
def test_reverse_sequence(axes: tuple[int, int]) -> None:
    check_node("ReverseSequence", [normal(4, 4, 2), i64(1, 4, 2, 3)], time_axis=axes[0], batch_axis=axes[1])


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8"])
@pytest.mark.parametrize("sorted_", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(axis: int | None, sorted_: int, dtype: str) -> None:
    if dtype == "int8" and axis is not None:
        return
    x = np.array([[2, 1, 2, 1], [2, 1, 2, 1], [0, 1, 0, 3]], dtype)
    if axis is not None and not sorted_:
        return  # ONNX Runtime and the reference disagree about the order
    attrs = {} if axis is None else {"axis": axis}
    check_node("Unique", [x], sorted=sorted_, outputs=4, **attrs)


def test_gather_of_an_empty_index() -> None:
    for got in run_node("Gather", [normal(3, 2), np.zeros(0, np.int64)]).values():
        assert got[0].shape == (0, 2)
