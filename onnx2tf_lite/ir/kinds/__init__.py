# ruff: noqa: F401 (importing a family defines its operators)
"""The vocabulary: every operator that the converter can write, a family per file.

Importing the package defines them all; look one up with ``KINDS["CONV_2D"]``.
"""

from ..kind import KINDS, Kind
from . import (
    control,
    convolution,
    creation,
    elementwise,
    indexing,
    matmul,
    movement,
    quantization,
    random,
    reduction,
    spectral,
    unary,
)

__all__ = ["KINDS", "Kind"]
