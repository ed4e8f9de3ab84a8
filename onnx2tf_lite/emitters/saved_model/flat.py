"""A function as the nodes of a graph: what a frozen .pb and a layer of Keras hold."""

from __future__ import annotations

from collections.abc import Mapping

from .function import Function, Library
from .nodes import append, results


def flatten(library: Library, function: Function, arguments: Mapping[str, str]) -> dict[str, str]:
    """Make the body of ``function`` the graph of ``library``; the names of its tensors there, by those in the function.

    ``arguments``: what the placeholders for the graph's inputs are called, by the name of the argument.  The nodes keep
    their names, but results are counted over all of a node there (``a:2``), and not by argument (``a:values:0``).
    """
    graph, definition = library.graph_def, function.proto
    given = [*(function.refs[v] for v in function.graph.inputs), *function.captured.values()]
    names = {}
    for ref in given:
        node = append(graph.node, "Placeholder", arguments.get(ref.name, ref.name), (), dtype=ref.dtype)
        names[ref.name] = f"{node.name}:0"
    for node in definition.node_def:
        names |= {ref.name: f"{node.name}:{place}" for place, ref in enumerate(results(node))}
        copied = graph.node.add()
        copied.CopyFrom(node)
        copied.input[:] = [names[n] for n in node.input]
    graph.library.function.remove(definition)
    return names
