"""Float operations as forms that integer kernels have; each is exact on the real numbers."""

from __future__ import annotations

import numpy as np

from ..fusion import substitutes
from ..fusion.integer_kernels import displacement
from ..ir import build as b
from ..ir import dims
from ..ir.editor import rewrite as apply
from ..ir.graph import Attrs, Graph, Value
from ..ir.rules import Match, rule

LEVELS = 255
PARTS = (2, 4, 8)  # of an element


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


@rule("RESIZE_BILINEAR(x)")
def resized(m: Match) -> Value | None:
    """RESIZE_BILINEAR by way of finer elements

    The integer kernel's positions are off by a share of an element that grows with the extent; of elements that are
    made finer first, by a power of two, at positions that it knows exactly, that is so much less.  What is linear
    between its elements is so between finer ones, where those are among them: not with half_pixel_centers.
    """
    old, new, attrs = m.x.shape[1:3], m.root.attrs["size"], m.root.attrs
    static = [d for d in (*old, *new) if isinstance(d, int)]
    finest = m.x.made_by("RESIZE_BILINEAR") is not None
    if attrs["half_pixel_centers"] or finest or len(static) != 4:
        return None
    finer = [_finer(a, z, attrs) for a, z in zip(static[:2], static[2:], strict=True)]
    if None in finer or tuple(finer) == old:
        return None
    return b.emit("RESIZE_BILINEAR", b.emit("RESIZE_BILINEAR", m.x, **attrs | {"size": tuple(finer)}), **attrs)


def _finer(old: int, new: int, attrs: Attrs) -> int | None:
    """How many elements there have to be between; ``old`` where none have to, None where nothing helps."""
    if displacement(old, new, attrs) * LEVELS <= 1 / 2:
        return old
    finer = [(parts, (old - 1) * parts + 1 if attrs["align_corners"] else old * parts) for parts in PARTS]
    return next((n for parts, n in finer if displacement(n, new, attrs) * LEVELS <= parts), None)


RULES = [calibrated, substitutes.square, substitutes.squared_difference, quotient, total]
NARROW = [resized]  # 8 bits do not tell apart what is off less
WIDE = [substitutes.hard_swish, substitutes.depth_to_space, substitutes.space_to_depth]  # no kernel of 16 bits


def prepare(graph: Graph, wide: bool) -> list[str]:
    """Rewrite a fused float program, in place; what was done.  ``wide``: for kernels of 16 bits."""
    return apply(graph, RULES + (WIDE if wide else NARROW))
