"""A file of TensorFlow as tensors and operators, and layers of it as a graph of independent parts.

In a process only in which TensorFlow runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...emitters.runtime import tensorflow
from ...emitters.saved_model.graphs import FlatGraph, GraphSession
from ...emitters.saved_model.protos import Proto
from ..figures.measure import Array
from .parted import BRANCHES, Body, Operator, Parted, Segment, Tensor
from .written import Arrays, failures

#: Attributes of control flow -> for which condition of an If that body is run.
BODIES = {"then_branch": True, "else_branch": False, "cond": True, "body": True}
SOURCES = {"Const", "Placeholder"}
REALS = {1, 2, 19}  # DataType: float, double, half


class GraphFile(Parted):
    """A flat graph; ``names`` of its tensors by their index."""

    def __init__(self, flat: FlatGraph):
        self.session = GraphSession(flat)
        self.nodes = {node.name: node for node in flat.definition.node}
        self.library = list(flat.definition.library.function)
        self.numbers = {function.signature.name: i for i, function in enumerate(self.library)}
        self.flat, self.tensors, self.operators, indices = flat, [], [], dict[str, int]()
        for op in self.session.graph.get_operations():
            constant = op.type == "Const" or op.name in flat.weights
            for tensor in op.outputs:
                indices[tensor.name] = len(self.tensors)
                shape, dtype = _shape(tensor), _dtype(tensor.dtype)
                self.tensors.append(Tensor(indices[tensor.name], tensor.name, shape, dtype, 0, constant))
        self.called = [op for op in self.session.graph.get_operations() if op.type not in SOURCES]
        for number, op in enumerate(self.called):
            reads, makes = (tuple(indices[t.name] for t in end) for end in (op.inputs, op.outputs))
            self.operators.append(Operator(number, op.type, reads, makes))
        self.indices = indices | {mapped: indices[name] for mapped, name in flat.names.items() if name in indices}

    @property
    def by_name(self) -> dict[str, int]:
        """By those of the map, and of the graph."""
        return self.indices

    def extract(self, segments: Sequence[Segment], shapes: Sequence[Sequence[int]]) -> FlatGraph:
        """A graph, see :meth:`Parted.extract`; its tensors are called by their numbers among inputs (``in/0``) and
        outputs (``out/0``)."""
        graph = tensorflow().compat.v1.GraphDef()
        graph.library.CopyFrom(self.flat.definition.library)
        graph.versions.CopyFrom(self.flat.definition.versions)
        shared: set[str] = set()
        names: dict[str, str] = {}
        conditions: list[str] = []
        left = enumerate(shapes)
        for number, segment in enumerate(segments):
            copies: dict[str, str] = {}
            for tensor in segment.boundary:
                place, shape = next(left)
                names[f"in/{place}"] = copies[self.tensors[tensor].name] = f"in/{place}:0"
                self._placeholder(graph, f"in/{place}", tensor, shape)
            for index in segment.operators:
                for tensor in self.operators[index].inputs:
                    self._share(graph, tensor, shared)
                self._copy(graph, index, f"{number}/", copies)
                if self.operators[index].branches:
                    first = self.tensors[self.operators[index].inputs[0]].name
                    conditions.append(copies.get(first, first))
            target = self.tensors[segment.target].name
            names[f"out/{number}"] = copies.get(target, target)
        names |= {f"out/{len(segments) + k}": name for k, name in enumerate(conditions)}
        weights = {n: self.flat.weights[n] for n in shared if n in self.flat.weights}
        return FlatGraph(graph, names, weights)

    def _placeholder(self, graph: Proto, name: str, tensor: int, shape: Sequence[int]) -> None:
        node = graph.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tensorflow().as_dtype(self.tensors[tensor].dtype).as_datatype_enum
        node.attr["shape"].shape.SetInParent()
        for extent in shape:
            node.attr["shape"].shape.dim.add(size=extent)

    def _share(self, graph: Proto, tensor: int, shared: set[str]) -> None:
        """Constants belong to all parts."""
        name = self.tensors[tensor].name.partition(":")[0]
        if self.tensors[tensor].constant and name not in shared:
            shared.add(name)
            node = graph.node.add()
            node.CopyFrom(self.nodes[name])
            del node.input[:]  # what it waits for is not in the part

    def _copy(self, graph: Proto, index: int, prefix: str, copies: dict[str, str]) -> None:
        """An operator; ``copies``: its tensors, and those before it, in the part."""
        op = self.called[index]
        node = graph.node.add()
        node.CopyFrom(self.nodes[op.name])
        node.name = prefix + op.name
        node.attr.pop("_class", None)  # beside which other nodes it runs
        node.input[:] = [copies.get(t.name, t.name) for t in op.inputs]
        for tensor in op.outputs:
            copies.setdefault(tensor.name, prefix + tensor.name)

    def below(self, body: int | None = None) -> Iterator[Body]:
        """See :class:`Parted`."""
        nodes = [op.node_def for op in self.called] if body is None else self.library[body].node_def
        for index, node in enumerate(nodes):
            for way, flag in BODIES.items():
                if node.attr[way].func.name in self.numbers:
                    number = self.numbers[node.attr[way].func.name]
                    yield Body(number, index, f"{node.name}:0", node.op in BRANCHES, flag)

    def elements(self, body: int) -> int:
        """See :class:`Parted`."""
        constants = (n.attr["value"].tensor for n in self.library[body].node_def if n.op == "Const")
        return sum(int(np.prod([d.size for d in t.tensor_shape.dim])) for t in constants if t.dtype in REALS)

    def has_halves(self, body: int) -> bool:
        """None are: what TensorFlow runs is written in float32."""
        return False


class GraphParts:
    """A graph of independent parts, fed and asked by position."""

    def __init__(self, flat: FlatGraph):
        self.session = GraphSession(flat)
        self.wanted = [name for name in flat.names if name.startswith("out/")]

    def run(self, feeds: Arrays) -> Mapping[str, Array]:
        """The outputs by their numbers.

        :raises FileError: where TensorFlow does not run it.
        """
        with failures("cannot be run"):
            found = self.session.run(self.wanted, {f"in/{k}": a for k, a in feeds.items()})
        return {name.removeprefix("out/"): np.asarray(a) for name, a in found.items()}


def _dtype(kind: Any) -> np.dtype[Any]:
    """That of the elements; lists of tensors and resources have none."""
    try:
        found: np.dtype[Any] = np.dtype(kind.as_numpy_dtype)
    except (KeyError, TypeError):
        return np.dtype(object)
    return found


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape.rank is None else tuple(-1 if d is None else int(d) for d in tensor.shape)
