"""64-bit integers beyond the kernels: exact division, and uint64, which is int64 between the edges of a file.

TFLite moves uint64 but does not compute with it; its int64 kernels wrap.  So sums, products, equality and movement are
right on the same bits read as int64, the order is right once the sign bit is flipped, and what remains (division,
casts from and to float) is composed.  The inputs and outputs of the model stay uint64, behind or before a BITCAST.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..ir import build, rewrite
from ..ir.graph import Graph, Op, Value, building, constant
from ..ir.traits import Bits

I64, U64, F32 = np.dtype(np.int64), np.dtype(np.uint64), np.dtype(np.float32)
LOWEST = np.int64(-(2**63))
TOP, ALL = np.float32(2.0**63), np.float32(2.0**64)


def flip(x: Value) -> Value:
    """The sign bit of an int64 inverted: the unsigned order becomes the signed one, and back."""
    return x + LOWEST


# ------------------------------------------------------------------------------------------------ floats


def _rounded(x: Value) -> Value:
    """The uint64 in the bits of ``x`` as the nearest float32, half to even.

    From 2**63 on a float32 is a multiple of 2**40; the kernel would round the negative int64 to a finer one first.
    """
    upper = flip(x)
    rest = build.floor_mod(upper, np.int64(2**40))
    multiple = upper - rest
    odd = build.cast(build.not_equal(build.floor_mod(multiple, np.int64(2**41)), 0), I64)
    up = build.cast(build.greater(rest + odd, np.int64(2**39)), F32)
    above = build.cast(multiple, F32) + up * np.float32(2.0**40) + TOP
    return build.where(build.less(x, 0), above, build.cast(x, F32))


def _near(x: Value) -> Value:
    """:func:`_rounded` to within two units in the last place, in fewer steps."""
    return build.cast(x, F32) + build.where(build.less(x, 0), ALL, np.float32(0))


def _truncated(x: Value) -> Value:
    """The bits of a float32 as uint64; what lies outside becomes 0 or the largest."""
    folded = build.minimum(x - ALL, np.float32(-1))
    return build.cast(build.where(build.greater_equal(x, TOP), folded, build.maximum(x, np.float32(0))), I64)


# ------------------------------------------------------------------------------------------------ division


def long_division(x: Value, y: Value, unsigned: bool) -> tuple[Value, Value]:
    """(quotient, remainder) of the bits of two int64 >= 0, or of two uint64: long division in float32 digits.

    A digit is taken 2**-20 too small, far more than the rounding of its operations, so the remainder never turns
    negative and shrinks by 2**19 a round; after four rounds it is below twice the divisor.
    """
    to_float: Callable[[Value], Value] = _near if unsigned else lambda v: build.cast(v, F32)
    to_integer: Callable[[Value], Value] = _truncated if unsigned else lambda v: build.cast(v, I64)
    order: Callable[[Value], Value] = flip if unsigned else lambda v: v
    total, rest, divisor = None, x, to_float(y)
    for _ in range(4):
        digit = to_integer(to_float(rest) / divisor * (1 - 2.0**-20))
        total, rest = digit if total is None else total + digit, rest - digit * y
    last = build.cast(build.greater_equal(order(rest), order(y)), I64)
    return total + last, rest - last * y


def quotient(x: Value, y: Value, floor: bool = False) -> Value:
    """int64 division toward zero, or down: exact for every pair but one with -2**63."""
    total, rest = long_division(build.maximum(x, build.neg(x)), build.maximum(y, build.neg(y)), unsigned=False)
    opposite = build.not_equal(build.less(x, 0), build.less(y, 0))
    if floor:
        total = total + build.cast(build.logical_and(opposite, build.greater(rest, 0)), I64)
    return build.where(opposite, build.neg(total), total)


# ------------------------------------------------------------------------------------------------ uint64

Wide = set[Value]  # the values that hold the bits of uint64
Form = Callable[[Op, Wide], "list[Value]"]


def _flipped(op: Op, wide: Wide) -> list[Value]:
    """In the order of int64."""
    operands = [flip(v) if v in wide else v for v in op.inputs if v is not None]
    results = build.emit_all(op.kind.name, operands, **op.attrs)
    return [flip(r) if v in wide else r for r, v in zip(results, op.outputs, strict=True)]


def _cast(op: Op, wide: Wide) -> list[Value]:
    (x,) = op.inputs
    assert x is not None
    if x in wide and op.attrs["to"].kind == "f":
        return [build.cast(_rounded(x), op.attrs["to"])]
    return [_truncated(build.cast(x, F32)) if x.dtype.kind == "f" else build.cast(x, op.attrs["to"])]


def _scattered(op: Op, wide: Wide) -> list[Value]:
    if op.attrs["reduction"] in ("max", "min"):
        return _flipped(op, wide)
    return build.emit_all(op.kind.name, op.inputs, **op.attrs)


def _divided(part: int) -> Form:
    def form(op: Op, wide: Wide) -> list[Value]:
        x, y = op.inputs
        assert x is not None and y is not None
        return [long_division(x, y, unsigned=True)[part]]

    return form


FORMS: dict[Bits, Form] = {
    Bits.ORDERED: _flipped,
    Bits.QUOTIENT: _divided(0),
    Bits.REMAINDER: _divided(1),
    Bits.CONVERTED: _cast,
    Bits.BODY: _scattered,
}


def signed(graph: Graph, refuse: Callable[[Op, str], None]) -> None:
    """Replace uint64 by int64 everywhere but in the inputs and outputs of the model, in place.

    ``refuse(op, why)`` is called for each operation that has no form.
    """
    parts = [graph, *graph.subgraphs()]
    if not any(v.dtype == U64 for part in parts for v in _values(part)):
        return
    edges = [(i, v) for i, v in enumerate(graph.outputs) if v.dtype == U64]
    inputs = [v for v in graph.inputs if v.dtype == U64]
    wide: Wide = set()
    for part in parts:
        _relabel(part, wide)
    for part in parts:
        _rewrite(part, wide, refuse)
    _edges(graph, inputs, edges)
    graph.tensors = {n: v for n, v in graph.tensors.items() if v.dtype == U64 or v not in wide}


def _relabel(graph: Graph, wide: Wide) -> None:
    """All values of one graph as int64, constants as new values; ``wide`` gets them."""
    constants: dict[Value, Value] = {}
    for v in _values(graph):
        if v.dtype == U64 and v.data is not None:
            constants[v] = constant(v.data.view(I64), name=v.name)
            wide.add(constants[v])
        elif v.dtype == U64:
            v.dtype, v.bounds = I64, None
            wide.add(v)
    graph.outputs = [constants.get(v, v) for v in graph.outputs]
    for op in graph.ops:
        op.replace_uses(constants)
        op.attrs = {name: _attribute(a) for name, a in op.attrs.items()}


def _attribute(item: object) -> object:
    """An attribute with int64 for uint64, also in the declared results of control flow."""
    if isinstance(item, list | tuple):
        return type(item)(_attribute(i) for i in item)
    return I64 if isinstance(item, np.dtype) and item == U64 else item


def _values(graph: Graph) -> Iterable[Value]:
    """Everything that a graph reads and computes, each once."""
    values = dict.fromkeys([*graph.inputs, *graph.outputs])
    for op in graph.ops:
        values.update(dict.fromkeys(op.uses()))
        values.update(dict.fromkeys(op.outputs))
    return values


def _rewrite(graph: Graph, wide: Wide, refuse: Callable[[Op, str], None]) -> None:
    for op in rewrite.walk(graph):
        form = FORMS.get(op.kind.bits)
        touched = any(v in wide for v in [*op.inputs, *op.outputs])
        if touched and form is not None:
            rewrite.replace(op, form(op, wide))
            continue
        if touched and op.kind.bits is Bits.WRONG:
            refuse(op, f"TFLite's {op.kind.name} has no uint64 kernel, and none that is right for the same bits")
        graph.ops.append(op)


def _edges(graph: Graph, inputs: list[Value], outputs: list[tuple[int, Value]]) -> None:
    """uint64 again where the model begins and ends."""
    inner = {v: Value(graph.fresh_name(v.name), v.shape, I64, content=v.content) for v in inputs}
    body, graph.ops = graph.ops, []
    for outer, value in inner.items():
        outer.dtype = U64
        with building(graph):
            rewrite.define("BITCAST", outer, value, to=I64)
    for op in body:
        op.replace_uses(inner)
    graph.ops += body
    graph.definitions = {s: (inner.get(v, v), i) for s, (v, i) in graph.definitions.items()}
    ends: dict[Value, Value] = {}
    for i, value in outputs:
        end = graph.outputs[i] = Value(value.name, value.shape, U64)
        ends[value] = end
        value.name = graph.fresh_name(value.name)
        with building(graph, value.producer.origin if value.producer else None):
            rewrite.define("BITCAST", value, end, to=U64)
    graph.tensors = {n: ends.get(v, v) for n, v in graph.tensors.items()}
