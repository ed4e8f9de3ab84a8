"""Float operations as forms that integer kernels have; each is exact on the real numbers."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims, rewrite
from ..ir.editor import rewrite as apply
from ..ir.graph import Graph, Op, Value
from ..ir.rules import Match, rule


@rule("SQUARE(x)")
def square(m: Match) -> Value | None:
    """SQUARE as a product

    There is no integer SQUARE.
    """
    return b.mul(m.x, m.x) if m.x.dtype == np.float32 else None


@rule("DIV(x, const(y))")
def quotient(m: Match) -> Value | None:
    """DIV by a constant as MUL

    The int8 kernel of DIV returns wrong values.
    """
    if m.y.data is None or m.y.dtype != np.float32 or not m.y.data.all():
        return None
    return b.emit("MUL", m.x, b.lift((1 / m.y.data.astype(np.float64)).astype(np.float32)), **m.root.attrs)


@rule("SUM(x)")
def total(m: Match) -> Value | None:
    """SUM as MEAN times the count

    The int8 kernel of SUM is wrong in the reference resolver.
    """
    count = dims.product([m.x.shape[a] for a in m.root.attrs["axes"]])
    if m.x.dtype != np.float32 or not isinstance(count, int):
        return None
    return b.mul(b.emit("MEAN", m.x, **m.root.attrs), np.float32(count))


@rule("HARD_SWISH(x)")
def hard_swish(m: Match) -> Value | None:
    """HARD_SWISH as x * RELU6(x + 3) / 6

    There is no HARD_SWISH of 16 bits.
    """
    return b.mul(b.mul(m.x, b.relu6(b.add(m.x, np.float32(3)))), np.float32(1 / 6))


@rule("DEPTH_TO_SPACE(x)")
def depth_to_space(m: Match) -> Value | None:
    """DEPTH_TO_SPACE as a transpose

    It has no kernel of 16 bits.
    """
    (n, h, w, c), block = m.x.shape, m.root.attrs["block"]
    parts = b.reshape(m.x, (n, h, w, block, block, dims.floordiv(c, block * block)))
    return b.reshape(b.transpose(parts, (0, 1, 3, 2, 4, 5)), m.root.outputs[0].shape)


@rule("SPACE_TO_DEPTH(x)")
def space_to_depth(m: Match) -> Value | None:
    """SPACE_TO_DEPTH as a transpose

    It has no kernel of 16 bits.
    """
    (n, h, w, c), block = m.x.shape, m.root.attrs["block"]
    parts = b.reshape(m.x, (n, dims.floordiv(h, block), block, dims.floordiv(w, block), block, c))
    return b.reshape(b.transpose(parts, (0, 1, 3, 2, 4, 5)), m.root.outputs[0].shape)


RULES = [square, quotient, total]
WIDE = [hard_swish, depth_to_space, space_to_depth]


def prepare(graph: Graph, wide: bool) -> list[str]:
    """Rewrite a fused float program, in place; what was done.  ``wide``: for kernels of 16 bits."""
    for part in rewrite.graphs(graph):
        for op in rewrite.walk(part):
            if op.is_a("SPLIT") and op.outputs[0].dtype == np.float32:
                rewrite.replace(op, _slices(op))
            else:
                part.ops.append(op)
    return apply(graph, RULES + (WIDE if wide else []))


def _slices(op: Op) -> list[Value]:
    """The parts of a SPLIT one by one: rules see operations of one result."""
    (x, *_), axis, start, parts = op.inputs, op.attrs["axis"], 0, []
    assert x is not None
    for value in op.outputs:
        parts.append(b.narrow(x, axis, start, value.shape[axis]))
        start = start + value.shape[axis]  # type: ignore[assignment]
    return parts
