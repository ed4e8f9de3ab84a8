"""Operators that a device lacks, by others."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.graph import Value, static_shape
from ...ir.rules import Match, rule
from ...op_handlers._maths import erf
from ..ethos_u import LONGEST, averages

MOST_COPIES = 64
FLOAT = np.dtype(np.float32)


@rule("GELU(x)")
def gelu(m: Match) -> Value | None:
    """GELU composed

    x * Phi(x), Phi by the error function, or as the tanh that the approximation is defined by.
    """
    if m.root.attrs["approximate"]:
        return _by_logistic(m.x)
    return b.mul(b.mul(m.x, np.float32(0.5)), b.add(erf(b.mul(m.x, np.float32(sqrt(0.5)))), np.float32(1)))


@rule("GELU(x)")
def coarse_gelu(m: Match) -> Value | None:
    """GELU composed, for integers

    The tanh form is within 5e-4 of the exact one, which no 8 bits show, in a fifth of the operators.
    """
    return _by_logistic(m.x)


def _by_logistic(x: Value) -> Value:
    """0.5 x (1 + tanh(t / 2)) = x * logistic(t), t = 2 sqrt(2 / pi) (x + 0.044715 x^3)."""
    factor = 2 * sqrt(2 / np.pi)
    inner = b.add(b.mul(b.mul(x, x), np.float32(factor * 0.044715)), np.float32(factor))
    return b.mul(x, b.logistic(b.mul(x, inner)))


@rule("RELU_N1_TO_1(x)")
def clamp(m: Match) -> Value | None:
    """RELU_N1_TO_1 as MINIMUM and MAXIMUM

    The limits are -1 and 1.
    """
    return b.minimum(b.maximum(m.x, np.float32(-1)), np.float32(1))


@rule("LEAKY_RELU(x)")
def leaky_relu(m: Match) -> Value | None:
    """LEAKY_RELU as MAXIMUM

    max(x, alpha x) for alpha of 0 to 1.
    """
    alpha = m.root.attrs["alpha"]
    return b.maximum(m.x, b.mul(m.x, np.float32(alpha))) if 0 <= alpha <= 1 else None


@rule("TILE(x)")
def tile(m: Match) -> Value | None:
    """TILE as CONCATENATION

    The copies one behind the other, axis by axis.
    """
    result, copies = m.x, m.root.attrs["multiples"]
    if any(not isinstance(n, int) or n > MOST_COPIES for n in copies):
        return None
    for axis, count in enumerate(copies):
        result = b.concat([result] * count, axis) if count > 1 else result
    return result


@rule("MEAN(x)")
def mean(m: Match) -> Value | None:
    """MEAN over axes that follow each other as one over the width, of a batch of 1

    What lies before them becomes the height, what lies behind them the channels.
    """
    over = sorted(m.root.attrs["axes"])
    first, last = over[0], over[-1] + 1
    if not dims.is_static(m.x.shape) or over != list(range(first, last)):
        return None
    shape = static_shape(m.x)
    before, count, behind = (prod(part) for part in (shape[:first], shape[first:last], shape[last:]))
    single = len(shape) < 4 or shape[0] == 1
    if (single and averages(shape, over)) or count > LONGEST:
        return None
    planes = b.reshape(m.x, (1, before, count, behind))
    planes.quant = m.x.quant
    result = b.reduce("MEAN", planes, (2,))
    result.quant = m.root.outputs[0].quant
    return b.reshape(result, m.root.outputs[0].shape)


def _extreme(reduction: str) -> Callable[[Match], Value | None]:
    """The first place of the extreme of an axis: the largest of n - i over the places i that hold it."""

    def first(m: Match) -> Value | None:
        axis, count = m.root.attrs["axis"], m.x.shape[m.root.attrs["axis"]]
        if m.x.dtype != FLOAT or not isinstance(count, int):
            return None
        here = b.cast(b.equal(m.x, b.reduce(reduction, m.x, (axis,), keepdims=True)), FLOAT)
        left = np.arange(count, 0, -1, dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(m.x.rank)])
        most = b.reduce("REDUCE_MAX", b.mul(here, left), (axis,))
        return b.cast(b.sub(np.float32(count), most), m.root.outputs[0].dtype)

    return first


def _named(function: Callable[[Match], Value | None], name: str) -> Callable[[Match], Value | None]:
    function.__doc__ = f"{name} from the extreme"
    return function


argmax = rule("ARG_MAX(x)")(_named(_extreme("REDUCE_MAX"), "ARG_MAX"))
argmin = rule("ARG_MIN(x)")(_named(_extreme("REDUCE_MIN"), "ARG_MIN"))
