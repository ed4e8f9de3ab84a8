"""The vocabulary: every operator that the converter can write, a family per file.

Importing the package defines them all; look one up with ``KINDS["CONV_2D"]``.
"""

from ..kind import KINDS, Kind
from . import control, convolution, elementwise, indexing, matmul, movement, quantization, random, reduction, spectral

__all__ = [
    "KINDS", "Kind", "control", "convolution", "elementwise", "indexing", "matmul", "movement", "quantization",
    "random", "reduction", "spectral",
]  # fmt: skip
