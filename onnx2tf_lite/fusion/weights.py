"""Arithmetic with constants goes into weights and biases, or at least into one constant.

All of it is computed in float64 and stored in float32.  Weights that other operations read too stay as they are unless
they are small, and weights that carry quantisation parameters always do.  An addition *before* a linear operation is
left alone: W(x + c) as Wx + Wc loses digits where c is large against the sum.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value, constant
from .activations import CARRIERS
from .pattern import Editor, Match, Pattern, again, any_, const, either, op, rule, uniform

# kind -> axis of the output channels and of the input channels in the weights
LINEAR = {"CONV_2D": (0, 3), "DEPTHWISE_CONV_2D": (3, None), "TRANSPOSE_CONV": (0, 3), "CONV_3D": (4, 3),
          "CONV_3D_TRANSPOSE": (3, 4), "FULLY_CONNECTED": (0, 1)}  # fmt: skip
SHARED_LIMIT = 1 << 16  # bytes of weights that may be duplicated
SIGNS = {"ADD": 1.0, "SUB": -1.0}
POWERS = {"MUL": 1, "DIV": -1}

linear = op("|".join(LINEAR), name="linear", activation=None)


class Kept(Exception):
    """Why the weights cannot take a constant."""


def per_channel(value: Value, channels: object) -> np.ndarray | None:
    """A constant that is one number or varies along the last axis only, as a float64 vector."""
    data = value.data
    if data is None or data.dtype != np.float32 or not (data.size == 1 or data.shape[-1] == data.size == channels):
        return None
    return data.reshape(-1).astype(np.float64)


def finite(array: np.ndarray) -> Value:
    """A float32 constant; refused where it does not fit."""
    with np.errstate(over="ignore"):
        result = np.asarray(array, np.float32)
    if not np.isfinite(result).all():
        raise Kept("the constants leave the range of float32")
    return constant(result)


def scaled(editor: Editor, weights: Value | None, factor: np.ndarray, axis: int | None) -> Value:
    """``weights * factor`` along ``axis``, without a float64 copy of them."""
    if weights is None or weights.data is None or weights.dtype != np.float32:
        raise Kept("the weights are only known at run time")
    if weights.quant is not None:
        raise Kept("the weights are quantised")
    if not editor.sole(weights) and weights.nbytes() > SHARED_LIMIT:
        raise Kept("other operations use the weights")
    shape = [1] * weights.rank
    if axis is not None and factor.size > 1:
        shape[axis] = -1
    result = np.empty(weights.data.shape, np.float32)
    with np.errstate(all="ignore"):
        np.multiply(weights.data, factor.reshape(shape), out=result, dtype=np.float64, casting="same_kind")
    return finite(result)


def affine(root: Op, x: Value) -> tuple[np.ndarray | None, np.ndarray]:
    """(factor, summand) such that ``root`` computes factor * x + summand per channel; no factor means 1."""
    zero, kind = np.zeros(1), root.kind.name
    if kind == "NEG":
        return -np.ones(1), zero
    first = root.inputs[0] is x
    operand = root.inputs[1 if first else 0]
    assert operand is not None
    c = per_channel(operand, x.shape[-1])
    if c is None:
        raise Kept("the constant is not per channel")
    with np.errstate(all="ignore"):
        if kind in SIGNS:
            return (None if first or kind == "ADD" else -np.ones(1)), (c * SIGNS[kind] if first else c)
        if kind == "DIV" and not first:
            raise Kept("the linear operation is the divisor")
        return c ** POWERS[kind], zero


@rule(either(op("ADD|MUL|SUB|DIV", linear, const("c")), op("SUB|DIV", const("c"), linear), op("NEG", linear)), "linear")
def into_linear(m: Match) -> Value | str | None:
    """constant into the weights before it"""
    x, weights, *rest = m.linear.inputs
    old = rest[0] if rest else None
    result = m.linear.outputs[0]
    try:
        factor, summand = affine(m.root, result)
        channels = result.shape[-1]
        if not isinstance(channels, int) or (m.root.attrs.get("activation") and m.linear.kind.name not in CARRIERS):
            return None
        if old is not None and (old.data is None or old.quant is not None):
            raise Kept("the bias is quantised or only known at run time")
        bias = np.zeros(channels) if old is None else old.data.reshape(-1).astype(np.float64)  # type: ignore[union-attr]
        if factor is not None:
            weights = scaled(m.editor, weights, factor, LINEAR[m.linear.kind.name][0])
            bias = bias * factor
        bias = finite(np.broadcast_to(bias + summand, channels))
    except Kept as reason:
        return str(reason)
    return again(m.linear, x, weights, bias, activation=m.root.attrs.get("activation"))


@rule(op("|".join(LINEAR), op("MUL|DIV", any_("x"), const("c"), name="scale", activation=None)))
def from_input(m: Match) -> Value | str | None:
    """factor into the weights behind it"""
    _, weights, *bias = m.root.inputs
    assert weights is not None
    if m.x.shape != m.scale.outputs[0].shape or m.x.is_constant:
        return None
    factor = per_channel(m.c, m.x.shape[-1])
    if factor is None:
        return "the factor is not per channel"
    axis = LINEAR[m.root.kind.name][1]
    if axis is None:  # depthwise: result c * multiplier + i belongs to channel c
        axis, factor = 3, np.repeat(factor, m.root.attrs["multiplier"]) if factor.size > 1 else factor
    if factor.size > 1 and factor.size != weights.shape[axis]:
        return "the convolution has groups"
    with np.errstate(all="ignore"):
        factor = factor ** POWERS[m.scale.kind.name]
    try:
        return again(m.root, m.x, scaled(m.editor, weights, factor, axis), *bias)
    except Kept as reason:
        return str(reason)


def _twice(kinds: str) -> Pattern:
    return op(kinds, op(kinds, any_("x"), const("a"), name="inner", activation=None), const("c"))


@rule(either(_twice("ADD|SUB"), _twice("MUL|DIV")))
def merge_constants(m: Match) -> Value | str | None:
    """two constants in one"""
    if m.x.dtype != np.float32 or m.x.is_constant:
        return None
    a, c = (v.data.astype(np.float64) for v in (m.a, m.c))
    inner, outer = m.inner.kind.name, m.root.kind.name
    with np.errstate(all="ignore"):
        added = inner in SIGNS
        both = a * SIGNS[inner] + c * SIGNS[outer] if added else a ** POWERS[inner] * c ** POWERS[outer]
    if both.size > max(a.size, c.size):
        return "the constant would grow"
    try:
        return _arithmetic(m.root, "ADD" if added else "MUL", m.x, finite(both))
    except Kept as reason:
        return str(reason)


_scaled_sum = op("ADD", op("MUL", any_("x"), const("a"), activation=None), const("s"), activation=None)


@rule(op("MUL", _scaled_sum, const("c")))
def distribute(m: Match) -> Value | str | None:
    """(x * a + s) * c as x * a' + s'"""
    if m.x.dtype != np.float32 or m.x.is_constant:
        return None
    a, s, c = (v.data.astype(np.float64) for v in (m.a, m.s, m.c))
    if (a * c).size > max(a.size, c.size) or (s * c).size > max(s.size, c.size):
        return "the constants would grow"
    try:
        product = _arithmetic(m.root, "MUL", m.x, finite(a * c), activation=None)
        return _arithmetic(m.root, "ADD", product, finite(s * c))
    except Kept as reason:
        return str(reason)


def _arithmetic(root: Op, kind: str, x: Value, y: Value, **attrs: object) -> Value:
    return b.emit(kind, x, y, **{"activation": root.attrs.get("activation"), **attrs})


@rule(either(op("ADD", any_("x"), const("c"), activation=None), op("MUL", any_("x"), const("c"), activation=None),
             op("SUB|DIV", any_("x"), const("c"), activation=None)))  # fmt: skip
def neutral(m: Match) -> Value | str | None:
    """x + 0, x * 1 and the like"""
    return m.x if uniform(m.c, 0 if m.root.kind.name in SIGNS else 1) else None


RULES = [neutral, into_linear, from_input, merge_constants, distribute]
