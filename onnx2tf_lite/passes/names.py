"""Every node and every tensor gets a name, once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import onnx_graphsurgeon as gs

from ..model.edit import Tensor, graphs, tensors
from .manager import Pass, PassResult, counted

_Named = TypeVar("_Named", gs.Node, Tensor)


class Names(Pass):
    """Name unnamed nodes <OpType>_<n>, and make duplicate names unique."""

    name = "names"

    def call(self, graph: gs.Graph) -> PassResult:
        """Rename, graph by graph."""
        every = list(graphs(graph))
        nodes = [n for g in every for n in g.nodes]
        named = _unique(nodes, lambda n: f"{n.name or n.op}_", start=0)
        fixed = [*graph.inputs, *graph.outputs]  # these keep their names whatever happens
        found = {id(t): t for t in [*fixed, *(t for g in every for t in tensors(g))]}
        others = [t for t in found.values() if t.name or isinstance(t, gs.Constant)]
        return counted(graph, {"node(s) named": named, "tensor(s) renamed": _unique(others, lambda t: f"{t.name}_")})


def _unique(things: Iterable[_Named], base: Callable[[_Named], str], start: int = 1) -> int:
    """The first to have a name keeps it; returns how many got another."""
    given, seen, count = {t.name for t in things}, set[str](), 0
    numbers: dict[str, Iterator[int]] = {}
    for thing in things:
        if not thing.name or thing.name in seen:
            stem = base(thing)
            number = numbers.setdefault(stem, itertools.count(start))
            thing.name = next(name for k in number if (name := f"{stem}{k}") not in given)
            given.add(thing.name)
            count += 1
        seen.add(thing.name)
    return count
