"""QUANTIZE and DEQUANTIZE around every tensor that an integer kernel reads or writes.

Which operators compute with integers is asked of their traits; what only moves numbers takes part where its operand
does, with the same parameters, and needs no annotation of its own (``fusion.qdq`` moves the DEQUANTIZE behind it).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..fusion.integer_kernels import LEAST_FACTOR
from ..ir import build as b
from ..ir.graph import Op, Quant, Value, building, constant
from ..ir.traits import Int8
from . import masks, rounding, scales
from .plan import Plan
from .recipes import I8, I16

#: Units of s_x * s_w that a bias may have: half of what the sums of int32 have, and of the 2^47 up to which kernels of
#: 16 bits know how to scale theirs.
ROOM = {I8: 2.0**30, I16: 2.0**46}


def annotate(plan: Plan) -> None:
    """Put the annotations of ``plan`` into its graph, in place."""
    _Annotator(plan).run()


class _Annotator:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.graph = plan, plan.graph
        self.made: dict[tuple[Value, str], Value] = {}  # a tensor by way of integers of a dtype

    def run(self) -> None:
        graph, plan = self.graph, self.plan
        old, graph.ops = graph.ops, []
        for value in graph.inputs:
            if (dtype := plan.width(value)) is not None:
                with building(graph):
                    self._enter(value, dtype, old)
        for op in old:
            with building(graph, op.origin):
                dtype = plan.ops.get(op)
                if dtype is not None:
                    self._read(op, dtype)
                elif op.kind.int8 is Int8.PADS:
                    self._fill(op)
                graph.ops.append(op)
                if dtype is not None:
                    self._write(op, dtype)

    def _enter(self, value: Value, dtype: np.dtype, ops: list[Op]) -> None:
        """An input of the graph as its readers are to see it."""
        quant = self.plan.quant(value, dtype)
        seen = b.dequantize(b.quantize(value, quant), quant)
        self.made[value, dtype.name] = seen
        for op in ops:
            if op in self.plan.ops or self.plan.moves(op):
                op.replace_uses({value: seen})
        self.plan.alias(seen, value)

    def _read(self, op: Op, dtype: np.dtype) -> None:
        """Let the operation read quantised operands."""
        linear = op.kind.weights is not None
        root = self.plan.root(op.inputs[0])
        source = None if root is None else self.plan.quant(root, dtype)
        roots = [self.plan.root(v) for v in op.inputs]
        for i, value in enumerate(op.inputs[:1] if linear else op.inputs):
            if value is None or value.dtype != np.float32:
                continue
            if value.is_constant:
                op.inputs[i] = self._constant(op, value, dtype, roots)
            else:
                op.inputs[i] = self._as(value, dtype)
        if linear:
            self._weights(op, dtype, source or op.inputs[0].quant)  # type: ignore[union-attr]

    def _constant(self, op: Op, value: Value, dtype: np.dtype, roots: Sequence[Value | None]) -> Value:
        """A constant operand; ``roots`` of all operands."""
        data, quant, result = value.data, None, self.plan.quant(op.outputs[0], dtype)
        assert data is not None
        if op.kind.int8 is Int8.JOINS:
            quant = result
        elif len(found := [r for r in roots if r is not None]) == 1:
            data = masks.within(op, data, self.plan.quant(found[0], dtype), result)
        quant = quant or scales.of_range(float(data.min(initial=0)), float(data.max(initial=0)), dtype)
        return constant(data, name=value.name, quant=quant)

    def _as(self, value: Value, dtype: np.dtype) -> Value:
        """``value`` by way of integers of ``dtype``."""
        root = self.plan.root(value)
        assert root is not None
        if self.plan.width(root) == dtype:
            return value  # so was it computed
        if (value, dtype.name) not in self.made:
            quant = self.plan.quant(root, dtype)
            self.made[value, dtype.name] = b.dequantize(b.quantize(value, quant), quant)
        return self.made[value, dtype.name]

    def _write(self, op: Op, dtype: np.dtype) -> None:
        """Let its result be what its integers stand for; everybody reads that."""
        (result,) = op.outputs
        quant = self.plan.quant(result, dtype)
        raw = Value(self.graph.fresh_name(result.name), result.shape, result.dtype, producer=op)
        op.outputs[0] = raw
        last = b.dequantize(b.quantize(raw, quant), quant).producer
        assert last is not None
        last.outputs[0] = result
        result.producer = last
        self.plan.computes[result] = op

    def _fill(self, op: Op) -> None:
        """The number that a padding fills in as its integer."""
        root, fill = self.plan.root(op.inputs[0]), op.inputs[1]
        dtype = None if root is None else self.plan.width(root)
        if root is not None and dtype is not None and fill is not None and fill.is_constant:
            op.inputs[1] = constant(fill.data, name=fill.name, quant=self.plan.quant(root, dtype))

    def _weights(self, op: Op, dtype: np.dtype, source: Quant | None) -> None:
        """int8 weights; their scales leave room for the bias, which is rounded to what it will be."""
        _, weights, bias = (*op.inputs, None)[:3]
        assert source is not None and weights is not None and weights.data is not None and op.kind.weights is not None
        axis = op.kind.weights.outputs if self.plan.per_channel else None
        step = float(source.scale[0])
        given = None if bias is None or bias.data is None else bias.data.astype(np.float64)
        largest = np.zeros(1) if given is None else np.abs(given)
        result = self.plan.quant(op.outputs[0], dtype)
        floor = _least_scale(largest if axis is not None else np.asarray(largest.max()), source, result)
        quant = scales.of_weights(weights.data, axis, floor)
        moments, data, error = self.plan.moments.get(op.outputs[0].name), weights.data, None
        if moments is not None and moments.known:
            data, error = rounding.rounded(op, weights.data, quant, moments)
        op.inputs[1] = constant(data, name=weights.name, quant=quant)
        if given is not None or error is not None:
            real = (0.0 if given is None else given) - (0.0 if error is None else error)
            unit = step * quant.scale.astype(np.float64)
            rounded = (np.round(real / unit) * unit).astype(np.float32)
            op.inputs[2:] = [constant(rounded, name=bias.name if bias is not None else f"{weights.name}_bias")]


def _least_scale(bias: np.ndarray, source: Quant, result: Quant) -> np.ndarray:
    """The smallest scale of weights with which the kernel has room for magnitudes of a ``bias`` [channel].

    ``b / (s_x s_w)`` is at most ``ROOM`` (as in TFLite's own quantiser), and the factor ``s_x s_w / s_out`` at least
    twice the least that kernels know.  Smaller weights are rounded to multiples of this scale, often to 0.  This
    changes each of n products by ``s_w / 2`` times at most ``2^k s_x``, k being 8 or 15, and the result, in steps, by

        n 2^(k-1) s_x s_w / s_out  <=  n 2^(k-1) max(|b| / (s_out ROOM), 2 LEAST_FACTOR).

    A bias in the range of the result has ``|b| <= 2^k s_out``; so that is n 2^-15 steps of 8 bits and n 2^-17 of 16:
    less than one below 32,768 products.
    """
    step, finest = float(source.scale[0]), 2 * LEAST_FACTOR * float(result.scale[0])
    return np.maximum(bias / ROOM[result.dtype], finest) / step
