"""A depthwise window that is cut computes the same, and is cut only where kernels are slow with it whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite import compile
from onnx2tf_lite.fusion.windows import PARTS, PLACES, RULES, cut
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.editor import rewrite
from onnx2tf_lite.ir.graph import Graph, Value, constant, copy_graph
from tests.harness import compile_model
from tests.passes.conftest import model

from .programs import F32, assert_close, kinds, program, random_feeds, run, vector, weights


def depthwise(x: Value, kh: int, kw: int, stride: int, step: int, padding: str, multiplier: int = 1) -> Value:
    channels = x.shape[-1] * multiplier
    return b.emit("DEPTHWISE_CONV_2D", x, weights(1, kh, kw, channels), constant(vector(channels)),
                  strides=(stride, stride), dilations=(step, step), dilated=step > 1, padding=padding,
                  activation="RELU", multiplier=multiplier)  # fmt: skip


def cut_program(graph: Graph) -> Graph:
    result = copy_graph(graph)
    rewrite(result, RULES)
    return result


@pytest.mark.parametrize("window", [(7, 7), (9, 9), (5, 6), (6, 5), (31, 1), (1, 31), (2, 13), (13, 2), (26, 1)])
def test_the_parts_are_the_window(window: tuple[int, int]) -> None:
    plan = cut(window)
    assert plan is not None
    axis, parts = plan
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(window[axis]))
    assert max(p.stop - p.start for p in parts) * window[1 - axis] <= PLACES and len(parts) <= PARTS


@pytest.mark.parametrize("window", [(5, 5), (3, 8), (1, 25), (31, 31), (26, 26)])
def test_what_is_not_cut(window: tuple[int, int]) -> None:
    assert cut(window) is None


@pytest.mark.parametrize("window", [(7, 7), (1, 31), (9, 3)])
@pytest.mark.parametrize(("stride", "step"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_same_numbers(window: tuple[int, int], stride: int, step: int, padding: str, multiplier: int) -> None:
    graph = program(lambda x: depthwise(x, *window, stride, step, padding, multiplier), (2, 20, 65, 3))
    small = cut_program(graph)
    assert kinds(small).count("DEPTHWISE_CONV_2D") > 1 and kinds(small)[-1] == "ADD"
    feeds = random_feeds(graph)
    for runtime in ("plain", "default"):
        assert_close(run(small, feeds, runtime)["y0"], run(graph, feeds, runtime)["y0"], runtime)


N = dims.symbol("n")
KEPT: list[Any] = [
    pytest.param(lambda x: depthwise(x, 5, 5, 1, 1, "SAME"), (1, 9, 9, 3), id="small"),
    pytest.param(lambda x: depthwise(x, 7, 7, 2, 1, "SAME"), (1, N, N, 3), id="pads-known-at-run-time"),
]


@pytest.mark.parametrize(("function", "shape"), KEPT)
def test_stays(function: Any, shape: tuple[Any, ...]) -> None:
    assert kinds(cut_program(program(function, shape))) == ["DEPTHWISE_CONV_2D"]


def test_only_float_files_for_the_runtime() -> None:
    text = "(float[1,4,12,12] x) => (float[1,4,12,12] y) { y = Conv <group = 4, pads = [3,3,3,3]> (x, w) }"
    proto = model(text, w=np.ones((4, 1, 7, 7), F32))
    counts = {
        name: kinds(compile_model(proto, branch=name)).count("DEPTHWISE_CONV_2D") for name in ("integer", "float")
    }
    assert counts == {"integer": 3, "float": 1}
    assert all("windows" not in [n for n, _ in s] for name, s in compile.BRANCHES.items() if name != "integer")


# ------------------------------------------------------------------------------------------------ from the left


def mixed(x: Value, bias: float = 0, activation: str | None = None, perm: tuple[int, ...] = (0, 2, 1)) -> Value:
    made = b.fully_connected(b.transpose(x, perm), weights(5, x.shape[perm[-1]]), np.full(5, bias, F32), activation)
    return b.transpose(made, (0, 2, 1))


@pytest.mark.parametrize("batch", [1, 3])
def test_weights_between_transposes_come_from_the_left(batch: int) -> None:
    graph = program(mixed, (batch, 4, 30))
    left = cut_program(graph)
    assert kinds(left) == ["BATCH_MATMUL"] and left.ops[0].inputs[0].is_constant  # type: ignore[union-attr]
    feeds = random_feeds(graph)
    for runtime in ("plain", "default"):
        assert_close(run(left, feeds, runtime)["y0"], run(graph, feeds, runtime)["y0"], runtime)


@pytest.mark.parametrize("attrs", [{"bias": 1}, {"activation": "RELU"}, {"perm": (1, 2, 0)}])
def test_other_products_between_transposes_stay(attrs: dict[str, Any]) -> None:
    graph = program(lambda x: mixed(x, **attrs), (3, 4, 30))
    assert "BATCH_MATMUL" not in kinds(cut_program(graph))
