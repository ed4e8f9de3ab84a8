"""Results that a kernel does not tell apart: those of LOGISTIC, SOFTMAX and TANH have one scale, whatever occurs.

Attention over 300 places is 1/300 in most of them, one of the steps that 8 bits take: three SOFTMAX of 16 bits in an
8-bit program are 11 dB for a tracker.  The objectness of a detector that finds nothing is 1e-4 everywhere, three of the
steps that 16 bits take: such an operation stays float where floats may be, and what reads it has a scale that fits.
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import Graph, Op
from ..ir.traits import FixedScale
from .calibrate import Statistics
from .plan import FIXED_16, is_kernel, kernels
from .positions import positions
from .recipes import I8, I16

LEAST = 20.0  # dB that rounding to the steps of the kernel has to leave, or it stays float
TRIED = 30.0  # dB below which it is tried whether 16 bits instead of 8 serve the outputs


def is_coarse(op: Op, dtype: np.dtype | None, statistics: Statistics) -> bool:
    """True where the steps of a 16-bit kernel are about as large as what calibration saw."""
    return dtype == I16 and _left(op, I16, statistics) < LEAST


def to_refine(graph: Graph, statistics: Statistics) -> list[Op]:
    """The 8-bit kernels that may be too coarse, and have a form of 16 bits: those whose steps lose much of what
    calibration saw, and layers that say which elements are read."""
    layers = positions(graph).layers
    either = [op for op in kernels(graph, I8) if is_kernel(op, I16)]
    return [op for op in either if op in layers or _left(op, I8, statistics) < TRIED]


def _left(op: Op, dtype: np.dtype, statistics: Statistics) -> float:
    """What rounding to fixed steps leaves of a result, in dB."""
    fixed, spread = op.kind.int8, statistics.spreads.get(op.outputs[0].name)
    if spread is None or not isinstance(fixed, FixedScale) or not spread.counts.any():
        return np.inf
    step = (FIXED_16 if dtype == I16 else fixed).scale
    power = float(np.average(np.square(spread.centres), weights=spread.counts))
    return 10 * float(np.log10(power / (step**2 / 12))) if power else np.inf
