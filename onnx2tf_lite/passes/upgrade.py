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
from .edit import Edit, arg, graphs, ints, scalar, set_inputs, set_outputs, shape, standard, static, value
from .manager import Pass, PassResult, plural
from .shapes import infer

#: The opset whose forms the handlers know.
TARGET = 23
I64, F32 = np.int64, np.float32
Rule = Callable[[Edit, gs.Node, int], Any]


class Upgrade(Pass):
    """Rewrite every old operator form to that of opset 23 and later."""

    name = "upgrade"

    def call(self, graph: gs.Graph) -> PassResult:
        opset = graph.opset
        due = [(g, [n for n in g.nodes if standard(n) and _due(n, opset)]) for g in graphs(graph)]
        if any(t.shape is None for _, nodes in due for n in nodes if n.op in _NEED_SHAPES for t in n.inputs if t.name):
            infer(graph)
        changed: dict[str, int] = {}
        names: set[str] | None = None
        for g, nodes in due:
            if not nodes:
                continue
            edit = Edit(g, names or Edit(graph).names)
            names = edit.names
            for node in nodes:
                before, op = edit.changes, node.op
                for rule in _due(node, opset):
                    if not edit.dead(node):
                        edit.changes += bool(rule(edit, node, opset))
                if edit.changes > before:
                    changed[op] = changed.get(op, 0) + 1
            edit.commit()
        stamp = max(opset, TARGET)
        for g in graphs(graph):
            g.opset = stamp
            g.ir_version = max(g.ir_version or 0, 10)
        notes = [f"{op} x{n}" for op, n in sorted(changed.items())]
        if notes:
            notes = [f"opset {opset} to {stamp}: {plural(sum(changed.values()), 'operator')} ({', '.join(notes)})"]
        return PassResult(graph, bool(changed) or stamp != opset, notes)


def _due(node: gs.Node, opset: int) -> list[Rule]:
    rules = [rule for below, rule in RULES.get(node.op, ()) if opset < below]
    stale = opset < 6 and "consumed_inputs" in node.attrs
    return [_drop("consumed_inputs"), *rules] if stale else rules


def _refuse(node: gs.Node, what: str, remedy: str = "") -> NoReturn:
    raise ConversionError(Problem(f"{node.op} '{node.name or node.outputs[0].name}'", what, remedy))


def _dims(node: gs.Node, index: int = 0) -> tuple:
    """The shape of an input, whose rank this old form cannot be understood without."""
    found = shape(node.inputs[index])
    if found is None:
        _refuse(node, f"the old form needs the rank of '{node.inputs[index].name}', which is unknown", "give its shape")
    return found


def _set_arg(node: gs.Node, slot: int, tensor: Any) -> None:
    filled = [*node.inputs, *(gs.Variable.empty() for _ in range(slot + 1 - len(node.inputs)))]
    filled[slot] = tensor
    set_inputs(node, filled)


# -- rules that are one line of a table ---------------------------------------------------------------------------
def _drop(*attrs: str) -> Rule:
    """Attributes that have no meaning any more."""
    return lambda e, node, opset: [a for a in attrs if node.attrs.pop(a, None) is not None]


def _default(attr: str, wanted: Any) -> Rule:
    """The default was another one: write it out."""

    def rule(e: Edit, node: gs.Node, opset: int) -> bool:
        missing = attr not in node.attrs
        node.attrs.setdefault(attr, wanted)
        return missing

    return rule


def _renamed(attr: str, to: dict[str, str]) -> Rule:
    """A value of a string attribute is called differently now."""

    def rule(e: Edit, node: gs.Node, opset: int) -> bool:
        old = node.attrs.get(attr)
        if old in to:
            node.attrs[attr] = to[old]
        return old in to

    return rule


def _input(attr: str, slot: int, dtype: Any = I64, default: Any = None, rank: int = 1) -> Rule:
    """The attribute became an input (dtype None: of the type of input 0)."""

    def rule(e: Edit, node: gs.Node, opset: int) -> bool:
        held = node.attrs.pop(attr, default)
        if held is None or arg(node, slot) is not None:
            return False
        kind = dtype or node.inputs[0].dtype or F32
        _set_arg(node, slot, e.const(np.asarray(held, kind).reshape((-1,) * rank), f"{node.outputs[0].name}/{attr}"))
        return True

    return rule


def _op(name: str) -> Rule:
    def rule(e: Edit, node: gs.Node, opset: int) -> bool:
        node.op = name
        return True

    return rule


def _whole(attr: str) -> Rule:
    """LpPool-1, GlobalLpPool-1: p was a float."""

    def rule(e: Edit, node: gs.Node, opset: int) -> bool:
        p = node.attrs.get(attr, 2)
        if int(p) != p:
            _refuse(node, f"{attr}={p}: only whole numbers have a newer form")
        node.attrs[attr] = int(p)
        return True

    return rule


# -- rules of one operator ------------------------------------------------------------------------------------------
def _broadcast(e: Edit, node: gs.Node, opset: int) -> bool:
    """Add, And, ... below 7: B stands at `axis` of A. Numpy's rule wants trailing ones for that."""
    attrs = [node.attrs.pop(a, None) for a in ("broadcast", "axis")]
    if not attrs[0] or attrs[1] is None:
        return attrs != [None, None]
    a, b = _dims(node), _dims(node, 1)
    axis = attrs[1] + len(a) if attrs[1] < 0 else attrs[1]
    _trailing(e, node, len(a) - axis - len(b))
    return True


def _trailing(e: Edit, node: gs.Node, count: int) -> None:
    """Give input 1 `count` more dimensions of size 1 behind the others."""
    source = node.inputs[1]
    if count <= 0 or static(source) in ((), (1,)):
        return
    dims = shape(source)
    axes = e.i64(list(range(len(dims or ()), len(dims or ()) + count)), f"{source.name}/axes")
    ones = e.add("Unsqueeze", [source, axes], node, like=source, shape=[*(dims or ()), *[1] * count])
    set_inputs(node, [node.inputs[0], ones])


def _prelu(e: Edit, node: gs.Node, opset: int) -> None:
    """PRelu below 7: a slope of shape [C] belongs to axis 1."""
    if len(_dims(node, 1)) == 1:
        _trailing(e, node, len(_dims(node)) - 2)


def _softmax(e: Edit, node: gs.Node, opset: int) -> bool:
    """Softmax, LogSoftmax, Hardmax below 13: over all axes from `axis` (default 1) on, as if flattened to 2-D."""
    axis = node.attrs.get("axis", 1)
    x, y = node.inputs[0], node.outputs[0]
    dims = shape(x)
    if dims is not None:
        axis += len(dims) if axis < 0 else 0
        wide = [i for i in range(axis, len(dims)) if dims[i] != 1]
        if len(wide) <= 1:  # one axis is all there is
            node.attrs["axis"] = wide[0] if wide else len(dims) - 1
            return True
    target = static(x)
    back = e.i64(target, f"{y.name}/shape") if target else e.add("Shape", [x], node, dtype=I64)
    flat = e.add("Flatten", [x], node, attrs={"axis": axis}, dtype=x.dtype, shape=_flat(dims, axis))
    result = gs.Variable(e.name(f"{y.name}/flat"), y.dtype, flat.shape)
    node.attrs["axis"] = -1
    set_inputs(node, [flat])
    set_outputs(node, [result])
    e.add("Reshape", [result, back], node, outputs=[y], after=True)
    return True


def _flat(dims: tuple | None, axis: int) -> list[Any] | None:
    sides = None if dims is None else (dims[:axis], dims[axis:])
    numbers = sides and [np.prod(s, dtype=int) if all(isinstance(d, int) for d in s) else None for s in sides]
    return numbers and [None if n is None else int(n) for n in numbers]


def _scales(e: Edit, node: gs.Node, opset: int) -> None:
    """Upsample-1: two attributes, of a 4-D image."""
    node.attrs["scales"] = [1.0, 1.0, node.attrs.pop("height_scale"), node.attrs.pop("width_scale")]


def _resize(e: Edit, node: gs.Node, opset: int) -> bool:
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
                x = e.add("Resize", [x, none, grow], node, attrs={**attrs, "nearest_mode": "floor"}, dtype=x.dtype)
                scales = e.const(np.minimum(factors, 1), f"{scales.name}/down", F32)
    e.become(node, "Resize", [x, gs.Variable.empty(), scales], **attrs)
    return True


def _split(e: Edit, node: gs.Node, opset: int) -> bool:
    """Split below 18: equal parts are asked for by number."""
    if arg(node, 1) is None:
        node.attrs["num_outputs"] = len(node.outputs)
    return True


def _slice(e: Edit, node: gs.Node, opset: int) -> None:
    """Slice-1: no axes means the first ones."""
    node.attrs.setdefault("axes", list(range(len(node.attrs["starts"]))))


def _dropout(e: Edit, node: gs.Node, opset: int) -> bool:
    """Dropout is the identity at inference, its mask all true; training_mode (12) that is, or may be, true stays."""
    training = arg(node, 2)
    if training is not None and scalar(training) != 0:
        return False
    x = node.inputs[0]
    mask = node.outputs[1] if len(node.outputs) > 1 and node.outputs[1].name else None
    set_outputs(node, node.outputs[:1])
    if mask is not None and (len(mask.outputs) or id(mask) in e.outputs):
        one = gs.Constant("one", np.ones(1, bool if opset >= 10 else mask.dtype or x.dtype or F32))
        size = e.add("Shape", [x], node, dtype=I64)
        e.add("ConstantOfShape", [size], node, attrs={"value": one}, outputs=[mask])
    e.become(node, "Identity", [x])
    return True


def _batchnorm(e: Edit, node: gs.Node, opset: int) -> bool:
    """BatchNormalization below 14: statistics as outputs mean training; spatial=0 (below 9) is plain arithmetic."""
    old = [node.attrs.pop(a, None) for a in ("is_test", "spatial")]
    used = [bool(t.name and (len(t.outputs) or id(t) in e.outputs)) for t in node.outputs]
    if any(used[1:]):
        if any(used[3:]):
            _refuse(node, "the outputs saved_mean and saved_var have no newer form")
        node.attrs["training_mode"] = 1
        set_outputs(node, node.outputs[:3])
        return True
    several = len(node.outputs) > 1
    set_outputs(node, node.outputs[:1])
    if old[1] == 0 and opset < 9:
        x, scale, bias, mean, var = node.inputs
        eps = e.const(np.asarray(node.attrs.get("epsilon", 1e-5), x.dtype or F32), f"{var.name}/epsilon")
        centred = e.add("Sub", [x, mean], node, like=x)
        spread = e.add("Sqrt", [e.add("Add", [var, eps], node, like=var)], node, like=var)
        scaled = e.add("Mul", [e.add("Div", [centred, spread], node, like=x), scale], node, like=x)
        e.become(node, "Add", [scaled, bias])
    return several or old != [None, None]


def _groupnorm(e: Edit, node: gs.Node, opset: int) -> bool:
    """GroupNormalization-18: scale and bias per group; from 21 on per channel."""
    channels, groups = _dims(node)[1], node.attrs["num_groups"]
    if not isinstance(channels, int):
        _refuse(node, "the number of channels is unknown", "give the input's shape")
    for slot in (1, 2):
        old = node.inputs[slot]
        known = value(old)
        if known is not None:
            new: gs.Tensor = e.const(np.repeat(known, channels // groups), f"{old.name}/channels")
        else:
            column = e.add("Unsqueeze", [old, e.i64([1], f"{old.name}/axis")], node, like=old, shape=[groups, 1])
            size = e.i64([groups, channels // groups], f"{old.name}/size")
            wide = e.add("Expand", [column, size], node, like=old, shape=[groups, channels // groups])
            new = e.add("Reshape", [wide, e.i64([-1], f"{old.name}/flat")], node, like=old, shape=[channels])
        _set_arg(node, slot, new)
    return True


def _tile(e: Edit, node: gs.Node, opset: int) -> bool:
    """Tile-1: a number of copies along one axis."""
    copies, axis = ints(node.inputs[1]), ints(node.inputs[2])
    floats = [scalar(t) for t in node.inputs[1:]]
    if copies is None or axis is None:
        if None in floats:
            _refuse(node, "tiles and axis of Tile-1 must be constants")
        copies, axis = [int(floats[0] or 0)], [int(floats[1] or 0)]
    repeats = np.ones(len(_dims(node)), I64)
    repeats[axis[0]] = copies[0]
    set_inputs(node, [node.inputs[0], e.i64(repeats, f"{node.outputs[0].name}/repeats")])
    return True


def _cast(e: Edit, node: gs.Node, opset: int) -> bool:
    """Cast-1: the type by name."""
    name = node.attrs["to"]
    if isinstance(name, str):
        node.attrs["to"] = TensorProto.DataType.Value(name.upper())
    return isinstance(name, str)


def _constant(e: Edit, node: gs.Node, opset: int) -> bool:
    """A Constant node (of a graph that our loader did not read) is a constant."""
    (key, held), y = next(iter(node.attrs.items())), node.outputs[0]
    kinds = {"value_int": I64, "value_ints": I64, "value_float": F32, "value_floats": F32}
    array = held.values if isinstance(held, gs.Constant) else np.asarray(held, kinds.get(key, object))
    e.delete(node)
    y.to_constant(array)
    return True


def _scan(e: Edit, node: gs.Node, opset: int) -> NoReturn:
    """Scan-8 had a batch axis and lengths per element."""
    _refuse(node, "Scan of opset 8 has no newer form", "export the model with opset 9 or later")


_REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_NEWEST = 1 << 30

#: operator -> (below this version, rule), in the order in which they apply
RULES: dict[str, list[tuple[int, Rule]]] = {
    **{
        op: [(7, _broadcast)]
        for op in ["Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"]
    },
    **{op: [(13, _softmax)] for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"Reduce{r}": [(13 if r == "Sum" else 18, _input("axes", 1))] for r in _REDUCE},
    **{op: [(7, _drop("output_sequence")), (3, _renamed("direction", {"foward": "forward"}))] for op in ("RNN", "GRU")},
    "BatchNormalization": [(14, _batchnorm)],
    "Cast": [(6, _cast)],
    "Clip": [(11, _input("min", 1, None, rank=0)), (11, _input("max", 2, None, rank=0))],
    "Concat": [(4, _default("axis", 1))],
    "Constant": [(_NEWEST, _constant)],
    "DFT": [(20, _input("axis", 2, default=1, rank=0))],
    "Dropout": [(_NEWEST, _dropout)],
    "Gemm": [(7, _drop("broadcast"))],
    "GlobalLpPool": [(2, _whole("p"))],
    "GridSample": [(20, _renamed("mode", {"bilinear": "linear", "bicubic": "cubic"}))],
    "GroupNormalization": [(21, _groupnorm)],
    "LSTM": [(7, _drop("output_sequence"))],
    "LpPool": [(2, _whole("p"))],
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
    "Scatter": [(_NEWEST, _op("ScatterElements"))],
    "Selu": [(6, _default("alpha", 1.673200011253357)), (6, _default("gamma", 1.0506999492645264))],
    "Slice": [(10, _slice), (10, _input("starts", 1)), (10, _input("ends", 2)), (10, _input("axes", 3))],
    "Split": [(13, _input("split", 1)), (18, _split), (2, _default("axis", 0))],
    "Squeeze": [(13, _input("axes", 1))],
    "Tile": [(6, _tile)],
    "TopK": [(10, _input("k", 1))],
    "Unsqueeze": [(13, _input("axes", 1))],
    "Upsample": [(7, _scales), (9, _input("scales", 1, F32)), (_NEWEST, _resize)],
}
_NEED_SHAPES = {"GroupNormalization", "Hardmax", "LogSoftmax", "PRelu", "Softmax", "Tile"} | {
    op for op, rules in RULES.items() if rules[0][1] is _broadcast
}
