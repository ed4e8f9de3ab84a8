"""The measure measures: what is wrong is found, and the variants are what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx2tf_lite import ConversionError
from onnx2tf_lite.errors import Problem
from tests.conformance import judge as judging
from tests.conformance.__main__ import judge_all
from tests.conformance.cases import Case, baked, dynamic, foreign, open_inputs
from tests.conformance.judge import CRASH, OK, REFUSED, WRONG, judge

X, AXIS = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1], np.int64)


def make(op: str = "ReduceSum", kind: int = TensorProto.FLOAT, domain: str = "") -> Case:
    inputs = [
        helper.make_tensor_value_info("x", kind, [2, 3]),
        helper.make_tensor_value_info("axis", TensorProto.INT64, [1]),
    ]
    outputs = [helper.make_tensor_value_info("y", kind, [2, 1])]
    node = helper.make_node(op, ["x", "axis"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    model = helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets, ir_version=8)
    data = ({"x": X, "axis": AXIS}, {"y": X.sum(1, keepdims=True)})
    return Case("mine/case", model, (data,), tuple(foreign(model)), False, op)


def expecting(y: np.ndarray) -> Case:
    case = make()
    return replace(case, data=((case.data[0][0], {"y": y}),))


RIGHT = X.sum(1, keepdims=True)


@pytest.mark.parametrize(("case", "status"), [
    pytest.param(make(), OK, id="right"),
    pytest.param(expecting(RIGHT * 1.01), WRONG, id="another value"),
    pytest.param(expecting(RIGHT.ravel()), WRONG, id="another shape"),
    pytest.param(expecting(RIGHT.astype(np.int32)), WRONG, id="another kind of number"),
    pytest.param(expecting(np.full_like(RIGHT, np.nan)), WRONG, id="no NaN"),
    pytest.param(expecting(np.full_like(RIGHT, np.inf)), WRONG, id="no infinity"),
    pytest.param(expecting([RIGHT]), WRONG, id="no sequence"),
    pytest.param(replace(expecting(RIGHT + 1), random=True), OK, id="random values"),
    pytest.param(replace(expecting(RIGHT.ravel()), random=True), WRONG, id="random values of another shape"),
    pytest.param(make("Mine", domain="mine"), REFUSED, id="unknown operator"),
])  # fmt: skip
def test_verdict(case, status):
    verdict = judge(case)
    assert verdict.status == status and bool(verdict.reason) == (status != OK)


@pytest.mark.parametrize("error", [
    pytest.param(RuntimeError("any"), id="exception"),
    pytest.param(ConversionError(Problem("Add 'a'", "the handler failed: TypeError")), id="a handler's mistake"),
    pytest.param(ConversionError(Problem("Add 'a'", "does not fit", "this is a mistake of the converter")), id="ours"),
])  # fmt: skip
def test_no_refusal_but_a_crash(error, monkeypatch):
    def fail(**options):
        raise error

    monkeypatch.setattr(judging, "convert", fail)
    assert judge(make()).status == CRASH


def test_a_case_that_kills_its_process_is_a_crash_and_the_others_go_on(monkeypatch):
    from tests.conformance import __main__ as command

    def kill(case, kind):
        return judge(case, kind) if case.operator != "Mine" else __import__("os").abort()

    monkeypatch.setattr(command, "judge", kill)
    cases = [make(), make("Mine"), make()]
    assert [v.status for _, v in judge_all(cases, "float32", 1)] == [OK, CRASH, OK]


def test_baked_leaves_the_first_input():
    case = baked(make())
    assert [v.name for v in open_inputs(case.model)] == ["x"] and set(case.data[0][0]) == {"x"}
    assert onnx.numpy_helper.to_array(case.model.graph.initializer[0]).tolist() == AXIS.tolist()
    assert judge(case).status == OK and baked(case) is None


def test_dynamic_opens_everything_but_lengths_that_are_ranks():
    model = dynamic(make()).model
    shapes = {v.name: [d.dim_param or d.dim_value or None for d in v.type.tensor_type.shape.dim]
              for v in [*model.graph.input, *model.graph.output]}  # fmt: skip
    assert shapes == {"x": ["x_0", "x_1"], "axis": [1], "y": [None, None]}


@pytest.mark.parametrize(("kind", "found"), [
    pytest.param(TensorProto.FLOAT16, set(), id="in scope"), pytest.param(TensorProto.STRING, {"string"}, id="string"),
    pytest.param(TensorProto.BFLOAT16, {"bfloat16"}, id="bfloat16"),
    pytest.param(TensorProto.INT4, {"int4"}, id="int4"),
    pytest.param(TensorProto.COMPLEX64, {"complex64"}, id="complex"),
])  # fmt: skip
def test_out_of_scope(kind, found):
    assert foreign(make(kind=kind).model) == found
