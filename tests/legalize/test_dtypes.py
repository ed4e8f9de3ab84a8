"""The dtype policy against numpy: every operator, every integer dtype, values at the ends of the range."""

# ruff: noqa: E501 (tables: a case per line)
from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.legalize.dtypes import legalize
from onnx2tf_lite.legalize.dynamic import materialise
from tests.harness import run_tflite


def program(function, *inputs: np.ndarray, bounds=None, legal: bool = True) -> tuple[Graph, dict]:
    graph, feeds = Graph(), {}
    for i, array in enumerate(inputs):
        graph.add_input(f"x{i}", array.shape, array.dtype).bounds = bounds
        feeds[f"x{i}"] = array
    with building(graph):
        results = function(*graph.inputs)
    graph.outputs = [results] if isinstance(results, Value) else list(results)
    graph.output_names = [f"y{i}" for i in range(len(graph.outputs))]
    if legal:
        legalize(graph)
        verify(graph, "legalize")
        verify(materialise(graph))
    return graph, feeds


def check(function, expected, *inputs, bounds=None) -> Graph:
    graph, feeds = program(function, *inputs, bounds=bounds)
    for outputs in run_tflite(graph, feeds).values():
        for name, want in zip(graph.output_names, expected if isinstance(expected, list) else [expected], strict=True):
            assert outputs[name].dtype == want.dtype and outputs[name].shape == want.shape
            np.testing.assert_array_equal(outputs[name], want)
    return graph


def samples(dtype: str, seed: int = 0) -> np.ndarray:
    """Values of the whole range, with both ends, 0 and 1; int64 within 31 bits and uint32 beyond them."""
    if dtype == "bool":
        return np.array([[True, False, True], [False, True, True]])
    info = np.iinfo(dtype)
    low, high = (max(info.min, -(2**31) + 1), min(info.max, 2**31 - 1)) if dtype == "int64" else (info.min, info.max)
    rng = np.random.default_rng(seed)
    values = rng.integers(low, high, 12, endpoint=True, dtype=np.dtype(dtype))
    values[:4] = [low, high, 0, 1]
    return rng.permutation(values).reshape(3, 4)


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]
SMALL = INTEGERS[:4]
WRAPPING = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "MAXIMUM": np.maximum, "MINIMUM": np.minimum}
COMPARISONS = {
    "EQUAL": np.equal, "NOT_EQUAL": np.not_equal, "LESS": np.less, "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater, "GREATER_EQUAL": np.greater_equal,
}  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS)
def test_arithmetic_wraps_as_the_dtype(dtype):
    x, y = samples(dtype), samples(dtype, 1)
    with np.errstate(over="ignore"):
        wanted = [f(x, y) for f in WRAPPING.values()]
    check(lambda x, y: [b.emit(k, x, y, **({"activation": None} if k in ("ADD", "SUB", "MUL") else {})) for k in WRAPPING],
          wanted, x, y)  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS)
def test_comparisons(dtype):
    x, y = samples(dtype), samples(dtype, 1)
    y[0] = x[0]
    check(lambda x, y: [b.emit(k, x, y) for k in COMPARISONS], [f(x, y) for f in COMPARISONS.values()], x, y)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_remainders(dtype):
    x, y = samples(dtype), samples(dtype, 1)
    y[y == 0] = 3
    check(lambda x, y: b.floor_mod(x, y), np.mod(x, y), x, y)


@pytest.mark.parametrize("dtype", SMALL)
def test_division_of_small_integers(dtype):
    x, y = samples(dtype), samples(dtype, 1)
    y[y == 0] = 3
    with np.errstate(over="ignore"):
        wanted = [np.trunc(x / y.astype(np.float64)).astype(np.int64).astype(x.dtype), np.floor_divide(x, y)]
    check(lambda x, y: [b.div(x, y), b.floor_div(x, y)], wanted, x, y)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_unary(dtype):
    x = samples(dtype)
    with np.errstate(over="ignore"):
        wanted = [np.negative(x), np.abs(x), np.sign(x)]
    check(lambda x: [b.neg(x), b.abs_(x), b.sign(x)], wanted, x)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_square(dtype):
    x = np.array([-40000, -3, 0, 7, 46340], dtype)
    check(lambda x: b.square(x), x * x, x)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_reductions(dtype):
    x = samples(dtype)
    with np.errstate(over="ignore"):
        wanted = [x.sum(0, dtype=x.dtype), x.max(0), x.min(0), x.prod(0, dtype=x.dtype), x.cumsum(1, dtype=x.dtype)]
    check(lambda x: [b.reduce(k, x, (0,)) for k in ("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")] + [b.cumsum(x, 1)],
          wanted, x)  # fmt: skip


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_selection_and_movement(dtype):
    x = samples(dtype)
    pick = np.array([[0, 1], [1, 0]], np.int32)
    wanted = [np.where(x == x[0, 0], x, x[1]), np.concatenate([x, x], 1), x[:, :1], x[:, 1:], np.pad(x, 1), x[pick[0]],
              x[:, ::-1], np.tile(x, (2, 1)), x.T.copy()]  # fmt: skip

    def function(x):
        first = b.reshape(b.slice_(x, (0, 0), (1, 1)), ())
        return [b.where(b.equal(x, first), x, b.slice_(x, (1, 0), (1, x.shape[1]))), b.concat([x, x], 1),
                *b.split(x, (1, int(x.shape[1]) - 1), 1), b.pad(x, [(1, 1), (1, 1)]), b.gather(x, pick[0]),
                b.reverse(x, (1,)), b.tile(x, (2, 1)), b.transpose(x, (1, 0))]  # fmt: skip

    check(function, wanted, x)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_first_of_the_largest(dtype):
    x = np.array([[0, 1, 1, 0], [1, 0, 0, 1]], dtype)
    check(lambda x: [b.arg(k, x, 1, np.int64) for k in ("ARG_MAX", "ARG_MIN")], [x.argmax(1), x.argmin(1)], x)


def test_first_of_the_largest_of_int64_beyond_32_bits():
    x = np.array([[5, 2**40, 2**40, -(2**63)], [7, 2**63 - 1, 0, 1]])
    check(lambda x: [b.arg(k, x, 0, np.int32) for k in ("ARG_MAX", "ARG_MIN")],
          [x.argmax(0).astype(np.int32), x.argmin(0).astype(np.int32)], x)  # fmt: skip


def test_logic_of_bool_arithmetic():
    x, y = np.array([False, False, True, True]), np.array([False, True, False, True])
    check(lambda x, y: [b.maximum(x, y), b.minimum(x, y), b.less(x, y), b.reduce("REDUCE_MAX", x, (0,))],
          [x | y, x & y, x < y, x.max()], x, y)  # fmt: skip


# ------------------------------------------------------------------------------------------------ int64


def test_int64_stays_where_the_kernel_has_it():
    graph, _ = program(lambda x: b.reduce("SUM", b.maximum(x + 1, 0) * x, (0,)), samples("int64"))
    assert {op.kind.name for op in graph.ops} == {"ADD", "MAXIMUM", "MUL", "SUM"}


PROVEN = {
    "bounds of the input": (lambda x: b.div(x, 7), (-5, 10**9), lambda x: x // 7),
    "a cast from a narrow dtype": (lambda x: b.floor_div(b.cast(b.cast(x, np.int16), np.int64), 7), None, lambda x: x // 7),
    "clip": (lambda x: b.floor_div(b.clip(x, 0, 1000), 7), None, lambda x: np.clip(x, 0, 1000) // 7),
    "modulo": (lambda x: b.floor_div(b.floor_mod(x, 1000), 7), None, lambda x: x % 1000 // 7),
    "an index": (
        lambda x: b.floor_div(b.gather(b.cast(b.arg("ARG_MAX", x, 0, np.int64), np.int64), np.int32([0, 1]), 0), 2), None,
        lambda x: x.argmax(0)[[0, 1]] // 2),
    "a gathered table": (
        lambda x: b.floor_div(b.gather(np.array([10**9, -(10**9), 3]), b.cast(b.floor_mod(x, 3), np.int32), 0), 7), None,
        lambda x: np.array([10**9, -(10**9), 3])[x % 3] // 7),
    "a sum of small values": (
        lambda x: b.floor_div(b.reduce("SUM", b.concat([b.clip(x, 0, 9), b.clip(x, 0, 90)], 0), (0,)), 7), None,
        lambda x: np.concatenate([np.clip(x, 0, 9), np.clip(x, 0, 90)]).sum(0) // 7),
    "a product": (lambda x: b.abs_(b.div(b.clip(x, -9, 9) * b.clip(x, 0, 10**8), 2)), None,
                  lambda x: np.abs(np.trunc(np.clip(x, -9, 9) * np.clip(x, 0, 10**8) / 2).astype(np.int64))),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVEN)
def test_int64_in_int32_with_a_proof(name):
    function, bounds, expected = PROVEN[name]
    x = np.array([[5, 2, 900], [1000, 77, 3], [12, 6, 999]], np.int64)
    graph = check(function, expected(x), x, bounds=bounds)
    assert not any(op.kind.name in ("DIV", "FLOOR_DIV") and op.inputs[0].dtype == np.int64 for op in graph.ops)


def test_a_back_and_forth_of_casts_disappears():
    graph, _ = program(lambda x: b.floor_div(b.floor_div(b.cast(x, np.int64), 7), 2), samples("int32"))
    assert [op.kind.name for op in graph.ops] == ["FLOOR_DIV", "FLOOR_DIV", "CAST"]


UNPROVEN = {
    "any input": lambda x: b.power(x, 2),
    "a sum that may overflow": lambda x: b.power(b.clip(x, 0, 2**31 - 1) + 1, 1),
    "a product that may overflow": lambda x: b.power(b.clip(x, 0, 2**16) * b.clip(x, 0, 2**16), 1),
    "a power": lambda x: b.power(b.clip(x, 0, 10), 3),
    "a gathered big constant": lambda x: b.power(b.gather(np.array([1, 2**40]), b.cast(x, np.int32), 0), 2),
    "a float": lambda x: b.power(b.cast(b.cast(x, np.float32), np.int64), 2),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_int64_without_a_proof_is_refused(name):
    with pytest.raises(ConversionError, match=r"int64 kernel .* not proven"):
        program(UNPROVEN[name], samples("int64"))


def test_all_refusals_are_reported_together():
    with pytest.raises(ConversionError) as error:
        program(lambda x: [b.power(x, 3), b.power(x, 2)], samples("int64"))
    assert len(error.value.problems) == 2 and all("x0: i64[3,4]" in p.where for p in error.value.problems)


def test_integer_product_in_float_needs_exactness():
    x, w = np.arange(-6, 6, dtype=np.int32).reshape(3, 4), np.arange(8, dtype=np.int32).reshape(4, 2)
    check(lambda x: b.matmul(x, w), x @ w, x, bounds=(-1000, 1000))
    with pytest.raises(ConversionError, match="BATCH_MATMUL has no int32 kernel"):
        program(lambda x: b.matmul(x, w), x)


def test_quantised_values_are_left_alone():
    from onnx2tf_lite.ir.graph import Quant

    quant = Quant(np.float32([0.1]), np.int64([0]), np.dtype(np.int8))
    graph = Graph()
    x = graph.add_input("x", (2, 3), np.int8)
    x.quant = quant
    with building(graph):
        y = b.emit("RELU", x)
        y.quant = quant
    graph.outputs, graph.output_names = [y], ["y"]
    legalize(graph)
    assert [op.kind.name for op in graph.ops] == ["RELU"]


# ------------------------------------------------------------------------------------------------ ranks

R8 = np.arange(2 * 3 * 2 * 2 * 1 * 2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2, 2, 1, 2, 3, 2)
R9 = R8[None]
RANKS = {
    "elementwise of rank 9": (lambda x: b.relu(x), lambda x: np.maximum(x, 0), R9),
    "broadcast of rank 9": (lambda x: x + R9[:, :, :, :1], lambda x: x + R9[:, :, :, :1], R9),
    "reduction of neighbours": (lambda x: b.reduce("SUM", x, (2, 3)), lambda x: x.sum((2, 3)), R8),
    "reduction that keeps the axes": (lambda x: b.reduce("MEAN", x, (0, 7), True), lambda x: x.mean((0, 7), keepdims=True), R8),
    "softmax": (lambda x: b.softmax(x), lambda x: np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True), R8),
    "concatenation": (lambda x: b.concat([x, x], 3), lambda x: np.concatenate([x, x], 3), R8),
    "pad": (lambda x: b.pad(x, [(0, 0)] * 6 + [(1, 0), (0, 0)]), lambda x: np.pad(x, [(0, 0)] * 6 + [(1, 0), (0, 0)]), R8),
    "split": (lambda x: b.split(x, (1, 2), 1)[1], lambda x: x[:, 1:], R8),
    "transpose of rank 9": (lambda x: b.transpose(x, (0, 1, 2, 8, 3, 4, 5, 6, 7)), lambda x: x.transpose(0, 1, 2, 8, 3, 4, 5, 6, 7), R9),
    "slice of rank 9": (lambda x: b.narrow(x, 7, 1, 2), lambda x: x[:, :, :, :, :, :, :, 1:], R9),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKS)
def test_axes_are_merged_where_the_rank_is_too_high(name):
    function, expected, x = RANKS[name]

    def flat(v):  # the boundary itself must stay within what the runtime takes
        return b.reshape(function(b.reshape(v, x.shape)), (-1,))

    graph, feeds = program(flat, x.reshape(-1))
    assert max(v.rank for op in graph.ops if op.kind.name != "RESHAPE" for v in op.outputs) <= 8
    for outputs in run_tflite(graph, feeds).values():
        np.testing.assert_allclose(outputs["y0"], expected(x).reshape(-1), rtol=1e-6)


def test_a_rank_that_cannot_be_merged_is_refused():
    with pytest.raises(ConversionError, match="REDUCE_MAX of rank 8 has no TFLite kernel"):
        program(lambda x: b.reduce("REDUCE_MAX", x, (0, 2, 4, 6)), np.zeros((2, 3) * 4, np.float32))


def test_symbolic_shape_arithmetic_needs_no_proof():
    graph = Graph()
    x = graph.add_input("x", (dims.symbol("H"), dims.symbol("W")), np.dtype(np.float32))
    with building(graph):
        half = b.floor_div(b.cast(b.dims_value((x.shape[0] * x.shape[1], x.shape[1] - 1)), np.int64), 2)
    graph.outputs, graph.output_names = [half], ["y"]
    legalize(graph)
    verify(materialise(graph))
    for outputs in run_tflite(graph, {"x": np.zeros((5, 3), np.float32)}).values():
        np.testing.assert_array_equal(outputs["y"], [7, 1])
