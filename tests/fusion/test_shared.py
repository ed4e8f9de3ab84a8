"""Weights that several layers share: changed for all of them alike, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.fusion.shared import SHARED_LIMIT
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, constant, copy_graph
from onnx2tf_lite.ir.rewrite import graphs
from tests.harness import compile_model

from .programs import assert_close, conv, dense, program, random_feeds, run, two, vector, weights
from .test_channels import halves, shuffle
from .test_rules import case, check

C = 160  # [C, C] is more than may be duplicated
X = (1, 2, 2, C)
LARGE, SMALL = (constant(weights(n, n).data / n**0.5) for n in (C, 100))  # type: ignore[operator]
assert SMALL.nbytes() <= SHARED_LIMIT < LARGE.nbytes()


def layer(x: Value, w: Value = LARGE) -> Value:
    """A layer with a tensor of its own of the shared numbers, as handlers make it."""
    assert w.data is not None
    return b.fully_connected(x, constant(w.data[:]))


def pointwise(x: Value) -> Value:
    assert LARGE.data is not None
    return conv(x, C, 1, w=constant(LARGE.data.reshape(C, 1, 1, C)), bias=False)


def held(graph: Graph) -> int:
    """Bytes of the different constants of a program."""
    constants = {v.data.tobytes() for g in graphs(graph) for o in g.ops for v in o.uses() if v.data is not None}
    return sum(map(len, constants))


def in_turn(*steps: Callable[[Value], Value]) -> Callable[[Value], Value]:
    def function(x: Value) -> Value:
        for step in steps:
            x = b.tanh(step(x))
        return x

    return function


STAY = [
    case("factors-behind", in_turn(lambda x: layer(x) * 2.0, lambda x: layer(x) * 3.0),
         "FULLY_CONNECTED MUL TANH FULLY_CONNECTED MUL TANH", X),
    case("a-factor-behind-one-of-them", in_turn(lambda x: layer(x) * 2.0, layer),
         "FULLY_CONNECTED MUL TANH FULLY_CONNECTED TANH", X),
    case("factors-before", in_turn(lambda x: layer(x * vector(C)), lambda x: layer(x * vector(C, 5))),
         "MUL FULLY_CONNECTED TANH MUL FULLY_CONNECTED TANH", X),
    case("before-and-behind", in_turn(lambda x: layer(x * vector(C)), lambda x: layer(x) * vector(C)),
         "MUL FULLY_CONNECTED TANH FULLY_CONNECTED MUL TANH", X),
    case("a-shuffle-behind", in_turn(pointwise, lambda x: pointwise(shuffle(x, 2, C // 2))),
         "CONV_2D TANH RESHAPE TRANSPOSE RESHAPE CONV_2D TANH", X),
    case("a-shuffle-before", in_turn(lambda x: shuffle(pointwise(x), 2, C // 2), pointwise),
         "CONV_2D RESHAPE TRANSPOSE TANH RESHAPE CONV_2D TANH", X),
    case("slices", lambda x: two(*halves(layer(x)), layer(b.tanh(x))),
         "FULLY_CONNECTED SLICE SLICE TANH FULLY_CONNECTED", X),
    case("alike-and-then-not", in_turn(lambda x: layer(x * vector(C)) * 2.0, lambda x: layer(x * vector(C)) * 3.0),
         "FULLY_CONNECTED MUL TANH FULLY_CONNECTED MUL TANH", X),
]  # fmt: skip
SINK = [
    case("the-same-behind-all", in_turn(*(lambda x: layer(x) * vector(C) + vector(C, 5),) * 3),
         "FULLY_CONNECTED TANH " * 3, X),
    case("the-same-before-all", in_turn(*(lambda x: layer(x * vector(C)),) * 3), "FULLY_CONNECTED TANH " * 3, X),
    case("the-same-shuffle", in_turn(*(lambda x: pointwise(shuffle(x, 2, C // 2)),) * 2), "CONV_2D TANH " * 2, X),
    case("summands", in_turn(lambda x: layer(x) + vector(C), lambda x: layer(x) + vector(C, 5)),
         "FULLY_CONNECTED TANH " * 2, X),
    case("one-reader", in_turn(lambda x: layer(x) * 2.0), "FULLY_CONNECTED TANH", X),
]  # fmt: skip


@pytest.mark.parametrize("function, inputs, expected", [*STAY, *SINK])
def test_no_file_grows(function: Callable[..., Any], inputs: Any, expected: str) -> None:
    graph = program(function, *inputs)
    assert held(check(graph, expected)) < held(graph) + 4096


def test_small_ones_are_copied() -> None:
    steps = in_turn(lambda x: layer(x, SMALL) * 2.0, lambda x: layer(x, SMALL) * 3.0)
    check(program(steps, (1, 2, 2, 100)), "FULLY_CONNECTED TANH " * 2)


CHANGES: list[Callable[[Value], Value]] = [
    layer,
    pointwise,
    lambda x: layer(x) * 2.0,
    lambda x: layer(x) * vector(C),
    lambda x: layer(x * vector(C)),
    lambda x: shuffle(layer(x), 2, C // 2),
    lambda x: layer(shuffle(x, C // 2, 2)),
    lambda x: b.concat(halves(layer(x))[::-1], 3),
    lambda x: dense(x, C) * 2.0,
]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(CHANGES) - 1), min_size=1, max_size=4))
def test_random_networks_that_share(choices: Sequence[int]) -> None:
    graph = program(in_turn(*(lambda x, i=i: CHANGES[i](x) * 0.05 for i in choices)), X)
    fused = copy_graph(graph)
    fuse(fused)
    feeds = random_feeds(graph)
    assert_close(run(fused, feeds)["y0"], run(graph, feeds)["y0"], "y0")
    assert held(fused) < held(graph) + 4096 * len(choices)


def test_weights_that_a_body_reads_too() -> None:
    text = f"""<ir_version: 9, opset_import: ["" : 17]>
        g (float[2,{C}] x, bool c) => (float[2,{C}] y)
        {{ s = Constant <value_float = 2.0> () a = MatMul (x, w) d = Mul (a, s)
           y = If (c) <then_branch = t () => (float[2,{C}] p) {{ p = MatMul (d, w) }},
                       else_branch = e () => (float[2,{C}] q) {{ q = Tanh (d) }}> }}"""
    model = onnx.parser.parse_model(text)
    assert LARGE.data is not None
    model.graph.initializer.append(onnx.numpy_helper.from_array(LARGE.data, "w"))
    graph = compile_model(model)
    assert held(graph) < LARGE.nbytes() + 4096
    assert "MUL" in [op.kind.name for op in graph.ops]
