"""The frozen graph: one .pb with the weights as constants, in the form of TensorFlow 1.

Inputs are placeholders and outputs identities, called what the signature of the SavedModel calls them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from ...errors import ConversionError, Problem
from ...ir import tensor_map
from ...ir.graph import Graph, Value
from ..runtime import Runner, tensorflow
from .flat import flatten
from .function import Function, Library
from .graphs import FlatGraph, GraphSession
from .nodes import append, strings, tensor_shape
from .ops import emit
from .protos import PRODUCER, Proto, message
from .writer import constant_bytes, signature_keys

LIMIT = (1 << 31) - (1 << 20)  # of a protobuf message
TABLE = tensor_map.NAME.replace(".", "/")  # the node that holds the tensor map


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to ``path``.

    :raises ConversionError: where TensorFlow has no form of an operation, or the weights do not fit.
    """
    if constant_bytes(graph) > LIMIT:
        what, remedy = "weights beyond 2 GB do not fit a frozen graph", "write a SavedModel"
        raise ConversionError(Problem("frozen graph", what, remedy))
    library = Library(lambda array: False)
    function = Function(library, graph)
    keys = signature_keys([v.name for v in graph.inputs] + graph.output_names)
    function.names.taken.update(key.lower() for key in keys.values())
    function.build(emit)
    names = flatten(library, function, {f"x{i}": keys[v.name] for i, v in enumerate(graph.inputs)})
    nodes = library.graph_def.node
    for node, value in zip(nodes, graph.inputs, strict=False):
        node.attr["shape"].shape.CopyFrom(tensor_shape(value.shape))
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        ref = function(value)
        if keys[name] not in {keys[v.name] for v in graph.inputs}:
            append(nodes, "Identity", keys[name], [ref._replace(name=names[ref.name])])

    def stored(value: Value) -> str | None:
        return names[function.refs[value].name] if value in function.refs else None

    strings(nodes, TABLE, tensor_map.TensorMap.of(graph, stored).to_bytes(shapes=True))
    library.graph_def.versions.producer = PRODUCER
    Path(path).write_bytes(library.graph_def.SerializeToString(deterministic=True))


def read(path: str | os.PathLike[str], graph_def: Proto) -> Proto:
    """The file as a ``graph_def``; ValueError where it holds none."""
    try:
        return graph_def.FromString(Path(path).read_bytes())
    except DecodeError as error:
        raise ValueError(f"not a frozen graph: {error}") from error


def tensor_map_of(path: str | os.PathLike[str]) -> bytes | None:
    """The tensor map of a file of ours."""
    nodes = read(path, message("GraphDef")).node
    found = [n.attr["value"].tensor.string_val[0] for n in nodes if n.name == TABLE]
    return found[0] if found else None


def graph(path: str | os.PathLike[str], wanted: Sequence[str]) -> FlatGraph:
    """The graph of a file; it has every tensor."""
    return FlatGraph(read(path, tensorflow().compat.v1.GraphDef))


def load(path: str | os.PathLike[str], wanted: Sequence[str]) -> Runner:
    """A function from arrays to arrays, both by the names of tensors in the graph (``x:0``)."""
    session = GraphSession(graph(path, wanted))
    return lambda feeds: session.run(wanted, feeds)
