"""The optimisation problem by itself: pins on values, two labels per node, bytes to pay.

A node (an operation or a boundary of the graph) is labelled CF or CL.  A pin says in which memory order a node has or
wants a value under either label.  A value costs its weight for every distinct order beyond the first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ..record import record
from .cut import INFINITE, FlowNetwork

CF, CL = 0, 1


@record
class Pin:
    """``keys[label]`` is the order in which ``node`` touches the value."""

    node: int
    keys: tuple[Hashable, Hashable]


@dataclass
class Labelling:
    """``nodes``: how many; ``values`` = [(weight, pins)]."""

    nodes: int = 0
    values: list[tuple[int, list[Pin]]] = field(default_factory=list)

    def cost(self, labels: Sequence[int]) -> int:
        """The objective itself."""
        return sum(w * (len({p.keys[labels[p.node]] for p in pins}) - 1) for w, pins in self.values if pins)

    def solve(self) -> tuple[list[int], int, int]:
        """(labels, bound, conflicts): optimal where ``conflicts`` is 0, else ``cost(labels) <= bound``.

        A conflict is an order that one node wants as CF and another as CL: that is not submodular, so it is counted as
        two orders.  CF is the source side.
        """
        network = FlowNetwork()
        nodes = [network.node() for _ in range(self.nodes)]
        fixed = conflicts = 0
        for weight, pins in self.values:
            wanted: dict[Hashable, tuple[set[int], set[int]]] = {}
            for pin in pins:
                for label in (CF, CL):
                    wanted.setdefault(pin.keys[label], (set(), set()))[label].add(pin.node)
            fixed -= weight if pins else 0
            for cf_nodes, cl_nodes in wanted.values():
                if cf_nodes & cl_nodes:  # wanted whatever the label
                    fixed += weight
                    continue
                conflicts += bool(cf_nodes and cl_nodes)
                if cf_nodes:
                    paid = network.node()
                    network.arc(paid, 1, weight)
                    for n in cf_nodes:
                        network.arc(nodes[n], paid, INFINITE)
                if cl_nodes:
                    paid = network.node()
                    network.arc(0, paid, weight)
                    for n in cl_nodes:
                        network.arc(paid, nodes[n], INFINITE)
        value, source_side = network.minimum_cut()
        return [CF if source_side[n] else CL for n in nodes], value + fixed, conflicts
