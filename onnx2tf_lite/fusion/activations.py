"""Activations that kernels apply for free, seen as intervals to which a result is limited.

tflite-facts section 5, rule 7: RELU, RELU6 and RELU_N1_TO_1 and no others.
"""

from __future__ import annotations

from math import inf

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value
from .pattern import Match, Pattern, again, any_, const, either, op, rule, uniform

Interval = tuple[float, float]

LIMITS: dict[str | None, Interval] = {None: (-inf, inf), "RELU": (0, inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
NAMED = {limits: name for name, limits in LIMITS.items()}
CARRIERS = (
    "CONV_2D|DEPTHWISE_CONV_2D|TRANSPOSE_CONV|CONV_3D|MAX_POOL_2D|AVERAGE_POOL_2D|FULLY_CONNECTED|ADD|SUB|MUL|DIV"
)


def clip(x: Pattern, name: str = "", shared: bool = False) -> Pattern:
    """``x`` limited to an interval: a named activation, or a maximum or minimum with a constant."""
    return either(
        op("RELU|RELU6|RELU_N1_TO_1", x, name=name, shared=shared),
        op("MAXIMUM|MINIMUM", x, const(""), name=name, shared=shared),
    )


def limits(operation: Op) -> Interval | None:
    """The interval of an operation that matched :func:`clip`; None where the limit differs between elements."""
    kind = operation.kind.name
    if kind in LIMITS:
        return LIMITS[kind]
    limit = next(v for v in reversed(operation.inputs) if v is not None and v.is_constant)
    if limit.dtype != np.float32 or not limit.data.size or not uniform(limit, low := float(limit.data.flat[0])):  # type: ignore[union-attr]
        return None
    return (low, inf) if kind == "MAXIMUM" else (-inf, low)


def then(inner: Interval | None, outer: Interval | None) -> Interval | None:
    """The interval of limiting to ``inner`` and then to ``outer``."""
    if inner is None or outer is None:
        return None
    low, high = (min(max(x, outer[0]), outer[1]) for x in inner)
    return low, high


def limited(x: Value, interval: Interval | None) -> Value | None:
    """``x`` limited by one operation, where there is one."""
    name = NAMED.get(interval) if interval else None
    return b.emit(name, x) if name else x if interval == LIMITS[None] else None


@rule(clip(op(CARRIERS, name="carrier")), origin="carrier")
def fuse_activation(m: Match) -> Value | str | None:
    """activation into the operation before it"""
    result, outer = m.carrier.outputs[0], limits(m.root)
    if result.dtype != np.float32:
        return None
    have = LIMITS[m.carrier.attrs.get("activation")]
    both = then(have, outer)
    if both == have:
        return result
    return again(m.carrier, activation=NAMED[both]) if both in NAMED else None


@rule(clip(clip(any_("x"), "inner", shared=True)))
def merge_clips(m: Match) -> Value | str | None:
    """two limits in one"""
    have = limits(m.inner)
    both = then(have, limits(m.root))
    return m.inner.outputs[0] if both is not None and both == have else limited(m.x, both)


@rule(op("MAXIMUM|MINIMUM", any_("x"), const("")))
def name_clip(m: Match) -> Value | str | None:
    """maximum with zero as RELU"""
    return None if m.x.is_constant else limited(m.x, limits(m.root))


RULES = [fuse_activation, merge_clips, name_clip]
