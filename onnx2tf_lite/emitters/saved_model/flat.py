"""A function as the nodes of a graph: what a frozen .pb and a layer of Keras hold."""

from __future__ import annotations

from collections.abc import Mapping

from .function import Function, Library, result_types


def flatten(library: Library, function: Function, arguments: Mapping[str, str]) -> dict[str, str]:
    """Make the body of ``function`` the graph of ``library``; the names of its tensors there, by those in the function.

    ``arguments``: what the placeholders for the graph's inputs are called, by the name of the argument.  The nodes keep
    their names, but results are counted over all of a node there (``a:2``), and not by argument (``a:values:0``).
    """
    graph, definition = library.graph_def, function.proto
    given = [*(function.refs[v] for v in function.graph.inputs), *function.captured.values()]
    names = {}
    for ref in given:
        node = graph.node.add(name=arguments.get(ref.name, ref.name), op="Placeholder")
        node.attr["dtype"].type = ref.dtype
        names[ref.name] = f"{node.name}:0"
    for node in definition.node_def:
        places = [(a.name, i) for a in library.op_def(node.op).output_arg for i, _ in enumerate(result_types(a, node))]
        names |= {f"{node.name}:{argument}:{i}": f"{node.name}:{k}" for k, (argument, i) in enumerate(places)}
        copied = graph.node.add()
        copied.CopyFrom(node)
        copied.input[:] = [names[n] for n in node.input]
    graph.library.function.remove(definition)
    return names
