"""Activation functions: float32 unless said otherwise."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from . import _maths as m
from .registry import op, table


def _below(x: Value) -> Value:
    """min(x, 0): the half of a piecewise function that XNNPACK can take, unlike SELECT."""
    return b.minimum(x, 0)


table(
    Relu=m.relu,
    Sigmoid=lambda x: b.logistic(x),
    Tanh=lambda x: b.tanh(x),
    Softplus=m.softplus,
    HardSwish=lambda x: b.hard_swish(x),
    Softsign=lambda x: x / (b.abs_(x) + 1.0),
)


@op("LeakyRelu")
def leaky_relu(x: Value, *, alpha: float = 0.01) -> Value:
    return b.leaky_relu(x, alpha)


@op("PRelu")
def prelu(x: Value, slope: Value) -> Value:
    """x where x >= 0, else slope * x; the kernel takes a constant slope that is seen to fit, and rank 4 at most."""
    fits = all(s in (1, d) for s, d in zip(slope.shape[::-1], x.shape[::-1], strict=False))
    if x.dtype == np.float32 and slope.is_constant and x.rank <= 4 and fits:
        return b.emit("PRELU", x, b.expand_rank(slope, x.rank))
    return m.relu(x) + slope * _below(x)


@op("Elu")
def elu(x: Value, *, alpha: float = 1.0) -> Value:
    return b.elu(x) if alpha == 1 else b.relu(x) + b.elu(_below(x)) * alpha


@op("Selu")
def selu(x: Value, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Value:
    return b.relu(x) * gamma + b.elu(_below(x)) * (alpha * gamma)


@op("Celu")
def celu(x: Value, *, alpha: float = 1.0) -> Value:
    return b.elu(x) if alpha == 1 else b.relu(x) + b.elu(_below(x) * (1 / alpha)) * alpha


@op("HardSigmoid")
def hard_sigmoid(x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    """min(max(alpha x + beta, 0), 1) as relu6(6 alpha x + 6 beta) / 6: RELU6 fuses into the addition."""
    slope = np.float32(6 * alpha)
    return b.relu6((x if slope == 1 else x * slope) + 6 * beta) * (1 / 6)


@op("Gelu")
def gelu(x: Value, *, approximate: str = "none") -> Value:
    return b.gelu(x, approximate == "tanh")


@op("Swish")
def swish(x: Value, *, alpha: float = 1.0) -> Value:
    return x * b.logistic(x if alpha == 1 else x * alpha)


@op("SwiGLU")
def swiglu(x: Value, y: Value, *, alpha: float = 1.0) -> Value:
    return swish(x, alpha=alpha) * y


@op("Mish")
def mish(x: Value) -> Value:
    """x tanh(softplus(x)) = x n / (n + 2), n = e (e + 2), e = exp x; from 20 on the quotient is 1."""
    e = b.exp(b.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


@op("ThresholdedRelu")
def thresholded_relu(x: Value, *, alpha: float = 1.0) -> Value:
    return b.where(b.greater(x, alpha), x, 0)


@op("Shrink")
def shrink(x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    """x + bias below -lambd, x - bias above lambd, 0 between; computed in float32 for every dtype."""
    real: Value = b.cast(x, np.float32)
    above = b.where(b.greater(real, lambd), real - bias, 0)
    return b.cast(b.where(b.less(real, -lambd), real + bias, above), x.dtype)
