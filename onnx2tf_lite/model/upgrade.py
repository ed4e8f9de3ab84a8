"""Old operator forms become the newest one, so that everything after this knows one opset.

Source: the schema history of onnx.defs, every operator whose inputs, outputs, attributes, defaults or meaning changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from ..errors import ConversionError, Problem
from .edit import Edit, arg, scalar, set_inputs, set_outputs, shape, static, title, value

#: The opset whose forms the handlers know.
TARGET = 23
I64, F32 = np.int64, np.float32
#: What a rule answers if the node has to stay as it is.
KEPT = "kept"
Rule = Callable[[Edit, gs.Node, int], Any]


def due(node: gs.Node, opset: int) -> list[Rule]:
    rules = [rule for below, rule in RULES.get(node.op, ()) if opset < below]
    stale = opset < 6 and "consumed_inputs" in node.attrs
    return [_drop("consumed_inputs"), *rules] if stale else rules


def _refuse(node: gs.Node, what: str, remedy: str = "") -> NoReturn:
    raise ConversionError(Problem(f"{node.op} '{title(node)}'", what, remedy))


def _dims(node: gs.Node, index: int = 0) -> tuple:
    """The shape of an input, whose rank this old form cannot be understood without."""
    found = shape(node.inputs[index])
    if found is None:
        _refuse(node, f"the old form needs the rank of '{node.inputs[index].name}', which is unknown", "give its shape")
    return found


def _used(e: Edit, tensor: gs.Tensor) -> bool:
    return bool(tensor.name and (len(tensor.outputs) or id(tensor) in e.outputs))


# -- rules that are one line of a table ---------------------------------------------------------------------------
def _drop(*attrs: str) -> Rule:
    """Attributes that have no meaning any more."""
    return lambda e, node, opset: [a for a in attrs if node.attrs.pop(a, None) is not None]


def _default(attr: str, wanted: Any) -> Rule:
    """The default was another one: write it out."""
    return lambda e, node, opset: node.attrs.setdefault(attr, wanted)


def _renamed(attr: str, to: dict[str, str]) -> Rule:
    """A value of a string attribute is called differently now."""

    def rule(e: Edit, node: gs.Node, opset: int) -> None:
        node.attrs.update({attr: to[old]} if (old := node.attrs.get(attr)) in to else {})

    return rule


def _input(attr: str, slot: int, dtype: Any = I64, default: Any = None, rank: int = 1) -> Rule:
    """The attribute became an input (dtype None: of the type of input 0)."""

    def rule(e: Edit, node: gs.Node, opset: int) -> None:
        held = node.attrs.pop(attr, default)
        if held is not None and arg(node, slot) is None:
            array = np.asarray(held, dtype or node.inputs[0].dtype or F32).reshape((-1,) * rank)
            filled = [*node.inputs, *(gs.Variable.empty() for _ in range(slot + 1 - len(node.inputs)))]
            filled[slot] = e.const(array, f"{node.outputs[0].name}/{attr}")
            set_inputs(node, filled)

    return rule


def _whole(e: Edit, node: gs.Node, opset: int) -> None:
    """LpPool-1, GlobalLpPool-1: p was a float."""
    p = node.attrs.get("p", 2)
    if int(p) != p:
        _refuse(node, f"p={p}: only whole numbers have a newer form")
    node.attrs["p"] = int(p)


# -- rules of one operator ------------------------------------------------------------------------------------------
def _broadcast(e: Edit, node: gs.Node, opset: int) -> None:
    """Add, And, ... below 7: B stands at `axis` of A. Numpy's rule wants trailing ones for that."""
    broadcast, axis = (node.attrs.pop(a, None) for a in ("broadcast", "axis"))
    if broadcast and axis is not None:
        a, b = _dims(node), _dims(node, 1)
        _trailing(e, node, len(a) - axis % len(a) - len(b))


def _trailing(e: Edit, node: gs.Node, count: int) -> None:
    """Give input 1 `count` more dimensions of size 1 behind the others."""
    source = node.inputs[1]
    if count > 0 and static(source) not in ((), (1,)):
        axes = e.i64(range(-count, 0), f"{source.name}/axes")
        set_inputs(node, [node.inputs[0], e.add("Unsqueeze", [source, axes], node)])


def _prelu(e: Edit, node: gs.Node, opset: int) -> None:
    """PRelu below 7: a slope of shape [C] belongs to axis 1."""
    if len(_dims(node, 1)) == 1:
        _trailing(e, node, len(_dims(node)) - 2)


def _softmax(e: Edit, node: gs.Node, opset: int) -> None:
    """Softmax, LogSoftmax, Hardmax below 13: over all axes from `axis` (default 1) on, as if flattened to 2-D."""
    axis = node.attrs.get("axis", 1)
    x, y = node.inputs[0], node.outputs[0]
    dims = shape(x)
    if dims is not None:
        axis += len(dims) if axis < 0 else 0
        wide = [i for i in range(axis, len(dims)) if dims[i] != 1]
        if len(wide) <= 1:  # one axis is all there is
            node.attrs["axis"] = wide[0] if wide else len(dims) - 1
            return
    result = gs.Variable(e.name(f"{y.name}/flat"), y.dtype)
    set_inputs(node, [e.add("Flatten", [x], node, axis=axis)])
    set_outputs(node, [result])
    node.attrs["axis"] = -1
    e.add("Reshape", [result, e.add("Shape", [x], node)], node, result=y, after=True)


def _scales(e: Edit, node: gs.Node, opset: int) -> None:
    """Upsample-1: two attributes, of a 4-D image."""
    node.attrs["scales"] = [1.0, 1.0, node.attrs.pop("height_scale"), node.attrs.pop("width_scale")]


def _resize(e: Edit, node: gs.Node, opset: int) -> None:
    """Upsample-1..9 and Resize-10: asymmetric; nearest takes the floor, and where it shrinks the ceiling.

    The ceiling is ONNX Runtime's reading of Resize-10 and that of ONNX's own test for it (the standard is silent).
    """
    x, scales = node.inputs
    mode = {"bilinear": "linear"}.get(node.attrs.get("mode", "nearest"), node.attrs.get("mode", "nearest"))
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    factors = value(scales)
    if mode == "nearest":
        attrs["nearest_mode"] = "floor"
        if factors is not None and (factors < 1).any():
            attrs["nearest_mode"] = "ceil"
            if (factors > 1).any():  # the axes are independent: first those that grow, then those that shrink
                grow = e.const(np.maximum(factors, 1), f"{scales.name}/up", F32)
                none = gs.Variable.empty()
                x = e.add("Resize", [x, none, grow], node, **{**attrs, "nearest_mode": "floor"})
                scales = e.const(np.minimum(factors, 1), f"{scales.name}/down", F32)
    e.become(node, "Resize", [x, gs.Variable.empty(), scales], **attrs)


def _split(e: Edit, node: gs.Node, opset: int) -> None:
    """Split below 18: equal parts are asked for by number."""
    if arg(node, 1) is None:
        node.attrs["num_outputs"] = len(node.outputs)


def _slice(e: Edit, node: gs.Node, opset: int) -> None:
    """Slice-1: no axes means the first ones."""
    node.attrs.setdefault("axes", list(range(len(node.attrs["starts"]))))


def _dropout(e: Edit, node: gs.Node, opset: int) -> str | None:
    """Dropout is the identity at inference, its mask all true; training_mode (12) that is, or may be, true stays."""
    training = arg(node, 2)
    if training is not None and scalar(training) != 0:
        return KEPT
    x = node.inputs[0]
    masks = [t for t in node.outputs[1:] if _used(e, t)]
    set_outputs(node, node.outputs[:1])
    for mask in masks:
        one = gs.Constant("one", np.ones(1, bool if opset >= 10 else mask.dtype or x.dtype or F32))
        e.add("ConstantOfShape", [e.add("Shape", [x], node)], node, value=one, result=mask)
    e.become(node, "Identity", [x])
    return None


def _batchnorm(e: Edit, node: gs.Node, opset: int) -> None:
    """BatchNormalization below 14: statistics as outputs mean training; spatial=0 (below 9) is plain arithmetic."""
    old = [node.attrs.pop(a, None) for a in ("is_test", "spatial")]
    used = [_used(e, t) for t in node.outputs]
    if any(used[1:]):
        if any(used[3:]):
            _refuse(node, "the outputs saved_mean and saved_var have no newer form")
        node.attrs["training_mode"] = 1
        set_outputs(node, node.outputs[:3])
        return
    set_outputs(node, node.outputs[:1])
    if old[1] == 0 and opset < 9:
        x, scale, bias, mean, var = node.inputs
        eps = e.const(np.asarray(node.attrs.get("epsilon", 1e-5), x.dtype or F32), f"{var.name}/epsilon")
        spread = e.add("Sqrt", [e.add("Add", [var, eps], node)], node)
        normal = e.add("Div", [e.add("Sub", [x, mean], node), spread], node)
        e.become(node, "Add", [e.add("Mul", [normal, scale], node), bias])


def _groupnorm(e: Edit, node: gs.Node, opset: int) -> None:
    """GroupNormalization-18: scale and bias per group; from 21 on per channel."""
    channels, groups = _dims(node)[1], node.attrs["num_groups"]
    if not isinstance(channels, int):
        _refuse(node, "the number of channels is unknown", "give the input's shape")
    group = e.i64(np.arange(groups).repeat(channels // groups), f"{node.outputs[0].name}/group")
    set_inputs(node, [node.inputs[0], *(e.add("Gather", [t, group], node) for t in node.inputs[1:])])


def _tile(e: Edit, node: gs.Node, opset: int) -> None:
    """Tile-1: a number of copies along one axis."""
    copies, axis = (scalar(t) for t in node.inputs[1:])
    if copies is None or axis is None:
        _refuse(node, "tiles and axis of Tile-1 must be constants")
    repeats = np.ones(len(_dims(node)), I64)
    repeats[int(axis)] = int(copies)
    set_inputs(node, [node.inputs[0], e.i64(repeats, f"{node.outputs[0].name}/repeats")])


def _cast(e: Edit, node: gs.Node, opset: int) -> None:
    """Cast-1: the type by name."""
    node.attrs["to"] = TensorProto.DataType.Value(str(node.attrs["to"]).upper())


def _scan(e: Edit, node: gs.Node, opset: int) -> None:
    """Scan-8: axis 0 of everything is the batch, axis 1 of sequences is time: a Scan over the batch of Scans."""
    if arg(node, 0) is not None:
        _refuse(node, "sequence_lens have no newer form", "export the model with opset 9 or later")
    operands = node.inputs[1:]
    ins = [gs.Variable(e.name(f"{t.name}/element"), t.dtype, t.shape and list(t.shape)[1:]) for t in operands]
    outs = [gs.Variable(e.name(f"{node.name}/element"), t.dtype) for t in node.outputs]
    attrs = {"scan_input_directions" if a == "directions" else a: held for a, held in node.attrs.items()}
    inner = gs.Node("Scan", e.name(f"{title(node)}/each"), attrs)
    set_inputs(inner, ins)
    set_outputs(inner, outs)
    each = gs.Graph([inner], ins, outs, opset=opset, import_domains=e.graph.import_domains)
    e.become(node, "Scan", operands, body=each, num_scan_inputs=len(operands))


_REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
_NEWEST = 1 << 30

#: operator -> (below this version, rule), in the order in which they apply
RULES: dict[str, list[tuple[int, Rule]]] = {
    **{op: [(7, _broadcast)] for op in _ARITHMETIC},
    **{op: [(13, _softmax)] for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"Reduce{r}": [(13 if r == "Sum" else 18, _input("axes", 1))] for r in _REDUCE},
    **{op: [(7, _drop("output_sequence")), (3, _renamed("direction", {"foward": "forward"}))] for op in ("RNN", "GRU")},
    "BatchNormalization": [(14, _batchnorm)],
    "Cast": [(6, _cast)],
    "Clip": [(11, _input("min", 1, None, rank=0)), (11, _input("max", 2, None, rank=0))],
    "Concat": [(4, _default("axis", 1))],
    "DFT": [(20, _input("axis", 2, default=1, rank=0))],
    "Dropout": [(_NEWEST, _dropout)],
    "Gemm": [(7, _drop("broadcast"))],
    "GlobalLpPool": [(2, _whole)],
    "GridSample": [(20, _renamed("mode", {"bilinear": "linear", "bicubic": "cubic"}))],
    "GroupNormalization": [(21, _groupnorm)],
    "LSTM": [(7, _drop("output_sequence"))],
    "LpPool": [(2, _whole)],
    "PRelu": [(7, _prelu)],
    "Pad": [
        (2, lambda e, n, o: n.attrs.update(pads=n.attrs.pop("paddings"))),
        (11, _input("pads", 1)),
        (11, _input("value", 2, None, default=0.0, rank=0)),
    ],
    "Reshape": [(5, _input("shape", 1))],
    "Resize": [(11, _resize)],
    "RoiAlign": [(16, _default("coordinate_transformation_mode", "output_half_pixel"))],
    "Scan": [(9, _scan)],
    "Scatter": [(_NEWEST, lambda e, n, o: e.become(n, "ScatterElements", n.inputs, **n.attrs))],
    "Selu": [(6, _default("alpha", 1.673200011253357)), (6, _default("gamma", 1.0506999492645264))],
    "Slice": [(10, _slice), (10, _input("starts", 1)), (10, _input("ends", 2)), (10, _input("axes", 3))],
    "Split": [(13, _input("split", 1)), (18, _split), (2, _default("axis", 0))],
    "Squeeze": [(13, _input("axes", 1))],
    "Tile": [(6, _tile)],
    "TopK": [(10, _input("k", 1))],
    "Unsqueeze": [(13, _input("axes", 1))],
    "Upsample": [(7, _scales), (9, _input("scales", 1, F32)), (_NEWEST, _resize)],
}
NEED_SHAPES = {*_ARITHMETIC, "GroupNormalization", "Hardmax", "LogSoftmax", "PRelu", "Softmax", "Tile"}
