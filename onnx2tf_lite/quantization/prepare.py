"""Float operations as forms that integer kernels have; each is exact on the real numbers."""

from __future__ import annotations

import numpy as np

from ..fusion import substitutes
from ..ir import build as b
from ..ir import dims
from ..ir.editor import rewrite as apply
from ..ir.graph import Graph, Value
from ..ir.rules import Match, rule


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


@rule("DYNAMIC_QUANT(x)")
def calibrated(m: Match) -> Value | None:
    """no rounding by a range of run time

    Integers of calibrated scales take its place.
    """
    return m.x


RULES = [calibrated, substitutes.square, substitutes.squared_difference, quotient, total]
WIDE = [substitutes.hard_swish, substitutes.depth_to_space, substitutes.space_to_depth]  # no kernel of 16 bits


def prepare(graph: Graph, wide: bool) -> list[str]:
    """Rewrite a fused float program, in place; what was done.  ``wide``: for kernels of 16 bits."""
    return apply(graph, RULES + (WIDE if wide else []))
