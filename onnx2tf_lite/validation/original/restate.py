"""Nodes that ONNX Runtime refuses, or gives something no file can, in other words: the same by ONNX's definitions.

Every function changes the message that it is given, or makes nodes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ...errors import ToolError
from ...model.inference import infer_shapes
from . import definitions
from .definitions import LABELS, TYPES, Shapes, spelled
from .known_errors import counts_behind
from .nodes import attribute, changed, graphs
from .tidy import tidy


def restate(model: ModelProto, without: frozenset[str] = frozenset()) -> None:
    """Put a model that ONNX Runtime refuses into words that it takes: without what means nothing, and with such nodes
    in forms that it runs, by ONNX's definitions, but for operators ``without`` another form."""
    shapes = _shapes(model)  # before what it declares is gone
    tidy(model)
    for graph in graphs(model.graph):
        nodes, restated = list[NodeProto](), False
        for node in graph.node:
            rule = None if node.op_type in without else RULES.get(node.op_type)
            made = rule(node, shapes) if rule else None
            restated |= made is not None
            for end in model.graph.output if made is not None and node.op_type in TYPES else ():
                if end.name == node.output[0]:
                    end.type.CopyFrom(helper.make_tensor_type_proto(TYPES[node.op_type], None))
            nodes += [node] if made is None else made
        if restated:
            del graph.node[:]
            graph.node.extend(nodes)


def always(nodes: Iterable[gs.Node]) -> list[str]:
    """What the report says of those operators that are restated whether ONNX Runtime refuses them or not."""
    told = [(n, ALWAYS[n.op][1]) for n in nodes if n.op in ALWAYS and ALWAYS[n.op][0](n)]
    found = [words.format(result=n.outputs[0].name, classes=_classes(n)) for n, words in told]
    return list(dict.fromkeys(found))


def _shapes(model: ModelProto) -> dict[str, list[int | None]]:
    try:
        done = infer_shapes(model, data=False)
    except ToolError:  # the model contradicts itself: what it declares has to do
        done = model
    infos = [*done.graph.input, *done.graph.value_info, *done.graph.output]
    found = {i.name: [d.dim_value or None for d in i.type.tensor_type.shape.dim] for i in infos}
    return found | {t.name: list(t.dims) for t in model.graph.initializer}


#: Pads that SAME stands for, where the extents of x are free.
SAME = """
    none = Constant<value_ints = [0]>()  one = Constant<value_ints = [1]>()  two = Constant<value_ints = [2]>()
    many = Constant<value_ints = [99]>()  strides = Constant<value_ints = {strides}>()
    holes = Constant<value_ints = {dilations}>()
    shape = Shape(x)  extents = Slice(shape, two, many)  weights = Shape(w)  kernel = Slice(weights, two, many)
    more = Sub(strides, one)  up = Add(extents, more)  count = Div(up, strides)  steps = Sub(count, one)
    way = Mul(steps, strides)  taps = Sub(kernel, one)  reach = Mul(taps, holes)  window = Add(reach, one)
    end = Add(way, window)  lack = Sub(end, extents)  total = Max(lack, none)
    less = Div(total, two)  rest = Sub(total, less)
    pads = Concat<axis = 0>(none, none, {begins}, none, none, {ends})  padded = Pad(x, pads)
"""


def _convolution(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``auto_pad`` beside dilations: the pads that it stands for, half of what is missing on either side."""
    auto, dilations = attribute(node, "auto_pad", b"NOTSET"), attribute(node, "dilations", [])
    if not auto.startswith(b"SAME") or max(dilations, default=1) == 1:
        return None
    x, w, lower = shapes.get(node.input[0]), shapes.get(node.input[1]), auto == b"SAME_LOWER"
    strides = attribute(node, "strides", [1] * len(dilations))
    if not x or not w or None in [*x[2:], *w[2:]]:
        words = {"begins": "rest", "ends": "less"} if lower else {"begins": "less", "ends": "rest"}
        ends = {"x": node.input[0], "w": node.input[1]}
        steps = spelled(SAME.format(strides=list(strides), dilations=list(dilations), **words), ends, node.output[0])
        plain = changed(node, {"auto_pad"})
        plain.input[0] = f"{node.output[0]}/padded"
        return [*steps, plain]
    begins, pads = [], []
    for extent, kernel, stride, dilation in zip(x[2:], w[2:], strides, dilations, strict=True):
        assert extent is not None and kernel is not None
        total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
        begins.append((total + lower) // 2)
        pads.append(total - begins[-1])
    return [changed(node, {"auto_pad"}, pads=[*begins, *pads])]


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
    rank = len(shapes.get(given[-1], ()))  # 0 where nobody says
    if node.domain != "com.microsoft" or rank not in (0, 5) or len(given) > 2:
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


def _average(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """``ceil_mode`` that counts pads: zeros for these, and then only what is there counts."""
    pads = attribute(node, "pads", [])
    if not attribute(node, "ceil_mode") or not attribute(node, "count_include_pad") or not counts_behind():
        return None
    plain = changed(node, {"pads", "count_include_pad"})
    if not any(pads):
        return [plain]
    name, half = node.output[0], len(pads) // 2
    plain.input[0] = f"{name}/padded"
    steps = [_constant(f"{name}/pads", [0, 0, *pads[:half], 0, 0, *pads[half:]])]
    return [*steps, helper.make_node("Pad", [node.input[0], f"{name}/pads"], [f"{name}/padded"]), plain]


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


def _constant(name: str, value: int | Sequence[int]) -> NodeProto:
    tensor = numpy_helper.from_array(np.asarray(list(value) if not isinstance(value, int) else value, np.int64), name)
    return helper.make_node("Constant", [], [name], value=tensor)


RULES: dict[str, Callable[[NodeProto, Shapes], list[NodeProto] | None]] = {
    "AveragePool": _average,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MultiHeadAttention": _attention,
    "MaxUnpool": _unpool,
    **definitions.RULES,
}


def _any_form(node: gs.Node) -> bool:
    return True


def _same_with_holes(node: gs.Node) -> bool:
    return "SAME" in node.attrs.get("auto_pad", "") and max(node.attrs.get("dilations") or [1]) > 1


def _counted_behind(node: gs.Node) -> bool:
    return bool(node.attrs.get("ceil_mode") and node.attrs.get("count_include_pad")) and counts_behind()


def _packed(node: gs.Node) -> bool:
    return node.domain == "com.microsoft" and len([t for t in node.inputs[:3] if t.name]) < 3


def _named(node: gs.Node) -> bool:
    return bool(node.attrs.get("classlabels_strings"))


def _classes(node: gs.Node) -> str:
    """The labels of a classifier or ZipMap, the first ones of many."""
    labels = node.attrs.get("classlabels_strings") or node.attrs.get("classlabels_int64s") or []
    return ", ".join(map(str, labels[:CLASSES])) + (", ..." if len(labels) > CLASSES else "")


CLASSES = 100  # that are told by name
#: Operators whose operands ONNX Runtime rounds to integers inside, and files do not: restated, but not all the time.
INSIDE = frozenset({"DynamicQuantizeLSTM"})
#: Operators that are always restated: which of them, and what the report says of that.
ALWAYS: dict[str, tuple[Callable[[gs.Node], bool], str]] = {
    "AveragePool": (
        _counted_behind,
        "this ONNX Runtime's AveragePool with ceil_mode counts places behind the pads: compared with that of zeros for "
        "the pads",
    ),
    "Conv": (
        _same_with_holes,
        "ONNX Runtime refuses a Conv with auto_pad and dilations: compared with that of the pads that auto_pad means",
    ),
    "MultiHeadAttention": (
        _packed,
        "ONNX Runtime's CPU kernel refuses a MultiHeadAttention of packed keys and values: compared with that of the "
        "parts",
    ),
    "DynamicQuantizeLSTM": (
        _any_form,
        "'{result}' is of a dynamically quantised layer: ONNX Runtime's DynamicQuantizeLSTM stores input and hidden "
        "state in 8 bits, in other steps for another number of threads; the files have them in float, which is more "
        "exact. Layers are compared with the LSTM of its weights, and outputs with ONNX Runtime's own as well, as "
        "those of a quantised model",
    ),
    "GroupQueryAttention": (
        _any_form,
        "GroupQueryAttention specifies no results of padding behind a prompt: compared as 0",
    ),
    "MatMulNBits": (
        lambda node: len(node.inputs) > 4 and bool(node.inputs[4].name),
        "ONNX Runtime's MatMulNBits with g_idx forgets packed zero points, and has no weights of 8 bits: compared with "
        "the product of the real weights",
    ),
    "MaxUnpool": (
        lambda node: len(node.inputs) > 2,
        "ONNX Runtime takes the places of a MaxUnpool for ones in its output_shape, ONNX's own tests for ones in the "
        "result without it: compared with the latter",
    ),
    "ZipMap": (
        _any_form,
        "ZipMap makes maps of scores, which no file has: '{result}' has the scores themselves, in columns {classes}",
    ),
    **dict.fromkeys(
        LABELS,
        (_named, "labels are text, which no file has: '{result}' has the numbers of the classes from 0, {classes}"),
    ),
}
