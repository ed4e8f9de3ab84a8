"""Operators that work on each element by itself: arithmetic, comparison, logic, activations, casts, selection.

Shapes: operands broadcast as in numpy; the result has the broadcast shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from .. import dims
from ..dims import Dim, Expr, Shape
from ..graph import Value
from ..kind import Result, define
from ..orders import ELEMENTWISE

BOOL = np.dtype(bool)


def broadcast(*shapes: Shape) -> Shape:
    """The numpy broadcast of ``shapes``; ValueError where extents are known to differ."""
    return reduce(_broadcast_two, shapes)


def _broadcast_two(a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(_broadcast_dim(x, y, a, b) for x, y in zip(a, b, strict=True))


def _broadcast_dim(x: Dim, y: Dim, a: Shape, b: Shape) -> Dim:
    if x == y or y == 1:
        return x
    if x == 1:
        return y
    if isinstance(x, int) and isinstance(y, int):
        raise ValueError(f"shapes [{dims.show(a)}] and [{dims.show(b)}] do not broadcast")
    if isinstance(x, Expr) and isinstance(y, Expr):
        return dims.maximum(x, y)  # valid models have x == y, or one of them 1
    return x if isinstance(x, int) else y


def same(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    """Shape and dtype of the first operand."""
    return inputs[0].shape, inputs[0].dtype


def joined(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    """Broadcast shape; all operands have one dtype."""
    if any(v.dtype != inputs[0].dtype for v in inputs):
        raise ValueError(f"operands of different dtypes: {', '.join(str(v) for v in inputs)}")
    return broadcast(*(v.shape for v in inputs)), inputs[0].dtype


def compared(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    """Broadcast shape, bool."""
    return joined(inputs, attrs)[0], BOOL


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda attrs, *arrays: function(*arrays)


def _object(function: Callable[..., Any]) -> Callable[..., Any]:
    """Element by element on dims."""
    vectorised = np.frompyfunc(function, 2, 1)
    return lambda attrs, *arrays: np.asarray(vectorised(*arrays), object)


def _truncated(a: Dim, b: Dim) -> Dim:
    """Integer division toward zero, where the sign of the quotient is known."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise TypeError("division by zero")
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if dims.nonnegative(a) and dims.nonnegative(b):
        return dims.floordiv(a, b)
    raise TypeError("sign unknown")


def _ratio(a: Dim, b: Dim) -> Dim | dims.Ratio:
    """Float division, where the sign of the quotient is known."""
    if not (dims.nonnegative(a) and dims.nonnegative(b - 1)):
        raise TypeError("sign unknown")
    exact = dims.exact_div(a, b)
    return dims.Ratio(a, b) if exact is None else exact


def _quotient(attrs: Mapping[str, Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _object(_ratio if attrs["dtype"].kind == "f" else _truncated)(attrs, a, b)


def _rounded(function: Callable[[Dim, Dim], Dim] | None) -> Callable[..., np.ndarray]:
    """Whole dims stay; a ratio is rounded by ``function``, where there is one."""

    def one(x: Dim | dims.Ratio) -> Dim:
        if isinstance(x, dims.Ratio):
            if function is None:
                raise TypeError("half way is not known")
            return function(x.above, x.below)
        return x

    return lambda attrs, x: np.asarray(np.frompyfunc(one, 1, 1)(x), object)


def _integer_division(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) == (b < 0), quotient, -quotient).astype(a.dtype)


def _divide(attrs: Mapping[str, Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b) if a.dtype.kind == "f" else _integer_division(a, b)


def _equal(a: Dim, b: Dim) -> bool:
    difference = a - b
    if isinstance(difference, int):
        return difference == 0
    if dims.nonnegative(difference - 1) or dims.nonnegative(-1 * difference - 1):
        return False
    raise TypeError("not decidable")


def _gelu(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    from math import erf

    if attrs["approximate"]:
        return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)
    return (0.5 * x * (1 + np.vectorize(erf, otypes=[np.float64])(x / np.sqrt(2)))).astype(x.dtype)


def _leaky_relu(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x * np.float32(attrs["alpha"]), x)


def _cast(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """As the CAST kernel: float to integer truncates and saturates."""
    to = attrs["to"]
    if x.dtype.kind == "f" and to.kind in "iu":
        info = np.iinfo(to)
        wide = np.trunc(np.nan_to_num(x.astype(np.float64), nan=float(info.max)))
        low = wide <= float(info.min)
        high = wide >= float(info.max)
        return np.where(high, info.max, np.where(low, info.min, np.where(low | high, 0, wide).astype(to))).astype(to)
    return x.astype(to)


def _cast_dims(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Extents are small: every numeric cast keeps them, a cast to bool is not an extent."""
    if attrs["to"].kind == "b" or attrs["to"].itemsize < 4:
        raise TypeError("not an extent")
    return x if attrs["to"].kind == "f" else _rounded(dims.floordiv)(attrs, x)


# name, numpy function, kernel dtypes, versions, TensorFlow op
UNARY: list[tuple[Any, ...]] = [
    ("ABS", np.abs, "f32 i32", "2:qi8 3:qi16 5:i32", "Abs"),
    ("NEG", np.negative, "f32 i32 i64", "", "Neg"),
    ("EXP", np.exp, "f32", "2:qi8|qi16", "Exp"),
    ("LOG", np.log, "f32", "2:qi8|qi16", "Log"),
    ("SQRT", np.sqrt, "f32", "2:qi8|qi16", "Sqrt"),
    ("RSQRT", lambda x: 1 / np.sqrt(x), "f32", "2:qi8 3:qi16", "Rsqrt"),
    ("SIN", np.sin, "f32", "", "Sin"),
    ("COS", np.cos, "f32", "", "Cos"),
    ("SQUARE", np.square, "f32", "", "Square"),
    ("SIGN", np.sign, "f32 i32", "2:i32", "Sign"),
    ("RELU", lambda x: np.maximum(x, 0), "f32", "2:qi8|qu8 3:qi16", "Relu"),
    ("RELU6", lambda x: np.clip(x, 0, 6), "f32", "2:qi8|qu8 3:qi16", "Relu6"),
    ("RELU_N1_TO_1", lambda x: np.clip(x, -1, 1), "f32", "2:qi8", None),
    ("TANH", np.tanh, "f32", "2:qi8|qu8 3:qi16", "Tanh"),
    ("LOGISTIC", lambda x: 1 / (1 + np.exp(-x)), "f32", "2:qi8|qu8 3:qi16", "Sigmoid"),
    ("HARD_SWISH", lambda x: x * np.clip(x + 3, 0, 6) / 6, "f32", "", None),
    ("ELU", lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), "f32", "", "Elu"),
    ("LOGICAL_NOT", np.logical_not, "bool", "", "LogicalNot"),
]
for _name, _function, _types, _versions, _tf in UNARY:
    define(_name, same, layout=ELEMENTWISE, types=_types, versions=_versions, tensorflow=_tf, max_rank=8,
           evaluate=_plain(_function))  # fmt: skip

ROUNDING: list[tuple[Any, ...]] = [
    ("FLOOR", np.floor, dims.floordiv, "Floor"),
    ("CEIL", np.ceil, dims.ceildiv, "Ceil"),
    ("ROUND", np.round, None, "Round"),
]
for _name, _function, _dims, _tf in ROUNDING:
    define(_name, same, layout=ELEMENTWISE, types="f32", tensorflow=_tf, max_rank=8, evaluate=_plain(_function),
           symbolic=_rounded(_dims))  # fmt: skip

define("LEAKY_RELU", same, layout=ELEMENTWISE, types="f32", versions="2:qi16", tensorflow="LeakyRelu", max_rank=8,
       tf_attrs={"alpha": "alpha"}, options=("LeakyReluOptions", {"alpha": "alpha"}), evaluate=_leaky_relu)  # fmt: skip
define("GELU", same, layout=ELEMENTWISE, types="f32", versions="2:qi8", max_rank=8, evaluate=_gelu,
       options=("GeluOptions", {"approximate": "approximate"}))  # fmt: skip
define("CAST", lambda inputs, attrs: (inputs[0].shape, attrs["to"]), layout=ELEMENTWISE, evaluate=_cast, max_rank=8,
       symbolic=_cast_dims, versions="2:u32 3:i8 4:u16 5:f16|f64",
       types="f32 f64 f16 i8 u8 i16 u16 i32 u32 i64 bool", options=("CastOptions", {"inDataType": lambda op: op.inputs[0].dtype, "outDataType": "to"}),
       tensorflow="Cast")  # fmt: skip

_ACT = {"fusedActivationFunction": "activation"}
_ARITHMETIC = "f32 i32 i64"
# name, numpy function, function of dims, kernel dtypes, options, versions, TensorFlow op
BINARY: list[tuple[Any, ...]] = [
    ("ADD", np.add, lambda a, b: a + b, _ARITHMETIC, ("AddOptions", _ACT), "2:qi8|qu8 3:qi16 4:i64", "AddV2"),
    ("SUB", np.subtract, lambda a, b: a - b, _ARITHMETIC, ("SubOptions", _ACT), "2:qi8|qu8 3:rank>4 4:i64 5:qi16", "Sub"),
    ("MUL", np.multiply, lambda a, b: a * b, _ARITHMETIC + " u32", ("MulOptions", _ACT), "2:qi8|qu8 3:@enlarges 4:qi16 5:i64 7:u32", "Mul"),
    ("MAXIMUM", np.maximum, dims.maximum, _ARITHMETIC + " i8 u8 i16", ("MaximumMinimumOptions", {}), "2:i8 3:rank>4 4:i16", "Maximum"),
    ("MINIMUM", np.minimum, dims.minimum, _ARITHMETIC + " i8 u8 i16", ("MaximumMinimumOptions", {}), "2:i8 3:rank>4 4:i16", "Minimum"),
    ("POW", np.power, None, "f32 i32", ("PowOptions", {}), "", "Pow"),
    ("FLOOR_DIV", np.floor_divide, dims.floordiv, "f32 i32", ("FloorDivOptions", {}), "2:f32", "FloorDiv"),
    ("FLOOR_MOD", np.mod, lambda a, b: a - b * dims.floordiv(a, b), "f32 i32 i64", ("FloorModOptions", {}), "", "FloorMod"),
    ("LOGICAL_AND", np.logical_and, None, "bool", ("LogicalAndOptions", {}), "", "LogicalAnd"),
    ("LOGICAL_OR", np.logical_or, None, "bool", ("LogicalOrOptions", {}), "", "LogicalOr"),
    ("ATAN2", np.arctan2, None, "f32", None, "", "Atan2"),
    ("BITWISE_XOR", np.bitwise_xor, None, "i8 u8 i16 u16 i32 u32", ("BitwiseXorOptions", {}), "", "BitwiseXor"),
    ("RIGHT_SHIFT", np.right_shift, None, "i8 u8 i16 u16 i32 u32", ("RightShiftOptions", {}), "", "RightShift"),
]  # fmt: skip
for _name, _function, _dims, _types, _options, _versions, _tf in BINARY:
    define(_name, joined, layout=ELEMENTWISE, types=_types, typed=(0, 1), options=_options, versions=_versions,
           tensorflow=_tf, evaluate=_plain(_function), symbolic=_object(_dims) if _dims else None,
           max_rank=8)  # fmt: skip

define("DIV", joined, layout=ELEMENTWISE, types="f32 i32", typed=(0, 1), options=("DivOptions", _ACT), max_rank=8,
       versions="2:rank>4", evaluate=_divide, symbolic=_quotient)  # fmt: skip
define("PRELU", same, layout=ELEMENTWISE, types="f32", typed=(0, 1), max_rank=8,
       evaluate=lambda attrs, x, slope: np.where(x < 0, x * slope, x))  # fmt: skip

# equal shapes only, no broadcast: bits, and the bodies of STABLEHLO_SCATTER
# (float64 has no other kernels)
for _name, _function, _tf in [
    ("STABLEHLO_AND", np.bitwise_and, "BitwiseAnd"),
    ("STABLEHLO_ADD", np.add, "AddV2"),
    ("STABLEHLO_MULTIPLY", np.multiply, "Mul"),
    ("STABLEHLO_MAXIMUM", np.maximum, "Maximum"),
    ("STABLEHLO_MINIMUM", np.minimum, "Minimum"),
]:
    define(_name, joined, layout=ELEMENTWISE, types="f32 f64 i8 u8 i16 u16 i32 u32 i64", typed=(0, 1), max_rank=8, tensorflow=_tf,
           evaluate=_plain(_function))  # fmt: skip


def _bits(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    """A narrower dtype adds a last axis, a wider one takes it away."""
    shape, have, want = inputs[0].shape, inputs[0].dtype.itemsize, attrs["to"].itemsize
    return (shape if have == want else (*shape, have // want) if have > want else shape[:-1]), attrs["to"]


define("BITCAST", _bits, tensorflow="Bitcast", tf_attrs={"type": "to"}, max_rank=8,
       evaluate=lambda attrs, x: np.frombuffer(x.tobytes(), attrs["to"]))  # fmt: skip

_ORDERED = "f32 i32 i64"
COMPARISONS: list[tuple[Any, ...]] = [
    ("EQUAL", np.equal, _equal, "f32 i32 i64 bool", "EqualOptions", "2:qi8", "Equal"),
    ("NOT_EQUAL", np.not_equal, lambda a, b: not _equal(a, b), "f32 i32 i64 bool", "NotEqualOptions", "2:qi8", "NotEqual"),
    ("LESS", np.less, None, _ORDERED, "LessOptions", "2:qi8", "Less"),
    ("LESS_EQUAL", np.less_equal, None, _ORDERED, "LessEqualOptions", "2:qi8", "LessEqual"),
    ("GREATER", np.greater, None, _ORDERED, "GreaterOptions", "2:qi8", "Greater"),
    ("GREATER_EQUAL", np.greater_equal, None, _ORDERED, "GreaterEqualOptions", "2:qi8", "GreaterEqual"),
]  # fmt: skip
for _name, _function, _dims, _types, _options, _versions, _tf in COMPARISONS:
    define(_name, compared, layout=ELEMENTWISE, types=_types, typed=(0, 1), options=(_options, {}), versions=_versions,
           tensorflow=_tf, evaluate=_plain(_function), symbolic=_object(_dims) if _dims else None,
           max_rank=8)  # fmt: skip

define("SELECT_V2", lambda inputs, attrs: (broadcast(*(v.shape for v in inputs)), inputs[1].dtype), layout=ELEMENTWISE,
       types="f32 i32 i64 bool i8 u8 i16", typed=(1, 2), options=("SelectV2Options", {}), tensorflow="SelectV2", max_rank=8,
       evaluate=_plain(np.where), symbolic=_plain(lambda c, a, b: np.where(c.astype(bool), a, b)))  # fmt: skip
