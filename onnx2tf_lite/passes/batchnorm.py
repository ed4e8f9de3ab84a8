"""BatchNormalization-15 at inference is y = a x + b per channel, a = scale / sqrt(var + epsilon), b = bias - mean a.

Next to a linear operator with constant weights it disappears in them; elsewhere it is one Mul and one Add.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import GraphEdit, arg, graphs, producer, set_inputs, set_outputs, shape, title
from .manager import Pass, PassResult, counted

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class FoldBatchNorm(Pass):
    """Fold BatchNormalization into a neighbouring Conv, ConvTranspose, Gemm or MatMul; else one Mul and one Add."""

    name = "batchnorm"

    def call(self, graph: gs.Graph) -> PassResult:
        """Fold them where the statistics are constant."""
        counts = dict.fromkeys(_WAYS, 0)
        for g in graphs(graph):
            edit, mine = GraphEdit(g), self.mine(g)
            linear = {id(n) for n in mine if n.op in LINEAR}
            for node in (n for n in mine if n.op == "BatchNormalization" and not n.attrs.get("training_mode", 0)):
                what = next((what for what, change in _WAYS.items() if change(edit, node, linear)), None)
                if what:
                    counts[what] += 1
            edit.commit()
        return counted(graph, counts)


class Affine(NamedTuple):
    a: np.ndarray
    b: np.ndarray


def _affine(node: gs.Node) -> Affine | None:
    """a and b in float64, if the four parameters are constants."""
    if not all(isinstance(t, gs.Constant) for t in node.inputs[1:5]):
        return None
    scale, bias, mean, var = (np.asarray(t.values, np.float64).reshape(-1) for t in node.inputs[1:5])
    a = scale / np.sqrt(var + node.attrs.get("epsilon", 1e-5))
    return Affine(a, bias - mean * a)


def _weights(node: gs.Node | None, linear: set[int]) -> np.ndarray | None:
    """The weights, in float64, of a linear operator that shares them with nobody and is ours to change."""
    if node is None or id(node) not in linear:
        return None
    weights, bias = arg(node, 1), arg(node, 2)
    if not isinstance(weights, gs.Constant) or len(weights.outputs) != 1 or np.dtype(weights.dtype).kind != "f":
        return None
    if not isinstance(bias, gs.Constant | None) or (node.op == "MatMul" and len(weights.shape) != 2):
        return None
    return np.asarray(weights.values, np.float64)


def _bias(node: gs.Node) -> np.ndarray:
    held = arg(node, 2)
    return np.asarray(0.0 if held is None else held.values, np.float64)


def _along(w: np.ndarray, axis: int, factor: np.ndarray) -> np.ndarray:
    return np.asarray(w * factor.reshape([-1 if i == axis else 1 for i in range(w.ndim)]))


def _out(node: gs.Node) -> int:
    """The axis of the weights that is the output channel (ConvTranspose: with the groups along axis 0)."""
    return {"Conv": 0, "Gemm": 0 if node.attrs.get("transB", 0) else 1}.get(node.op, 1)


def _store(edit: GraphEdit, node: gs.Node, w: np.ndarray, b: np.ndarray) -> None:
    dtype = node.inputs[1].dtype
    name = node.inputs[1].name
    inputs = [node.inputs[0], edit.const(w, f"{name}/bn", dtype)]
    if node.op == "MatMul":  # 2-D by 2-D: a Gemm has room for the bias
        node.op = "Gemm"
    set_inputs(node, [*inputs, edit.const(b, f"{name}/bn_bias", dtype)])


def _before(edit: GraphEdit, node: gs.Node, linear: set[int]) -> bool:
    """Linear -> BatchNormalization: W' = a W, b' = a bias + b."""
    x, affine = node.inputs[0], _affine(node)
    maker, rank = producer(x), len(shape(x) or ())
    if affine is None or len(x.outputs) != 1 or id(x) in edit.outputs:
        return False
    w = _weights(maker, linear)
    if w is None or maker is None or rank < 2 or (maker.op == "MatMul" and rank != 2):
        return False
    bias = _bias(maker)
    if maker.op == "Gemm":
        if bias.ndim > 1 and len(bias) != 1:
            return False
        w, bias = w * maker.attrs.pop("alpha", 1.0), bias.reshape(-1) * maker.attrs.pop("beta", 1.0)
    if maker.op == "ConvTranspose":  # [C_in, C_out / groups, ...]: each group's rows have their own output channels
        groups = maker.attrs.get("group", 1)
        parts = w.reshape(groups, -1, *w.shape[1:]) * affine.a.reshape(groups, 1, -1, *[1] * (w.ndim - 2))
        w = parts.reshape(w.shape)
    else:
        w = _along(w, _out(maker), affine.a)
    _store(edit, maker, w, affine.a * bias + affine.b)
    y = node.outputs[0]
    edit.delete(node)
    set_outputs(maker, [y, *maker.outputs[1:]])
    return True


def _behind(edit: GraphEdit, node: gs.Node, linear: set[int]) -> bool:
    """BatchNormalization -> linear: W' = W a over the input channels, b' = bias + W b; not where padding adds zeros."""
    y, affine = node.outputs[0], _affine(node)
    if affine is None or len(y.outputs) != 1 or id(y) in edit.outputs:
        return False
    reader = y.outputs[0]
    w = _weights(reader, linear)
    if w is None or reader.op == "ConvTranspose" or reader.inputs[0] is not y:  # its borders see fewer of the taps
        return False
    attrs, bias = reader.attrs, _bias(reader)
    if reader.op == "Conv":
        if any(attrs.get("pads", ())) or attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return False
        parts = w.reshape(attrs.get("group", 1), -1, *w.shape[1:])
        a, b = (v.reshape(len(parts), 1, -1, *[1] * (w.ndim - 2)) for v in affine)  # a group reads its own channels
        _store(edit, reader, (parts * a).reshape(w.shape), (parts * b).reshape(len(w), -1).sum(1) + bias)
    else:
        if len(shape(y) or ()) != 2 or attrs.get("transA", 0):
            return False
        axis, alpha = 1 - _out(reader), attrs.pop("alpha", 1.0)
        extra = _along(w, axis, affine.b).sum(axis)
        _store(edit, reader, _along(w, axis, affine.a) * alpha, extra * alpha + bias * attrs.pop("beta", 1.0))
    x = node.inputs[0]
    edit.delete(node)
    set_inputs(reader, [x, *reader.inputs[1:]])
    return True


def _arithmetic(edit: GraphEdit, node: gs.Node, linear: set[int]) -> bool:
    """One Mul and one Add, each if it does something; what is not constant of them is computed in the graph."""
    x, y = node.inputs[0], node.outputs[0]
    dims = shape(x)
    if dims is None:
        return False
    wide = [-1, *[1] * (len(dims) - 2)]
    affine = _affine(node)
    if affine is None:
        _in_graph(edit, node, wide)
        return True
    dtype = node.inputs[1].dtype if x.dtype is None else x.dtype
    a, b = (v.reshape(wide if len(dims) > 1 else -1).astype(dtype) for v in affine)
    scaled, shifted = not (a == 1).all(), not (b == 0).all()
    if scaled and shifted:
        x = edit.add("Mul", [x, edit.const(a, f"{title(node)}/a")], node, like=y)
    if shifted:
        edit.become(node, "Add", [x, edit.const(b, f"{title(node)}/b")])
    elif scaled:
        edit.become(node, "Mul", [x, edit.const(a, f"{title(node)}/a")])
    else:
        edit.become(node, "Identity", [x])
    return True


def _in_graph(edit: GraphEdit, node: gs.Node, wide: list[int]) -> None:
    x, scale, bias, mean, var = node.inputs
    epsilon = edit.const(np.array(node.attrs.get("epsilon", 1e-5), var.dtype or np.float32), f"{var.name}/epsilon")
    spread = edit.add("Sqrt", [edit.add("Add", [var, epsilon], node, like=var)], node, like=var)
    a = edit.add("Div", [scale, spread], node, like=scale)
    b = edit.add("Sub", [bias, edit.add("Mul", [mean, a], node, like=scale)], node, like=scale)
    if len(wide) > 1:
        target = edit.i64(wide, f"{var.name}/channels")
        a, b = (edit.add("Reshape", [v, target], node) for v in (a, b))
    edit.become(node, "Add", [edit.add("Mul", [x, a], node, like=node.outputs[0]), b])


_WAYS = {
    "folded into the operator before": _before,
    "folded into the operator behind": _behind,
    "made Mul and Add": _arithmetic,
}
