"""ONNX nodes as linear maps (:mod:`.linear`), and back: the only place that knows both.

Channels lie on axis 1 before a grid (Conv), or on the last axis (MatMul, Gemm); a :class:`Arrangement` says which.
Sources: Conv-11, AveragePool-19, MatMul-13, Gemm-13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import GraphEdit, Tensor, arg, ints, producer, shape, static, title, value
from ..record import record
from .linear import LinearMap, diagonal

LARGEST = 64 << 20  # bytes of a weight that is merged, which takes its float64 copies
SHARED_LIMIT = 1 << 16  # bytes of weights that may be duplicated


@record
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


def through(source: Tensor, nodes: Sequence[gs.Node], form: Arrangement) -> LinearMap | None:
    """The map from ``source`` through all ``nodes``, of which only the one that reads it may be more than arithmetic
    with a constant per channel; the last one stands first."""
    linear = read(nodes[-1], form) if nodes else identity(source, form)
    for node in reversed(nodes[:-1]):
        linear = None if linear is None else _behind(linear, node, form)
    return linear


def _weights(tensor: Tensor | None) -> np.ndarray | None:
    if not isinstance(tensor, gs.Constant) or np.dtype(tensor.dtype).kind != "f" or tensor._values.nbytes > LARGEST:
        return None
    if len(tensor.outputs) > 1 and tensor._values.nbytes > SHARED_LIMIT:
        return None
    return np.asarray(tensor.values)


def _bias(node: gs.Node, outputs: int, factor: float = 1.0) -> np.ndarray | None:
    held = arg(node, 2)
    if held is None:
        return np.zeros(outputs)
    data = _weights(held)
    fits = data is not None and data.size in (1, outputs) and data.shape[-1:] in ((), (1,), (outputs,))
    if data is None or not fits:
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64) * factor, outputs)


def _windowed(node: gs.Node, weights: np.ndarray, bias: np.ndarray, groups: int) -> LinearMap | None:
    """The map of a window with the attributes of ``node``; None where the padding depends on the extents."""
    attrs, window = node.attrs, weights.shape[2:]
    grid = len(window)
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    steps, pads = tuple(attrs.get("dilations", [1] * grid)), attrs.get("pads", [0] * 2 * grid)
    ends = [p - d * (k - 1) for p, d, k in zip(pads[grid:], steps, window, strict=True)]
    starts, slack = tuple(-p for p in pads[:grid]), tuple(a + e for a, e in zip(pads[:grid], ends, strict=True))
    return LinearMap(weights, bias, groups, tuple(attrs.get("strides", [1] * grid)), steps, starts, slack)


def _conv(node: gs.Node, form: Arrangement) -> LinearMap | None:
    w = None if form.last else _weights(node.inputs[1])
    bias = None if w is None or w.ndim != form.rank else _bias(node, len(w))
    return None if w is None or bias is None else _windowed(node, w, bias, node.attrs.get("group", 1))


def _average(node: gs.Node, form: Arrangement) -> LinearMap | None:
    """The mean of a window, where every window has equally many elements."""
    attrs, count = node.attrs, channels(node.inputs[0], form)
    uneven = any(attrs.get("pads", ())) and not attrs.get("count_include_pad", 0)
    if form.last or count is None or uneven or attrs.get("ceil_mode", 0):
        return None
    kernel = tuple(attrs["kernel_shape"])
    if 8 * count * prod(kernel) > LARGEST:
        return None
    return _windowed(node, np.full((count, 1, *kernel), 1 / np.prod(kernel)), np.zeros(count), count)


def _matrix(node: gs.Node, form: Arrangement) -> LinearMap | None:
    w = _weights(node.inputs[1]) if form.last and not node.attrs.get("transA", 0) else None
    if w is None or w.ndim != 2:
        return None
    w, alpha = w if node.attrs.get("transB", 0) else w.T, node.attrs.get("alpha", 1.0)
    w = w if alpha == 1 else w.astype(np.float64) * alpha
    bias = _bias(node, len(w), node.attrs.get("beta", 1.0))
    return None if bias is None else LinearMap(w, bias, 1, (), (), (), ())


@record
class Phases:
    """What a Concat joins: every ``steps``-th element of ``x`` along the axes of its grid, from the places ``starts``;
    ``nodes`` are the Slices in between."""

    x: Tensor
    steps: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    nodes: tuple[gs.Node, ...]


def phases(node: gs.Node) -> Phases | None:
    """The phases that a Concat along the channels joins, of a tensor that they divide."""
    parts = [_strided(tensor) for tensor in node.inputs]
    first, rank = parts[0], len(shape(node.outputs[0]) or ())
    if first is None or rank < 3 or node.attrs["axis"] % rank != 1:
        return None
    known = [p for p in parts if p is not None and p.x is first.x and p.steps == first.steps]
    dims = static(first.x) or ()
    even = len(dims) == rank and all(d % s == 0 for d, s in zip(dims[2:], first.steps, strict=True))
    if len(known) < len(parts) or not even or set(first.steps) == {1}:
        return None
    nodes = {id(n): n for p in known for n in p.nodes}
    return Phases(first.x, first.steps, tuple(s for p in known for s in p.starts), tuple(nodes.values()))


def slices(node: gs.Node) -> tuple[gs.Node, ...]:
    """The nodes between a layer and what it is a map of."""
    found = phases(node) if node.op == "Concat" else None
    return () if found is None else found.nodes


def _strided(tensor: Tensor) -> Phases | None:
    """Slices of slices, as one; None where they do more than to take every s-th element of a grid, to its end."""
    result, nodes = tensor, list[gs.Node]()
    while (node := producer(tensor)) is not None and node.op == "Slice" and len(node.inputs) == 5:
        nodes.append(node)
        tensor = node.inputs[0]
    before, after = static(tensor), static(result)
    if not nodes or before is None or after is None:
        return None
    start, step = [0] * len(before), [1] * len(before)
    for node in reversed(nodes):
        starts, axes, steps = ints(node.inputs[1]), ints(node.inputs[3]), ints(node.inputs[4])
        if starts is None or axes is None or steps is None or min(starts) < 0 or min(steps) < 1:
            return None
        for first, axis, each in zip(starts, axes, steps, strict=True):
            start[axis] += first * step[axis]
            step[axis] *= each
    whole = all(a < s and d == -(-(n - a) // s) for a, s, d, n in zip(start, step, after, before, strict=True))
    if not whole or step[:2] != [1, 1]:
        return None
    return Phases(tensor, tuple(step[2:]), (tuple(start[2:]),), tuple(nodes))


def _join(node: gs.Node, form: Arrangement) -> LinearMap | None:
    """Every phase as channels of its own: a window that looks at one of its places for each."""
    found = None if form.last else phases(node)
    count = None if found is None else channels(found.x, form)
    if found is None or count is None:
        return None
    extents = (len(found.starts), count, count, *found.steps)
    if 8 * prod(extents) > LARGEST:
        return None
    weights = np.zeros(extents)
    for part, place in zip(weights, found.starts, strict=True):
        part[(range(count), range(count), *place)] = 1
    none, one = (0,) * form.grid, (1,) * form.grid
    flat = weights.reshape(-1, count, *found.steps)
    slack = tuple(1 - s for s in found.steps)
    return LinearMap(flat, np.zeros(len(flat)), 1, found.steps, one, none, slack, tiles=True)


def _affine(node: gs.Node, form: Arrangement) -> LinearMap | None:
    x = operands(node)[0]
    start = None if x is None else identity(x, form)
    return None if start is None else _behind(start, node, form)


def _behind(linear: LinearMap, node: gs.Node, form: Arrangement) -> LinearMap | None:
    """``linear``, and then arithmetic with a constant per channel."""
    c = operands(node)[1]
    vector = None if c is None else form.vector(c, linear.outputs)
    return None if vector is None else _AFFINE[node.op](linear, vector)


def operands(node: gs.Node) -> tuple[Tensor | None, Tensor | None]:
    """What a node with one constant operand reads, and the constant; the first operand where there is none."""
    if node.op == "Concat":
        found = phases(node)
        return (None if found is None else found.x), None
    x, c = node.inputs[0], arg(node, 1)
    swapped = isinstance(x, gs.Constant) and node.op in ("Mul", "Add")
    x, c = (c, x) if swapped else (x, c)
    return (None, None) if isinstance(x, gs.Constant) else (x, c if isinstance(c, gs.Constant) else None)


_AFFINE: dict[str, Callable[[LinearMap, np.ndarray], LinearMap]] = {
    "Mul": LinearMap.scaled,
    "Div": lambda linear, c: linear.scaled(1 / c),
    "Add": LinearMap.raised,
    "Sub": lambda linear, c: linear.raised(-c),
}
_READ: dict[str, Callable[[gs.Node, Arrangement], LinearMap | None]] = {
    "Conv": _conv,
    "AveragePool": _average,
    "MatMul": _matrix,
    "Gemm": _matrix,
    **dict.fromkeys(_AFFINE, _affine),
    "Concat": _join,
}
#: Layers that one other is worth; the rest is arithmetic on the way.
WINDOWED = frozenset(("Conv", "AveragePool", "MatMul", "Gemm", "Concat"))
LAYERS = frozenset(_READ)


def fits(linear: LinearMap) -> bool:
    """True where all numbers are finite in float32."""
    return all(bool((np.abs(a) <= np.finfo(np.float32).max).all()) for a in (linear.weights, linear.bias))


def write(edit: GraphEdit, node: gs.Node, x: Tensor, linear: LinearMap, form: Arrangement) -> None:
    """Let ``node`` compute ``linear`` of ``x``."""
    op, inputs, bias, attrs = _layer(edit, title(node), x, linear, form)
    if op == "MatMul" and bias:
        product = edit.add(op, inputs, node, like=node.outputs[0])
        edit.become(node, "Add", [product, *bias])
    else:
        edit.become(node, op, [*inputs, *bias], **attrs)


def insert(edit: GraphEdit, at: gs.Node, x: Tensor, linear: LinearMap, form: Arrangement, like: Tensor) -> Tensor:
    """``linear`` of ``x``, computed in front of ``at``; of the type and shape of ``like``."""
    op, inputs, bias, attrs = _layer(edit, title(at), x, linear, form)
    if op == "MatMul" and bias:
        return edit.add("Add", [edit.add(op, inputs, at, like=like), *bias], at, like=like)
    result = edit.add(op, [*inputs, *bias], at, like=like)
    result.inputs[0].attrs.update(attrs)
    return result


def _layer(
    edit: GraphEdit, name: str, x: Tensor, linear: LinearMap, form: Arrangement
) -> tuple[str, list[Tensor], list[Tensor], dict[str, int | list[int]]]:
    """The operator, its operands, its bias (of MatMul: what is to be added) and its attributes."""
    dtype = x.dtype or np.float32
    bias: list[Tensor] = [edit.const(linear.bias, f"{name}/bias", dtype)] if linear.bias.any() else []
    if form.last:
        matrix = edit.const(linear.weights.T, f"{name}/weights", dtype)
        return "Gemm" if form.rank == 2 else "MatMul", [x, matrix], bias, {}
    attrs: dict[str, int | list[int]] = {
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
