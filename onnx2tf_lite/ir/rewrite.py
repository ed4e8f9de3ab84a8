"""How a stage rewrites a program: it walks over the operations and puts something in the place of each.

    each(graph, lambda op: [build.abs_(op.inputs[0])] if ... else None)

    for op in walk(graph):          # the builder appends to ``graph``, with the origin of ``op``
        op.inputs = ...
        graph.ops.append(op)        # or `replace`, or nothing

For rules that look at several operations at once there is :mod:`.editor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .graph import Graph, Op, Value, building, current_graph, current_origin
from .kinds import KINDS


def graphs(graph: Graph) -> list[Graph]:
    """The bodies below a graph, and the graph itself last."""
    return [*graph.subgraphs(), graph]


def walk(graph: Graph) -> Iterator[Op]:
    """The operations of one graph in order, each taken out of it: what stays or comes instead has to be appended.

    While an operation is looked at, the builder's functions append to ``graph`` and give the operation's origin.
    """
    old, graph.ops = graph.ops, []
    place = building(graph)
    with place:
        for op in old:
            place.move(op.origin)
            yield op


def each(graph: Graph, form: Callable[[Op], Sequence[Value] | None]) -> None:
    """In all of a program, what ``form`` builds in the place of an operation's results; None: it stays as it is."""
    for part in graphs(graph):
        for op in walk(part):
            results = form(op)
            if results is None:
                part.ops.append(op)
            else:
                replace(op, results)


def define(kind: str, source: Value, result: Value, **attrs: object) -> Op:
    """Append the operation ``result = kind(source)`` to the graph being built; ``result`` is there already."""
    op = Op(KINDS[kind], [source], [result], attrs, current_origin())
    result.producer = op
    current_graph().ops.append(op)
    return op


def replace(op: Op, results: Sequence[Value]) -> None:
    """Let ``results``, built for it, be those of ``op``: same shapes, and same dtypes or what casts to them."""
    for source, result in zip(results, op.outputs, strict=True):
        if source.dtype == result.dtype:
            define("RESHAPE", source, result, shape=result.shape)
        else:
            define("CAST", source, result, to=result.dtype)
