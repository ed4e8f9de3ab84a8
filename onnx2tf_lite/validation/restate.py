"""Nodes that ONNX Runtime refuses, or gives something no file can, in other words: the same by ONNX's definitions.

Every function changes the message that it is given, or makes nodes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..errors import ToolError
from ..model.inference import infer_shapes


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
            for end in model.graph.output if node.op_type == "ZipMap" else ():
                if end.name in node.output:  # the scores, instead of maps
                    end.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
            nodes += [node] if made is None else made
        if changed:
            del graph.node[:]
            graph.node.extend(nodes)
    return changed


def always(nodes: Iterable[gs.Node]) -> list[str]:
    """What the report says of those operators that are restated whether ONNX Runtime refuses them or not."""
    found = [ALWAYS[n.op][1] for n in nodes if n.op in ALWAYS and len(n.inputs) >= ALWAYS[n.op][0]]
    return list(dict.fromkeys(found))


def _shapes(model: ModelProto) -> dict[str, list[int | None]]:
    try:
        done = infer_shapes(model, data=False)
    except ToolError:  # the model contradicts itself: what it declares has to do
        done = model
    infos = [*done.graph.input, *done.graph.value_info, *done.graph.output]
    found = {i.name: [d.dim_value or None for d in i.type.tensor_type.shape.dim] for i in infos}
    return found | {t.name: list(t.dims) for t in model.graph.initializer}


Shapes = dict[str, list[int | None]]


def _convolution(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``auto_pad`` beside dilations: the pads that it stands for, half of what is missing on either side."""
    auto, dilations = attribute(node, "auto_pad", b"NOTSET"), attribute(node, "dilations", [])
    x, w = shapes.get(node.input[0]), shapes.get(node.input[1])
    if not auto.startswith(b"SAME") or max(dilations, default=1) == 1 or not x or not w or None in x[2:]:
        return None
    strides = attribute(node, "strides", [1] * len(dilations))
    begins, ends = [], []
    for extent, kernel, stride, dilation in zip(x[2:], w[2:], strides, dilations, strict=True):
        assert extent is not None and kernel is not None
        total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
        begins.append((total + (auto == b"SAME_LOWER")) // 2)
        ends.append(total - begins[-1])
    return [changed(node, {"auto_pad"}, pads=[*begins, *ends])]


def _transposed(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``output_padding``: the whole result without pads, zeros behind it, the pads cut off, and then the bias."""
    extra = attribute(node, "output_padding", [])
    if not any(extra) or attribute(node, "output_shape") or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return None
    rank, name = len(extra), node.output[0]
    pads = attribute(node, "pads", [0] * 2 * rank)
    whole = changed(node, {"output_padding", "pads"}, pads=[0] * 2 * rank)
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


def _lstm(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    """DynamicQuantizeLSTM: LSTM of the real numbers that its weights [D,I,4*H] stand for."""
    name = next(n for n in node.output if n)
    steps, inputs = [_constant(f"{name}/spread", [0, 1, -1])], list(node.input)
    for place, scale in ((1, 8), (2, 10)):
        stem = f"{name}/{place}"
        for part, source in (("scale", inputs[scale]), ("zero", inputs[scale + 1])):
            steps.append(helper.make_node("Reshape", [source, f"{name}/spread"], [f"{stem}/{part}"]))
        for source, part in ((inputs[place], "stored"), (f"{stem}/zero", "middle")):
            steps.append(helper.make_node("Cast", [source], [f"{stem}/{part}"], to=TensorProto.FLOAT))
        steps += [
            helper.make_node("Sub", [f"{stem}/stored", f"{stem}/middle"], [f"{stem}/whole"]),
            helper.make_node("Mul", [f"{stem}/whole", f"{stem}/scale"], [f"{stem}/columns"]),
            helper.make_node("Transpose", [f"{stem}/columns"], [f"{stem}/real"], perm=[0, 2, 1]),
        ]
        inputs[place] = f"{stem}/real"
    plain = changed(node, set())
    plain.op_type, plain.domain = "LSTM", ""
    del plain.input[:]
    plain.input.extend(inputs[:8])
    return [*steps, plain]


#: QONNX's Quant, (clip(round(x / scale + zero)) - zero) * scale, as lines of operator, operands, result.
RANGE = {
    1: "Sub bits one rest; Pow two rest size; Neg size least; Add least narrow low; Sub size one high",
    0: "Sub one one low; Pow two bits size; Sub size one most; Sub most narrow high",
}
ROUNDING = {b"CEIL": "Ceil sum whole", b"FLOOR": "Floor sum whole",
            b"ROUND_TO_ZERO": "Sign sum side; Abs sum far; Floor far part; Mul side part whole"}  # fmt: skip
AROUND = (
    "Div x scale steps; Add steps zero sum; {}; Max whole low above; Min above high held; Sub held zero from; "
    "Mul from scale y"
)


def _quant(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    ends = [str(name) for name in (*node.input, node.output[0])]
    names = dict(zip(("x", "scale", "zero", "bits", "y"), ends, strict=True))
    numbers = {"one": 1.0, "two": 2.0, "narrow": float(attribute(node, "narrow", 0))}
    rounding = ROUNDING.get(attribute(node, "rounding_mode", b"ROUND"), "Round sum whole")
    lines = f"{RANGE[attribute(node, 'signed', 1)]}; {AROUND.format(rounding)}".split("; ")

    def named(word: str) -> str:
        return names.get(word, f"{node.output[0]}/{word}")

    steps = [helper.make_node("Constant", [], [named(word)], value_float=value) for word, value in numbers.items()]
    for operator, *operands, result in map(str.split, lines):
        steps.append(helper.make_node(operator, [named(word) for word in operands], [named(result)]))
    return steps


def _unpool(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``output_shape``: zeros behind what there is without it."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    name, plain = node.output[0], changed(node, set())
    del plain.input[2:]
    plain.output[0] = f"{name}/plain"
    return [
        plain,
        helper.make_node("Shape", [f"{name}/plain"], [f"{name}/extents"]),
        helper.make_node("Sub", [node.input[2], f"{name}/extents"], [f"{name}/behind"]),
        _constant(f"{name}/before", [0] * (2 + len(attribute(node, "kernel_shape")))),
        helper.make_node("Concat", [f"{name}/before", f"{name}/behind"], [f"{name}/pads"], axis=0),
        helper.make_node("Pad", [f"{name}/plain", f"{name}/pads"], [name]),
    ]


def _zip_map(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    return [helper.make_node("Identity", [node.input[0]], [node.output[0]])]


def changed(node: NodeProto, without: set[str], **attributes: Any) -> NodeProto:
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
    "DynamicQuantizeLSTM": _lstm,
    "Quant": _quant,
    "MaxUnpool": _unpool,
    "ZipMap": _zip_map,
}

#: Operators that are always restated, with so many operands or more, and what the report says of that.
ALWAYS = {
    "DynamicQuantizeLSTM": (
        0,
        "ONNX Runtime's DynamicQuantizeLSTM stores input and state in 8 bits, in other steps for another number of "
        "threads: compared with the LSTM of its weights",
    ),
    "MaxUnpool": (
        3,
        "ONNX Runtime takes the places of a MaxUnpool for ones in its output_shape, ONNX's own tests for ones in the "
        "result without it: compared with the latter",
    ),
    "ZipMap": (
        0,
        "ZipMap makes maps of scores, which no file has: compared with the scores themselves, column by column",
    ),
}
