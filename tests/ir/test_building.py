"""Where operations are built: the graph, the node that they carry, how many it asked for."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import rewrite
from onnx2tf_lite.ir.graph import Graph, Op, Origin, building, current_graph, current_origin, written_out

OUTER, INNER = Origin("outer", "Add"), Origin("inner", "Mul")


def test_the_innermost_node_is_carried_and_the_enclosing_one_where_there_is_none():
    with building(first := Graph(), OUTER):
        with building(second := Graph()):
            assert (current_graph(), current_origin()) == (second, OUTER)
            with building(second, INNER):
                assert current_origin() is INNER
        assert (current_graph(), current_origin()) == (first, OUTER)
    assert current_origin() is None
    with pytest.raises(LookupError):
        current_graph()


def test_it_is_counted_for_each_node():
    with building(Graph(), OUTER):
        assert [written_out(), written_out()] == [0, 1]
        with building(Graph(), INNER):
            assert written_out() == 0
        with building(Graph()):
            assert written_out() == 2
    assert [written_out(), written_out()] == [0, 0]


def test_a_walk_carries_the_node_of_each_operation():
    graph = Graph()
    x = graph.add_input("x", (2,), np.dtype(np.float32))
    with building(graph):
        y = b.relu(b.relu(x))
    graph.ops[0].origin = INNER
    seen: list[Op] = []
    with building(graph, OUTER):
        for op in rewrite.walk(graph):
            seen.append(op)
            graph.ops.append(op)
            b.neg(y)
        assert current_origin() is OUTER
    assert [op.origin for op in graph.ops] == [INNER, INNER, None, OUTER] and len(seen) == 2
