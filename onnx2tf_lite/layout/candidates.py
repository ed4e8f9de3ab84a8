"""Which two orders each operation may work in: one family grown from channels-last kernels, one from ONNX order.

From every anchor the orders of its tensors spread breadth first: a flexible operation that reads or writes a value in
some order takes the candidate with that order, and passes on what follows for its other tensors.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ..ir.graph import Op, Value
from ..ir.orders import Fill, FullyConnected, Layout, MatMul, Orders, natural
from ..record import record
from .edges import channels_last
from .problem import CF, CL
from .views import Axes, Key, key_of, order_for


@record
class Candidate:
    """Orders of all tensors; for a FULLY_CONNECTED with constant weights also the atom order inside its last axes."""

    orders: Orders
    inner: dict[int, Key] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict, compare=False)  # memory order per port, filled on demand


@dataclass(eq=False)
class Vertex:
    """An operation, or an input or output of the graph, with the views at its ports."""

    op: Op | None
    layout: Layout
    ports: dict[int, tuple[Value, Axes]]  # run-time tensors only: base and axes in leaf atoms
    candidates: list[Candidate | None] = field(default_factory=lambda: [None, None])

    def axes(self, candidate: Candidate, port: int) -> Axes:
        """Physical axes of a port."""
        logical = self.ports[port][1]
        axes = [logical[a] for a in candidate.orders[port]]
        if port in candidate.inner:
            axes[-1] = candidate.inner[port]
        return tuple(axes)

    def key(self, label: int, port: int) -> Key:
        """What the tensor at ``port`` looks like under ``label``: equal keys need no TRANSPOSE between them."""
        candidate = self.candidates[label]
        assert candidate is not None
        if port not in candidate.keys:
            candidate.keys[port] = key_of(self.axes(candidate, port))
        return candidate.keys[port]


def _as_written(node: Vertex) -> Candidate:
    assert node.op is not None
    return Candidate(node.layout.written(node.op))


def _movable(node: Vertex, port: int) -> bool:
    """True where the atoms inside the last axis may be permuted: weights (and bias) are constant, or one number."""
    op = node.op
    if not isinstance(node.layout, FullyConnected) or op is None or port not in (0, ~0):
        return False
    return all(v is None or v.is_constant or _is_splat(node, i) for i, v in enumerate(op.inputs) if i)


def _is_splat(node: Vertex, port: int) -> bool:
    producer = node.ports[port][0].producer
    return producer is not None and isinstance(producer.kind.layout, Fill)


def _from_key(node: Vertex, port: int, key: Key, label: int) -> Candidate | None:
    """The candidate that has ``port`` in memory order ``key``."""
    axes = node.ports[port][1]
    rank = len(axes)
    hint = channels_last(rank) if label == CL else natural(rank)
    inner: dict[int, Key] = {}
    if _movable(node, port) and rank:
        tail = len(axes[-1])
        if set(key[len(key) - tail :]) == set(axes[-1]):
            inner = {port: key[len(key) - tail :]}
            key = key[: len(key) - tail] + axes[-1]
    order = order_for(axes, key, hint)
    if order is None:
        return None
    assert node.op is not None  # the candidates of a boundary are given
    orders = node.layout.orders(node.op, port, order)
    return None if orders is None else Candidate(orders, inner)


def _adapt(node: Vertex, candidate: Candidate, port: int, key: Key, label: int) -> Candidate | None:
    """``candidate`` with ``port`` in order ``key`` and every other port as it is."""
    other = _from_key(node, port, key, label)
    if other is None or node.op is None:
        return None
    if isinstance(node.layout, MatMul):
        orders = node.layout.adapt(node.op, candidate.orders, port, other.orders[port])
        return None if orders is None else replace(candidate, orders=orders, keys={})
    if _movable(node, port) and other.orders == candidate.orders:
        inner = candidate.inner | {port: other.inner.get(port, node.ports[port][1][-1])}
        return replace(candidate, inner=inner, keys={})
    return None


def discover(nodes: list[Vertex]) -> None:
    """Give every node its candidate in both candidates."""
    touching = _touching(nodes)
    for label in (CL, CF):
        _spread(nodes, touching, label)
    for node in nodes:
        cf, cl = node.candidates
        node.candidates = [cf or cl or _as_written(node), cl or cf or _as_written(node)]
    for node in nodes:
        for label in (CF, CL):
            for port in node.ports:
                _follow_neighbours(node, port, touching, label)


def as_written(nodes: list[Vertex]) -> None:
    """Expansion move: the CL candidate of every operation is the order in which the handler wrote it."""
    for node in nodes:
        if node.op is not None:
            node.candidates[CL] = _as_written(node)


def from_producers(nodes: list[Vertex]) -> None:
    """Expansion move: the CL candidate of a flexible node is the one that the orders of its operands ask for."""
    _suggest(nodes, lambda port: port >= 0)


def from_readers(nodes: list[Vertex]) -> None:
    """Expansion move: the CL candidate of a flexible node is the one that most of its readers ask for."""
    _suggest(nodes, lambda port: port < 0)


def _suggest(nodes: list[Vertex], relevant: Callable[[int], bool]) -> None:
    touching = _touching(nodes)
    wanted: dict[int, Candidate] = {}
    for index, node in enumerate(nodes):
        if node.layout.anchored:
            continue
        votes: Counter[tuple[int, Key]] = Counter()
        for port in filter(relevant, node.ports):
            current = node.key(CF, port)
            votes.update((port, key) for key in _demands(node, port, touching, CF) if key != current)
        for (port, key), _ in votes.most_common():
            candidate = _from_key(node, port, key, CL)
            if candidate is not None:
                wanted[index] = candidate
                break
    for index, candidate in wanted.items():
        nodes[index].candidates[CL] = candidate


def _touching(nodes: list[Vertex]) -> dict[Value, list[tuple[Vertex, int]]]:
    """Every port at which a base is produced or read."""
    touching: dict[Value, list[tuple[Vertex, int]]] = {}
    for node in nodes:
        for port, (base, _) in node.ports.items():
            touching.setdefault(base, []).append((node, port))
    return touching


def _spread(nodes: list[Vertex], touching: dict[Value, list[tuple[Vertex, int]]], label: int) -> None:
    queue: deque[tuple[Value, Key]] = deque()

    def assign(node: Vertex, candidate: Candidate) -> None:
        node.candidates[label] = candidate
        for port, (base, _) in node.ports.items():
            queue.append((base, node.key(label, port)))

    for node in nodes:
        if node.layout.anchored and node.layout.channels_last == (label == CL):
            assign(node, node.candidates[label] or _as_written(node))
    seen: set[tuple[Value, Key]] = set()
    while queue:
        base, key = queue.popleft()
        if (base, key) in seen:
            continue
        seen.add((base, key))
        for node, port in touching[base]:
            if node.candidates[label] is None:
                candidate = _from_key(node, port, key, label)
                if candidate is not None:
                    assign(node, candidate)


def _demands(node: Vertex, port: int, touching: dict[Value, list[tuple[Vertex, int]]], label: int) -> Iterator[Key]:
    """Orders in which the other end(s) of a port have or want the value."""
    for other, at in touching[node.ports[port][0]]:
        if (other, at) != (node, port) and (port < 0 or at < 0):
            yield other.key(label, at)


def _follow_neighbours(node: Vertex, port: int, touching: dict[Value, list[tuple[Vertex, int]]], label: int) -> None:
    """Where a port is free to choose, take the order that the other end has already."""
    if not (isinstance(node.layout, MatMul) or _movable(node, port)):
        return
    demands = Counter(_demands(node, port, touching, label))
    if not demands or node.key(label, port) in demands:
        return
    for key, _ in demands.most_common():
        candidate = node.candidates[label]
        assert candidate is not None
        adapted = _adapt(node, candidate, port, key, label)
        if adapted is not None:
            node.candidates[label] = adapted
            return
