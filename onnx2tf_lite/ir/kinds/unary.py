"""Functions of each element by itself, and casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from .. import dims
from ..dims import Dim
from ..graph import Attrs, Op, Value
from ..intervals import absolute, converted, negated, signed, squared
from ..kind import Evaluate, Result, define, plain
from ..orders import ELEMENTWISE
from ..traits import BOUNDED, PASSES, REALS, Bits, Elements, FixedScale, Int8, Lapse, Traits, computed, real, whole
from .shapes import same


def _rounded(function: Callable[[Dim, Dim], Dim] | None) -> Callable[..., np.ndarray]:
    """Whole dims stay; a ratio is rounded by ``function``, where there is one."""

    def one(x: Dim | dims.Ratio) -> Dim:
        if isinstance(x, dims.Ratio):
            if function is None:
                raise TypeError("half way is not known")
            return function(x.above, x.below)
        return x

    return lambda attrs, x: np.asarray(np.frompyfunc(one, 1, 1)(x), object)


def _gelu(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    from math import erf

    if attrs["approximate"]:
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), x.dtype)
    return np.asarray(0.5 * x * (1 + np.vectorize(erf, otypes=[np.float64])(x / np.sqrt(2))), x.dtype)


def _leaky_relu(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x * np.float32(attrs["alpha"]), x)


def _hard_swish(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.clip(x + 3, 0, 6) / 6)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def _cast(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    """As the CAST kernel: float to integer truncates and saturates."""
    to = attrs["to"]
    if x.dtype.kind == "f" and to.kind in "iu":
        info = np.iinfo(to)
        wide = np.trunc(np.nan_to_num(x.astype(np.float64), nan=float(info.max)))
        low = wide <= float(info.min)
        high = wide >= float(info.max)
        return np.where(high, info.max, np.where(low, info.min, np.where(low | high, 0, wide).astype(to))).astype(to)
    return x.astype(to)


def _cast_dims(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    """Extents are small: every numeric cast keeps them, a cast to bool is not an extent."""
    if attrs["to"].kind == "b" or attrs["to"].itemsize < 4:
        raise TypeError("not an extent")
    return x if attrs["to"].kind == "f" else _rounded(dims.floordiv)(attrs, x)


def _bits(inputs: Sequence[Value], attrs: Attrs) -> Result:
    """A narrower dtype adds a last axis, a wider one takes it away."""
    shape, have, want = inputs[0].shape, inputs[0].dtype.itemsize, attrs["to"].itemsize
    return (shape if have == want else (*shape, have // want) if have > want else shape[:-1]), attrs["to"]


def _uint64(op: Op) -> str:
    return "uint64 has no kernel" if op.attrs["to"] == np.uint64 else ""


def unary(name: str, function: Evaluate, types: str, versions: str, tf: str | None, traits: Traits) -> None:
    """Define a function of each element."""
    form = {"layout": ELEMENTWISE, "types": types, "versions": versions, "tensorflow": tf, "max_rank": 8}
    define(name, same, traits, evaluate=plain(function), **form)


POSITIVE, UNIT, BOTH = (0, inf), (0, 1), (-1, 1)  # limits
_8, _8_16 = "2:qi8|qu8 3:qi16", "2:qi8|qi16"
_CLAMP = real(BOUNDED, REALS, Int8.RESCALES, int16=True, clamps=True)
_HALF, _STEEP = FixedScale(1 / 256, -128), FixedScale(1 / 128, 0)
unary(
    "ABS",
    np.abs,
    "f32 i32",
    "2:qi8 3:qi16 5:i32",
    "Abs",
    computed(". + + . n", POSITIVE, absolute, Bits.WRONG, Int8.RESCALES, int16=True),
)
unary("NEG", np.negative, "f32 i32 i64", "", "Neg", computed(". - + . n", REALS, negated, Bits.SAME, None))
unary("EXP", np.exp, "f32", _8_16, "Exp", real("+ + . . n", POSITIVE, Int8.RESCALES, int16=True, lapse=Lapse.NAN))
unary("LOG", np.log, "f32", _8_16, "Log", real("-n + n . n", REALS, Int8.RESCALES, int16=True))
unary("SQRT", np.sqrt, "f32", _8_16, "Sqrt", real("n + n . n", POSITIVE, Int8.RESCALES, int16=True))
unary(
    "RSQRT",
    lambda x: 1 / np.sqrt(x),
    "f32",
    "2:qi8 3:qi16",
    "Rsqrt",
    real("+-n . n . n", REALS, Int8.RESCALES, int16=True),
)
unary("SIN", np.sin, "f32", "", "Sin", real(". n n . n", BOTH, None))
unary("COS", np.cos, "f32", "", "Cos", real(". n n . n", BOTH, None))
unary("SQUARE", np.square, "f32", "", "Square", computed("+ + + . n", POSITIVE, squared, Bits.SAME, None))
unary("SIGN", np.sign, "f32 i32", "2:i32", "Sign", computed(BOUNDED, BOTH, signed, Bits.WRONG, None))
unary(
    "RELU",
    lambda x: np.maximum(x, 0),
    "f32",
    _8,
    "Relu",
    real(". + . . n", POSITIVE, Int8.RESCALES, int16=True, clamps=True, saturates=POSITIVE),
)
unary("RELU6", lambda x: np.clip(x, 0, 6), "f32", _8, "Relu6", _CLAMP.but(limits=(0, 6), saturates=(0, 6)))
unary(
    "RELU_N1_TO_1",
    lambda x: np.clip(x, -1, 1),
    "f32",
    "2:qi8",
    None,
    _CLAMP.but(limits=BOTH, saturates=BOTH, int8=None, int16=False),
)
unary("TANH", np.tanh, "f32", _8, "Tanh", real(BOUNDED, BOTH, _STEEP, int16=True, saturates=(-4.5, 4.5)))
unary(
    "LOGISTIC",
    lambda x: 1 / (1 + np.exp(-x)),
    "f32",
    _8,
    "Sigmoid",
    real(BOUNDED, UNIT, _HALF, int16=True, saturates=(-8, 8)),
)
unary("HARD_SWISH", _hard_swish, "f32", "", None, real("+ + n . n", (-0.375, inf), Int8.RESCALES, saturates=(-3, inf)))
unary("ELU", _elu, "f32", "", "Elu", real(". + . . n", (-1, inf), Int8.RESCALES, saturates=(-8, inf)))
unary("LOGICAL_NOT", np.logical_not, "bool", "", "LogicalNot", whole(None, Bits.WRONG))


def rounding(name: str, function: Evaluate, on_dims: Callable[[Dim, Dim], Dim] | None) -> None:
    """Define a function to whole numbers; ``on_dims`` rounds a ratio of dims."""
    form = {"layout": ELEMENTWISE, "types": "f32", "tensorflow": name.title(), "max_rank": 8}
    define(name, same, real(PASSES, REALS, None), evaluate=plain(function), symbolic=_rounded(on_dims), **form)


rounding("FLOOR", np.floor, dims.floordiv)
rounding("CEIL", np.ceil, dims.ceildiv)
rounding("ROUND", np.round, None)
define(
    "LEAKY_RELU",
    same,
    real("+- + +-n . n", REALS, Int8.RESCALES, int16=True),
    layout=ELEMENTWISE,
    types="f32",
    max_rank=8,
    options=("LeakyReluOptions", {"alpha": "alpha"}),
    versions="2:qi16",
    tensorflow="LeakyRelu",
    tf_attrs={"alpha": "alpha"},
    evaluate=_leaky_relu,
)
define(
    "GELU",
    same,
    real(". + n . n", (-0.17005, inf), Int8.RESCALES, int16=True, saturates=(-5, inf)),
    layout=ELEMENTWISE,
    types="f32",
    max_rank=8,
    options=("GeluOptions", {"approximate": "approximate"}),
    versions="2:qi8",
    evaluate=_gelu,
)
define(
    "CAST",
    lambda inputs, attrs: (inputs[0].shape, attrs["to"]),
    computed("+- + - . n", REALS, converted, Bits.CONVERTED, None, elements=Elements.CONVERTED, trap=_uint64),
    layout=ELEMENTWISE,
    types="f32 f64 f16 i8 u8 i16 u16 i32 u32 i64 bool",
    max_rank=8,
    options=("CastOptions", {"inDataType": lambda op: op.inputs[0].dtype, "outDataType": "to"}),
    versions="2:u32 3:i8 4:u16 5:f16|f64",
    tensorflow="Cast",
    evaluate=_cast,
    symbolic=_cast_dims,
)
define(
    "BITCAST",
    _bits,
    computed("+-n + - . n", REALS, None, Bits.SAME, None),
    types="",
    max_rank=8,
    tensorflow="Bitcast",
    tf_attrs={"type": "to"},
    evaluate=lambda attrs, x: np.frombuffer(x.tobytes(), attrs["to"]),
)
