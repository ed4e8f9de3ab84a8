"""An input followed through the graph: which tensors are its values, up to a factor and an offset, or have its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ...record import record
from ..figures.measure import Array

Axes = tuple[int | None, ...]
#: Constants of more elements than this are not looked into.
FEW = 4096
SAME_VALUES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat", "Expand",
               "Cast", "Gather", "GatherElements", "GatherND", "Tile", "Split", "Pad", "Dropout",
               "ReduceMax", "ReduceMin"}  # fmt: skip
SAME_AXES = {"Identity", "Cast", "Dropout", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Abs", "Neg", "Exp", "Log", "Sqrt",
             "Pow", "Floor", "Not", "Clip", "Softmax", "QuantizeLinear", "DequantizeLinear",
             "DynamicQuantizeLinear"}  # fmt: skip
ARITHMETIC = {"Add", "Sub", "Mul", "Div"}


@record
class Trace:
    """A tensor that comes from an input: its values are ``factor`` * input + ``offset`` (None: something else), its
    axes those of the input (None: something else)."""

    tensor: gs.Tensor
    axes: Axes | None
    factor: float | None = 1.0
    offset: float = 0.0

    def solve(self, value: float) -> float:
        """The input at which the tensor is ``value``."""
        assert self.factor
        return (value - self.offset) / self.factor


def traces(start: gs.Tensor) -> Iterator[Trace]:
    """Everything that is the input, seen through operators."""
    rank = None if start.shape is None else len(start.shape)
    queue, seen = [Trace(start, None if rank is None else tuple(range(rank)))], {id(start)}
    while queue:
        trace = queue.pop()
        yield trace
        for node in trace.tensor.outputs:
            for tensor, axes, value in _passed(trace, node):
                if tensor.name and id(tensor) not in seen and (axes is not None or value is not None):
                    seen.add(id(tensor))
                    queue.append(Trace(tensor, axes, *(value or (None, 0.0))))


def _passed(trace: Trace, node: gs.Node) -> Iterator[tuple[gs.Tensor, Axes | None, tuple[float, float] | None]]:
    """(result, its axes, its factor and offset) of a node that keeps either."""
    if node.domain:
        return
    if node.op == "Loop" and trace.tensor in node.inputs[2:]:
        place = next(i for i, t in enumerate(node.inputs) if t is trace.tensor)
        yield (
            node.attrs["body"].inputs[place],
            trace.axes,
            None if trace.factor is None else (trace.factor, trace.offset),
        )
        return
    axes = passed_axes(trace, node)
    value = passed_value(trace, node)
    if axes is not None or value is not None:
        for result in node.outputs if node.op == "Split" else node.outputs[:1]:
            yield result, axes, value


def passed_value(trace: Trace, node: gs.Node) -> tuple[float, float] | None:
    """(factor, offset) of the input in the result of a node; None where it is something else."""
    if trace.factor is None:
        return None
    if node.op in SAME_VALUES and (node.inputs[0] is trace.tensor or node.op == "Concat"):
        boolean = node.op == "Cast" and node.attrs.get("to") == 9
        return None if boolean else (trace.factor, trace.offset)
    if node.op not in ARITHMETIC:
        return None
    first = node.inputs[0] is trace.tensor
    number = one_number(node.inputs[1 if first else 0])
    if number is None or not (first or node.op in ("Add", "Mul")) or (number == 0 and node.op in ("Mul", "Div")):
        if node.op == "Sub" and not first and number is not None:
            return -trace.factor, number - trace.offset
        return None
    factor, offset = trace.factor, trace.offset
    return {
        "Add": (factor, offset + number),
        "Sub": (factor, offset - number),
        "Mul": (factor * number, offset * number),
        "Div": (factor / (number or 1), offset / (number or 1)),
    }[node.op]


def passed_axes(trace: Trace, node: gs.Node) -> Axes | None:
    """The axes of the input in the result of a node; None where they are others."""
    axes, rule = trace.axes, AXES_RULES.get(node.op)
    if axes is None or not any(t is trace.tensor for t in node.inputs[: None if node.op == "Concat" else 2]):
        return None
    if node.op in SAME_AXES:
        return axes
    if node.op in ARITHMETIC:
        other = node.inputs[1 if node.inputs[0] is trace.tensor else 0]
        return axes if isinstance(other, gs.Constant) and len(other.shape) <= len(axes) else None
    return rule(axes, node) if rule else None


def _transposed(axes: Axes, node: gs.Node) -> Axes | None:
    perm = node.attrs.get("perm", range(len(axes))[::-1])
    return tuple(axes[p] for p in perm) if len(perm) == len(axes) else None


def _listed(node: gs.Node, operand: int) -> list[int] | None:
    """The axes that a node is given, by attribute or by a constant operand."""
    given = numbers(node.inputs[operand] if len(node.inputs) > operand else None)
    listed: list[int] | None = node.attrs.get("axes", None if given is None else [int(a) for a in np.ravel(given)])
    return listed


def _squeezed(axes: Axes, node: gs.Node) -> Axes | None:
    chosen = _listed(node, 1)
    if chosen is None:
        return None
    gone = {a % len(axes) for a in chosen}
    return tuple(a for i, a in enumerate(axes) if i not in gone)


def _unsqueezed(axes: Axes, node: gs.Node) -> Axes | None:
    chosen = _listed(node, 1)
    if chosen is None:
        return None
    rank, rest = len(axes) + len(chosen), iter(axes)
    fresh = {a % rank for a in chosen}
    return tuple(None if i in fresh else next(rest) for i in range(rank))


def _sliced(axes: Axes, node: gs.Node) -> Axes | None:
    chosen = _listed(node, 3)
    return None if chosen is None else _without(axes, chosen)


def _without(axes: Axes, changed: Sequence[int]) -> Axes:
    """All but those along which the operator works."""
    gone = {a % len(axes) for a in changed}
    return tuple(None if i in gone else a for i, a in enumerate(axes))


#: Operator -> the axes of its result by those of its operand.
AXES_RULES: dict[str, Callable[[Axes, gs.Node], Axes | None]] = {
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Slice": _sliced,
    "Concat": lambda axes, node: _without(axes, [node.attrs.get("axis", 0)]),
    "Split": lambda axes, node: _without(axes, [node.attrs.get("axis", 0)]),
}


def numbers(tensor: gs.Tensor | None) -> Array | None:
    """A small constant of numbers, also behind a Cast or Identity."""
    while (
        isinstance(tensor, gs.Variable) and tensor.inputs and tensor.inputs[0].op in ("Cast", "Identity", "Unsqueeze")
    ):
        tensor = tensor.inputs[0].inputs[0]
    if not isinstance(tensor, gs.Constant) or math.prod(tensor.shape) > FEW:
        return None
    values = np.asarray(tensor.values)
    if values.dtype.kind not in "biuf":
        values = values.astype(np.float64) if values.dtype.name in ("bfloat16",) else np.zeros(0)
    return values if values.size else None


def one_number(tensor: gs.Tensor | None) -> float | None:
    """A constant of one number, or the mean of one per channel."""
    values = numbers(tensor)
    return None if values is None or values.size > 4 else float(np.mean(values.astype(np.float64)))
