"""A model said otherwise: the same meaning in forms that a reference computes, or computes exactly.

Every function changes the message that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..model.edit import graphs as bodies

HALVES = {"float16", "bfloat16"}
TYPES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
STORED = {"Cast", "DequantizeLinear", "Identity"}  # operators that compute nothing with their operand


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all bodies in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graphs(body)


# ----------------------------------------------------------------------------------------------- 16-bit floats

TYPED = {"to", "dtype", "output_dtype", "output_datatype", "softmax_precision"}  # attributes that are element types


def computes_in_halves(graph: gs.Graph) -> bool:
    """True where a float16 or bfloat16 tensor is computed with, and not only stored and converted."""
    for node in (n for g in bodies(graph) for n in g.nodes):
        makers = [t.inputs[0] for t in node.inputs if t.inputs]
        made = any(k in TYPED and v in TYPES for n in makers for k, v in n.attrs.items())
        if node.op not in STORED and (made or any(_name(t.dtype) in HALVES for t in node.inputs)):
            return True
    return False


def _name(dtype: Any) -> str:
    return "" if dtype is None or isinstance(dtype, int) else np.dtype(dtype).name


def widen(model: ModelProto) -> None:
    """float32 in the place of float16 and bfloat16: what the model means, without a rounding after each operator."""
    for graph in graphs(model.graph):
        for info in [*graph.input, *graph.output, *graph.value_info]:
            if info.type.tensor_type.elem_type in TYPES:
                info.type.tensor_type.elem_type = TensorProto.FLOAT
        held = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
        for tensor in [*graph.initializer, *held]:
            if tensor.data_type in TYPES:
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name in TYPED and attribute.i in TYPES:
                    attribute.i = TensorProto.FLOAT


def _attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


# ----------------------------------------------------------------------------------------------- 8-bit integers

#: operator -> operands that are signed 8-bit weights, each with that of its zero point (-1: the operator has none)
WEIGHTS: dict[str, tuple[tuple[int, int], ...]] = {
    "MatMulInteger": ((1, 3),),
    "ConvInteger": ((1, 3),),
    "QLinearMatMul": ((3, 5),),
    "QLinearConv": ((3, 5),),
    "QGemm": ((3, 5),),
    "MatMulIntegerToFloat": ((1, 5),),
    "DynamicQuantizeMatMul": ((1, 3),),
}


def multiplies_bytes(graph: gs.Graph) -> bool:
    """Operators whose kernels multiply unsigned by signed bytes."""
    return any(n.op in WEIGHTS for g in bodies(graph) for n in g.nodes)


@cache
def saturates() -> bool:
    """Does ONNX Runtime lose sums of products of bytes on this machine?  A product shows it whose pairs exceed 16 bits:
    255 * 127 * 2 is 64770, which the instructions without a wide accumulator cut to 32767."""
    import onnxruntime as ort

    rows, depth, columns = 4, 64, 16
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, depth])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])
    weights = numpy_helper.from_array(np.full((depth, columns), 127, np.int8), "w")
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "probe", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.full((rows, depth), 255, np.uint8)})
    return bool((result != 255 * 127 * depth).any())


def unsign(model: ModelProto) -> None:
    """Signed 8-bit weights as unsigned ones: 128 more, like their zero points.  The products are the same, and those of
    two unsigned bytes saturate nowhere."""
    for graph in graphs(model.graph):
        held = {t.name: t for t in graph.initializer}
        fresh: dict[str, TensorProto] = {}
        for node in graph.node:
            for operand, zero in WEIGHTS.get(node.op_type, ()):
                weights = held.get(node.input[operand]) if operand < len(node.input) else None
                given = node.input[zero] if zero < len(node.input) else ""
                if weights is None or weights.data_type != TensorProto.INT8 or (given and given not in held):
                    continue
                node.input.extend([""] * (zero + 1 - len(node.input)))
                node.input[operand] = _moved(fresh, weights)
                node.input[zero] = _moved(fresh, held[given]) if given else _moved(fresh, _zero())
        graph.initializer.extend(fresh.values())


def _zero() -> TensorProto:
    return numpy_helper.from_array(np.zeros((), np.int8), "onnx2tf.zero")


def _moved(fresh: dict[str, TensorProto], tensor: TensorProto) -> str:
    name = f"{tensor.name}.unsigned"
    if name not in fresh:
        moved = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
        fresh[name] = numpy_helper.from_array(moved, name)
    return name


# ----------------------------------------------------------------------------------------------- refused forms


def restate(model: ModelProto) -> bool:
    """Put nodes that ONNX Runtime refuses into forms that it runs, by ONNX's definitions; True where there are any."""
    changed = False
    shapes = _shapes(model)
    for graph in graphs(model.graph):
        nodes: list[NodeProto] = []
        for node in graph.node:
            rule = RULES.get(node.op_type)
            made = rule(node, shapes) if rule else None
            changed |= made is not None
            nodes += [node] if made is None else made
        if changed:
            del graph.node[:]
            graph.node.extend(nodes)
    return changed


def _shapes(model: ModelProto) -> dict[str, list[int | None]]:
    done = onnx.shape_inference.infer_shapes(model)
    infos = [*done.graph.input, *done.graph.value_info, *done.graph.output]
    found = {i.name: [d.dim_value or None for d in i.type.tensor_type.shape.dim] for i in infos}
    return found | {t.name: list(t.dims) for t in model.graph.initializer}


Shapes = dict[str, list[int | None]]


def _convolution(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``auto_pad`` beside dilations: the pads that it stands for, half of what is missing on either side."""
    auto, dilations = _attribute(node, "auto_pad", b"NOTSET"), _attribute(node, "dilations", [])
    x, w = shapes.get(node.input[0]), shapes.get(node.input[1])
    if not auto.startswith(b"SAME") or max(dilations, default=1) == 1 or not x or not w or None in x[2:]:
        return None
    strides = _attribute(node, "strides", [1] * len(dilations))
    begins, ends = [], []
    for extent, kernel, stride, dilation in zip(x[2:], w[2:], strides, dilations, strict=True):
        assert extent is not None and kernel is not None
        total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
        begins.append((total + (auto == b"SAME_LOWER")) // 2)
        ends.append(total - begins[-1])
    return [_changed(node, {"auto_pad"}, pads=[*begins, *ends])]


def _transposed(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``output_padding``: the whole result without pads, zeros behind it, the pads cut off, and then the bias."""
    extra = _attribute(node, "output_padding", [])
    if not any(extra) or _attribute(node, "output_shape") or _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return None
    rank, name = len(extra), node.output[0]
    pads = _attribute(node, "pads", [0] * 2 * rank)
    whole = _changed(node, {"output_padding", "pads"}, pads=[0] * 2 * rank)
    del whole.input[2:]
    whole.output[0] = f"{name}/whole"
    bias = node.input[2] if len(node.input) > 2 else ""
    cut = f"{name}/cut" if bias else name
    ends = [np.iinfo(np.int64).max if not p else -p for p in pads[rank:]]
    steps = [
        _constant(f"{name}/more", [0] * (rank + 4) + list(extra)),
        helper.make_node("Pad", [f"{name}/whole", f"{name}/more"], [f"{name}/padded"]),
        *(
            _constant(f"{name}/{k}", v)
            for k, v in (("begins", pads[:rank]), ("ends", ends), ("axes", range(2, rank + 2)))
        ),
        helper.make_node("Slice", [f"{name}/{k}" for k in ("padded", "begins", "ends", "axes")], [cut]),
    ]
    if bias:
        steps.append(_constant(f"{name}/channels", [1, -1] + [1] * rank))
        steps.append(helper.make_node("Reshape", [bias, f"{name}/channels"], [f"{name}/bias"]))
        steps.append(helper.make_node("Add", [cut, f"{name}/bias"], [name]))
    return [whole, *steps]


def _attention(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """Query, key and value packed in one tensor of five axes [batch, time, heads, 2 or 3, size]: taken apart."""
    given = [n for n in node.input[:3] if n]
    rank = len(shapes.get(given[-1], ()))
    if node.domain != "com.microsoft" or rank != 5 or len(given) > 2:
        return None
    packed, name, pieces = given[-1], node.output[0], 4 - len(given)
    steps = [_constant(f"{name}/flat", [0, 0, -1])]
    parts = []
    for number in range(pieces):
        piece, part = f"{name}/piece{number}", f"{name}/part{number}"
        steps.append(_constant(f"{name}/{number}", number))
        steps.append(helper.make_node("Gather", [packed, f"{name}/{number}"], [piece], axis=3))
        steps.append(helper.make_node("Reshape", [piece, f"{name}/flat"], [part]))
        parts.append(part)
    apart = NodeProto()
    apart.CopyFrom(node)
    apart.input.extend([""] * (3 - len(apart.input)))
    apart.input[3 - pieces], apart.input[4 - pieces] = parts[0], parts[1]
    apart.input[2] = parts[-1]
    return [*steps, apart]


def _changed(node: NodeProto, without: set[str], **attributes: Any) -> NodeProto:
    """A copy with other attributes."""
    made = NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    made.attribute.extend(a for a in node.attribute if a.name not in without | set(attributes))
    made.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return made


def _constant(name: str, value: int | Sequence[int]) -> NodeProto:
    tensor = numpy_helper.from_array(np.asarray(list(value) if not isinstance(value, int) else value, np.int64), name)
    return helper.make_node("Constant", [], [name], value=tensor)


RULES: dict[str, Callable[[NodeProto, Shapes], list[NodeProto] | None]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MultiHeadAttention": _attention,
}
