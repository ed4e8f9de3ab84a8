"""Old operator forms to newer ones: what changed and when, as rules that rewrite one node.

Source: the schema history of ``onnx.defs``, every operator whose inputs, outputs, attributes, defaults or meaning
changed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from .edit import GraphEdit, arg, scalar, set_inputs, set_outputs, shape, static, title, value
from .opsets import INPUTS, Change, dims_of, rank_of, refuse, to_inputs

I64, F32 = np.int64, np.float32
#: Operators that exporters write long after they were gone: the last opset that had them.
LAST = {"Scatter": 10, "Upsample": 9}


def due(node: gs.Node, opset: int, wanted: int) -> list[tuple[int, Change]]:
    """(opset of the change, rule) of what changed in a node's form between its opset and a newer one, oldest first."""
    opset = min(opset, LAST.get(node.op, opset))
    found = [(since, rule) for since, rule in RULES.get(node.op, ()) if opset < since <= wanted]
    stale = opset < 6 <= wanted and "consumed_inputs" in node.attrs
    return [(6, _drop("consumed_inputs")), *found] if stale else found


def upgrade(e: GraphEdit, node: gs.Node, opset: int, wanted: int) -> int:
    """Bring a node, in place, to its form in a newer opset; returns the opset of the last change, 0 for none."""
    form = 0
    while steps := due(node, opset, wanted):
        form = steps[0][0]
        for rule in [rule for since, rule in steps if since == form]:
            rule(e, node, opset)
        opset = form  # the node may be another operator now, with changes of its own
    return form


def used(e: GraphEdit, tensor: gs.Tensor) -> bool:
    """Does anybody read the tensor?"""
    return bool(tensor.name and (len(tensor.outputs) or id(tensor) in e.outputs))


# -- rules that are one line of a table ---------------------------------------------------------------------------
def _drop(*attrs: str) -> Change:
    """Attributes that have no meaning any more."""
    return lambda e, node, opset: [a for a in attrs if node.attrs.pop(a, None) is not None]


def _default(attr: str, wanted: object) -> Change:
    """The default was another one: write it out."""
    return lambda e, node, opset: node.attrs.setdefault(attr, wanted)


def _renamed(attr: str, to: dict[str, str]) -> Change:
    """A value of a string attribute is called differently now."""

    def rule(e: GraphEdit, node: gs.Node, opset: int) -> None:
        node.attrs.update({attr: to[old]} if (old := node.attrs.get(attr)) in to else {})

    return rule


def _whole(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """LpPool-1, GlobalLpPool-1: p was a float."""
    p = node.attrs.get("p", 2)
    if int(p) != p:
        refuse(node, f"p={p}: only whole numbers have a newer form")
    node.attrs["p"] = int(p)


# -- rules of one operator ------------------------------------------------------------------------------------------
def _broadcast(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Add, And, ... below 7: B stands at `axis` of A. Numpy's rule wants trailing ones for that."""
    broadcast, axis = (node.attrs.pop(a, None) for a in ("broadcast", "axis"))
    if broadcast and axis is not None:
        a, b = dims_of(node), dims_of(node, 1)
        _trailing(e, node, len(a) - axis % len(a) - len(b))


def _trailing(e: GraphEdit, node: gs.Node, count: int) -> None:
    """Give input 1 `count` more dimensions of size 1 behind the others."""
    source = node.inputs[1]
    if count > 0 and static(source) not in ((), (1,)):
        axes = e.i64(range(rank_of(node, 1), rank_of(node, 1) + count), f"{source.name}/axes")
        set_inputs(node, [node.inputs[0], e.add("Unsqueeze", [source, axes], node)])


def _prelu(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """PRelu below 7: a slope of shape [C] belongs to axis 1."""
    if rank_of(node, 1) == 1:
        _trailing(e, node, rank_of(node) - 2)


def _softmax(e: GraphEdit, node: gs.Node, opset: int) -> None:
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


def _scales(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Upsample-1: two attributes, of a 4-D image."""
    node.attrs["scales"] = [1.0, 1.0, node.attrs.pop("height_scale"), node.attrs.pop("width_scale")]


def _resize(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Upsample-1..9 and Resize-10: asymmetric; nearest takes the floor, and where it shrinks the ceiling.

    The ceiling is ONNX Runtime's reading of Resize-10 and that of ONNX's own test for it (the standard is silent).
    """
    x, scales = node.inputs
    mode = {"bilinear": "linear"}.get(node.attrs.get("mode", "nearest"), node.attrs.get("mode", "nearest"))
    attrs = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
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


def _split(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Split below 18: equal parts are asked for by number."""
    if arg(node, 1) is None:
        node.attrs["num_outputs"] = len(node.outputs)


def _slice(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Slice-1: no axes means the first ones."""
    node.attrs.setdefault("axes", list(range(len(node.attrs["starts"]))))


def _spatial(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """BatchNormalization below 9: spatial=0, parameters for each place of a channel, is plain arithmetic."""
    if node.attrs.pop("spatial", 1) or any(used(e, t) for t in node.outputs[1:]):
        return
    x, scale, bias, mean, var = node.inputs
    set_outputs(node, node.outputs[:1])
    eps = e.const(np.asarray(node.attrs.get("epsilon", 1e-5), x.dtype or F32), f"{var.name}/epsilon")
    spread = e.add("Sqrt", [e.add("Add", [var, eps], node)], node)
    normal = e.add("Div", [e.add("Sub", [x, mean], node), spread], node)
    e.become(node, "Add", [e.add("Mul", [normal, scale], node), bias])


def _statistics(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """BatchNormalization below 14: statistics as outputs mean training."""
    wanted = [used(e, t) for t in node.outputs]
    if any(wanted[3:]):
        refuse(node, "the outputs saved_mean and saved_var have no newer form")
    if any(wanted[1:]):
        node.attrs["training_mode"] = 1
    set_outputs(node, node.outputs[: 3 if any(wanted[1:]) else 1])


def _groupnorm(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """GroupNormalization-18: scale and bias per group; from 21 on per channel."""
    channels, groups = dims_of(node)[1], node.attrs["num_groups"]
    if not isinstance(channels, int):
        refuse(node, "the number of channels is unknown", "give the input's shape")
    group = e.i64(np.arange(groups).repeat(channels // groups), f"{node.outputs[0].name}/group")
    set_inputs(node, [node.inputs[0], *(e.add("Gather", [t, group], node) for t in node.inputs[1:])])


def _tile(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Tile-1: a number of copies along one axis."""
    copies, axis = (scalar(t) for t in node.inputs[1:])
    if copies is None or axis is None:
        refuse(node, "tiles and axis of Tile-1 must be constants")
    repeats = np.ones(rank_of(node), I64)
    repeats[int(axis)] = int(copies)
    set_inputs(node, [node.inputs[0], e.i64(repeats, f"{node.outputs[0].name}/repeats")])


def _cast(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Cast-1: the type by name."""
    node.attrs["to"] = TensorProto.DataType.Value(str(node.attrs["to"]).upper())


def _scan(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Scan-8: axis 0 of everything is the batch, axis 1 of sequences is time: a Scan over the batch of Scans."""
    if arg(node, 0) is not None:
        refuse(node, "sequence_lens have no newer form", "export the model with opset 9 or later")
    operands = node.inputs[1:]
    ins = [gs.Variable(e.name(f"{t.name}/element"), t.dtype, t.shape and list(t.shape)[1:]) for t in operands]
    outs = [gs.Variable(e.name(f"{node.name}/element"), t.dtype) for t in node.outputs]
    attrs = {"scan_input_directions" if a == "directions" else a: held for a, held in node.attrs.items()}
    inner = gs.Node("Scan", e.name(f"{title(node)}/each"), attrs)
    set_inputs(inner, ins)
    set_outputs(inner, outs)
    each = gs.Graph([inner], ins, outs, opset=opset, import_domains=e.graph.import_domains)
    e.become(node, "Scan", operands, body=each, num_scan_inputs=len(operands))


def _upsample(e: GraphEdit, node: gs.Node, opset: int) -> None:
    """Upsample became Resize."""
    e.become(node, "Resize", node.inputs, **node.attrs)


def _moved(op: str) -> Iterator[tuple[int, Change]]:
    if op in INPUTS:
        yield INPUTS[op][0], to_inputs


_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
#: Operators with rules that look at shapes.
NEED_SHAPES = {*_ARITHMETIC, "GroupNormalization", "Hardmax", "LogSoftmax", "PRelu", "Softmax", "Tile"}
#: operator -> (opset of the change, rule), besides those of opsets.INPUTS
_CHANGES: dict[str, list[tuple[int, Change]]] = {
    **{op: [(7, _broadcast)] for op in _ARITHMETIC},
    **{op: [(13, _softmax)] for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{op: [(7, _drop("output_sequence")), (3, _renamed("direction", {"foward": "forward"}))] for op in ("RNN", "GRU")},
    "BatchNormalization": [(7, _drop("is_test")), (9, _spatial), (14, _statistics)],
    "Cast": [(6, _cast)],
    "Concat": [(4, _default("axis", 1))],
    "Dropout": [(7, _drop("is_test"))],
    "Gemm": [(7, _drop("broadcast"))],
    "GlobalLpPool": [(2, _whole)],
    "GridSample": [(20, _renamed("mode", {"bilinear": "linear", "bicubic": "cubic"}))],
    "GroupNormalization": [(21, _groupnorm)],
    "LSTM": [(7, _drop("output_sequence"))],
    "LpPool": [(2, _whole)],
    "PRelu": [(7, _prelu)],
    "Pad": [(2, lambda e, n, o: n.attrs.update(pads=n.attrs.pop("paddings")))],
    "Resize": [(11, _resize)],
    "RoiAlign": [(16, _default("coordinate_transformation_mode", "output_half_pixel"))],
    "Scan": [(9, _scan)],
    "Scatter": [(11, lambda e, n, o: e.become(n, "ScatterElements", n.inputs, **n.attrs))],
    "Selu": [(6, _default("alpha", 1.673200011253357)), (6, _default("gamma", 1.0506999492645264))],
    "Slice": [(10, _slice)],
    "Split": [(2, _default("axis", 0)), (18, _split)],
    "Tile": [(6, _tile)],
    "Upsample": [(7, _scales), (10, _upsample)],
}
RULES: dict[str, list[tuple[int, Change]]] = {
    op: sorted([*_CHANGES.get(op, ()), *_moved(op)], key=lambda change: change[0]) for op in {**_CHANGES, **INPUTS}
}
