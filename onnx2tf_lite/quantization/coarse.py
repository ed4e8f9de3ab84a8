"""Results that a kernel does not tell apart: those of LOGISTIC, SOFTMAX and TANH have one scale, whatever occurs.

The objectness of a detector that finds nothing is 1e-4 everywhere, three of the steps that 16 bits take.  Such an
operation stays float where floats may be, and what reads it has a scale that fits.  In 8 bits the operand is as coarse
as the result: it is left as it is there.
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import Op
from ..ir.traits import FixedScale
from .calibrate import Statistics
from .plan import FIXED_16
from .recipes import I16

LEAST = 20.0  # dB that rounding to the steps of the kernel has to leave


def is_coarse(op: Op, dtype: np.dtype | None, statistics: Statistics) -> bool:
    """True where the steps of the kernel with activations of ``dtype`` are about as large as what calibration saw."""
    spread = statistics.spreads.get(op.outputs[0].name)
    if dtype != I16 or spread is None or not isinstance(op.kind.int8, FixedScale) or not spread.counts.any():
        return False
    power = float(np.average(np.square(spread.centres), weights=spread.counts))
    return power < 10 ** (LEAST / 10) * FIXED_16.scale**2 / 12
