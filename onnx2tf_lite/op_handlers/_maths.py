"""Real functions that TFLite has no kernel for, in forms that hold their relative accuracy over the whole range.

Written with kernels that XNNPACK takes as well; figures are the largest relative error on CPU / XNNPACK.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir.graph import Value

MAX = float(np.finfo(np.float32).max)
NAN = float("nan")

# erf(x) = x P(x^2) / Q(x^2) on |x| <= 3.92, Q(0) = 1: a minimax fit, lowest order first; the error in float32 is 4e-7
_ERF_P = (
    1.1283787488937378,
    0.2089969664812088,
    0.05177747458219528,
    0.004090226721018553,
    0.00015134141722228378,
    -1.991482577068382e-06,
    1.9640328474679336e-08,
)
_ERF_Q = (1.0, 0.5185471177101135, 0.11875434964895248, 0.015132103115320206, 0.001051073195412755)


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """``c0 + c1 x + c2 x^2 + ...`` by Horner's rule."""
    *rest, leading = coefficients
    total = x * leading
    for c in reversed(rest[1:]):
        total = (total + c) * x
    return total + rest[0]


def bound(x: Value, low: float, high: float) -> Value:
    """``x`` limited to [low, high]."""
    return b.minimum(b.maximum(x, low), high)


def relu(x: Value) -> Value:
    """max(x, 0) of any dtype."""
    return b.relu(x) if x.dtype.kind == "f" else b.maximum(x, 0)


def absolute(x: Value) -> Value:
    """|x| of any dtype."""
    return x if x.dtype.kind == "u" else b.abs_(x)


def with_sign(magnitude: Value, x: Value) -> Value:
    """``magnitude`` >= 0 with the sign of ``x``."""
    return b.where(b.less(x, 0), b.neg(magnitude), magnitude)


def ones_like(x: Value) -> Value:
    """1 in every place (0 where x is NaN) without asking for the shape."""
    return b.cast(b.equal(x, x), x.dtype)


def erf(x: Value) -> Value:
    """The error function: 4e-7 absolute."""
    x = bound(x, -3.92, 3.92)
    square = b.square(x)
    return x * polynomial(square, _ERF_P) / polynomial(square, _ERF_Q)


def _log1p_series(s: Value) -> Value:
    """``log((1 + s) / (1 - s))`` for |s| <= 1/3."""
    square = b.square(s)
    return s * polynomial(square, [2 / k for k in (1, 3, 5, 7, 9, 11, 13)])


def log1p_unit(u: Value) -> Value:
    """log(1 + u) for 0 <= u <= 1: no LOG, whose value near 1 XNNPACK does not round correctly."""
    return _log1p_series(u / (u + 2.0))


def log1p(u: Value) -> Value:
    """log(1 + u) for u >= -1: 2e-7 / 5e-7."""
    near = _log1p_series(bound(u, -0.4, 0.4) / (bound(u, -0.4, 0.4) + 2.0))
    return b.where(b.less(b.abs_(u), 0.4), near, b.log(u + 1.0))


def expm1(x: Value) -> Value:
    """exp(x) - 1: 2e-7 / 4e-6, from ELU, which is accurate below zero."""
    return b.where(b.less(x, 0), b.elu(x), b.exp(x) * -b.elu(-b.relu(x)))


def softplus(x: Value) -> Value:
    """log(1 + exp(x)) without overflow."""
    return b.relu(x) + log1p_unit(b.exp(-b.abs_(x)))


def sinh(x: Value) -> Value:
    """(exp(x) - exp(-x)) / 2 = (1 - e^-a)(e^a + 1) / 2 with the sign of x, a = |x|."""
    a = b.abs_(x)
    return with_sign(-b.elu(-a) * (b.exp(a) + 1.0) * 0.5, x)


def cosh(x: Value) -> Value:
    """(e + 1/e) / 2, e = exp |x|."""
    e = b.exp(b.abs_(x))
    return (e + 1.0 / e) * 0.5


def asinh(x: Value) -> Value:
    """sign(x) log1p(a + a^2 / (1 + sqrt(1 + a^2))), a = |x|."""
    a = b.abs_(x)
    square = b.square(a)
    return with_sign(log1p(a + square / (b.sqrt(square + 1.0) + 1.0)), x)


def acosh(x: Value) -> Value:
    """log1p(t + sqrt(t^2 + 2t)), t = x - 1."""
    t = x - 1.0
    return log1p(t + b.sqrt(t * (t + 2.0)))


def atanh(x: Value) -> Value:
    """sign(x) log1p(2a / (1 - a)) / 2, a = |x|."""
    a = b.abs_(x)
    return with_sign(log1p(a * 2.0 / (1.0 - a)) * 0.5, x)


def asin(x: Value) -> Value:
    """atan2(x, sqrt((1 - x)(1 + x)))."""
    return b.emit("ATAN2", x, b.sqrt((1.0 - x) * (x + 1.0)))


def acos(x: Value) -> Value:
    """atan2(sqrt((1 - x)(1 + x)), x)."""
    return b.emit("ATAN2", b.sqrt((1.0 - x) * (x + 1.0)), x)


def atan(x: Value) -> Value:
    """atan2(x, 1); the kernel does not broadcast."""
    return b.emit("ATAN2", x, ones_like(x))


def truncate(x: Value) -> Value:
    """Toward zero."""
    return with_sign(b.floor(b.abs_(x)), x)
