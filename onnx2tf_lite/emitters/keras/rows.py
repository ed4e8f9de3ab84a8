"""Signals as Keras has them: [batch, steps, channels], where the program has images of one row or one column.

TFLite convolves images only, so a 1-D convolution of ONNX stands between two RESHAPEs there.  Here it, and what follows
it element by element, is computed on the signal itself; the image is made where something still reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...ir.dims import Shape
from ...ir.graph import Graph, Op, Value
from ...ir.kinds import KINDS
from ...ir.orders import Elementwise

PAIRS = ("strides", "dilations", "kernel")


def signals(graph: Graph) -> Graph:
    """``graph`` with signals for images of one row or column; its values stay as they are."""
    known = _Signals()
    ops = [made for op in graph.ops for made in known.seen(op)]
    places = {n: replace(p, value=known.of.get(p.value, p.value)) for n, p in graph.placements.items()}
    return replace(graph, ops=ops, placements=places)


class _Signals:
    """``of``: the signal of an image; ``axis``: which axis of the image it lacks."""

    def __init__(self) -> None:
        self.of: dict[Value, Value] = {}
        self.axis: dict[Value, int] = {}

    def seen(self, op: Op) -> Iterator[Op]:
        """The operations in the place of ``op``."""
        if op.is_a("RESHAPE"):
            yield from self._reshape(op)
            return
        signal = self._signal(op)
        if signal is None:
            yield op
            return
        yield signal
        yield Op(KINDS["RESHAPE"], [signal.outputs[0]], op.outputs, {"shape": op.outputs[0].shape}, op.origin)

    def _reshape(self, op: Op) -> Iterator[Op]:
        """One that makes an image may make a signal as well; one that takes the row away again reads that."""
        x, y = op.inputs[0], op.outputs[0]
        assert x is not None
        signal = self.of.get(x)
        yield op if signal is None or signal.shape != y.shape else replace(op, inputs=[signal])
        axis = next((a for a in (1, 2) if y.rank == 4 and y.shape[a] == 1), None)
        if axis is None or x.rank > 3 or x.data is not None:
            return
        self.axis[y], shape = axis, _without(y.shape, axis)
        self.of[y] = x if x.shape == shape else Value(y.name, shape, y.dtype)
        if x.shape != shape:
            yield Op(op.kind, [x], [self.of[y]], {"shape": shape}, op.origin)

    def _signal(self, op: Op) -> Op | None:
        """``op`` on signals; None where it does not read one, or looks beyond the row."""
        images = [v for v in op.inputs if v in self.of]
        axes = {self.axis[v] for v in images if v is not None}
        if len(axes) != 1 or len(op.outputs) != 1 or op.outputs[0].rank != 4:
            return None
        (axis,) = axes
        inputs, attrs = self._operands(op, axis), {k: _along(k, v, axis) for k, v in op.attrs.items()}
        if inputs is None or op.outputs[0].shape[axis] != 1:
            return None
        image = op.outputs[0]
        result = Value(image.name, _without(image.shape, axis), image.dtype)
        made = Op(op.kind, inputs, [result], attrs, op.origin)
        result.producer = made
        self.of[image], self.axis[image] = result, axis
        return made

    def _operands(self, op: Op, axis: int) -> list[Value | None] | None:
        """The operands of ``op`` on signals, None where there is no such operation."""
        if (
            op.kind.weights is not None and "strides" in op.attrs
        ):  # a convolution, whose weights are [., row, column, .]
            x, weights, *rest = op.inputs
            if x not in self.of or weights is None or weights.data is None or weights.shape[axis] != 1:
                return None
            return [self.of[x], _constant(weights, weights.data.squeeze(axis)), *rest]
        if not isinstance(op.kind.layout, Elementwise):
            return None
        found = [self._operand(v, axis) for v in op.inputs]
        return None if None in found else found

    def _operand(self, value: Value | None, axis: int) -> Value | None:
        if value is None or value in self.of:
            return None if value is None else self.of[value]
        if value.data is None or (value.rank == 4 and value.shape[axis] != 1):
            return None
        return _constant(value, value.data.squeeze(axis)) if value.rank == 4 else value if value.rank < 2 else None


def _constant(like: Value, data: np.ndarray) -> Value:
    return Value(like.name, data.shape, like.dtype, data=data)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _along(name: str, attribute: object, axis: int) -> object:
    """Strides and the like [row, column] of the axis that is left."""
    return (attribute[2 - axis],) if name in PAIRS and isinstance(attribute, tuple) else attribute
