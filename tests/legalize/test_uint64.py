"""uint64 by the laws of numpy: every pair of awkward values through every operation, on both runtimes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.ir.traits import Bits
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.legalize.dtypes import legalize
from onnx2tf_lite.legalize.uint64 import FORMS
from tests.harness import run_tflite

U64 = np.dtype(np.uint64)
EDGES = [0, 1, 2, 3, 7, 2**24 - 1, 2**24 + 1, 2**31, 2**32 - 1, 2**32 + 1, 2**53 + 1, 2**62, 2**63 - 1, 2**63,
         2**63 + 1, 2**63 + 2**39, 2**63 + 3 * 2**39, 2**63 + 2**39 + 1, 2**64 - 2**39 - 1, 2**64 - 2**39, 2**64 - 2,
         2**64 - 1]  # fmt: skip


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every pair of edges, and numbers of every length."""
    grid = np.meshgrid(np.array(EDGES, U64), np.array(EDGES, U64))
    rng = np.random.default_rng(0)
    mixed = rng.integers(0, 2**64 - 1, (2, 3000), U64, endpoint=True) >> rng.integers(0, 64, (2, 3000)).astype(U64)
    return np.append(grid[0], mixed[0]), np.append(grid[1], mixed[1])


def run(function: Callable[..., list[Value] | Value], *inputs: np.ndarray) -> tuple[Graph, list[list[np.ndarray]]]:
    """The legal program of ``function``, and the results of each runtime."""
    graph = Graph()
    values = [graph.add_input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(inputs)]
    with building(graph):
        results = function(*values)
    graph.outputs = [results] if isinstance(results, Value) else list(results)
    graph.output_names = [f"y{i}" for i in range(len(graph.outputs))]
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        value.name = name
    verify(legalize(graph), "legalize")
    runs = run_tflite(graph, {f"x{i}": a for i, a in enumerate(inputs)})
    return graph, [[outputs[n] for n in graph.output_names] for outputs in runs.values()]


def check(function: Callable[..., list[Value] | Value], expected: list[np.ndarray], *inputs: np.ndarray) -> None:
    _, runs = run(function, *inputs)
    for results in runs:
        for got, want in zip(results, expected, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


PAIRWISE = {
    "add": (b.add, np.add), "sub": (b.sub, np.subtract), "mul": (b.mul, np.multiply),
    "maximum": (b.maximum, np.maximum), "minimum": (b.minimum, np.minimum), "equal": (b.equal, np.equal),
    "not_equal": (b.not_equal, np.not_equal), "less": (b.less, np.less), "less_equal": (b.less_equal, np.less_equal),
    "greater": (b.greater, np.greater), "greater_equal": (b.greater_equal, np.greater_equal),
    "div": (b.div, np.floor_divide), "floor_div": (b.floor_div, np.floor_divide), "floor_mod": (b.floor_mod, np.mod),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRWISE)
def test_every_pair(name: str) -> None:
    function, law = PAIRWISE[name]
    x, y = pairs()
    y = np.where(y == 0, U64.type(1), y) if name in ("div", "floor_div", "floor_mod") else y
    with np.errstate(over="ignore"):
        check(function, [law(x, y)], x, y)


def test_division_of_uint32_is_exact() -> None:
    x, y = (v.astype(np.uint32) for v in pairs())
    y = np.where(y == 0, np.uint32(1), y)
    check(lambda x, y: [b.div(x, y), b.floor_div(x, y)], [x // y, x // y], x, y)


def test_order_along_an_axis() -> None:
    x = np.random.default_rng(1).permutation(np.array(EDGES[:20], U64)).reshape(4, 5)
    wanted = [x.max(1), x.min(0), np.sort(x, 1)[:, :-4:-1], x.argmax(1), x.argmin(1)]

    def function(x: Value) -> list[Value]:
        return [b.reduce("REDUCE_MAX", x, (1,)), b.reduce("REDUCE_MIN", x, (0,)), b.topk(x, 3)[0],
                b.arg("ARG_MAX", x, 1, np.int64), b.arg("ARG_MIN", x, 1, np.int64)]  # fmt: skip

    check(function, wanted, x)


def test_sums_wrap() -> None:
    x = np.array(EDGES, U64).reshape(2, 11)
    wanted = [x.sum(1), x.prod(1), x.cumsum(1), np.where(x == x[:1], x, U64.type(2**63))]
    check(
        lambda x: [
            b.reduce("SUM", x, (1,)),
            b.reduce("REDUCE_PROD", x, (1,)),
            b.cumsum(x, 1),
            b.where(b.equal(x, b.slice_(x, (0, 0), (1, 11))), x, np.array(2**63, U64)),
        ],
        wanted,
        x,
    )


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32"])
def test_cast_from_uint64(dtype: str) -> None:
    x = pairs()[0]
    check(lambda x: b.cast(x, dtype), [x.astype(dtype)], x)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_cast_to_uint64(dtype: str) -> None:
    x = pairs()[0].astype(dtype)
    check(lambda x: b.cast(x, U64), [x.astype(U64)], x)


def test_cast_of_float_truncates_and_saturates() -> None:
    x = np.array(
        [0, 0.9, 1.5, 2**24, 2**62, 2**63, 2**63 + 2**40, 2**64 - 2**40, 2**64, 1e30, np.inf, -0.5, -3, -1e30],
        np.float32,
    )
    wanted = np.array([min(max(int(min(max(v, -1e38), 1e38)), 0), 2**64 - 1) for v in x.tolist()], U64)
    check(lambda x: b.cast(x, U64), [wanted], x)


def test_the_edges_stay_uint64_and_only_they() -> None:
    graph, runs = run(
        lambda x, i: [b.gather(x, i) + U64.type(1), x * x], np.array([1, 2**63], U64), np.int32([1, 1, 0])
    )
    assert [v.dtype for v in (*graph.inputs, *graph.outputs)] == [U64, np.int32, U64, U64]
    inside = [v for op in graph.ops for v in op.outputs if v not in graph.outputs]
    assert inside and not any(v.dtype == U64 for v in inside)
    assert [v.name for v in graph.outputs] == ["y0", "y1"] and set(graph.tensors.values()) <= {
        *graph.inputs,
        *graph.outputs,
    }
    for first, second in runs:
        assert first.tolist() == [2**63 + 1, 2**63 + 1, 2] and second.tolist() == [1, 0]


def test_movement_and_constants() -> None:
    x = np.array([[1, 2**63], [5, 2**64 - 1]], U64)
    table = np.array([2**64 - 3, 4], U64)
    wanted = [x.T.copy(), x[:, 1:], np.concatenate([x, table[None]]), x.reshape(4), np.pad(x, 1, constant_values=2**63)]

    def function(x: Value) -> list[Value]:
        return [b.transpose(x, (1, 0)), b.slice_(x, (0, 1), (2, 1)), b.concat([x, table[None]], 0), b.reshape(x, (4,)),
                b.pad(x, [(1, 1), (1, 1)], U64.type(2**63))]  # fmt: skip

    check(function, wanted, x)


def test_a_result_read_several_times_is_not_overwritten() -> None:
    """LiteRT lets a kernel write over the operand of a BITCAST or RESHAPE that it takes for its only reader."""
    x = np.array([[1, 2**63], [5, 2**64 - 1]], U64)

    def function(x: Value) -> list[Value]:
        moved = b.reverse(x, (1,))
        flat, other = b.reshape(moved, (4,)), b.reshape(moved, (4, 1))
        total = flat + U64.type(3)
        words = b.emit("BITCAST", flat, to=np.dtype(np.uint32))
        return [total, b.cast(words, np.int64) + 1, moved * moved, other - U64.type(1)]

    m = np.ascontiguousarray(x[:, ::-1])
    words = m.reshape(4).view(np.uint32).reshape(4, 2).astype(np.int64) + 1
    with np.errstate(over="ignore"):
        check(function, [m.reshape(4) + U64.type(3), words, m * m, m.reshape(4, 1) - U64.type(1)], x)


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(ConversionError, match="MEAN has no uint64 kernel"):
        run(lambda x: b.reduce("MEAN", x, (0,)), np.zeros((3, 4), U64))


def test_what_is_not_right_on_the_same_bits_has_a_form() -> None:
    assert set(FORMS) == set(Bits) - {Bits.SAME, Bits.FLIPPED, Bits.WRONG}
