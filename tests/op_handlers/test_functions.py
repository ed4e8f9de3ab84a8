"""Operators lowered through ONNX's own definitions of them, against onnx's reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnx2tf_lite import convert
from onnx2tf_lite.errors import ConversionError
from tests.harness import compare_all, compile_model, reference, run_tflite
from tests.op_handlers.nodes import check_node, node_model, normal, scalar, whole

LOGITS, LABELS, WEIGHTS = normal(3, 5, 4), whole(3, 4, low=0, high=5), np.array([1, 2, 0.5, 3, 1], np.float32)


@pytest.mark.parametrize("dynamic", [(), (0, 1)], ids=["static", "dynamic"])
@pytest.mark.parametrize("weights", [[], [WEIGHTS]], ids=["", "weights"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_losses(name: str, reduction: str, weights: list[Any], dynamic: tuple) -> None:
    check_node(name, [LOGITS, LABELS, *weights], reduction=reduction, ignore_index=2, dynamic=dynamic)


@pytest.mark.parametrize("const", [(), (0,)], ids=["runtime", "constant"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows(name: str, periodic: int, const: tuple) -> None:
    graph = check_node(name, [scalar(10)], periodic=periodic, const=const)
    assert not const or len(graph.ops) == 1  # the constant as an output


@pytest.mark.parametrize("dynamic", [(), (0, 3)], ids=["static", "dynamic"])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_convolution_with_state(activation: str, dynamic: tuple) -> None:
    inputs = [normal(2, 3, 6), normal(3, 1, 4), normal(3), normal(2, 3, 3)]
    check_node("CausalConvWithState", inputs, activation=activation, outputs=2, opset=27, dynamic=dynamic)


def test_absent_operands_and_nested_definitions() -> None:
    inputs = [normal(2, 3, 6), normal(3, 1, 4), None, normal(2, 3, 3)]
    check_node("CausalConvWithState", inputs, outputs=2, opset=27)


def test_every_operation_belongs_to_the_node() -> None:
    graph = compile_model(node_model("SoftmaxCrossEntropyLoss", [LOGITS, LABELS]))
    assert {op.origin.op_type for op in graph.ops if op.origin} == {"SoftmaxCrossEntropyLoss"}
    names = [v.name for op in graph.ops for v in op.outputs]
    assert len(set(names)) == len(names)


def test_a_refusal_names_the_node_and_the_part() -> None:
    model = node_model("HannWindow", [scalar(10)], output_datatype=TensorProto.COMPLEX64)
    with pytest.raises(ConversionError, match=r"HannWindow 'hannwindow' .*: in its definition, Cast .*complex64"):
        compile_model(model)


MODIFIED = """
<ir_version: 13, opset_import: ["" : 26, "ai.onnx.preview" : 1]>
agraph (float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v OUTER) => (float[1,2,3,4] y)
<float[1] "shared/half" = {0.5}> {
    o = ai.onnx.preview.FlexAttention (q, k, v) <
        score_mod = m1 (float[B,H,L,S] s) => (float[B,H,L,S] t) <int64 "idx/2" = {2}> {
            n = Shape(s)
            l = Gather(n, "idx/2")
            f = Cast<to = 1>(l)
            g = Div(s, f)
            t = Add(g, NAME)
        },
        prob_mod = m2 (float[B,H,L,S] p) => (float[B,H,L,S] r) { r = Mul(p, "shared/half") }>
    y = Mul(o, "shared/half")
}"""


@pytest.mark.parametrize("tune", [False, True], ids=["plain", "tuned"])
def test_bodies_with_any_names_and_constants_of_the_model(tune: bool) -> None:
    """onnx writes the bodies into the definition as text: names are its identifiers, what they read is their own."""
    text = MODIFIED.replace("NAME", '"shared/half"').replace("OUTER", "")
    case = onnx.parser.parse_model(text)
    feeds = {name: normal(1, 2, 3, 4, seed=i) for i, name in enumerate("qkv")}
    plain = onnx.ModelProto.FromString(case.SerializeToString())  # for the reference: constants of their own
    for attribute in plain.graph.node[0].attribute:
        attribute.g.initializer.append(plain.graph.initializer[0])
    compare_all(reference(plain, feeds), run_tflite(compile_model(case, tune=tune), feeds), 1e-5, 1e-6)


def test_a_body_that_reads_a_tensor_from_outside_is_refused() -> None:
    text = MODIFIED.replace("NAME", "w").replace("OUTER", ", float[1] w")
    with pytest.raises(ConversionError, match=r"FlexAttention '.*' .*: its body reads 'w' from outside"):
        compile_model(onnx.parser.parse_model(text))


def test_only_the_cause_is_reported_where_a_body_reads_a_failed_result() -> None:
    """A branch that reads what an unknown operator would have computed is not a second problem."""
    text = """<ir_version: 10, opset_import: ["": 17, "com.nobody": 1]>
      g (float[2] x, bool c) => (float[2] y) {
        lost = com.nobody.Lost(x)
        y = If(c) <then_branch = t () => (float[2] a) { a = Neg(lost) },
                   else_branch = e () => (float[2] b) { b = Identity(lost) }>
      }"""
    with pytest.raises(ConversionError) as caught:
        convert(onnx_graph=onnx.parser.parse_model(text), disable_model_save=True, check="none", non_verbose=True)
    assert len(caught.value.problems) == 1 and "Lost" in caught.value.problems[0].where
