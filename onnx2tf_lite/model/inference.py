"""onnx's shape inference, which is C++ in our own process and believes what a model says.

Where a model says nothing unusual it is called as it is.  Numbers that its arithmetic was not made for (it indexes by
axes and multiplies extents as they come), or sizes that grow with every node, make it run in a child process with
limits: what ends the child is an error here, and not the end of the user's process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import child
from ..errors import ToolError
from .lazy import onnx
from .walk import GraphLike, scopes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

MEMORY = 1 << 29
#: Of a processor, and more for every node.
SECONDS, PER_NODE = 5.0, 1e-3
#: Numbers up to here are usual sizes; the ends of int64, which exporters write for "to the end", are not.
LARGE = 1 << 20
END = {2**63 - 1, -(2**63), -(2**63) + 1}
#: Elements of a computed shape from which data propagation is no longer quick.
LENGTH = 1 << 14
#: The inference of these ends the process at an extent below 0, and that of most operators with windows, or sizes as
#: operands, makes such extents where what they read is too small.
ENDING = {"Slice"}
_WINDOWS = (
    "AveragePool",
    "Col2Im",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "LpPool",
    "MaxPool",
    "MaxUnpool",
)
_SIZED = ("AffineGrid", "CenterCropPad", "DFT", "Expand", "MelWeightMatrix", "Pad", "Range", "Resize", "STFT", "Split")
BELOW_ZERO = frozenset({*_WINDOWS, *_SIZED, "MaxUnpool", "QLinearConv", "RoiAlign", "TopK", "Upsample"})
#: Axes beyond the rank are indices into memory to the inference of these.
UNCHECKED = {"LayerNormalization"}


def infer_shapes(model: ModelProto, check_type: bool = False, strict: bool = False, data: bool = True) -> ModelProto:
    """The model with the types that onnx infers; ``data``: also from the values of small integer tensors.

    :raises ToolError: onnx finds a contradiction, or does not come to an end.
    """

    def work(data: bool) -> ModelProto:
        found: ModelProto = onnx.shape_inference.infer_shapes(model, check_type, strict, data_prop=data)
        return found

    try:
        if _usual(model):
            return work(data)
        if data:
            with suppress(child.DiedError, MemoryError):  # without the values it is told less, and needs less
                return made_in_child(lambda: work(True), limits(model))
        return made_in_child(lambda: work(False), limits(model))
    except child.DiedError as error:
        why = _below_zero(model) or f"{error}: sizes, axes or attributes of the model make no sense"
        raise ToolError(f"shape inference: {why}") from error
    except MemoryError as error:
        raise ToolError("shape inference needs too much memory: sizes in the model make no sense") from error
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as error:
        raise ToolError(f"shape inference: {said(error)}") from error


def limits(model: ModelProto) -> child.Limits:
    """What inference may take."""
    nodes = sum(len(scope.graph.node) for scope in scopes(model))
    seconds = SECONDS + PER_NODE * nodes
    return child.Limits(child.BUSY * seconds, MEMORY, seconds)


def _below_zero(model: ModelProto) -> str:
    """Which node makes an extent below 0, as far as inference comes without the operators that it ends at."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for node in copy.graph.node:
        node.domain = "hidden" if node.op_type in ENDING else node.domain
    copy.opset_import.add(domain="hidden", version=1)
    try:
        found = made_in_child(lambda: onnx.shape_inference.infer_shapes(copy, data_prop=True), limits(copy))
    except (
        child.DiedError,
        MemoryError,
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        RuntimeError,
    ):
        return ""
    makers = {name: node for node in model.graph.node for name in node.output}
    for info in found.graph.value_info:
        low = min((d.dim_value for d in info.type.tensor_type.shape.dim), default=0)
        if low < 0 and (node := makers.get(info.name)) is not None:
            return f"{node.op_type} '{node.name or info.name}' would have a result with the extent {low}"
    return ""


def said(error: Exception) -> str:
    """What onnx says, in one line, with the node."""
    lines = [part.strip() for part in str(error).splitlines() if part.strip()]
    text = " ".join(part for part in lines if not part.startswith(("==>", "Bad node spec")))[:400]
    nodes = re.findall(r"Bad node spec for node\. Name: (\S*)", str(error))
    return text + (f" (node {', '.join(nodes)})" if nodes and nodes[0] not in text else "")


def made_in_child(work: Callable[[], ModelProto], limits: child.Limits) -> ModelProto:
    """The model that ``work`` makes in a child process; what it raises is raised here, or `child.DiedError`."""
    data: bytes = child.call(lambda: work().SerializeToString(), limits=limits)
    made: ModelProto = onnx.ModelProto.FromString(data)
    return made


def _usual(model: ModelProto) -> bool:
    """Is there nothing that inference could stumble over?"""
    used = {node.op_type for scope in scopes(model) for node in scope.graph.node}
    if used & ENDING and used & BELOW_ZERO:
        return False
    lengths: dict[str, int] = {}
    return not any(_strange(body, lengths) for body in [model.graph, *model.functions])


def _strange(graph: GraphLike, lengths: dict[str, int]) -> bool:
    """``lengths``: of vectors, as far as they are known, at most."""
    if hasattr(graph, "initializer"):  # functions have none
        if any(map(_odd_type, (*graph.input, *graph.output, *graph.value_info))):
            return True
        for tensor in graph.initializer:
            if _odd_tensor(tensor):
                return True
            if len(tensor.dims) <= 1:
                lengths[tensor.name] = _elements(tensor)
        for info in (*graph.input, *graph.value_info):
            if len(dims := info.type.tensor_type.shape.dim) == 1:
                lengths.setdefault(info.name, dims[0].dim_value or 1)
    return any(_odd_node(node, lengths) for node in graph.node)


def _odd_type(info: ValueInfoProto) -> bool:
    return _odd_extents([d.dim_value for d in info.type.tensor_type.shape.dim])


def _odd_tensor(tensor: TensorProto) -> bool:
    if _odd_extents(tensor.dims):
        return True
    if tensor.data_type != onnx.TensorProto.INT64 or not (tensor.raw_data or tensor.int64_data):
        return False
    numbers = memoryview(tensor.raw_data[: len(tensor.raw_data) // 8 * 8]).cast("q") if tensor.raw_data else None
    return _odd(tensor.int64_data if numbers is None else numbers)


def _odd_extents(extents: Sequence[int]) -> bool:
    return bool(extents) and not (min(extents) >= 0 and max(extents) < LARGE)


def _odd(numbers: Sequence[int]) -> bool:
    inside = not numbers or (min(numbers) > -LARGE and max(numbers) < LARGE)
    return not inside and any(not -LARGE < n < LARGE and n not in END for n in numbers)


def _elements(tensor: TensorProto) -> int:
    total = 1
    for dim in tensor.dims:
        total *= dim
    return total


def _odd_node(node: NodeProto, lengths: dict[str, int]) -> bool:
    for a in node.attribute:
        if a.HasField("g") and _strange(a.g, lengths):
            return True
        if a.HasField("t") and _odd_tensor(a.t):
            return True
        if _odd(a.ints) or not (-LARGE < a.i < LARGE or node.op_type == "Shape"):
            return True
        if a.name == "axis" and a.i < -1 and node.op_type in UNCHECKED:
            return True
        if a.name == "value_ints":
            lengths.update(dict.fromkeys(node.output, len(a.ints)))
        elif a.HasField("t"):
            lengths.update(dict.fromkeys(node.output, _elements(a.t) if len(a.t.dims) <= 1 else 1))
    return _grown(node, lengths)


def _grown(node: NodeProto, lengths: dict[str, int]) -> bool:
    """Take over the length of the result; does it become long?  Inference joins also what it does not know."""
    joins = node.op_type == "Concat" and not any(a.i for a in node.attribute if a.name == "axis")
    read = [lengths[name] for name in node.input if name in lengths]
    if joins:
        length = sum(lengths.get(name, 1) for name in node.input)
    elif node.op_type == "Shape":
        length = 8
    elif read:
        length = max(read)
    else:
        return False
    lengths.update(dict.fromkeys(node.output, length))
    return joins and length > LENGTH
