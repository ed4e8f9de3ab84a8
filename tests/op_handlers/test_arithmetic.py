"""Arithmetic, comparison, logic and bits against ONNX Runtime, numpy and float64."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import special

from tests.harness import compile_model, run_tflite
from tests.op_handlers.nodes import check_node, normal, run_node, scalar, whole

GRID = np.concatenate([-np.geomspace(1e-6, 30, 60)[::-1], [0.0], np.geomspace(1e-6, 30, 60)]).astype(np.float32)
UNIT = (GRID / 30).astype(np.float32)
FUNCTIONS = {
    "Erf": (special.erf, GRID), "Sinh": (np.sinh, GRID), "Cosh": (np.cosh, GRID), "Asinh": (np.arcsinh, GRID * 1000),
    "Acosh": (np.arccosh, 1 + np.abs(GRID)), "Atanh": (np.arctanh, UNIT * np.float32(0.999)),
    "Asin": (np.arcsin, UNIT), "Acos": (np.arccos, UNIT), "Atan": (np.arctan, GRID),
    "Tan": (np.tan, UNIT * np.float32(1.5)),
    "Exp": (np.exp, GRID), "Sqrt": (np.sqrt, np.abs(GRID)), "Log": (np.log, np.abs(GRID) + np.float32(1e-6)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_hold_their_relative_accuracy(name: str) -> None:
    function, x = FUNCTIONS[name]
    want = function(x.astype(np.float64))
    for runtime, (got,) in run_node(name, [x]).items():
        error = np.abs(got - want) / np.maximum(np.abs(want), 1e-30)
        assert np.max(error[want != 0]) < (1e-6 if runtime == "plain" else 1e-5) + 1e-7, runtime


@pytest.mark.parametrize("name", ["Round", "Floor", "Ceil", "Sign", "Neg", "Abs", "Reciprocal"])
def test_unary(name: str) -> None:
    x = np.array([-2.5, -1.5, -0.5, -0.4, 0.5, 1.5, 2.5, 3.2, 1e30], np.float32)
    check_node(name, [x])


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
@pytest.mark.parametrize("name", ["Abs", "Neg", "Sign"])
def test_integer_unary(name: str, dtype: str) -> None:
    check_node(name, [whole(4, 3, dtype=dtype)])


def test_sign_of_unsigned() -> None:
    check_node("Sign", [np.arange(5, dtype=np.uint8)])


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("name", ["Add", "Sub", "Mul"])
def test_arithmetic_wraps_like_onnx(name: str, dtype: str) -> None:
    x, y = whole(3, 4, low=0, high=120, dtype=dtype), whole(1, 4, low=0, high=120, dtype=dtype, seed=1)
    want = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[name](x, y)
    for got in run_node(name, [x, y]).values():
        np.testing.assert_array_equal(got[0], want)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int32"])
def test_division_truncates(dtype: str) -> None:
    check_node(
        "Div", [whole(30, low=0 if dtype[0] == "u" else -50, high=50, dtype=dtype), whole(30, low=1, dtype=dtype)]
    )


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "float32"])
def test_mod(dtype: str, fmod: int) -> None:
    if dtype == "float32" and not fmod:
        return
    low = 0 if dtype[0] == "u" else -20
    y = whole(40, low=1, high=9, dtype=dtype, seed=1)
    check_node(
        "Mod",
        [whole(40, low=low, high=20, dtype=dtype), y if low == 0 else y * np.array([1, -1] * 20, dtype)],
        fmod=fmod,
    )


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3, -0.5, -1, -2, 2.7, 0])
def test_power_of_a_constant(exponent: float) -> None:
    check_node("Pow", [np.abs(normal(4, 5)) + np.float32(0.1), scalar(exponent, np.float32)], const=[1])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
def test_integer_power(dtype: str, const: tuple[int, ...]) -> None:
    x = np.array([-3, -2, -1, 0, 1, 2, 3, 10], dtype)
    check_node("Pow", [np.repeat(x, 6), np.tile(np.array([0, 1, 2, 3, 6, 9], dtype), 8)], const=const)


def test_negative_integer_exponents_give_the_truncated_quotient() -> None:
    x, y = np.array([-2, -1, 1, 3, -1], np.int32), np.array([-1, -3, -5, -2, -2], np.int32)
    for got in run_node("Pow", [x, y]).values():
        assert got[0].tolist() == [0, -1, 1, 0, 1]


@pytest.mark.parametrize("base, exponent", [("float32", "int64"), ("int32", "float32"), ("int64", "int32")])
def test_mixed_power(base: str, exponent: str) -> None:
    check_node("Pow", [np.array([1, 2, 3], base), np.array([4, 5, 6], exponent)])


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_comparisons(name: str, dtype: str) -> None:
    if dtype == "bool" and name != "Equal":
        return
    high = 2 if dtype == "bool" else 5
    check_node(name, [whole(3, 4, low=0, high=high, dtype=dtype), whole(4, low=0, high=high, dtype=dtype, seed=1)])


@pytest.mark.parametrize("name", ["And", "Or", "Xor"])
def test_logic(name: str) -> None:
    check_node(name, [np.array([[0], [1]], bool), np.array([0, 1], bool)])


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64"])
@pytest.mark.parametrize("name", ["Max", "Min"])
def test_variadic_extremes(name: str, dtype: str) -> None:
    check_node(name, [whole(2, 3, 1, dtype=dtype), whole(1, 4, dtype=dtype, seed=1), scalar(1, dtype)])


@pytest.mark.parametrize("name", ["Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_variadic_sums(name: str, count: int) -> None:
    check_node(name, [normal(2, 1 + 2 * (i % 2), seed=i) for i in range(count)])


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64"])
@pytest.mark.parametrize("bounds", [(-2, 3), (None, 3), (-2, None), (3, -2), (0, 6)], ids=str)
@pytest.mark.parametrize("const", [(), (1, 2)], ids=["run time", "constant"])
def test_clip(dtype: str, bounds: tuple[int | None, int | None], const: tuple[int, ...]) -> None:
    check_node(
        "Clip", [whole(20, dtype=dtype), *(None if v is None else scalar(v, dtype) for v in bounds)], const=const
    )


@pytest.mark.parametrize("flags", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_is_inf(flags: tuple[int, int]) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0, -0.0, 3e38], np.float32)
    check_node("IsInf", [x], detect_negative=flags[0], detect_positive=flags[1])


def test_is_nan() -> None:
    check_node("IsNaN", [np.array([np.inf, np.nan, -np.nan, 0.0], np.float32)])


BITS = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("name", BITS)
def test_bits(name: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([[info.min, info.max, 5], [0, 1, info.max // 3]], dtype)
    y = np.array([info.max // 5, 3, info.max], dtype)
    for got in run_node(name, [x, y]).values():
        np.testing.assert_array_equal(got[0], BITS[name](x, y))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_shift_unsigned(dtype: str, direction: str) -> None:
    width = np.iinfo(dtype).bits
    amounts = np.array([0, 1, 3, width // 2, width - 1], dtype)
    x = np.array([[np.iinfo(dtype).max], [5], [np.iinfo(dtype).max // 3]], dtype)
    check_node("BitShift", [x, amounts], direction=direction)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_shift_signed_and_out_of_range(dtype: str, direction: str) -> None:
    width = np.iinfo(dtype).bits
    amounts = np.array([0, 1, 7, width // 2, width - 1, width, width + 1, -1], dtype)
    x = np.array([[np.iinfo(dtype).max], [-5], [np.iinfo(dtype).min], [77]], dtype)
    check_node("BitShift", [x, amounts], direction=direction, opset=28)


@pytest.mark.parametrize("name", ["Add", "Pow", "Max", "Greater", "Mod"])
def test_dynamic_batch(name: str) -> None:
    x, y = np.abs(normal(3, 4)) + 1, np.abs(normal(1, 4, seed=1)) + 1
    check_node(name, [x, y], dynamic=[0], **({"fmod": 1} if name == "Mod" else {}))


def test_empty_operands() -> None:
    check_node("Add", [normal(0, 3), normal(1, 3)])


@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
def test_a_sum_of_attention_masks_keeps_its_infinities(constant: bool) -> None:
    """Where(p, 0, -inf) + Where(q, -inf, 0): the CPU kernel of ADD would give -3.4e38."""
    zero, inf = (numpy_helper.from_array(np.float32(v), n) for v, n in ((0, "zero"), (-np.inf, "inf")))
    p, q = np.random.default_rng(0).integers(0, 2, (2, 4, 5)).astype(bool)
    first = np.where(p, 0, -np.inf).astype(np.float32)
    nodes = [helper.make_node("Where", ["q", "inf", "zero"], ["b"]), helper.make_node("Add", ["a", "b"], ["y"])]
    initializers = [zero, inf, numpy_helper.from_array(first, "a")] if constant else [zero, inf]
    if not constant:
        nodes.insert(0, helper.make_node("Where", ["p", "zero", "inf"], ["a"]))
    feeds = {"q": q} if constant else {"p": p, "q": q}
    infos = [helper.make_tensor_value_info(n, TensorProto.BOOL, [4, 5]) for n in feeds]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])
    graph = helper.make_graph(nodes, "masks", infos, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    for outputs in run_tflite(compile_model(model), feeds).values():
        np.testing.assert_array_equal(outputs["y"], np.where(p & ~q, 0, -np.inf))
