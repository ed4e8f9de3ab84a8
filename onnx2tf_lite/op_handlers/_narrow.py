"""Casts to the types that TFLite has no tensors of: 8- and 4-bit floats are kept as rounded float32, 4- and 2-bit
integers in 8 bits.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from . import _maths as m

# stored bits of the mantissa, exponent of the smallest normal number, largest number, what lies beyond it
FLOATS = {
    "float8_e4m3fn": (3, -6, 448.0, m.NAN),
    "float8_e4m3fnuz": (3, -7, 240.0, m.NAN),
    "float8_e5m2": (2, -14, 57344.0, float("inf")),
    "float8_e5m2fnuz": (2, -15, 57344.0, m.NAN),
    "float4_e2m1fn": (1, 0, 6.0, 6.0),
}
INTEGERS = {"int4": (4, 8), "uint4": (4, 0), "int2": (2, 2), "uint2": (2, 0)}  # bits, half of a signed range


def narrow(x: Value, dtype: np.dtype, saturate: bool) -> Value | None:
    """``x`` with the values that ``dtype`` has; None where it is no such type."""
    if dtype.name in INTEGERS:
        bits, half = INTEGERS[dtype.name]
        wrapped = b.floor_mod(b.cast(x, np.int32) + half, 1 << bits) - half
        return b.cast(wrapped, np.int8 if half else np.uint8)
    if dtype.name not in FLOATS:
        return None
    return _rounded(b.cast(x, np.float32), *FLOATS[dtype.name], saturate)


def _rounded(x: Value, mantissa: int, low: int, largest: float, beyond: float, saturate: bool) -> Value:
    """Half to even, to a multiple of the place value of the last bit: a power of two, so that only ROUND rounds."""
    finite = m.bound(x, -4 * largest, 4 * largest)
    exponent = b.right_shift(b.emit("BITCAST", b.abs_(finite), to=np.dtype(np.int32)), 23)
    power = b.emit("BITCAST", exponent * (1 << 23), to=np.dtype(np.float32))
    place = b.maximum(power, 2.0**low) * 2.0**-mantissa
    near = b.round_(finite / place) * place
    within = m.bound(near, -largest, largest)
    if not saturate:
        outside = b.where(b.less(x, 0), np.float32(-beyond), np.float32(beyond))
        within = b.where(b.greater(b.abs_(near), largest), outside, within)
    return b.where(b.equal(x, x), within, 0.0 if beyond == largest else m.NAN)  # a type without specials has no NaN
