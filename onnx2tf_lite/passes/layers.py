"""ONNX nodes as linear maps (:mod:`.linear`), and back: the only place that knows both.

Channels lie on axis 1 before a grid (Conv), or on the last axis (MatMul, Gemm); a :class:`Arrangement` says which.
Sources: Conv-11, AveragePool-19, MatMul-13, Gemm-13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import GraphEdit, Tensor, arg, shape, title, value
from .linear import LinearMap, diagonal

SHARED_LIMIT = 1 << 16  # bytes of weights that may be duplicated


@dataclass(frozen=True)
class Arrangement:
    """Where the channels of a tensor of ``rank`` axes are: on the last axis, or on axis 1 with a grid behind it."""

    rank: int
    last: bool

    @property
    def axis(self) -> int:
        """The axis of the channels."""
        return self.rank - 1 if self.last else 1

    @property
    def grid(self) -> int:
        """Axes of the grid that maps look over."""
        return 0 if self.last else self.rank - 2

    def vector(self, tensor: Tensor, channels: int) -> np.ndarray | None:
        """A constant that is one number or differs between channels alone, as float64 [channels]."""
        data = value(tensor)
        if data is None or data.dtype.kind != "f" or data.ndim > self.rank:
            return None
        dims = (1,) * (self.rank - data.ndim) + data.shape
        if any(d != 1 for i, d in enumerate(dims) if i != self.axis) or dims[self.axis] not in (1, channels):
            return None
        return np.broadcast_to(data.reshape(-1).astype(np.float64), channels)


def channels(tensor: Tensor, form: Arrangement) -> int | None:
    """The number of channels, where it is known and the rank is that of the form."""
    dims = shape(tensor) or ()
    count = dims[form.axis] if len(dims) == form.rank else None
    return int(count) if isinstance(count, (int, np.integer)) else None


def identity(tensor: Tensor, form: Arrangement) -> LinearMap | None:
    """y = x."""
    count = channels(tensor, form)
    return None if count is None else diagonal(np.ones(count), form.grid)


def read(node: gs.Node, form: Arrangement) -> LinearMap | None:
    """The map from the first input of a node that is not constant to its result; None where it is no linear map with
    constant weights, or one whose weights others need."""
    return _READ[node.op](node, form) if node.op in _READ else None


def _weights(tensor: Tensor | None) -> np.ndarray | None:
    if not isinstance(tensor, gs.Constant) or np.dtype(tensor.dtype).kind != "f":
        return None
    if len(tensor.outputs) > 1 and tensor._values.nbytes > SHARED_LIMIT:
        return None
    return np.asarray(tensor.values, np.float64)


def _bias(node: gs.Node, outputs: int, factor: float = 1.0) -> np.ndarray | None:
    held = arg(node, 2)
    if held is None:
        return np.zeros(outputs)
    data = _weights(held)
    fits = data is not None and data.size in (1, outputs) and data.shape[-1:] in ((), (1,), (outputs,))
    return np.broadcast_to(data.reshape(-1) * factor, outputs) if fits and data is not None else None


def _window(node: gs.Node, window: Sequence[int]) -> dict[str, tuple[int, ...]] | None:
    """Strides, steps, starts and slack of a window; None where the padding depends on the extents."""
    attrs, grid = node.attrs, len(window)
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    steps = tuple(attrs.get("dilations", [1] * grid))
    pads = attrs.get("pads", [0] * 2 * grid)
    ends = [p - d * (k - 1) for p, d, k in zip(pads[grid:], steps, window, strict=True)]
    return {
        "strides": tuple(attrs.get("strides", [1] * grid)),
        "steps": steps,
        "starts": tuple(-p for p in pads[:grid]),
        "slack": tuple(a + e for a, e in zip(pads[:grid], ends, strict=True)),
    }


def _conv(node: gs.Node, form: Arrangement) -> LinearMap | None:
    w = None if form.last else _weights(node.inputs[1])
    if w is None or w.ndim != form.rank:
        return None
    window, bias = _window(node, w.shape[2:]), _bias(node, len(w))
    return None if window is None or bias is None else LinearMap(w, bias, node.attrs.get("group", 1), **window)


def _average(node: gs.Node, form: Arrangement) -> LinearMap | None:
    """The mean of a window, where every window has equally many elements."""
    attrs, count = node.attrs, channels(node.inputs[0], form)
    uneven = any(attrs.get("pads", ())) and not attrs.get("count_include_pad", 0)
    if form.last or count is None or uneven or attrs.get("ceil_mode", 0):
        return None
    kernel = tuple(attrs["kernel_shape"])
    window = _window(node, kernel)
    weights = np.full((count, 1, *kernel), 1 / np.prod(kernel))
    return None if window is None else LinearMap(weights, np.zeros(count), count, **window)


def _matrix(node: gs.Node, form: Arrangement) -> LinearMap | None:
    w = _weights(node.inputs[1]) if form.last and not node.attrs.get("transA", 0) else None
    if w is None or w.ndim != 2:
        return None
    w = (w if node.attrs.get("transB", 0) else w.T) * node.attrs.get("alpha", 1.0)
    bias = _bias(node, len(w), node.attrs.get("beta", 1.0))
    return None if bias is None else LinearMap(w, bias, 1, (), (), (), ())


def _affine(change: Callable[[LinearMap, np.ndarray], LinearMap]) -> Callable[[gs.Node, Arrangement], LinearMap | None]:
    """Arithmetic with a constant per channel."""

    def reader(node: gs.Node, form: Arrangement) -> LinearMap | None:
        x, c = operands(node)
        start = None if x is None else identity(x, form)
        if c is None or start is None:
            return None
        vector = form.vector(c, start.outputs)
        return None if vector is None else change(start, vector)

    return reader


def operands(node: gs.Node) -> tuple[Tensor | None, Tensor | None]:
    """What a node with one constant operand reads, and the constant; the first operand where there is none."""
    x, c = node.inputs[0], arg(node, 1)
    swapped = isinstance(x, gs.Constant) and node.op in ("Mul", "Add")
    x, c = (c, x) if swapped else (x, c)
    return (None, None) if isinstance(x, gs.Constant) else (x, c if isinstance(c, gs.Constant) else None)


_READ: dict[str, Callable[[gs.Node, Arrangement], LinearMap | None]] = {
    "Conv": _conv,
    "AveragePool": _average,
    "MatMul": _matrix,
    "Gemm": _matrix,
    "Mul": _affine(LinearMap.scaled),
    "Div": _affine(lambda start, c: start.scaled(1 / c)),
    "Add": _affine(LinearMap.raised),
    "Sub": _affine(lambda start, c: start.raised(-c)),
}
WINDOWED = frozenset(("Conv", "AveragePool", "MatMul", "Gemm"))
LAYERS = frozenset(_READ)


def fits(linear: LinearMap) -> bool:
    """True where all numbers are finite in float32."""
    return all(bool((np.abs(a) <= np.finfo(np.float32).max).all()) for a in (linear.weights, linear.bias))


def write(edit: GraphEdit, node: gs.Node, x: Tensor, linear: LinearMap, form: Arrangement) -> None:
    """Let ``node`` compute ``linear`` of ``x``."""
    op, inputs, bias, attrs = _layer(edit, title(node), x, linear, form)
    if op == "MatMul" and bias:
        product = edit.add(op, inputs, node, like=node.outputs[0], **attrs)
        edit.become(node, "Add", [product, *bias])
    else:
        edit.become(node, op, [*inputs, *bias], **attrs)


def insert(edit: GraphEdit, at: gs.Node, x: Tensor, linear: LinearMap, form: Arrangement, like: Tensor) -> Tensor:
    """``linear`` of ``x``, computed in front of ``at``; of the type and shape of ``like``."""
    op, inputs, bias, attrs = _layer(edit, title(at), x, linear, form)
    if op == "MatMul" and bias:
        return edit.add("Add", [edit.add(op, inputs, at, like=like, **attrs), *bias], at, like=like)
    return edit.add(op, [*inputs, *bias], at, like=like, **attrs)


def _layer(
    edit: GraphEdit, name: str, x: Tensor, linear: LinearMap, form: Arrangement
) -> tuple[str, list[Tensor], list[Tensor], dict[str, Any]]:
    """The operator, its operands, its bias (of MatMul: what is to be added) and its attributes."""
    dtype = x.dtype or np.float32
    bias: list[Tensor] = [edit.const(linear.bias, f"{name}/bias", dtype)] if linear.bias.any() else []
    if form.last:
        matrix = edit.const(linear.weights.T, f"{name}/weights", dtype)
        return "Gemm" if form.rank == 2 else "MatMul", [x, matrix], bias, {}
    attrs = {
        "kernel_shape": list(linear.window),
        "pads": linear.pads(),
        "strides": list(linear.strides),
        "dilations": list(linear.steps),
        "group": linear.groups,
    }
    return "Conv", [x, edit.const(linear.weights, f"{name}/weights", dtype)], bias, attrs


def uniform(tensor: Tensor, form: Arrangement) -> np.ndarray | None:
    """A constant that is the same at every place, whatever its extents, as float64 [channels]."""
    data, count = value(tensor), channels(tensor, form)
    if data is None or count is None or not data.size:
        return None
    places = np.moveaxis(data, form.axis, -1).reshape(-1, count)
    return places[0].astype(np.float64) if bool((places == places[0]).all()) else None
