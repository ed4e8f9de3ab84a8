"""BatchNormalization-15 at inference is y = a x + b per channel, a = scale / sqrt(var + epsilon), b = bias - mean a.

Next to a linear operator with constant weights it disappears in them; elsewhere it is one Mul and one Add.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from .edit import Edit, arg, graphs, producer, set_inputs, set_outputs, shape, standard, static
from .manager import Pass, PassResult

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class BatchNorm(Pass):
    """Fold BatchNormalization into a neighbouring Conv, ConvTranspose, Gemm or MatMul; else one Mul and one Add."""

    name = "batchnorm"

    def call(self, graph: gs.Graph) -> PassResult:
        counts = {"folded into the operator before": 0, "folded into the operator behind": 0, "made Mul and Add": 0}
        for g in graphs(graph):
            edit = Edit(g)
            for node in [n for n in g.nodes if n.op == "BatchNormalization" and standard(n)]:
                if node.name in self.options.keep_nodes or node.attrs.get("training_mode", 0):
                    continue
                how = (_before, _behind, _arithmetic)
                for change, what in zip(how, counts, strict=True):
                    if change(edit, node, self.options.keep_nodes):
                        counts[what] += 1
                        break
            edit.commit()
        return PassResult(graph, any(counts.values()), [f"{n} {what}" for what, n in counts.items() if n])


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


def _weights(node: gs.Node | None, keep: frozenset[str]) -> np.ndarray | None:
    """The weights of a linear operator nobody else shares them with, in float64."""
    if node is None or node.op not in LINEAR or not standard(node) or node.name in keep:
        return None
    weights, bias = arg(node, 1), arg(node, 2)
    if not isinstance(weights, gs.Constant) or len(weights.outputs) != 1 or np.dtype(weights.dtype).kind != "f":
        return None
    if bias is not None and not isinstance(bias, gs.Constant):
        return None
    if node.op == "MatMul" and len(weights.shape) != 2:
        return None
    return np.asarray(weights.values, np.float64)


def _along(w: np.ndarray, axis: int, factor: np.ndarray) -> np.ndarray:
    return w * factor.reshape([-1 if i == axis else 1 for i in range(w.ndim)])


def _out(node: gs.Node) -> int:
    """The axis of the weights that is the output channel (ConvTranspose: with the groups along axis 0)."""
    return {"Conv": 0, "Gemm": 0 if node.attrs.get("transB", 0) else 1}.get(node.op, 1)


def _store(edit: Edit, node: gs.Node, w: np.ndarray, b: np.ndarray) -> None:
    dtype = node.inputs[1].dtype
    name = node.inputs[1].name
    inputs = [node.inputs[0], edit.const(w, f"{name}/bn", dtype)]
    if node.op == "MatMul":  # 2-D by 2-D: a Gemm has room for the bias
        node.op = "Gemm"
    set_inputs(node, [*inputs, edit.const(b, f"{name}/bn_bias", dtype)])


def _before(edit: Edit, node: gs.Node, keep: frozenset[str]) -> bool:
    """Linear -> BatchNormalization: W' = a W, b' = a bias + b."""
    x, affine = node.inputs[0], _affine(node)
    linear = producer(x)
    if affine is None or len(x.outputs) != 1 or id(x) in edit.outputs:
        return False
    w = _weights(linear, keep)
    if w is None or linear is None or len(shape(x) or ()) < 2 or (linear.op == "MatMul" and len(shape(x) or ()) != 2):
        return False
    groups = linear.attrs.get("group", 1)
    if linear.op == "ConvTranspose":  # [C_in, C_out / groups, ...]: each group's rows have their own output channels
        parts = w.reshape(groups, -1, *w.shape[1:])
        a = affine.a.reshape(groups, 1, -1, *[1] * (w.ndim - 2))
        new = (parts * a).reshape(w.shape)
    else:
        new = _along(w, _out(linear), affine.a)
    held = arg(linear, 2)
    bias = 0.0 if held is None else np.asarray(held.values, np.float64)
    if linear.op == "Gemm":
        if np.ndim(bias) > 1 and np.shape(bias)[0] != 1:
            return False
        alpha, beta = linear.attrs.pop("alpha", 1.0), linear.attrs.pop("beta", 1.0)
        new, bias = new * alpha, np.asarray(bias).reshape(-1) * beta if np.ndim(bias) else bias * beta
    _store(edit, linear, new, affine.a * bias + affine.b)
    y = node.outputs[0]
    edit.delete(node)
    set_outputs(linear, [y, *linear.outputs[1:]])
    return True


def _behind(edit: Edit, node: gs.Node, keep: frozenset[str]) -> bool:
    """BatchNormalization -> linear: W' = W a over the input channels, b' = bias + W b; not where padding adds zeros."""
    y, affine = node.outputs[0], _affine(node)
    if affine is None or len(y.outputs) != 1 or id(y) in edit.outputs:
        return False
    linear = y.outputs[0]
    if linear.inputs[0] is not y or not any(n is linear for n in edit.graph.nodes):
        return False
    w = _weights(linear, keep)
    if w is None or linear.op == "ConvTranspose":  # its borders see fewer of the taps
        return False
    rank = len(shape(y) or ())
    if linear.op in ("Gemm", "MatMul"):
        if rank != 2 or linear.attrs.get("transA", 0):
            return False
        axis = 1 - _out(linear)
        new, extra = _along(w, axis, affine.a), _along(w, axis, affine.b).sum(axis)
        alpha, beta = linear.attrs.pop("alpha", 1.0), linear.attrs.pop("beta", 1.0)
        held = arg(linear, 2)
        bias = 0.0 if held is None else np.asarray(held.values, np.float64) * beta
        _store(edit, linear, new * alpha, extra * alpha + bias)
    else:
        if any(linear.attrs.get("pads", ())) or linear.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return False
        groups = linear.attrs.get("group", 1)
        per_group = (groups, -1, *[1] * (w.ndim - 2))  # inputs of the group that an output channel belongs to
        parts = w.reshape(groups, -1, *w.shape[1:])
        a, b = (v.reshape(per_group)[:, None] for v in affine)
        extra = (parts * b).reshape(len(w), -1).sum(1)
        held = arg(linear, 2)
        _store(
            edit, linear, (parts * a).reshape(w.shape), extra + (0 if held is None else np.asarray(held.values, float))
        )
    x = node.inputs[0]
    edit.delete(node)
    set_inputs(linear, [x, *linear.inputs[1:]])
    return True


def _arithmetic(edit: Edit, node: gs.Node, keep: frozenset[str]) -> bool:
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
    base = node.name or y.name
    scaled = not (a == 1).all()
    shifted = not (b == 0).all()
    if scaled and shifted:
        x = edit.add("Mul", [x, edit.const(a, f"{base}/a")], node, like=y)
    if shifted:
        edit.become(node, "Add", [x, edit.const(b, f"{base}/b")])
    elif scaled:
        edit.become(node, "Mul", [x, edit.const(a, f"{base}/a")])
    else:
        edit.become(node, "Identity", [x])
    return True


def _in_graph(edit: Edit, node: gs.Node, wide: list[int]) -> None:
    x, scale, bias, mean, var = node.inputs
    channels = static(scale) or static(var)
    dims = [*(channels or [None]), *wide[1:]]
    epsilon = edit.const(np.array(node.attrs.get("epsilon", 1e-5), var.dtype or np.float32), f"{var.name}/epsilon")
    spread = edit.add("Sqrt", [edit.add("Add", [var, epsilon], node, like=var)], node, like=var)
    a = edit.add("Div", [scale, spread], node, like=scale)
    b = edit.add("Sub", [bias, edit.add("Mul", [mean, a], node, like=scale)], node, like=scale)
    if len(wide) > 1:
        target = edit.i64(wide, f"{var.name}/channels")
        a, b = (edit.add("Reshape", [v, target], node, dtype=v.dtype, shape=dims) for v in (a, b))
    edit.become(node, "Add", [edit.add("Mul", [x, a], node, like=node.outputs[0]), b])
