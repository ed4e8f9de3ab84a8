"""The Fourier transform, and the parts of complex numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Attrs, Value
from ..kind import Result, define
from ..traits import DOTS, PASSES, REALS, real


def _spectrum(inputs: Sequence[Value], attrs: Attrs) -> Result:
    *lead, rows, _ = inputs[0].shape
    return (*lead, rows, attrs["lengths"][1] // 2 + 1), np.dtype(np.complex64)


# x[...,rows,columns], ``lengths`` (rows, columns) are powers of two: the non-negative frequencies of the last axis
define(
    "RFFT2D",
    _spectrum,
    real(DOTS, REALS, None),
    types="f32",
    max_rank=6,
    operands=(0, "lengths"),
    options=("Rfft2dOptions", {}),
    tensorflow="RFFT2D",
)


def part(name: str) -> None:
    """Define a part of complex numbers."""
    result = np.dtype(np.float32)
    traits = real(PASSES, REALS, None)
    define(
        name, lambda inputs, attrs: (inputs[0].shape, result), traits, types="c64", tensorflow=name.title(), max_rank=8
    )


part("REAL")
part("IMAG")
