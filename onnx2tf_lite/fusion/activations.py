"""Activations that kernels apply for free, seen as intervals to which a result is limited.

TFLite's ActivationFunctionType has RELU, RELU6 and RELU_N1_TO_1 (and others that no kernel implements).
"""

from __future__ import annotations

from math import inf

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value
from ..ir.rules import Match, again, rule

Interval = tuple[float, float]

LIMITS: dict[object, Interval] = {None: (-inf, inf), "RELU": (0, inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
NAMED = {limits: name for name, limits in LIMITS.items()}
CARRIERS = (
    "CONV_2D|DEPTHWISE_CONV_2D|TRANSPOSE_CONV|CONV_3D|MAX_POOL_2D|AVERAGE_POOL_2D|FULLY_CONNECTED|ADD|SUB|MUL|DIV"
)
NAMED_CLIP, CONSTANT_CLIP = "RELU|RELU6|RELU_N1_TO_1({})", "MAXIMUM|MINIMUM({}, const({}))"


def limits(clip: Op) -> Interval | None:
    """The interval to which an operation (a named activation, or an extreme of something and a constant) limits its
    operand; None where the limit differs between elements."""
    kind = clip.kind.name
    if kind in LIMITS:
        return LIMITS[kind]
    data = next(v.data for v in reversed(clip.inputs) if v is not None and v.data is not None)
    if data.dtype != np.float32 or not data.size or (data != data.flat[0]).any():
        return None
    limit = float(data.flat[0])
    return (limit, inf) if kind == "MAXIMUM" else (-inf, limit)


def then(inner: Interval | None, outer: Interval | None) -> Interval | None:
    """The interval of limiting to ``inner`` and then to ``outer``."""
    if inner is None or outer is None:
        return None
    low, high = (min(max(x, outer[0]), outer[1]) for x in inner)
    return low, high


def limited(x: Value, interval: Interval | None) -> Value | None:
    """``x`` limited by one operation, where there is one."""
    name = NAMED.get(interval) if interval else None
    return b.emit(str(name), x) if name else x if interval == LIMITS[None] else None


@rule(
    NAMED_CLIP.format(f"carrier := {CARRIERS}(...)"),
    CONSTANT_CLIP.format(f"carrier := {CARRIERS}(...)", "limit"),
    origin="carrier",
)
def fuse_activation(m: Match) -> Value | None:
    """activation into the operation before it

    The kernel limits its result to the same interval, after its own rounding.
    """
    carrier, outer = m.op("carrier"), limits(m.root)
    if m.carrier.dtype != np.float32:
        return None
    have = LIMITS[carrier.attrs.get("activation")]
    both = then(have, outer)
    if both == have:
        return m.carrier
    return again(carrier, activation=NAMED[both]) if both in NAMED else None


_INNER_CLIPS = (NAMED_CLIP.format("x"), CONSTANT_CLIP.format("x", "low"))


@rule(
    *(NAMED_CLIP.format(f"inner := shared({clip})") for clip in _INNER_CLIPS),
    *(CONSTANT_CLIP.format(f"inner := shared({clip})", "high") for clip in _INNER_CLIPS),
)
def merge_clips(m: Match) -> Value | None:
    """two limits in one

    clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)).
    """
    have = limits(m.op("inner"))
    both = then(have, limits(m.root))
    return m.inner if both is not None and both == have else limited(m.x, both)


@rule(CONSTANT_CLIP.format("x", "limit"))
def name_clip(m: Match) -> Value | None:
    """maximum with zero as RELU

    max(x, 0) = RELU(x).
    """
    return None if m.x.is_constant else limited(m.x, limits(m.root))


RULES = [fuse_activation, merge_clips, name_clip]
