"""int4 weights: in blocks, each with a scale of its own, where rows of weights can be cut into such.

The format's own block-wise parameters cannot be used: DEQUANTIZE ignores them without a word, XNNPACK refuses the
FULLY_CONNECTED that has them, whose builtin kernel is 80 times slower than the float one and whose reference kernel is
wrong.  So a block is a row of a matrix [block, weight], which a MUL scales and a RESHAPE makes the filter of.  That
serves convolutions as well.  (Scales of the format's own along the axis of blocks would need no MUL, but each brings a
zero point of 64 bits: 7 bits a weight instead of 5.)
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import Quant
from ..ir.lattices import BITS, integers
from ..record import record
from . import scales
from .recipes import I16

LARGEST_BLOCK, SMALLEST_BLOCK = 32, 16  # weights; with fewer the scales take as much room as they save
WIDE = 16  # bits of what is worth more than 8
LEAST = 18.0  # dB of the weights themselves, below which 4 bits are too few for them


@record
class WeightForm:
    """How some weights are stored: ``rows`` of which each has a scale, or a scale along ``axis``; ``bits`` of each;
    ``known``: the parameters that they have already."""

    said: str
    bits: int = 8
    axis: int | None = None
    rows: int | None = None
    known: Quant | None = None

    def quant(self, weights: np.ndarray) -> Quant:
        """The parameters of ``weights``, of the shape that :meth:`laid_out` gives them."""
        if self.known is not None:
            return self.known
        if self.bits == BITS:
            return scales.of_few_bits(self.laid_out(weights), self.axis or 0, BITS)
        if self.bits == WIDE:
            return scales.of_range(float(weights.min()), float(weights.max()), I16)
        return scales.of_weights(self.laid_out(weights), self.axis)

    def laid_out(self, weights: np.ndarray) -> np.ndarray:
        """``weights`` [block, weight] where they are in blocks."""
        return weights if self.rows is None else weights.reshape(self.rows, -1)


def form(weights: np.ndarray, axis: int) -> WeightForm:
    """How ``weights`` are best stored, which have their output channels on ``axis``."""
    sizes = _blocks(weights.size // weights.shape[0]) if axis == 0 else []
    for n in sizes:
        known = integers(weights.reshape(-1, n))
        if known is not None:
            return WeightForm(f"int4 in blocks of {n}, as they were", BITS, 0, len(known.scale), known)
    size = sizes[0] if sizes else None
    if size is not None:
        found = WeightForm(f"int4 in blocks of {size}", BITS, 0, weights.size // size)
    else:
        why = "a filter's weights do not lie together" if axis else f"no block divides {weights.size // len(weights)}"
        found = WeightForm(f"int4 by channel ({why})", BITS, axis)
    data = found.laid_out(weights)
    quant = found.quant(weights)
    left = _decibels(data, quant.real(quant.stored(data)))
    return found if left >= LEAST else WeightForm(f"int8 (4 bits leave {left:.0f} dB of them)", axis=axis)


def _blocks(row: int) -> list[int]:
    """Of how many weights blocks are that divide a row, the largest first."""
    return [n for n in range(LARGEST_BLOCK, SMALLEST_BLOCK - 1, -1) if row % n == 0]


def _decibels(real: np.ndarray, stored: np.ndarray) -> float:
    power, noise = float(np.square(real).sum()), float(np.square(real - stored).sum())
    return 10 * float(np.log10(power / noise)) if noise and power else np.inf
