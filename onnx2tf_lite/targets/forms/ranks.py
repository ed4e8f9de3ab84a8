"""Fewer axes: neighbouring ones that an operator does not tell apart become one."""

from __future__ import annotations

from ...ir import rewrite
from ...ir.graph import Graph
from ...legalize.ranks import collapse


def limit(graph: Graph, most: int) -> None:
    """Compute with at most ``most`` axes where that can be; what cannot stays, and the verdict says so."""
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            try:
                results = collapse(op, most)
            except ValueError:
                results = None
            if results is None:
                part.ops.append(op)
            else:
                rewrite.replace(op, results)
