"""The shared assertion helpers catch what they exist for."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.harness import ATOL, RTOL, Crash, Mismatch, check_model, compare, compare_all, forked

ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(("expected", "got"), [
    pytest.param(ONES, ONES * 1.01, id="value"),
    pytest.param(ONES, ONES.reshape(1, 3), id="shape"),
    pytest.param(ONES, ONES * np.nan, id="unexpected nan"),
    pytest.param(ONES * np.nan, ONES, id="missing nan"),
    pytest.param(ONES * np.inf, -ONES * np.inf, id="sign of infinity"),
    pytest.param(np.array([2**53 + 1]), np.array([2**53]), id="int64 beyond float64"),
    pytest.param(np.array([1, 2]), np.array([1, 3]), id="integer"),
    pytest.param(np.array([True]), np.array([False]), id="bool"),
])  # fmt: skip
def test_differences_are_found(expected, got):
    with pytest.raises(Mismatch):
        compare("y", expected, got, RTOL, ATOL)


def test_every_runtime_is_compared():
    good, bad = {"y": ONES}, {"y": ONES * 2}
    compare_all(good, {"plain": good, "default": good}, RTOL, ATOL)
    with pytest.raises(Mismatch, match=r"\[default\] y"):
        compare_all(good, {"plain": good, "default": bad}, RTOL, ATOL)


@pytest.mark.parametrize(("function", "message"), [
    pytest.param(os.abort, "the process died: SIGABRT", id="abort"),
    pytest.param(lambda: time.sleep(60), "no answer within", id="hang"),
    pytest.param(lambda: 1 / 0, "ZeroDivisionError", id="exception"),
])  # fmt: skip
def test_a_child_that_dies_is_a_crash(function, message):
    with pytest.raises(Crash, match=message):
        forked(function, seconds=1)


def test_a_model_is_compared_with_onnx_runtime(monkeypatch):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 4, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    check_model(model)
    monkeypatch.setattr("tests.harness.reference", lambda model, feeds: {"y": np.abs(feeds["x"])})
    with pytest.raises(Mismatch):
        check_model(model)
