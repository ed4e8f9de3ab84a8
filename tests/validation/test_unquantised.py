"""A quantised model without its rounding, against the operators' formulas on real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import passes
from onnx2tf_lite.validation.original.reference import UNQUANTISED, NoReferenceError, Reference

F32 = np.float32
S, Z = 0.02, 120  # of the operand: from -2.4 to 2.7
T, U = 0.05, 100  # of the result: from -5 to 7.75
RNG = np.random.default_rng(0)
W = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
KERNEL, KERNEL_SCALES = RNG.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8), np.linspace(0.001, 0.004, 4, dtype=F32)
BIAS = RNG.integers(-900, 900, 8).astype(np.int32)
CONSTANTS = {"s": F32(S), "z": np.uint8(Z), "t": F32(T), "u": np.uint8(U), "w": W, "b": BIAS, "k": KERNEL,
             "ks": KERNEL_SCALES, "kz": np.zeros(4, np.int8)}  # fmt: skip
REAL_W = (W.astype(F32) - Z) * F32(S)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def convolved(x: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    real = KERNEL * KERNEL_SCALES[:, None, None, None]
    bias = BIAS[:4] * KERNEL_SCALES * F32(S)
    return np.einsum("ncyxij,ocij->noyx", windows, real) + bias[:, None, None]


X = ["q", "s", "z"]
CASES: dict[str, tuple[str, list[str], dict[str, Any], tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "QLinearMatMul": ("", [*X, "w", "s", "z", "t", "u"], {}, (4, 8), lambda x: x @ REAL_W),
    "QGemm": ("com.microsoft", [*X, "w", "s", "z", "b", "t", "u"], {"transB": 1}, (4, 8),
              lambda x: x @ REAL_W.T + BIAS * F32(S * S)),
    "QLinearConv": ("", [*X, "k", "ks", "kz", "t", "u", "b4"], {}, (1, 2, 6, 6), convolved),
    "QLinearAdd": ("com.microsoft", [*X, *X, "t", "u"], {}, (4, 8), lambda x: x + x),
    "QLinearMul": ("com.microsoft", [*X, "w", "s", "z", "t", "u"], {}, (8, 8), lambda x: x * REAL_W),
    "QLinearSigmoid": ("com.microsoft", [*X, "t", "u"], {}, (4, 8), sigmoid),
    "QLinearLeakyRelu": ("com.microsoft", [*X, "t", "u"], {"alpha": 0.5}, (4, 8), lambda x: np.where(x < 0, x / 2, x)),
    "QLinearSoftmax": ("com.microsoft", [*X, "t", "u"], {"axis": -1, "opset": 13}, (4, 8), softmax),
    "QLinearConcat": ("com.microsoft", ["t", "u", *X, *X], {"axis": 1}, (4, 8), lambda x: np.concatenate([x, x], 1)),
    "QLinearGlobalAveragePool": ("com.microsoft", [*X, "t", "u"], {}, (1, 2, 6, 6),
                                 lambda x: x.mean((2, 3), keepdims=True)),
    "QLinearAveragePool": ("com.microsoft", [*X, "t", "u"], {"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 2, 6, 6),
                           lambda x: x.reshape(1, 2, 3, 2, 3, 2).mean((3, 5))),
}  # fmt: skip


def around(operator: str, domain: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> Reference:
    """QuantizeLinear, an operator, DequantizeLinear."""
    constants = CONSTANTS | {"b4": BIAS[:4]}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(operator, inputs, ["r"], domain=domain, **attributes),
        helper.make_node("DequantizeLinear", ["r", "t", "u"], ["y"]),
    ]
    read = {name for node in nodes for name in node.input}
    rank = np.ndim(CASES[operator][4](np.zeros(shape, F32)))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n in read],
    )  # fmt: skip
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=domains, ir_version=8)
    return Reference.of(proto, passes.load(proto))


@pytest.mark.parametrize("operator", CASES)
def test_what_the_operators_mean(operator: str) -> None:
    domain, inputs, attributes, shape, formula = CASES[operator]
    own = around(operator, domain, inputs, shape, **attributes)
    x = RNG.uniform(-3, 3, shape).astype(F32)
    right = np.clip(formula(np.clip(x, -Z * S, (255 - Z) * S)), -U * T, (255 - U) * T)
    real = own.open(rounding=UNQUANTISED).run({"x": x})["y"]
    np.testing.assert_allclose(real, right, rtol=1e-4, atol=1e-4)
    assert own.steps, "it is a quantised model"
    rounded = own.open().run({"x": x})["y"]
    assert 0 < np.abs(rounded - real).max() < 0.6, "steps of 0.05, and of 0.02 before that, over sums of eight"


def test_what_is_not_known_is_said() -> None:
    own = around("QLinearSoftmax", *CASES["QLinearSoftmax"][:2], (4, 8), axis=-1, opset=11)
    with pytest.raises(NoReferenceError, match="cannot be taken out"):
        own.open(rounding=UNQUANTISED)


def test_a_dynamic_scale_goes_with_its_integers() -> None:
    """Products of integers are scaled afterwards, in the model: of real operands the scale is 1."""
    zero = np.int8(3)
    weights = RNG.integers(-127, 128, (8, 4)).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        helper.make_node("MatMulInteger", ["q", "w", "qz", "wz"], ["p"]),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["qs", "ws"], ["both"]),
        helper.make_node("Mul", ["f", "both"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (("w", weights), ("wz", zero), ("ws", F32(0.01)))],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    own, x = Reference.of(proto, passes.load(proto)), RNG.standard_normal((2, 8)).astype(F32)
    real = own.open(rounding=UNQUANTISED).run({"x": x})["y"]
    np.testing.assert_allclose(real, x @ ((weights.astype(F32) - zero) * F32(0.01)), rtol=1e-4, atol=1e-4)
    assert own.quantised and 0 < np.abs(own.open().run({"x": x})["y"] - real).max() < 0.2


def bordered(carrier: str, border: list[str], **attributes: Any) -> Reference:
    """QuantizeLinear, an operator that computes nothing, a Pad of integers, DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(carrier, ["q"], ["c"], **attributes),
        helper.make_node("Pad", ["c", "pads", *border], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]),
    ]
    constants = {"s": F32(S), "z": np.uint8(Z), "pads": np.array([0, 0, 0, 1, 0, 0, 0, 2]), "five": np.uint8(5)}
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n in read],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Reference.of(proto, passes.load(proto))


@pytest.mark.parametrize("border, stored", [(["z"], Z), (["five"], 5), ([], 0)])
def test_a_border_is_what_its_integer_stands_for(border: list[str], stored: int) -> None:
    x = RNG.uniform(-2, 2, (1, 4, 3, 3)).astype(F32)
    real = bordered("Transpose", border, perm=[0, 2, 3, 1]).open(rounding=UNQUANTISED).run({"x": x})["y"]
    sides = [(0, 0)] * 3 + [(1, 2)]
    right = np.pad(x.transpose(0, 2, 3, 1), sides, constant_values=(stored - Z) * S)
    np.testing.assert_allclose(real, right, rtol=1e-5, atol=1e-6)


def test_numbers_that_meet_integers_are_no_model() -> None:
    """What is above the level 0 is not what is above the number 0: that is said, and not run node by node, which takes
    minutes."""
    own = bordered("Relu", ["z"])
    with pytest.raises(NoReferenceError, match="cannot be taken out"):
        own.open(rounding=UNQUANTISED)
    assert own.engine == "ONNX Runtime"


def test_an_output_of_integers_is_told_in_their_steps() -> None:
    constants = {"s": F32(S), "z": np.uint8(Z)}
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("Identity", ["q"], ["y"])],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [40])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [40])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    own, x = Reference.of(proto, passes.load(proto)), RNG.uniform(-2, 2, 40).astype(F32)
    (real,) = own.open(rounding=UNQUANTISED).run({"x": x}).values()
    (levels,) = own.open().run({"x": x}).values()
    np.testing.assert_allclose(real, x / F32(S) + Z, rtol=1e-5)
    assert levels.dtype == np.uint8 and 0.2 < np.abs(real - levels).max() <= 0.5 + 1e-4


def test_products_of_a_constant_scale_are_not_known() -> None:
    """Their scale is in the real numbers already, and would be put there once more."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    constants = {"s": F32(S), "z": np.uint8(Z), "w": W}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(NoReferenceError, match="cannot be taken out"):
        Reference.of(proto, passes.load(proto)).open(rounding=UNQUANTISED)


def test_integers_that_are_interpolated_are_real_numbers_that_are() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("Resize", ["q", "", "scales"], ["r"], mode="linear"),
            helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]),
        ],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(v), n)
         for n, v in (("s", F32(S)), ("z", np.uint8(Z)), ("scales", np.array([1, 1, 1, 2], F32)))],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.array([[0.013, 0.997], [-1.111, 1.303]], F32)
    (y,) = Reference.of(proto, passes.load(proto)).open(rounding=UNQUANTISED).run({"x": x[None, None]}).values()
    near, far = x[:, :1], x[:, 1:]
    expected = np.concatenate([near, 0.75 * near + 0.25 * far, 0.25 * near + 0.75 * far, far], 1)
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-5)
