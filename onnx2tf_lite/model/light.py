"""Copies of a model without its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .lazy import onnx
from .tensors import inline, is_external, nbytes

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

    Pairs = list[tuple[TensorProto, TensorProto]]

#: Contents from this many bytes on mean nothing to checker and shape inference.
SMALL = 1024


def light(model: ModelProto, big: Callable[[TensorProto], bool]) -> tuple[ModelProto, Pairs]:
    """A copy in which big initializers have no contents, and the pairs (tensor of the copy, tensor of ``model``) of
    these and of every tensor in a side file."""
    pairs: Pairs = []
    copy = onnx.ModelProto(**_fields(model, "graph", "functions"))
    _fill(copy.graph, model.graph, big, pairs)
    for function in model.functions:
        own = copy.functions.add()
        own.MergeFrom(onnx.FunctionProto(**_fields(function, "node")))
        for node in function.node:
            _fill_node(own.node.add(), node, big, pairs)
    return copy, pairs


def _fields(message: Message, *without: str) -> dict[str, Any]:
    return {f.name: value for f, value in message.ListFields() if f.name not in without}


def _fill(copy: GraphProto, graph: GraphProto, big: Callable[[TensorProto], bool], pairs: Pairs) -> None:
    copy.MergeFrom(onnx.GraphProto(**_fields(graph, "initializer", "node")))
    for tensor in graph.initializer:
        own = copy.initializer.add()
        if is_external(tensor) or not big(tensor):
            own.CopyFrom(tensor)
            if not is_external(tensor):
                continue
        else:
            own.name, own.data_type = tensor.name, tensor.data_type
            if tensor.HasField("doc_string"):
                own.doc_string = tensor.doc_string
            own.dims.extend(tensor.dims)
            own.metadata_props.extend(tensor.metadata_props)
        pairs.append((own, tensor))
    for node in graph.node:
        _fill_node(copy.node.add(), node, big, pairs)


def _fill_node(copy: NodeProto, node: NodeProto, big: Callable[[TensorProto], bool], pairs: Pairs) -> None:
    if not any(a.HasField("g") or a.HasField("t") or a.graphs for a in node.attribute):
        copy.CopyFrom(node)
        return
    copy.MergeFrom(onnx.NodeProto(**_fields(node, "attribute")))
    for attribute in node.attribute:
        own = copy.attribute.add()
        own.MergeFrom(onnx.AttributeProto(**_fields(attribute, "g", "graphs")))
        if attribute.HasField("t") and is_external(attribute.t):
            pairs.append((own.t, attribute.t))
        if attribute.HasField("g"):
            _fill(own.g, attribute.g, big, pairs)
        for body in attribute.graphs:
            _fill(own.graphs.add(), body, big, pairs)


def digest(model: ModelProto) -> bytes:
    """A hash of all that the message says, large contents one by one; side files are not looked at."""
    from hashlib import blake2b  # takes milliseconds to load

    copy, pairs = light(model, lambda t: nbytes(t) >= SMALL)
    found = blake2b(copy.SerializeToString(deterministic=True))
    for _, tensor in pairs:
        found.update(blake2b(tensor.SerializeToString(deterministic=True)).digest())
    return found.digest()


def skeleton(model: ModelProto) -> ModelProto:
    """A copy with the small constants, and references to nothing instead of the large ones."""
    copy, pairs = light(model, lambda t: nbytes(t) >= SMALL)
    for own, tensor in pairs:
        if nbytes(tensor) < SMALL:
            inline(own)
            continue
        del own.external_data[:]
        own.data_location = onnx.TensorProto.EXTERNAL
        own.external_data.add(key="location", value="none")
    return copy
