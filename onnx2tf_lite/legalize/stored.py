"""Stored integers that operations move as they are, while the parameters they stand for are known only elsewhere.

An ONNX model may pool, join or pad quantised integers; TFLite's integer kernels want the parameters on every operand
and result, and some rescale by them.  Here each such operation gets a form that means what the model says:

- a kernel that copies without a look at the parameters (``Kind.copies``) hands them on to its result;
- one that copies or picks elements and whose operands have the same parameters works on real numbers, since
  dequantising keeps the order and quantising gives the same integers back; fusion makes an integer kernel of that;
- any other one works on plain i32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Quant, Value, constant
from ..ir.traits import Elements

CHOSEN = (Elements.COPIED, Elements.PICKED, Elements.PADDED)  # integers in, the same or fewer out


def canonicalise(graph: Graph) -> None:
    """Give every operation on stored integers such a form, in place."""
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            stored = [*_stored(op.inputs), *_stored(op.outputs)]
            if not any(v.quant for v in stored) or _takes_them(op):
                part.ops.append(op)
                _hand_on(op)
            elif op.kind.elements in CHOSEN and len(op.outputs) == 1 and (quant := _shared(op)) is not None:
                (result,) = op.outputs
                result.quant = quant
                rewrite.define("QUANTIZE", _on_reals(op, quant), result, quant=quant)
            else:
                rewrite.replace(op, _on_i32(op))


def _stored(values: Sequence[Value | None]) -> list[Value]:
    return [v for v in values if v is not None and v.dtype.kind in "iu" and v.dtype.itemsize <= 2]


def _takes_them(op: Op) -> bool:
    """True for operations that take integers whatever these stand for."""
    if op.kind.elements is Elements.COPIED:
        return all(op.kind.copies(v.dtype) for v in _stored(op.inputs[:1]))
    return op.kind.elements in (Elements.CONVERTED, Elements.ENCODED, Elements.DELEGATED)


def _hand_on(op: Op) -> None:
    source = op.inputs[0] if op.inputs else None
    if source is None or not op.kind.copies(source.dtype):
        return
    if source.quant is not None and source.quant.axis is None:
        for v in op.outputs:
            v.quant = v.quant or (source.quant if v.dtype == source.dtype else None)


def _shared(op: Op) -> Quant | None:
    """The parameters that all operands have, and the result if it has any."""
    found = [v.quant for v in _stored(op.inputs) if v.data is None] + [v.quant for v in op.outputs if v.quant]
    first = found[0] if found else None
    return first if first and all(q is not None and q.same(first) for q in found) else None


def _real(value: Value, quant: Quant) -> Value:
    return constant(quant.real(value.data)) if value.data is not None else b.dequantize(value, quant)


def _on_reals(op: Op, quant: Quant) -> Value:
    stored = _stored(op.inputs)
    operands = [_real(v, quant) if v in stored else v for v in op.inputs]
    if op.kind.elements is Elements.PADDED:  # with the integer 0, which is another number
        return b.pad(operands[0], op.attrs["pads"], quant.real(np.zeros((), quant.dtype)))  # type: ignore[arg-type]
    return b.emit(op.kind.name, *operands, **op.attrs)


def _on_i32(op: Op) -> list[Value]:
    stored = _stored(op.inputs)
    operands = [b.cast(v, np.int32) if v in stored else v for v in op.inputs]
    return b.emit_all(op.kind.name, operands, **op.attrs)
