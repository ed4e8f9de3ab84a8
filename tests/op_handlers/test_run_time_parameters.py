"""Parameters that exporters write as constants, fed at run time: every input of the node is a graph input.

Each row is one node against ONNX Runtime: name, inputs, attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, i64, normal, run_node, scalar, whole

FAR = 2**63 - 1
X = normal(5, 4, 3)
Row = tuple[str, list[Any], dict[str, Any]]

ROWS: dict[str, Row] = {
    # where the axes are not known, every extent of the result is open
    "slice by axes": ("Slice", [X, i64(1, 0), i64(3, FAR), i64(2, 0)], {}),
    "slice by negative axes and bounds": ("Slice", [X, i64(-4, -100), i64(-1, 2), i64(-3, -1)], {}),
    "slice by 32-bit axes": ("Slice", [X, *(np.array([v], np.int32) for v in (1, 3, 1))], {}),
    "slice by steps": ("Slice", [X, i64(1, 0), i64(FAR, 3), i64(0, 1), i64(2, 3)], {}),
    "slice backwards": ("Slice", [X, i64(-1, 2), i64(-FAR, 0), i64(0, 2), i64(-2, -1)], {}),
    "slice backwards from before the first": ("Slice", [X, i64(-100), i64(-FAR), i64(0), i64(-1)], {}),
    "slice backwards from behind the last": ("Slice", [X, i64(100), i64(0), i64(1), i64(-3)], {}),
    "slice of nothing": ("Slice", [X, i64(3), i64(1), i64(0), i64(1)], {}),
    "slice of bool": ("Slice", [X > 0, i64(0), i64(4), i64(1), i64(2)], {}),
    "slice of int64": ("Slice", [whole(4, 3), i64(3), i64(-9), i64(-2), i64(-2)], {}),
    "squeeze": ("Squeeze", [X[:, None, :, None], i64(3, 1)], {}),
    "squeeze by a negative axis": ("Squeeze", [X[None], i64(-4)], {}),
    "squeeze to a scalar": ("Squeeze", [X[:1, :1, 0], i64(0, 1)], {}),
    "unsqueeze": ("Unsqueeze", [X, i64(4, 0)], {}),
    "unsqueeze by negative axes": ("Unsqueeze", [X, i64(-1, 2, -6)], {}),
    "unsqueeze of a scalar": ("Unsqueeze", [scalar(2.5, np.float32), i64(1, 0)], {}),
    "reshape": ("Reshape", [X, i64(0, -1, 2)], {}),
    "expand": ("Expand", [normal(3, 1), i64(2, 1, 4)], {}),
    "tile": ("Tile", [X, i64(1, 3, 2)], {}),
    "split": ("Split", [X, i64(1, 3, 1)], {"axis": 0, "outputs": 3}),
    "constant of shape": ("ConstantOfShape", [i64(2, 3)], {}),
    "range": ("Range", [scalar(7), scalar(-4), scalar(-3)], {}),
    "one hot depth": ("OneHot", [i64(1, 0, -1, 7), scalar(4), np.array([-2, 5], np.float32)], {"axis": 0}),
    "top k": ("TopK", [X, i64(2)], {"axis": 1, "outputs": 2}),
    "top k, smallest": ("TopK", [X, i64(3)], {"axis": 0, "largest": 0, "outputs": 2}),
    "triangle": ("Trilu", [X, scalar(-1)], {"upper": 0}),
    "running sum": ("CumSum", [X, scalar(1)], {}),
    "running sum by a negative axis": ("CumSum", [X, scalar(-1)], {"exclusive": 1, "reverse": 1}),
    "clip": ("Clip", [X, scalar(-0.5, np.float32), scalar(0.25, np.float32)], {}),
    "clip, upper bound only": ("Clip", [X, None, scalar(0.25, np.float32)], {}),
    "clip of integers": ("Clip", [whole(4, 5), scalar(-3), scalar(4)], {}),
    "dropout ratio": ("Dropout", [X, scalar(0.75, np.float32)], {}),
    "center crop pad": ("CenterCropPad", [X, i64(3, 7)], {"axes": [0, 1]}),
}  # fmt: skip
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
              "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"]  # fmt: skip
PADS = {"grow": (0, 2, 1, 0), "crop": (-1, 0, 0, -2), "both": (1, -1, -1, 1)}


@pytest.mark.parametrize("row", ROWS)
def test_parameter(row: str) -> None:
    name, inputs, attrs = ROWS[row]
    check_node(name, inputs, **attrs)


@pytest.mark.parametrize("row", [r for r in ROWS if r.startswith(("slice", "squeeze", "unsqueeze", "triangle"))])
def test_parameter_of_a_dynamic_tensor(row: str) -> None:
    name, inputs, attrs = ROWS[row]
    check_node(name, inputs, dynamic=[(0, axis) for axis in range(np.ndim(inputs[0]))], **attrs)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes_of_reductions(name: str, keepdims: int) -> None:
    check_node(name, [np.abs(X) + 0.5, i64(-1, 0)], keepdims=keepdims)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("axes", [(0, 1), (-1, -3)], ids=str)
def test_pads_and_axes(axes: tuple[int, ...], pads: str, mode: str) -> None:
    check_node("Pad", [X, i64(*PADS[pads]), scalar(1.5, np.float32), i64(*axes)], mode=mode)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", PADS)
def test_pads(pads: str, mode: str) -> None:
    check_node("Pad", [normal(5, 4), i64(*PADS[pads])], mode=mode, dynamic=[0])


def test_constant_steps_with_run_time_axes() -> None:
    check_node("Slice", [X, i64(-1, 0), i64(-FAR, 3), i64(1, 0), i64(-1, 2)], const=[1, 2, 4])


def test_run_time_steps_of_known_axes_leave_the_others_known() -> None:
    graph = check_node("Slice", [X, i64(0), i64(FAR), i64(1), i64(2)], const=[1, 2, 3])
    assert graph.outputs[0].shape[0] == 5 and graph.outputs[0].shape[2] == 3


def test_no_axes_at_all() -> None:
    for outputs in run_node("Unsqueeze", [X, i64()]).values():
        np.testing.assert_array_equal(outputs[0], X)
