"""Activations that kernels apply for free, seen as intervals to which a result is limited.

TFLite's ActivationFunctionType has RELU, RELU6 and RELU_N1_TO_1 (and others that no kernel implements).
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value
from ..ir.kinds import KINDS
from ..ir.rules import Match, again, rule
from ..ir.traits import REALS, Limits

ACTIVATIONS: dict[Limits, str | None] = {REALS: None, **{k.limits: k.name for k in KINDS.values() if k.clamps}}
EXTREME = "MAXIMUM|MINIMUM({}, const({}))"


def fused_limits(operation: Op) -> Limits:
    """The interval to which the activation fused into an operation limits its result."""
    activation = operation.attrs.get("activation")
    return KINDS[activation].limits if activation else REALS


def limits(clip: Op) -> Limits | None:
    """The interval to which an operation (a named activation, or an extreme of something and a constant) limits its
    operand; None where the limit differs between elements."""
    if clip.kind.clamps:
        return clip.kind.limits
    data = next(v.data for v in reversed(clip.inputs) if v is not None and v.data is not None)
    if data.dtype != np.float32 or not data.size or (data != data.flat[0]).any() or clip.kind.evaluate is None:
        return None
    low, high = (np.asarray(clip.kind.evaluate(clip.attrs, np.float32(end), data.flat[0])).item() for end in REALS)
    return low, high


def then(inner: Limits | None, outer: Limits | None) -> Limits | None:
    """The interval of limiting to ``inner`` and then to ``outer``."""
    if inner is None or outer is None:
        return None
    low, high = (min(max(x, outer[0]), outer[1]) for x in inner)
    return low, high


def limited(x: Value, interval: Limits | None) -> Value | None:
    """``x`` limited by one operation, where there is one."""
    name = ACTIVATIONS.get(interval) if interval else None
    return b.emit(name, x) if name else x if interval == REALS else None


@rule("clamp(result := carrier(...))", EXTREME.format("result := carrier(...)", "limit"), origin="result")
def fuse_activation(m: Match) -> Value | None:
    """activation into the operation before it

    The kernel limits its result to the same interval, after its own rounding.
    """
    carrier = m.op("result")
    if m.result.dtype != np.float32:
        return None
    have = fused_limits(carrier)
    both = then(have, limits(m.root))
    if both == have:
        return m.result
    return again(carrier, activation=ACTIVATIONS[both]) if both in ACTIVATIONS else None


_CLIPS = [f"inner := shared({clip})" for clip in ("clamp(x)", EXTREME.format("x", "low"))]


@rule(*(f"clamp({clip})" for clip in _CLIPS), *(EXTREME.format(clip, "high") for clip in _CLIPS))
def merge_clips(m: Match) -> Value | None:
    """two limits in one

    clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)).
    """
    have = limits(m.op("inner"))
    both = then(have, limits(m.root))
    return m.inner if both is not None and both == have else limited(m.x, both)


@rule(EXTREME.format("x", "limit"))
def name_clip(m: Match) -> Value | None:
    """maximum with zero as RELU

    max(x, 0) = RELU(x).
    """
    return None if m.x.is_constant else limited(m.x, limits(m.root))


RULES = [fuse_activation, merge_clips, name_clip]
