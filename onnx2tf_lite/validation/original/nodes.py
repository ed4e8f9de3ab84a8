"""Nodes as messages: bodies, attributes, changed copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import GraphProto, NodeProto, helper


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all bodies in it."""
    yield graph
    for node in graph.node:
        for held in node.attribute:
            for body in [held.g] if held.HasField("g") else held.graphs:
                yield from graphs(body)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute as onnx gives it (texts are bytes), or ``default`` where the node has none."""
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def changed(node: NodeProto, without: set[str], **attributes: Any) -> NodeProto:
    """A copy with other attributes."""
    made = NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    made.attribute.extend(a for a in node.attribute if a.name not in without | set(attributes))
    made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return made
