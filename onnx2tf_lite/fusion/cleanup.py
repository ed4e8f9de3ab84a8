"""Operations that do nothing, or do in two steps what one can do."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Quant, Value
from ..ir.rules import Match, rule


@rule("RESHAPE(shared(RESHAPE(x)))")
def merge_reshapes(m: Match) -> Value | None:
    """two RESHAPEs in one

    Only the last shape counts.
    """
    return b.reshape(m.x, m.root.outputs[0].shape)


@rule("TRANSPOSE(inner := shared(TRANSPOSE(x)))")
def merge_transposes(m: Match) -> Value | None:
    """two TRANSPOSEs in one

    transpose(transpose(x, p), q) = transpose(x, [p[i] for i in q]).
    """
    return b.transpose(m.x, [m.op("inner").attrs["perm"][a] for a in m.root.attrs["perm"]])


def _spared(m: Match, value: Value) -> Value | None:
    """What the builder returned, where it did so without an operation."""
    return value if value is m.x or value.is_constant else None


@rule("RESHAPE(x)")
def same_shape(m: Match) -> Value | None:
    """RESHAPE to the shape that is there, or of a constant"""
    return _spared(m, b.reshape(m.x, m.root.outputs[0].shape))


@rule("TRANSPOSE(x)")
def same_order(m: Match) -> Value | None:
    """TRANSPOSE into the order that is there, or of a constant"""
    return _spared(m, b.transpose(m.x, m.root.attrs["perm"]))


@rule("CAST(x)")
def same_dtype(m: Match) -> Value | None:
    """CAST to the dtype that is there, or of a constant"""
    return _spared(m, b.cast(m.x, m.root.attrs["to"]))


@rule("IDENTITY(x)")
def same_value(m: Match) -> Value | None:
    """IDENTITY

    But for a graph output that is a constant.
    """
    return None if m.x.is_constant else m.x


def holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """True where every number of dtype ``narrow`` is one of dtype ``wide``."""
    rounds = wide.kind == "f" and narrow.kind in "iu" and narrow.itemsize >= wide.itemsize  # numpy: i64 -> f64 is safe
    return np.can_cast(narrow, wide, "safe") and not rounds


@rule("CAST(inner := shared(CAST(x)))")
def merge_casts(m: Match) -> Value | None:
    """two CASTs in one

    Equal where the dtype between them holds every number of the first.
    """
    middle, bounds = m.inner.dtype, m.x.bounds
    if not holds(middle, m.x.dtype):
        if bounds is None or middle.kind not in "iu":
            return None  # the first CAST may change numbers
        info = np.iinfo(middle)
        if not info.min <= bounds[0] <= bounds[1] <= info.max:
            return None
    return b.cast(m.x, m.root.outputs[0].dtype)


def equal(p: Quant, q: Quant) -> bool:
    """True for the same parameters of the same integers."""
    return p.same(q)


@rule("QUANTIZE(inner := shared(DEQUANTIZE(x)))")
def same_integers(m: Match) -> Value | None:
    """DEQUANTIZE and QUANTIZE with the same parameters

    round(x * s / s) = x.
    """
    return m.x if equal(m.op("inner").attrs["quant"], m.root.attrs["quant"]) else None


RULES = [same_shape, same_order, same_dtype, same_value, merge_reshapes, merge_transposes, merge_casts, same_integers]
