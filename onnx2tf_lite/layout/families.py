"""Which two orders each operation may work in: one family grown from channels-last kernels, one from ONNX order.

From every anchor the orders of its tensors spread breadth first: a flexible operation that reads or writes a value in
some order takes the variant with that order, and passes on what follows for its other tensors.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ..ir.graph import Op, Value
from ..ir.orders import Fill, FullyConnected, MatMul, Orders, Rule, identity
from .problem import CF, CL
from .views import Axes, Key, key_of, order_for


@dataclass(frozen=True)
class Variant:
    """Orders of all tensors; for a FULLY_CONNECTED with constant weights also the atom order inside its last axes."""

    orders: Orders
    inner: dict[int, Key] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict, compare=False)  # memory order per port, filled on demand


@dataclass(eq=False)
class Node:
    """An operation or a boundary tensor with the views at its ports."""

    op: Op | None
    rule: Rule
    ports: dict[int, tuple[Value, Axes]]  # run-time tensors only: base and axes in leaf atoms
    pinned: bool = False  # a boundary that must keep its order
    variants: list[Variant | None] = field(default_factory=lambda: [None, None])

    def axes(self, variant: Variant, port: int) -> Axes:
        """Physical axes of a port."""
        logical = self.ports[port][1]
        axes = [logical[a] for a in variant.orders[port]]
        if port in variant.inner:
            axes[-1] = variant.inner[port]
        return tuple(axes)

    def key(self, label: int, port: int) -> Key:
        variant = self.variants[label]
        assert variant is not None
        if port not in variant.keys:
            variant.keys[port] = key_of(self.axes(variant, port))
        return variant.keys[port]


def channels_last(rank: int) -> tuple[int, ...]:
    """[N, C, ...] stored as [N, ..., C]."""
    return (0, *range(2, rank), 1)


def _as_written(node: Node) -> Variant:
    if node.op is None:
        return Variant({p: identity(len(axes)) for p, (_, axes) in node.ports.items()})
    return Variant(node.rule.written(node.op))


def _movable(node: Node, port: int) -> bool:
    """True where the atoms inside the last axis may be permuted: weights (and bias) are constant, or one number."""
    op = node.op
    if not isinstance(node.rule, FullyConnected) or op is None or port not in (0, ~0):
        return False
    return all(v is None or v.is_constant or _uniform(node, i) for i, v in enumerate(op.inputs) if i)


def _uniform(node: Node, port: int) -> bool:
    producer = node.ports[port][0].producer
    return producer is not None and isinstance(producer.kind.layout, Fill)


def _from_key(node: Node, port: int, key: Key, label: int) -> Variant | None:
    """The variant that has ``port`` in memory order ``key``."""
    axes = node.ports[port][1]
    rank = len(axes)
    hint = channels_last(rank) if label == CL and rank > 2 else identity(rank)
    inner: dict[int, Key] = {}
    if _movable(node, port) and rank:
        tail = len(axes[-1])
        if set(key[len(key) - tail :]) == set(axes[-1]):
            inner = {port: key[len(key) - tail :]}
            key = key[: len(key) - tail] + axes[-1]
    order = order_for(axes, key, hint)
    if order is None:
        return None
    if node.op is None:
        allowed = {identity(rank)} if node.pinned or rank < 3 else {identity(rank), channels_last(rank)}
        return Variant({port: order}) if order in allowed else None
    orders = node.rule.orders(node.op, port, order)
    return None if orders is None else Variant(orders, inner)


def _adapt(node: Node, variant: Variant, port: int, key: Key, label: int) -> Variant | None:
    """``variant`` with ``port`` in order ``key`` and every other port as it is."""
    other = _from_key(node, port, key, label)
    if other is None or node.op is None:
        return None
    if isinstance(node.rule, MatMul):
        orders = node.rule.adapt(node.op, variant.orders, port, other.orders[port])
        return None if orders is None else replace(variant, orders=orders, keys={})
    if _movable(node, port) and other.orders == variant.orders:
        inner = variant.inner | {port: other.inner.get(port, node.ports[port][1][-1])}
        return replace(variant, inner=inner, keys={})
    return None


def discover(nodes: list[Node]) -> None:
    """Give every node its variant in both families."""
    touching = _touching(nodes)
    for label in (CL, CF):
        _spread(nodes, touching, label)
    for node in nodes:
        cf, cl = node.variants
        node.variants = [cf or cl or _as_written(node), cl or cf or _as_written(node)]
    for node in nodes:
        for label in (CF, CL):
            for port in node.ports:
                _follow_neighbours(node, port, touching, label)


def as_written(nodes: list[Node]) -> None:
    """Expansion move: the CL variant of every free node is the order in which the handler wrote it."""
    for node in nodes:
        if not node.pinned:
            node.variants[CL] = _as_written(node)


def from_producers(nodes: list[Node]) -> None:
    """Expansion move: the CL variant of a flexible node is the one that the orders of its operands ask for."""
    _suggest(nodes, lambda port: port >= 0)


def from_readers(nodes: list[Node]) -> None:
    """Expansion move: the CL variant of a flexible node is the one that most of its readers ask for."""
    _suggest(nodes, lambda port: port < 0)


def _suggest(nodes: list[Node], relevant: Callable[[int], bool]) -> None:
    touching = _touching(nodes)
    wanted: dict[int, Variant] = {}
    for index, node in enumerate(nodes):
        if node.rule.anchored and (node.op or node.pinned):
            continue
        votes: Counter[tuple[int, Key]] = Counter()
        for port in filter(relevant, node.ports):
            current = node.key(CF, port)
            votes.update((port, key) for key in _demands(node, port, touching, CF) if key != current)
        for (port, key), _ in votes.most_common():
            variant = _from_key(node, port, key, CL)
            if variant is not None:
                wanted[index] = variant
                break
    for index, variant in wanted.items():
        nodes[index].variants[CL] = variant


def _touching(nodes: list[Node]) -> dict[Value, list[tuple[Node, int]]]:
    """Every port at which a base is produced or read."""
    touching: dict[Value, list[tuple[Node, int]]] = {}
    for node in nodes:
        for port, (base, _) in node.ports.items():
            touching.setdefault(base, []).append((node, port))
    return touching


def _spread(nodes: list[Node], touching: dict[Value, list[tuple[Node, int]]], label: int) -> None:
    queue: deque[tuple[Value, Key]] = deque()

    def assign(node: Node, variant: Variant) -> None:
        node.variants[label] = variant
        for port, (base, _) in node.ports.items():
            queue.append((base, node.key(label, port)))

    for node in nodes:
        free_boundary = node.op is None and not node.pinned
        seeds = label == CF if free_boundary else node.pinned or node.rule.channels_last == (label == CL)
        if node.rule.anchored and seeds:
            assign(node, node.variants[label] or _as_written(node))
    seen: set[tuple[Value, Key]] = set()
    while queue:
        base, key = queue.popleft()
        if (base, key) in seen:
            continue
        seen.add((base, key))
        for node, port in touching[base]:
            if node.variants[label] is None:
                variant = _from_key(node, port, key, label)
                if variant is not None:
                    assign(node, variant)


def _demands(node: Node, port: int, touching: dict[Value, list[tuple[Node, int]]], label: int) -> Iterator[Key]:
    """Orders in which the other end(s) of a port have or want the value."""
    for other, at in touching[node.ports[port][0]]:
        if (other, at) != (node, port) and (port < 0 or at < 0):
            yield other.key(label, at)


def _follow_neighbours(node: Node, port: int, touching: dict[Value, list[tuple[Node, int]]], label: int) -> None:
    """Where a port is free to choose, take the order that the other end has already."""
    if not (isinstance(node.rule, MatMul) or _movable(node, port)):
        return
    demands = Counter(_demands(node, port, touching, label))
    if not demands or node.key(label, port) in demands:
        return
    for key, _ in demands.most_common():
        variant = node.variants[label]
        assert variant is not None
        adapted = _adapt(node, variant, port, key, label)
        if adapted is not None:
            node.variants[label] = adapted
            return
