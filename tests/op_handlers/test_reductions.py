"""Reductions, arguments of extremes, softmax, running totals and TopK against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model
from tests.op_handlers.nodes import check_node, i64, node_model, normal, run_node, scalar, whole

NAMES = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
         "ReduceLogSum", "ReduceLogSumExp"]  # fmt: skip


@pytest.mark.parametrize("axes", [None, [1], [-1], [0, 2], [2, 1, 0]], ids=str)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_reduce(name: str, keepdims: int, axes: list[int] | None) -> None:
    inputs = [np.abs(normal(3, 4, 5)) + np.float32(0.1)] + ([] if axes is None else [i64(*axes)])
    check_node(name, inputs, const=[1], keepdims=keepdims)


@pytest.mark.parametrize("name", NAMES)
def test_no_axes_is_the_elementwise_part(name: str) -> None:
    """The function without its sum: only ONNX's text defines it, ONNX Runtime gives the operand."""
    x = np.abs(normal(3, 4)) + np.float32(0.5)
    want = {"ReduceL1": np.abs(x), "ReduceSumSquare": x * x, "ReduceLogSum": np.log(x)}.get(name, x)
    for got in run_node(name, [x, i64()], const=[1], noop_with_empty_axes=1).values():
        np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)


EMPTY = {"ReduceSum": 0, "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceProd": 1, "ReduceL1": 0, "ReduceL2": 0,
         "ReduceSumSquare": 0, "ReduceLogSum": -np.inf, "ReduceLogSumExp": -np.inf, "ReduceMean": np.nan}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_reduce_of_the_empty_set(name: str) -> None:
    for got in run_node(name, [normal(2, 0, 4), i64(1)], const=[1]).values():
        np.testing.assert_array_equal(got[0], np.full((2, 1, 4), EMPTY[name], np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMin"])
def test_integer_extremes(name: str, dtype: str) -> None:
    check_node(name, [whole(4, 5, low=0, dtype=dtype), i64(1)], const=[1])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", ["ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare", "ReduceL2", "ReduceMean"])
def test_integer_reductions(name: str, dtype: str) -> None:
    x = whole(4, 3, dtype=dtype)
    exact = {"ReduceSum": x.sum(1), "ReduceProd": x.prod(1), "ReduceL1": np.abs(x).sum(1),
             "ReduceSumSquare": (x * x).sum(1), "ReduceL2": np.sqrt((x * x).sum(1)),
             "ReduceMean": np.trunc(x.mean(1))}[name]  # fmt: skip
    for got in run_node(name, [x, i64(1)], const=[1], keepdims=0).values():
        np.testing.assert_array_equal(got[0], exact.astype(dtype))


@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMin"])
def test_extremes_of_bool(name: str) -> None:
    x = np.array([[True, False], [True, True], [False, False]])
    want = x.any(1) if name == "ReduceMax" else x.all(1)
    for got in run_node(name, [x, i64(1)], const=[1], keepdims=0).values():
        np.testing.assert_array_equal(got[0], want)


def test_log_sum_exp_of_large_and_infinite_values() -> None:
    x = np.array([[1000, 1000], [-1000, -1001], [-np.inf, 3], [-np.inf, -np.inf], [np.inf, 1]], np.float32)
    want = [1000 + np.log(2), -1000 + np.log1p(np.exp(-1)), 3, -np.inf, np.inf]
    for got in run_node("ReduceLogSumExp", [x, i64(1)], const=[1], keepdims=0).values():
        np.testing.assert_allclose(got[0], want, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_reduce_dynamic_batch(name: str) -> None:
    check_node(name, [np.abs(normal(3, 4, 5)) + 1, i64(-1)], const=[1], dynamic=[0], keepdims=0)


@pytest.mark.parametrize("dynamic", [(), (0,)], ids=["static", "dynamic"])
@pytest.mark.parametrize("axes", [[1], [-1, 0]], ids=str)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_axes_at_run_time(name: str, keepdims: int, axes: list[int], dynamic: tuple) -> None:
    check_node(name, [np.abs(normal(3, 4, 5)) + np.float32(0.1), i64(*axes)], keepdims=keepdims, dynamic=dynamic)


def test_an_unknown_number_of_axes_is_refused() -> None:
    with pytest.raises(ConversionError, match="the number of axes is only known at run time"):
        compile_model(node_model("ReduceSum", [normal(2, 3), i64(1)], dynamic=[1]))


@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMin", "ReduceLogSumExp"])
@pytest.mark.parametrize("const", [(1,), ()], ids=["const", "run_time"])
def test_extremes_of_an_extent_that_may_be_0(name: str, const: tuple) -> None:
    for rows in (0, 3):
        check_node(name, [normal(2, rows, 4), i64(1)], const=const, dynamic=[(0, 1)], opset=20)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumprod_of_an_unknown_extent(exclusive: int, reverse: int) -> None:
    options = {"exclusive": exclusive, "reverse": reverse, "opset": 26}
    check_node("CumProd", [normal(3, 7, 2), scalar(1)], const=[1], dynamic=[(0, 1)], **options)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ["CumSum", "CumProd"])
def test_axis_of_a_running_total_at_run_time(name: str, axis: int) -> None:
    check_node(name, [normal(3, 4, 5), scalar(axis)], exclusive=1, opset=26)


TIES = np.array([[2, 1, 2, 0], [0, 0, 3, 3]])


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "int8", "uint8"])
@pytest.mark.parametrize("select_last_index", [0, 1])
@pytest.mark.parametrize("name", ["ArgMax", "ArgMin"])
def test_arg(name: str, select_last_index: int, dtype: str) -> None:
    for got in run_node(name, [TIES.astype(dtype)], axis=1, select_last_index=select_last_index).values():
        function = np.argmax if name == "ArgMax" else np.argmin
        want = 3 - function(TIES[:, ::-1], 1) if select_last_index else function(TIES, 1)
        np.testing.assert_array_equal(got[0], want[:, None])


@pytest.mark.parametrize("axis, keepdims", [(0, 1), (1, 0), (-1, 1)])
def test_arg_axes(axis: int, keepdims: int) -> None:
    check_node("ArgMax", [normal(3, 4, 5)], axis=axis, keepdims=keepdims, dynamic=[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax(name: str, axis: int) -> None:
    check_node(name, [normal(3, 4, 5, scale=5)], axis=axis, dynamic=[0] if axis == 1 else [])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_cumsum(dtype: str, reverse: int, exclusive: int) -> None:
    check_node("CumSum", [whole(3, 7, dtype=dtype), scalar(1)], const=[1], exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_cumprod(count: int, reverse: int, exclusive: int) -> None:
    x = normal(2, count)
    check_node("CumProd", [x, scalar(1)], const=[1], exclusive=exclusive, reverse=reverse, opset=26)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "int8", "uint8"])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_topk(axis: int, largest: int, dtype: str) -> None:
    x = whole(6, 5, low=0, high=4, dtype=dtype)
    check_node("TopK", [x, i64(3)], const=[1], axis=axis, largest=largest, outputs=2)


def test_topk_of_extreme_integers() -> None:
    x = np.array([-(2**31), 2**31 - 1, 0, -1], np.int32)
    check_node("TopK", [x, i64(4)], const=[1], largest=0, outputs=2)


def test_topk_with_k_at_run_time() -> None:
    check_node("TopK", [normal(3, 6), i64(2)], axis=1, outputs=2, dynamic=[0])
