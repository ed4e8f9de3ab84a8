"""Arithmetic with constants goes into weights and biases, or at least into one constant.

All of it is computed in float64 and stored in float32.  Large weights that other operations read too stay as they are
unless all are to have the same (:mod:`.shared`), and weights that carry quantisation parameters always do.  An addition
*before* a linear operation is left alone: W(x + c) as Wx + Wc loses digits where c is large against the sum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value, constant
from ..ir.lattices import had_few_bits
from ..ir.rules import Match, NearMissError, again, is_splat, rule
from ..ir.traits import Weights
from .shared import changed

#: What an operation with a constant of that name is, as (factor, summand).
AFFINE: dict[str, Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray]]] = {
    "summand": lambda c: (None, c),
    "subtrahend": lambda c: (None, -c),
    "minuend": lambda c: (-np.ones(1), c),
    "factor": lambda c: (c, np.zeros(1)),
    "divisor": lambda c: (1 / c, np.zeros(1)),
}

SMALLEST = np.finfo(np.float32).smallest_normal
_LINEAR = "result := linear(..., activation=None)"


def axes_of(linear: Op) -> Weights:
    """What the definition of a linear operator says about its weights."""
    assert linear.kind.weights is not None
    return linear.kind.weights


def per_channel(value: Value, channels: object) -> np.ndarray | None:
    """A constant that is one number or varies along the last axis only, as a float64 vector."""
    data = value.data
    if data is None or data.dtype != np.float32 or not (data.size == 1 or data.shape[-1] == data.size == channels):
        return None
    return data.reshape(-1).astype(np.float64)


def numbers(value: Value) -> np.ndarray:
    """The elements of a constant, as float64."""
    assert value.data is not None
    return value.data.astype(np.float64)


def finite(array: np.ndarray) -> Value:
    """A float32 constant; refused where it does not fit, or what is no zero would lose digits as one."""
    with np.errstate(over="ignore", under="ignore"):
        result = np.asarray(array, np.float32)
    lost = array.dtype == np.float64 and np.any((np.abs(result) < SMALLEST) & (array != 0))
    if lost or not np.isfinite(result).all():
        raise NearMissError("the constants leave the range of float32")
    return constant(result)


def scaled(m: Match, layer: Op, factor: np.ndarray, axis: int | None) -> Value:
    """The weights of ``layer`` times ``factor`` along ``axis``; NearMissError for others than constants."""
    weights = layer.inputs[1]
    data = None if weights is None else weights.data
    if weights is None or data is None or weights.dtype != np.float32:
        raise NearMissError("the weights are only known at run time")
    if weights.quant is not None:
        raise NearMissError("the weights are quantised")
    if axis and factor.size > 1 and had_few_bits(data):
        raise NearMissError("the weights are integers of 4 bits in blocks, which factors within a block would end")
    shape = [1] * weights.rank
    if axis is not None and factor.size > 1:
        shape[axis] = -1
    along = factor.reshape(shape)
    return changed(m, weights, layer, (along.shape, along.tobytes()), lambda: product(data, along))


def product(weights: np.ndarray, factor: np.ndarray) -> Value:
    """``weights * factor``, without a float64 copy of them."""
    result = np.empty(weights.shape, np.float32)
    with np.errstate(all="ignore"):
        np.multiply(weights, factor, out=result, dtype=np.float64, casting="same_kind")
    return finite(result)


def affine(m: Match, channels: object) -> tuple[np.ndarray | None, np.ndarray]:
    """(factor, summand) such that the pattern computes factor * x + summand per channel; no factor means 1.

    :raises NearMissError: the constant is not one number per channel.
    """
    found = next(((name, m.bound[name]) for name in AFFINE if name in m.bound), None)
    if found is None:
        return -np.ones(1), np.zeros(1)  # NEG
    name, constant = found
    c = per_channel(constant, channels)
    if c is None:
        raise NearMissError("the constant is not per channel")
    with np.errstate(all="ignore"):
        return AFFINE[name](c)


@rule(
    f"ADD({_LINEAR}, const(summand))",
    f"SUB({_LINEAR}, const(subtrahend))",
    f"SUB(const(minuend), {_LINEAR})",
    f"MUL({_LINEAR}, const(factor))",
    f"DIV({_LINEAR}, const(divisor))",
    f"NEG({_LINEAR})",
    origin="result",
)
def into_linear(m: Match) -> Value | None:
    """constant into the weights before it

    (W x + b) * c + s = (c W) x + (c b + s), with c and s per output channel.
    """
    linear = m.op("result")
    x, weights, *rest = linear.inputs
    old = rest[0] if rest else None
    channels = m.result.shape[-1]
    factor, summand = affine(m, channels)
    if not isinstance(channels, int) or (m.root.attrs.get("activation") and not linear.kind.fuses):
        return None
    if old is not None and (old.data is None or old.quant is not None):
        raise NearMissError("the bias is quantised or only known at run time")
    bias = np.zeros(channels) if old is None or old.data is None else old.data.reshape(-1).astype(np.float64)
    if factor is not None:
        weights = scaled(m, linear, factor, axes_of(linear).outputs)
        bias = bias * factor
    bias = np.broadcast_to(bias + summand, channels)
    return again(linear, x, weights, finite(bias), activation=m.root.attrs.get("activation"))


_SCALE = "linear(scale := {}, activation=None), ...)"


@rule(_SCALE.format("MUL(x, const(factor)"), _SCALE.format("DIV(x, const(divisor)"))
def from_input(m: Match) -> Value | None:
    """factor into the weights behind it

    W (c x) = (W c) x, with c per input channel.
    """
    _, weights, *bias = m.root.inputs
    assert weights is not None
    if m.x.shape != m.scale.shape or m.x.is_constant:
        return None
    factor, _ = affine(m, m.x.shape[-1])
    assert factor is not None
    axis = axes_of(m.root).inputs
    if axis is None:  # depthwise: result c * multiplier + i belongs to channel c
        axis, factor = 3, np.repeat(factor, m.root.attrs["multiplier"]) if factor.size > 1 else factor
    if factor.size > 1 and factor.size != weights.shape[axis]:
        raise NearMissError("the convolution has groups")
    return again(m.root, m.x, scaled(m, m.root, factor, axis), *bias)


@rule(
    "ADD|SUB(inner := ADD|SUB(x, const(s), activation=None), const(c))",
    "MUL|DIV(inner := MUL|DIV(x, const(a), activation=None), const(c))",
)
def merge_constants(m: Match) -> Value | None:
    """two constants in one

    (x + a) + c = x + (a + c) and (x * a) * c = x * (a * c), up to the rounding of float32.
    """
    if m.x.dtype != np.float32 or m.x.is_constant:
        return None
    added = m.get("s") is not None
    a, c = numbers(m.s if added else m.a), numbers(m.c)
    inner, outer = (1 if op.kind.commutes else -1 for op in (m.op("inner"), m.root))  # SUB and DIV do not
    with np.errstate(all="ignore"):
        both = a * inner + c * outer if added else a**inner * c**outer
    if both.size > max(a.size, c.size):
        raise NearMissError("the constant would grow")
    return _arithmetic(m.root, "ADD" if added else "MUL", m.x, finite(both))


@rule("MUL(ADD(MUL(x, const(a), activation=None), const(s), activation=None), const(c))")
def distribute(m: Match) -> Value | None:
    """(x * a + s) * c as x * a' + s'

    a' = a * c and s' = s * c, up to the rounding of float32.
    """
    if m.x.dtype != np.float32 or m.x.is_constant:
        return None
    a, s, c = map(numbers, (m.a, m.s, m.c))
    if (a * c).size > max(a.size, c.size) or (s * c).size > max(s.size, c.size):
        raise NearMissError("the constants would grow")
    product = _arithmetic(m.root, "MUL", m.x, finite(a * c), activation=None)
    return _arithmetic(m.root, "ADD", product, finite(s * c))


def _arithmetic(root: Op, kind: str, x: Value, y: Value, **attrs: object) -> Value:
    return b.emit(kind, x, y, **{"activation": root.attrs.get("activation"), **attrs})


@rule("ADD|SUB(x, const(zero), activation=None)", "MUL|DIV(x, const(one), activation=None)")
def neutral(m: Match) -> Value | None:
    """x + 0, x * 1 and the like

    Both are x.
    """
    zero = m.get("zero")
    return m.x if (is_splat(m.one, 1) if zero is None else is_splat(zero, 0)) else None


RULES = [neutral, into_linear, from_input, merge_constants, distribute]
