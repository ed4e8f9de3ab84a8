"""Channels of a layer: results that belong to weights of their own, and those of them that no operand has moved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from .measure import Array
from .parts import ModelPart

#: Operators that may hide what lies before them.
HIDES = frozenset({"Relu", "Clip", "Max", "Min", "HardSigmoid", "HardSwish", "Where", "ThresholdedRelu", "Shrink"})


def channel_axis(rank: int, part: ModelPart) -> int:
    """The axis along which a layer's results belong to different weights."""
    return 1 if rank > 2 and any("Conv" in op or "Pool" in op for op in part.operators) else rank - 1


def closed(results: Sequence[Array], part: ModelPart) -> Array | None:
    """The channels of a layer with weights that are the same number throughout, in all ``results``; None where nothing
    in it hides what lies before."""
    if not part.weights or not part.operators & HIDES or not results or results[0].ndim < 2:
        return None
    axis = channel_axis(results[0].ndim, part)
    others = tuple(i for i in range(results[0].ndim) if i != axis)
    if not results[0].size:
        return None
    low = reduce(np.minimum, (r.min(axis=others) for r in results))
    high = reduce(np.maximum, (r.max(axis=others) for r in results))
    return np.asarray(low == high)
