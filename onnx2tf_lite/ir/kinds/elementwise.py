"""Functions of two broadcasting operands: arithmetic, comparison, logic; and selection."""

from __future__ import annotations

import operator
from math import inf, pi
from typing import Any

import numpy as np

from .. import dims
from ..dims import Dim
from ..graph import Attrs, Op
from ..intervals import corners, divided, later, modulo, monotone, shifted_right
from ..kind import Evaluate, Fields, define, plain
from ..orders import ELEMENTWISE
from ..traits import BOUNDED, PICKER, PRODUCTS, REALS, SUMS, Bits, Elements, Int8, Lapse, Traits, computed, real, whole
from .shapes import broadcast, compared, joined, same


def _object(function: Evaluate) -> Evaluate:
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


def _quotient(attrs: Attrs, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(_object(_ratio if attrs["dtype"].kind == "f" else _truncated)(attrs, a, b))


def _integer_division(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quotient = np.abs(a) // np.abs(b)
    return np.asarray(np.where((a < 0) == (b < 0), quotient, -quotient), a.dtype)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b) if a.dtype.kind == "f" else _integer_division(a, b)


def _remainder(a: Dim, b: Dim) -> Dim:
    return a - b * dims.floordiv(a, b)


def _equal(a: Dim, b: Dim) -> bool:
    difference = a - b
    if isinstance(difference, int):
        return difference == 0
    if dims.nonnegative(difference - 1) or dims.nonnegative(-1 * difference - 1):
        return False
    raise TypeError("not decidable")


def _divisor(op: Op) -> str:
    divisor = op.inputs[1]
    assert divisor is not None
    zero = divisor.data is not None and divisor.dtype.kind in "iu" and not divisor.data.all()
    return "an integer is divided by the constant 0" if zero else ""


def _slope(op: Op) -> str:
    x, slope = op.inputs
    assert x is not None and slope is not None
    tail = x.shape[x.rank - slope.rank :] if slope.rank <= x.rank else ()
    fits = len(tail) == slope.rank and all(s in (1, d) for s, d in zip(slope.shape, tail, strict=True))
    return "" if fits else f"the slope {slope} does not broadcast to {x}"


def _unequal(op: Op) -> str:
    shapes = {v.shape for v in op.inputs if v is not None}
    return f"the kernel does not broadcast: {op.inputs}" if len(shapes) > 1 else ""


def binary(name: str, function: Evaluate, on_dims: Evaluate | None, types: str, traits: Traits, **rest: Any) -> None:
    """Define a function of two broadcasting operands; ``on_dims`` is the same of dims, where it is decidable."""
    symbolic = _object(on_dims) if on_dims else None
    form = {
        "infer": joined,
        "layout": ELEMENTWISE,
        "types": types,
        "typed": (0, 1),
        "max_rank": 8,
        "symbolic": symbolic,
    }
    define(name, traits=traits, **{**form, "evaluate": plain(function), **rest})


def _form(options: str, versions: str, tensorflow: str | None, **fields: str) -> Fields:
    return {"options": (f"{options}Options", fields), "versions": versions, "tensorflow": tensorflow}


def _fused(options: str, versions: str, tensorflow: str | None) -> Fields:
    return _form(options, versions, tensorflow, fusedActivationFunction="activation")


_FUSES: Fields = {"int16": True, "fuses": True}
_SUM = computed(SUMS, REALS, monotone(operator.add), Bits.SAME, Int8.SUM, commutes=True, lapse=Lapse.SUM, **_FUSES)
_DIFFERENCE = computed(
    "+- +- +- n n", REALS, corners(operator.sub), Bits.SAME, Int8.SUM, lapse=Lapse.DIFFERENCE, **_FUSES
)
_PRODUCT = computed(
    PRODUCTS, REALS, corners(operator.mul), Bits.SAME, Int8.PRODUCT, commutes=True, lapse=Lapse.PRODUCT, **_FUSES
)
_EXTREME = PICKER.but(bits=Bits.ORDERED, int8=Int8.JOINS, commutes=True, lapse=Lapse.FIRST)
_QUOTIENT = computed(
    "+-n +- +- n n", REALS, divided, Bits.QUOTIENT, None, fuses=True, trap=_divisor, lapse=Lapse.QUOTIENT
)
_FLOORED = computed("+-n +-n +-n n n", REALS, divided, Bits.QUOTIENT, None, trap=_divisor)
_REMAINDER = computed("n +n -n n n", REALS, modulo, Bits.REMAINDER, None, trap=_divisor)
_POWER = real("+-n + +- . n", REALS, None)
_LOGIC = whole(None, Bits.WRONG, commutes=True)
_INTEGERS, _BITS = "f32 i32 i64", "i8 u8 i16 u16 i32 u32"
_ANY = "f32 i32 i64 i8 u8 i16"

binary(
    "ADD",
    np.add,
    operator.add,
    _INTEGERS,
    _SUM,
    float64="STABLEHLO_ADD",
    **_fused("Add", "2:qi8|qu8 3:qi16 4:i64", "AddV2"),
)
binary(
    "SUB", np.subtract, operator.sub, _INTEGERS, _DIFFERENCE, **_fused("Sub", "2:qi8|qu8 3:rank>4 4:i64 5:qi16", "Sub")
)
binary(
    "MUL",
    np.multiply,
    operator.mul,
    _INTEGERS + " u32",
    _PRODUCT,
    float64="STABLEHLO_MULTIPLY",
    **_fused("Mul", "2:qi8|qu8 3:@enlarges 4:qi16 5:i64 7:u32", "Mul"),
)
binary("DIV", _divide, None, "f32 i32", _QUOTIENT, **{**_fused("Div", "2:rank>4", None), "symbolic": _quotient})
binary(
    "SQUARED_DIFFERENCE",
    lambda x, y: np.square(x - y),
    None,
    "f32",
    real("+ + + n n", (0, inf), None, commutes=True),
    **_form("SquaredDifference", "", "SquaredDifference"),
)
_versions = "2:i8 3:rank>4 4:i16"
binary(
    "MAXIMUM",
    np.maximum,
    dims.maximum,
    _ANY,
    _EXTREME.but(interval=monotone(max)),
    float64="STABLEHLO_MAXIMUM",
    **_form("MaximumMinimum", _versions, "Maximum"),
)
binary(
    "MINIMUM",
    np.minimum,
    dims.minimum,
    _ANY,
    _EXTREME.but(interval=monotone(min)),
    float64="STABLEHLO_MINIMUM",
    **_form("MaximumMinimum", _versions, "Minimum"),
)
binary("POW", np.power, None, "f32 i32", _POWER, **_form("Pow", "", "Pow"))
binary("FLOOR_DIV", np.floor_divide, dims.floordiv, "f32 i32", _FLOORED, **_form("FloorDiv", "2:f32", "FloorDiv"))
binary("FLOOR_MOD", np.mod, _remainder, _INTEGERS, _REMAINDER, **_form("FloorMod", "", "FloorMod"))
binary("LOGICAL_AND", np.logical_and, None, "bool", _LOGIC, **_form("LogicalAnd", "", "LogicalAnd"))
binary("LOGICAL_OR", np.logical_or, None, "bool", _LOGIC, **_form("LogicalOr", "", "LogicalOr"))
binary("ATAN2", np.arctan2, None, "f32", real(BOUNDED, (-pi, pi), None, trap=_unequal), tensorflow="Atan2")
binary("BITWISE_XOR", np.bitwise_xor, None, _BITS, _LOGIC, **_form("BitwiseXor", "", "BitwiseXor"))
binary(
    "RIGHT_SHIFT",
    np.right_shift,
    None,
    _BITS,
    whole(shifted_right, Bits.WRONG),
    **_form("RightShift", "", "RightShift"),
)
define(
    "PRELU",
    same,
    real("+- +- +-n . n", REALS, Int8.RESCALES, trap=_slope),
    layout=ELEMENTWISE,
    types="f32",
    typed=(0, 1),
    max_rank=8,
    evaluate=lambda attrs, x, slope: np.where(x < 0, x * slope, x),
)

# equal shapes only, no broadcast: bits, and the bodies of STABLEHLO_SCATTER (float64 has no other kernels)
_WIDE = "f32 f64 i8 u8 i16 u16 i32 u32 i64"
_BODY = PICKER.but(interval=None, commutes=True, bits=Bits.FLIPPED)
_STABLE_SUM = computed(SUMS, REALS, None, Bits.WRONG, None, commutes=True, trap=_unequal)
_STABLE_PRODUCT = computed(PRODUCTS, REALS, None, Bits.SAME, None, commutes=True)
binary(
    "STABLEHLO_AND",
    np.bitwise_and,
    None,
    _WIDE,
    whole(None, Bits.WRONG, commutes=True, trap=_unequal),
    tensorflow="BitwiseAnd",
)
binary("STABLEHLO_ADD", np.add, None, _WIDE, _STABLE_SUM, tensorflow="AddV2")
binary("STABLEHLO_MULTIPLY", np.multiply, None, _WIDE, _STABLE_PRODUCT, combines="mul", tensorflow="Mul")
binary("STABLEHLO_MAXIMUM", np.maximum, None, _WIDE, _BODY, combines="max", tensorflow="Maximum")
binary("STABLEHLO_MINIMUM", np.minimum, None, _WIDE, _BODY, combines="min", tensorflow="Minimum")


def comparison(name: str, function: Evaluate, on_dims: Evaluate | None, tf: str, traits: Traits) -> None:
    """Define a comparison of two broadcasting operands."""
    types = "f32 i32 i64 bool" if traits.commutes else "f32 i32 i64"
    binary(name, function, on_dims, types, traits, infer=compared, **_form(tf, "2:qi8", tf))


_EQUALITY = whole(None, Bits.SAME, elements=Elements.COMPARED, commutes=True)
_ORDER = whole(None, Bits.ORDERED, elements=Elements.COMPARED)
comparison("EQUAL", np.equal, _equal, "Equal", _EQUALITY)
comparison("NOT_EQUAL", np.not_equal, lambda a, b: not _equal(a, b), "NotEqual", _EQUALITY)
comparison("LESS", np.less, None, "Less", _ORDER)
comparison("LESS_EQUAL", np.less_equal, None, "LessEqual", _ORDER)
comparison("GREATER", np.greater, None, "Greater", _ORDER)
comparison("GREATER_EQUAL", np.greater_equal, None, "GreaterEqual", _ORDER)
define(
    "SELECT_V2",
    lambda inputs, attrs: (broadcast(*(v.shape for v in inputs)), inputs[1].dtype),
    PICKER.but(interval=later),
    layout=ELEMENTWISE,
    types="f32 i32 i64 bool i8 u8 i16",
    typed=(1, 2),
    max_rank=8,
    options=("SelectV2Options", {}),
    tensorflow="SelectV2",
    evaluate=plain(np.where),
    symbolic=plain(lambda c, a, b: np.where(c.astype(bool), a, b)),
)
