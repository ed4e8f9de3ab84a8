"""A function as the nodes of a graph: what a frozen .pb and a layer of Keras hold."""

from __future__ import annotations

from collections.abc import Mapping

from .function import Function, Library
from .nodes import append, inline


def flatten(library: Library, function: Function, arguments: Mapping[str, str]) -> dict[str, str]:
    """Make the body of ``function`` the graph of ``library``; the names of its tensors there, by those in the function.

    ``arguments``: what the placeholders for the graph's inputs are called, by the name of the argument.
    """
    graph, definition = library.graph_def, function.proto
    given = [*(function.refs[v] for v in function.graph.inputs), *function.captured.values()]
    names = {}
    for ref in given:
        node = append(graph.node, "Placeholder", arguments.get(ref.name, ref.name), (), dtype=ref.dtype)
        names[ref.name] = f"{node.name}:0"
    inline(graph.node, definition, names)
    graph.library.function.remove(definition)
    return names
