"""Element by element: arithmetic, comparison, logic and bits (ONNX math, logical and bitwise operators)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from onnx import helper

from ..ir import build as b
from ..ir.graph import SHORT, Value
from ..ir.kinds.shapes import broadcast
from . import _maths as m
from .registry import UnsupportedError, op, table

INF = float("inf")

table(
    Abs=lambda x: m.absolute(x),
    Neg=lambda x: b.neg(x),
    Ceil=lambda x: b.ceil(x),
    Floor=lambda x: b.floor(x),
    Round=lambda x: b.round_(x),
    Exp=lambda x: b.exp(x),
    Log=lambda x: b.log(x),
    Sqrt=lambda x: b.sqrt(x),
    Reciprocal=lambda x: 1.0 / x,
    Sin=lambda x: b.sin(x),
    Cos=lambda x: b.cos(x),
    Tan=lambda x: b.sin(x) / b.cos(x),
    Asin=m.asin,
    Acos=m.acos,
    Atan=m.atan,
    Sinh=m.sinh,
    Cosh=m.cosh,
    Asinh=m.asinh,
    Acosh=m.acosh,
    Atanh=m.atanh,
    Erf=m.erf,
    Sign=lambda x: b.minimum(x, 1) if x.dtype.kind == "u" else b.sign(x),
    Not=lambda x: b.logical_not(x),
    IsNaN=lambda x: b.not_equal(x, x),
    Add=lambda x, y: b.add(x, y),
    Sub=lambda x, y: b.sub(x, y),
    Mul=lambda x, y: b.mul(x, y),
    Div=lambda x, y: b.div(x, y),  # of integers toward zero, as the kernel
    Equal=lambda x, y: b.equal(x, y),
    Less=lambda x, y: b.less(x, y),
    Greater=lambda x, y: b.greater(x, y),
    LessOrEqual=lambda x, y: b.less_equal(x, y),
    GreaterOrEqual=lambda x, y: b.greater_equal(x, y),
    And=lambda x, y: b.logical_and(x, y),
    Or=lambda x, y: b.logical_or(x, y),
    Xor=lambda x, y: b.not_equal(x, y),
    Max=lambda *xs: reduce(b.maximum, xs),
    Min=lambda *xs: reduce(b.minimum, xs),
    Sum=lambda *xs: reduce(b.add, xs),
    Mean=lambda *xs: reduce(b.add, xs) * (1 / len(xs)),
)


@op("IsInf")
def is_inf(x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if detect_negative and detect_positive:
        return b.equal(b.abs_(x), INF)
    if not (detect_negative or detect_positive):
        return b.not_equal(x, x) if x.dtype.kind != "f" else b.less(b.abs_(x), -1.0)
    return b.equal(x, -INF if detect_negative else INF)


@op("Mod")
def mod(x: Value, y: Value, *, fmod: int = 0) -> Value:
    """Sign of the divisor (FLOOR_MOD), or with ``fmod`` of the dividend as C's fmod."""
    return m.with_sign(b.floor_mod(m.absolute(x), m.absolute(y)), x) if fmod else b.floor_mod(x, y)


@op("Clip")
def clip(x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """min(max(x, low), high): where low > high the result is high."""
    return b.clip(x, *(None if v is None else b.reshape(v, ()) for v in (low, high)))


# ------------------------------------------------------------------------------------------------ powers

# exponents with a form that is faster and at least as exact as POW
_POWERS: dict[float, Callable[[Value], Value]] = {
    0.5: b.sqrt,
    1.0: lambda x: x,
    2.0: b.square,
    3.0: lambda x: b.square(x) * x,
    -0.5: b.rsqrt,
    -1.0: lambda x: 1.0 / x,
    -2.0: lambda x: 1.0 / b.square(x),
}


@op("Pow")
def power(x: Value, y: Value) -> Value:
    """x ** y in the dtype of x."""
    if x.dtype.kind != "f":
        return _integer_power(x, y) if y.dtype.kind != "f" else b.cast(b.power(b.cast(x, y.dtype), y), x.dtype)
    known = _POWERS.get(float(y.data.item())) if y.data is not None and y.data.size == 1 else None
    if known is not None and broadcast(x.shape, y.shape) == x.shape:
        return known(x)
    return b.power(x, b.cast(y, x.dtype))


def _integer_power(x: Value, y: Value) -> Value:
    """Square and multiply over the six bits that can matter in 64; wraps as integer products do.

    A negative exponent gives the quotient 1 / x**-y, truncated.
    """
    y = b.cast(y, x.dtype)
    known = y.data is not None and y.data.size > 0 and y.data.min() >= 0
    bits = min(int(y.data.max()).bit_length(), 6) if known else 6  # type: ignore[union-attr]
    n, result, square = m.absolute(y), m.ones_like(x), x
    for bit in range(bits):
        taken = b.greater_equal(b.floor_mod(n, 2 << bit), 1 << bit)
        result = result * b.where(taken, square, 1)
        square = square * square if bit + 1 < bits else square
    if known or x.dtype.kind == "u":
        return result
    return b.where(b.less(y, 0), b.where(b.equal(m.absolute(result), 1), result, 0), result)


# ------------------------------------------------------------------------------------------------ bits


def bitcast(x: Value, dtype: type | np.dtype) -> Value:
    """The same bits as another dtype; a narrower one adds a last axis."""
    return x if x.dtype == dtype else b.emit("BITCAST", x, to=np.dtype(dtype))


def _and(x: Value, y: Value) -> Value:
    return b.emit("STABLEHLO_AND", x, y)


def _bits(function: Callable[..., Value]) -> Callable[..., Value]:
    """``function`` of equal-shaped integers; 64-bit ones go through it as pairs of u32 in a new last axis."""

    def handler(*operands: Value) -> Value:
        shape, dtype = broadcast(*(v.shape for v in operands)), operands[0].dtype
        full = [b.broadcast_to(v, shape) for v in operands]
        if dtype.itemsize < 8:
            return function(*full)
        return bitcast(function(*(bitcast(v, np.uint32) for v in full)), dtype)

    return handler


table(
    BitwiseAnd=_bits(_and),
    BitwiseOr=_bits(lambda x, y: b.bitwise_xor(b.bitwise_xor(x, y), _and(x, y))),
    BitwiseXor=_bits(b.bitwise_xor),
    BitwiseNot=_bits(lambda x: b.bitwise_xor(x, np.asarray(~x.dtype.type(0)))),
)


@op("BitCast")
def bit_cast(x: Value, *, to: int) -> Value:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if dtype == np.bool_ or x.dtype == np.bool_:
        return b.not_equal(x, 0) if dtype == np.bool_ else b.cast(x, dtype)
    if dtype.itemsize != x.dtype.itemsize or dtype.name not in SHORT:
        what = f"from {x.dtype} to {dtype}: other floats are computed in float32 here, which does not have their bits"
        raise UnsupportedError(what, "use 32-bit types")
    return bitcast(x, dtype)


@op("BitShift")
def bit_shift(x: Value, y: Value, *, direction: str) -> Value:
    """A shift outside [0, width) moves every bit out: 0, or the sign of a signed operand shifted right."""
    width = x.dtype.itemsize * 8
    inside = b.less(y, width) if x.dtype.kind == "u" else b.logical_and(b.less(y, width), b.greater_equal(y, 0))
    if direction == "LEFT":
        factors = np.array([1 << i for i in range(width)] + [0], np.uint64).astype(np.int64)
        wide = x.dtype if width == 64 else np.dtype(np.int64)
        factor = b.gather(factors.astype(wide), b.cast(b.where(inside, y, width), np.int32))
        return b.cast(b.cast(x, wide) * factor, x.dtype)
    if width == 64:
        return _right_shift_64(x, b.cast(b.where(inside, y, width), np.int32))
    if x.dtype.kind == "i":
        return b.right_shift(x, b.where(inside, y, width - 1))
    return b.where(inside, b.right_shift(x, y), 0)


def _right_shift_64(x: Value, y: Value) -> Value:
    """Both 32-bit halves shifted by at most 31, three times."""
    shape = broadcast(x.shape, y.shape)
    words = bitcast(b.broadcast_to(x, shape), np.uint32)
    low, high = (b.reshape(w, shape) for w in b.split(words, (1, 1), -1))
    high = b.cast(high, np.dtype(f"{x.dtype.kind}4"))  # CAST wraps; BITCAST would share memory that MUL overwrites
    powers = np.array([1 << i for i in range(33)], np.uint64).astype(np.uint32)  # 2^32 wraps to 0
    for _ in range(3):
        step = b.minimum(y, 31)
        y = y - step
        carried = b.cast(high, np.uint32) * b.gather(powers, 32 - step)
        low = b.bitwise_xor(b.right_shift(low, b.cast(step, low.dtype)), carried)
        high = b.right_shift(high, b.cast(step, high.dtype))
    pair = [b.reshape(v, (*shape, 1)) for v in (low, b.cast(high, np.uint32))]
    return bitcast(b.concat(pair, -1), x.dtype)
