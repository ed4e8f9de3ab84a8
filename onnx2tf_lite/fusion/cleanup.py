"""Operations that do nothing, or do in two steps what one can do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Quant, Value
from .pattern import Match, any_, op, rule


@rule(op("RESHAPE", op("RESHAPE", any_("x"), shared=True)))
def merge_reshapes(m: Match) -> Value | str | None:
    """two RESHAPEs in one"""
    return b.reshape(m.x, m.root.outputs[0].shape)


@rule(op("TRANSPOSE", op("TRANSPOSE", any_("x"), name="inner", shared=True)))
def merge_transposes(m: Match) -> Value | str | None:
    """two TRANSPOSEs in one"""
    return b.transpose(m.x, [m.inner.attrs["perm"][a] for a in m.root.attrs["perm"]])


NOTHING: dict[str, Callable[[Value, Op], Value | None]] = {
    "RESHAPE": lambda x, op: b.reshape(x, op.outputs[0].shape),
    "TRANSPOSE": lambda x, op: b.transpose(x, op.attrs["perm"]),
    "CAST": lambda x, op: b.cast(x, op.attrs["to"]),
    "IDENTITY": lambda x, op: None if x.is_constant else x,  # a graph output that is a constant
}


@rule(op("|".join(NOTHING), any_("x")))
def nothing(m: Match) -> Value | str | None:
    """operation without effect, or on a constant"""
    value = NOTHING[m.root.kind.name](m.x, m.root)
    return value if value is m.x or (value is not None and value.is_constant) else None


def holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """True where every number of dtype ``narrow`` is one of dtype ``wide``."""
    rounds = wide.kind == "f" and narrow.kind in "iu" and narrow.itemsize >= wide.itemsize  # numpy: i64 -> f64 is safe
    return np.can_cast(narrow, wide, "safe") and not rounds


@rule(op("CAST", op("CAST", any_("x"), name="inner", shared=True)))
def merge_casts(m: Match) -> Value | str | None:
    """two CASTs in one"""
    middle, bounds = m.inner.outputs[0].dtype, m.x.bounds
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


@rule(op("QUANTIZE", op("DEQUANTIZE", any_("x"), name="inner", shared=True)))
def same_integers(m: Match) -> Value | str | None:
    """DEQUANTIZE and QUANTIZE with the same parameters"""
    return m.x if equal(m.inner.attrs["quant"], m.root.attrs["quant"]) else None


RULES = [nothing, merge_reshapes, merge_transposes, merge_casts, same_integers]
