"""Operators that make a tensor from a number, or from a shape."""

from __future__ import annotations

import numpy as np

from .. import intervals
from ..kind import define
from ..orders import Fill
from ..traits import MOVER, REALS, Bits, computed, whole
from .movement import rearranged, scalar
from .shapes import like

I32 = np.dtype(np.int32)

rearranged(
    "FILL",
    lambda inputs, attrs: like(inputs, attrs["shape"]),
    lambda attrs, x: np.full(attrs["shape"], x),
    MOVER.but(int8=None),
    Fill(),
    types="",
    operands=("shape", 0),
    options=("FillOptions", {}),
    versions="2:bool 3:i8|i16",
    tensorflow="Fill",
)
# replaced by real operators in legalize.dynamic
define(
    "DIMS",
    lambda inputs, attrs: ((len(attrs["dims"]),), I32),
    whole(intervals.extent, Bits.WRONG),
    types="",
    max_rank=6,
    operator=None,
    evaluate=lambda attrs: np.array(attrs["dims"], np.int32),
)
define(
    "SHAPE",
    lambda inputs, attrs: ((inputs[0].rank,), I32),
    whole(intervals.extent, Bits.SAME, trap=scalar),
    types="",
    max_rank=8,
    options=("ShapeOptions", {"outType": I32}),
    tensorflow="Shape",
)
# start, limit and delta are scalars; ``count`` is the number of elements that follows from them.
define(
    "RANGE",
    lambda inputs, attrs: ((attrs["count"],), inputs[0].dtype),
    computed(
        "+- +-n +-n n n", REALS, lambda op, start, limit, delta: intervals.hull(op, start, limit), Bits.WRONG, None
    ),
    types="f32 i32 i64",
    typed=(0, 1, 2),
    max_rank=6,
    options=("RangeOptions", {}),
    versions="2:i64",
    tensorflow="Range",
    evaluate=lambda attrs, a, b, d: np.arange(a, b, d, dtype=a.dtype),
)
