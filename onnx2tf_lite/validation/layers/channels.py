"""Channels of a layer: results that belong to weights of their own, and those of them that no operand has moved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from ...record import record
from ..figures.measure import Array
from ..original.parts import ModelPart

#: Operators that may hide what lies before them.
HIDES = frozenset({"Relu", "Clip", "Max", "Min", "HardSigmoid", "HardSwish", "Where", "ThresholdedRelu", "Shrink"})


def channel_axis(rank: int, part: ModelPart) -> int:
    """The axis along which a layer's results belong to different weights."""
    return 1 if rank > 2 and any("Conv" in op or "Pool" in op for op in part.operators) else rank - 1


@record
class ChannelRange:
    """The least and the greatest result of each channel."""

    low: Array
    high: Array

    def __or__(self, other: ChannelRange) -> ChannelRange:
        return ChannelRange(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    @property
    def closed(self) -> Array:
        """The channels whose result was the same number throughout."""
        return np.asarray(self.low == self.high)


def span(results: Sequence[Array], part: ModelPart) -> ChannelRange | None:
    """Of a layer with weights, over all ``results``; None where nothing in it hides what lies before."""
    if not part.weights or not part.operators & HIDES or not results or results[0].ndim < 2:
        return None
    axis = channel_axis(results[0].ndim, part)
    others = tuple(i for i in range(results[0].ndim) if i != axis)
    if not results[0].size:
        return None
    return reduce(or_, (ChannelRange(r.min(axis=others), r.max(axis=others)) for r in results))
