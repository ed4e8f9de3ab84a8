"""Symbolic attributes at run time: every program is run at several extents and compared with numpy."""

# ruff: noqa: E501 (tables: a case per line)
from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.legalize.dynamic import materialise
from tests.harness import run_tflite

N, H, W = map(dims.symbol, "NHW")
EXTENTS = [(1, 4, 6), (2, 3, 5), (3, 8, 2)]


def program(function, *shapes, dtype=np.float32, infers=False) -> Graph:
    graph = Graph()
    inputs = [graph.add_input(f"x{i}", s, np.dtype(dtype)) for i, s in enumerate(shapes)]
    with building(graph):
        results = function(*inputs)
    graph.outputs = [results] if isinstance(results, Value) else list(results)
    graph.output_names = [f"y{i}" for i in range(len(graph.outputs))]
    materialise(graph, infers)
    verify(graph)
    return graph


def kinds(graph: Graph) -> list[str]:
    return [op.kind.name for op in graph.ops]


X = (N, 3, H, W)
# what to build, the same in numpy
CASES = {
    "reshape one unknown": (lambda x: b.reshape(b.relu(x), (-1, 3)), lambda x: np.maximum(x, 0).reshape(-1, 3)),
    "reshape with arithmetic": (
        lambda x: b.reshape(x, (x.shape[0], 3, x.shape[2] * x.shape[3])), lambda x: x.reshape(*x.shape[:2], -1)),
    "reshape to all of another": (lambda x: b.reshape(b.reshape(x, (-1,)), x.shape) * 2.0, lambda x: x * 2),
    "slice to the end": (
        lambda x: b.slice_(x, (0, 1, 1, 0), (x.shape[0], 2, x.shape[2] - 1, x.shape[3])), lambda x: x[:, 1:, 1:]),
    "slice of half": (
        lambda x: b.slice_(x, (0, 0, 0, 0), (x.shape[0], 3, dims.floordiv(x.shape[2], 2), x.shape[3])),
        lambda x: x[:, :, : x.shape[2] // 2]),
    "slice from a symbolic begin": (lambda x: b.narrow(x, 2, x.shape[2] - 2, 2), lambda x: x[:, :, -2:]),
    "strided to the end": (
        lambda x: b.strided_slice(x, (0, 0, 1, 0), x.shape, (1, 1, 2, 1)), lambda x: x[:, :, 1::2]),
    "strided backwards": (
        lambda x: b.strided_slice(x, (0, 0, x.shape[2] - 1, 0), (x.shape[0], 3, -1, x.shape[3]), (1, 1, -1, 1)),
        lambda x: x[:, :, ::-1]),
    "pad to a multiple of 4": (
        lambda x: b.pad(x, [(0, 0), (0, 0), (0, (-1 * x.shape[2]) % 4), (0, 0)]),
        lambda x: np.pad(x, [(0, 0), (0, 0), (0, -x.shape[2] % 4), (0, 0)])),
    "broadcast": (
        lambda x: b.broadcast_to(np.float32([1, 2]), (x.shape[0], x.shape[2], 2)),
        lambda x: np.broadcast_to(np.float32([1, 2]), (x.shape[0], x.shape[2], 2))),
    "fill": (lambda x: b.fill((x.shape[2], x.shape[0] + 1), np.float32(7)), lambda x: np.full((x.shape[2], x.shape[0] + 1), 7)),
    "tile": (lambda x: b.tile(x, (1, 1, 1, x.shape[0])), lambda x: np.tile(x, (1, 1, 1, x.shape[0]))),
    "range": (lambda x: b.iota(x.shape[2] * x.shape[3]), lambda x: np.arange(x.shape[2] * x.shape[3])),
    "topk": (
        lambda x: b.topk(x, dims.minimum(x.shape[3], 4))[0], lambda x: -np.sort(-x, -1)[..., : min(x.shape[3], 4)]),
    "one hot": (
        lambda x: b.one_hot(b.iota(x.shape[2]), x.shape[2], np.float32(1), np.float32(0)), lambda x: np.eye(x.shape[2])),
    "split": (
        lambda x: b.split(x, (2, x.shape[2] - 2), 2)[1], lambda x: x[:, :, 2:]),
    "split of computed halves": (
        lambda x: b.split(x, (dims.floordiv(x.shape[2], 2), dims.ceildiv(x.shape[2], 2)), 2)[1],
        lambda x: x[:, :, x.shape[2] // 2 :]),
    "resize by two": (
        lambda x: b.emit("RESIZE_NEAREST_NEIGHBOR", b.channels_last(x), size=(x.shape[2] * 2, x.shape[3] * 2),
                         align_corners=False, half_pixel_centers=False),
        lambda x: x.transpose(0, 2, 3, 1).repeat(2, 1).repeat(2, 2)),
    "shape as an output": (lambda x: b.shape_of(x), lambda x: np.array(x.shape)),
    "shape arithmetic as an output": (
        lambda x: b.dims_value((dims.maximum(x.shape[2], x.shape[3]) - 1, x.shape[2] % 3, x.shape[0] * 5 + 2)),
        lambda x: np.array([max(x.shape[2:]) - 1, x.shape[2] % 3, x.shape[0] * 5 + 2])),
    "scatter into": (
        lambda x: b.scatter_nd(np.int32([[0]]), np.float32([5]), (x.shape[2],)),
        lambda x: np.array([5.0] + [0.0] * (x.shape[2] - 1))),
}  # fmt: skip


@pytest.mark.parametrize("infers", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_at_several_extents(name, infers):
    function, expected = CASES[name]
    graph = program(function, X, infers=infers)
    for n, h, w in EXTENTS:
        x = np.random.default_rng(h).standard_normal((n, 3, h, w)).astype(np.float32)
        for outputs in run_tflite(graph, {"x0": x}).values():
            got = outputs["y0"]
            assert got.shape == np.shape(expected(x))
            np.testing.assert_array_equal(got, expected(x))


def test_no_reshape_needs_a_shape_when_one_extent_is_unknown():
    assert kinds(program(lambda x: b.reshape(x, (x.shape[0], 12)), (N, 3, 4))) == ["RESHAPE"]


@pytest.mark.parametrize("n, h, w", [(2, 4, 5), (0, 4, 5), (2, 0, 5)])
def test_a_reshape_finds_an_extent_beside_others_that_may_be_0(n, h, w):
    graph = program(lambda x: b.reshape(x, (x.shape[0], 3, x.shape[2] * x.shape[3])), X, infers=True)
    assert "MUL" not in kinds(graph) and kinds(graph).count("SLICE") == 1
    for outputs in run_tflite(graph, {"x0": np.zeros((n, 3, h, w), np.float32)}).values():
        assert outputs["y0"].shape == (n, 3, h * w)


def test_extents_with_a_common_factor_are_one_product():
    graph = program(CASES["resize by two"][0], X)
    assert [kinds(graph).count(k) for k in ("SHAPE", "SLICE", "MUL", "CONCATENATION")] == [1, 1, 1, 0]


def test_a_shape_that_is_read_already_is_preferred():
    def twice(x, y):
        flat = b.reshape(b.relu(x), (x.shape[1], 2, x.shape[0]))
        return flat, b.reshape(y, (x.shape[0], 2, 2, x.shape[2]))

    graph = program(twice, (N, H, W, 2), (N, 4, W))
    assert kinds(graph).count("SHAPE") == 1


def test_a_slice_to_the_end_is_constant():
    assert kinds(program(lambda x: b.narrow(x, 1, 2, x.shape[1] - 2), (4, H))) == ["SLICE"]


def test_the_operand_s_own_shape_is_read_whole():
    graph = program(lambda x: b.reshape(b.relu(b.reshape(x, (-1,))), x.shape), (N, H))
    assert kinds(graph) == ["RESHAPE", "RELU", "SHAPE", "RESHAPE"]


def test_neighbouring_axes_are_one_slice_and_shapes_are_read_once():
    def twice(x, y):
        flat = b.reshape(y, (-1,))
        return b.reshape(flat, (x.shape[1], x.shape[2], 5)), b.reshape(b.relu(flat), (x.shape[1], x.shape[2], 5))

    graph = program(twice, (N, H, W), (W, H, 5))
    assert kinds(graph).count("SHAPE") == 1 and kinds(graph).count("SLICE") <= 2


def test_an_operand_is_preferred():
    graph = program(lambda x, y: b.tile(b.relu(y), (H, 1)), (N, 3, H), (N, H))
    shape = next(op for op in graph.ops if op.kind.name == "SHAPE")
    assert shape.inputs[0] is next(op for op in graph.ops if op.kind.name == "TILE").inputs[0]


def test_extent_of_a_result_that_depends_on_data():
    def function(x):
        places = b.emit("WHERE", b.greater(x, 0))
        return b.fill((places.shape[0], 2), np.float32(3)), places

    graph = program(function, (N,))
    for data in ([1, -1, 2, 3], [-1, -2], [5]):
        for outputs in run_tflite(graph, {"x0": np.float32(data)}).values():
            assert outputs["y0"].shape == (sum(v > 0 for v in data), 2)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_extents_from_a_tensor_of_the_user(dtype):
    """``definitions``: a symbol that no value has as an axis, read from the elements of a run-time vector."""
    graph = Graph()
    want = graph.add_input("want", (2,), np.dtype(dtype))
    with building(graph):
        rows, columns = b.dims_of(want)
        graph.outputs, graph.output_names = [b.fill((columns * rows, rows), np.float32(1))], ["y"]
    materialise(graph)
    verify(graph)
    assert not graph.definitions
    for rows, columns in ((2, 3), (4, 1)):
        for outputs in run_tflite(graph, {"want": np.array([rows, columns], dtype)}).values():
            assert outputs["y"].shape == (rows * columns, rows)


def test_a_body_reads_its_own_inputs():
    def branch(name, function):
        graph = Graph(name)
        x = graph.add_input(f"{name}/x", (N, H), np.dtype(np.float32))
        with building(graph):
            graph.outputs = [function(x)]
        return graph

    def function(x):
        then = branch("then", lambda x: b.reshape(b.reshape(x, (-1,)), x.shape) + 1.0)
        other = branch("otherwise", lambda x: b.fill(x.shape, np.float32(2)))
        condition = b.greater(b.reduce("SUM", x, (0, 1)), 0)
        return b.emit_all("IF", [condition, x], then=then, otherwise=other, results=[(x.shape, x.dtype)])

    graph = program(function, (N, H))
    for x in (np.ones((2, 3), np.float32), -np.ones((4, 1), np.float32)):
        for outputs in run_tflite(graph, {"x0": x}).values():
            np.testing.assert_array_equal(outputs["y0"], x + 1 if x[0, 0] > 0 else np.full_like(x, 2))


def test_a_missing_symbol_is_an_error_that_names_graph_and_extent():
    graph = Graph("then")
    graph.add_input("x", (3,), np.dtype(np.float32))
    with building(graph):
        graph.outputs = [b.fill((H, 2), np.float32(0))]
    with pytest.raises(ConversionError, match="graph 'then': the extent H "):
        materialise(graph)
