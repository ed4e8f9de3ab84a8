"""What every pass needs to read and to change a graphsurgeon graph, by identity and in constant time.

graphsurgeon's own list operations compare nodes and tensors by *content* (slow, and ambiguous while a node is being
rebuilt), so the passes edit through the functions here, which never compare anything but identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike, DTypeLike
from onnx_graphsurgeon.ir.tensor import Tensor as Tensor

#: The dimensions of a tensor: numbers, names, None where nothing is known.
Dim = int | str | None
Dims = tuple[Dim, ...]
_CONTROL = frozenset(("If", "Loop", "Scan", "SequenceMap"))


def graphs(graph: gs.Graph) -> Iterator[gs.Graph]:
    """The graph and every body (If, Loop, Scan, ...) below it, outermost first."""
    yield graph
    for node in graph.nodes:
        if node.op in _CONTROL or node.domain:  # asked of every node in every pass
            for body in bodies(node):
                yield from graphs(body)


def bodies(node: gs.Node) -> list[gs.Graph]:
    """The graphs that a node holds, in the order of its attributes."""
    return [value for value in node.attrs.values() if isinstance(value, gs.Graph)]


def tensors(graph: gs.Graph) -> Iterator[Tensor]:
    """Every tensor that the graph, without its bodies, mentions (some of them often)."""
    yield from (*graph.inputs, *graph.outputs)
    for node in graph.nodes:
        yield from node.inputs
        yield from node.outputs


def title(node: gs.Node) -> str:
    """What a note or a message calls the node."""
    return str(node.name or (node.outputs[0].name if len(node.outputs) else node.op))


def arg(node: gs.Node, index: int) -> Tensor | None:
    """Input number `index`, or None where an optional input is left out."""
    found = node.inputs[index] if index < len(node.inputs) else None
    return None if found is None or found.name == "" else found


def producer(tensor: Tensor | None) -> gs.Node | None:
    """The node that makes a tensor; None for inputs and constants."""
    return tensor.inputs[0] if tensor is not None and len(tensor.inputs) else None


def value(tensor: Tensor | None, limit: int = 1 << 16) -> np.ndarray | None:
    """A constant's array, or None; a constant above `limit` bytes stays untouched on its disk."""
    if not isinstance(tensor, gs.Constant) or tensor._values.nbytes > limit:
        return None
    return np.asarray(tensor.values)


def scalar(tensor: Tensor | None) -> float | None:
    """The one number a constant consists of, or None."""
    array = value(tensor, 64)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.dtype != object else None


def ints(tensor: Tensor | None) -> list[int] | None:
    """A constant integer list (axes, shapes, repeats), or None."""
    array = value(tensor)
    return None if array is None or array.dtype.kind not in "iu" else [int(v) for v in array.reshape(-1)]


def shape(tensor: Tensor | None) -> Dims | None:
    """The dimensions: numbers, names, None where nothing is known; None without a rank."""
    found = None if tensor is None else tensor.shape
    return None if found is None else tuple(found)


def static(tensor: Tensor | None) -> tuple[int, ...] | None:
    """The shape, if every dimension of it is a number."""
    found = shape(tensor)
    if found is None:
        return None
    known = tuple(d for d in found if isinstance(d, (int, np.integer)) and d >= 0)
    return known if len(known) == len(found) else None


def same_shape(a: Tensor, b: Tensor) -> bool:
    """Are the shapes known to be equal (a symbol equals itself, an unknown dimension equals nothing)?"""
    left = shape(a)
    return left is not None and left == shape(b) and None not in left


def nbytes(tensor: Tensor) -> int | None:
    """Bytes of the tensor's contents if its type and shape are known."""
    dims, dtype = static(tensor), tensor.dtype
    return None if dims is None or dtype is None else math.prod(dims) * np.dtype(dtype).itemsize


def set_inputs(node: gs.Node, tensors: Iterable[Tensor]) -> None:
    """Let a node read other tensors; both sides know."""
    _relink(node, node.inputs, "outputs", list(tensors))


def set_outputs(node: gs.Node, tensors: Iterable[Tensor]) -> None:
    """Let a node make other tensors; both sides know."""
    _relink(node, node.outputs, "inputs", list(tensors))


def _relink(node: gs.Node, side: list[Tensor], back: str, tensors: list[Tensor]) -> None:
    for tensor in side:
        users = getattr(tensor, back)
        list.pop(users, next(i for i, user in enumerate(users) if user is node))
    list.clear(side)
    list.extend(side, tensors)
    for tensor in tensors:
        list.append(getattr(tensor, back), node)


def detach(node: gs.Node) -> None:
    """Take a node, with all that is in its bodies, out of its tensors' lists."""
    for body in bodies(node):
        for inner in body.nodes:
            detach(inner)
    set_inputs(node, [])
    set_outputs(node, [])


def captures(node: gs.Node) -> list[Tensor]:
    """The tensors of outer scopes that the bodies of a node read."""
    found: dict[int, Tensor] = {}
    for body in bodies(node):
        own = {id(t) for t in body.inputs} | {id(t) for inner in body.nodes for t in inner.outputs}
        reads = [t for inner in body.nodes for t in [*inner.inputs, *captures(inner)]]
        found.update((id(t), t) for t in [*reads, *body.outputs] if t.name and id(t) not in own)
    return list(found.values())


def needs(node: gs.Node) -> list[Tensor]:
    """Every tensor that the node or its bodies read."""
    return [t for t in [*node.inputs, *captures(node)] if t.name]


class GraphEdit:
    """One pass's changes to one graph: queued next to existing nodes, and put in place by :meth:`commit`."""

    def __init__(self, graph: gs.Graph, names: set[str] | None = None):
        self.graph = graph
        self.outputs = {id(t) for t in graph.outputs}
        self._names = names
        self._queues: tuple[dict[int, list[gs.Node]], dict[int, list[gs.Node]]] = ({}, {})  # before and after a node
        self._dead: set[int] = set()
        self.changes = 0

    @property
    def names(self) -> set[str]:
        """Every name of a tensor in the graph and its bodies."""
        if self._names is None:  # only a pass that creates something pays for this
            self._names = {t.name for g in graphs(self.graph) for t in tensors(g)}
        return self._names

    def name(self, base: str) -> str:
        """A tensor name that nobody has yet, close to `base`."""
        fresh, k = base, 0
        while not fresh or fresh in self.names:
            k += 1
            fresh = f"{base}_{k}"
        self.names.add(fresh)
        return fresh

    def const(self, array: ArrayLike, base: str, dtype: DTypeLike | None = None) -> gs.Constant:
        """A new constant, under a name close to `base`."""
        return gs.Constant(self.name(base), np.asarray(array, dtype, order="C"))

    def i64(self, values: ArrayLike, base: str) -> gs.Constant:
        """A new int64 constant."""
        return self.const(values, base, np.int64)

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor],
        at: gs.Node,
        *,
        like: Tensor | None = None,
        result: Tensor | None = None,
        after: bool = False,
        **attrs: object,
    ) -> Tensor:
        """A new node beside `at`; returns its result, of the type and shape of `like` (or for inference to find)."""
        name = self.name(f"{title(at)}/{op}")
        result = result or gs.Variable(name, like and like.dtype, like and like.shape)
        node = gs.Node(op, name, attrs)
        set_inputs(node, inputs)
        set_outputs(node, [result])
        self.place([node], at, after)
        return result

    def place(self, nodes: Iterable[gs.Node], at: gs.Node, after: bool = False) -> None:
        """Queue nodes before, or after, one of the graph."""
        self._queues[after].setdefault(id(at), []).extend(nodes)
        self.changes += 1

    def become(self, node: gs.Node, op: str, inputs: Iterable[Tensor], **attrs: object) -> None:
        """The node keeps its name, place and outputs, and is another operator from here on."""
        node.op, node.attrs, node.domain = op, attrs, None
        set_inputs(node, inputs)
        self.changes += 1

    def redirect(self, old: Tensor, new: Tensor) -> None:
        """Everyone who read `old` (bodies too) reads `new`."""
        for user in list(old.outputs):
            set_inputs(user, [new if t is old else t for t in user.inputs])
        self.changes += 1

    def bypass(self, node: gs.Node, source: Tensor) -> bool:
        """Remove a node whose result equals `source`. An output of the graph keeps its name, or the node stays."""
        result = node.outputs[0]
        if id(result) in self.outputs:
            maker = producer(source)
            if id(source) in self.outputs or maker is None or not any(n is maker for n in self.graph.nodes):
                return False  # `source` has a name of its own to keep, or is made outside this graph
            self.redirect(source, result)
            self.delete(node)
            set_outputs(maker, [result if t is source else t for t in maker.outputs])
            result.shape = source.shape if result.shape is None else result.shape
        else:
            self.redirect(result, source)
            self.delete(node)
        return True

    def freeze(self, node: gs.Node, array: np.ndarray) -> None:
        """The node's one result is a constant."""
        result = node.outputs[0]
        self.delete(node)
        result.to_constant(array)

    def delete(self, node: gs.Node) -> None:
        """Take a node out; it leaves the graph with :meth:`commit`."""
        self._dead.add(id(node))
        detach(node)
        self.changes += 1

    def dead(self, node: gs.Node) -> bool:
        """Was the node deleted?"""
        return id(node) in self._dead

    def commit(self) -> int:
        """Put the queued nodes in place, drop the deleted ones; returns the number of changes."""
        before, after = self._queues
        if before or after or self._dead:
            placed = [n for at in self.graph.nodes for n in (*before.get(id(at), ()), at, *after.get(id(at), ()))]
            self.graph.nodes = [n for n in placed if id(n) not in self._dead]
        self._queues, self._dead = ({}, {}), set()
        return self.changes
