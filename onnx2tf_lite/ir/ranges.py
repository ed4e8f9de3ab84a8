"""Which whole numbers a tensor can hold: interval analysis, the proof behind every int64 -> int32 narrowing.

The transfer functions stand in the definitions of the operators; what is known to be shape arithmetic
(``Value.content``) fits 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from . import dims
from .dims import Expr
from .graph import Op, Value
from .intervals import EXTENT, Interval, dtype_range, fits


class Ranges:
    """Intervals of values, found on demand from those that they are computed from, and remembered."""

    def __init__(self) -> None:
        self.known: dict[Value, Interval] = {}

    def of(self, value: Value) -> Interval:
        """The interval of an integer value (of anything else: that of int64, which proves nothing)."""
        if value.dtype.kind not in "iub":
            return dtype_range(np.dtype(np.int64))
        pending = [value]
        while pending:  # without recursion: chains can be long
            op = None if pending[-1] in self.known else pending[-1].producer
            unknown = [v for v in op.inputs if v is not None and self._open(v)] if op else []
            if unknown:
                pending += unknown
            elif op:
                self.learn(op)
            else:
                top = pending.pop()
                self.known.setdefault(top, self._given(top))
        return self.known[value]

    def _open(self, value: Value) -> bool:
        return value.dtype.kind in "iub" and value.producer is not None and value not in self.known

    def _given(self, value: Value) -> Interval:
        """A constant, or something that comes from outside."""
        if value.data is None:
            return self._refined(value, dtype_range(value.dtype))
        return (int(value.data.min()), int(value.data.max())) if value.data.size else (0, 0)

    def exact(self, op: Op, inputs: Sequence[Value | None]) -> list[Interval]:
        """The intervals of the results as whole numbers, before any wrapping; of those of which something is known."""
        if op.kind.interval is None:
            return []
        found = op.kind.interval(op, *(self.of(v) for v in inputs if v is not None))
        return found if isinstance(found, list) else [found]

    def learn(self, op: Op) -> None:
        """Record the results of ``op``."""
        if not any(v.dtype.kind in "iub" for v in op.outputs):
            return
        for value, exact in zip_longest(op.outputs, self.exact(op, op.inputs)):
            if value.dtype.kind in "iub":
                known = exact is not None and fits(exact, value.dtype)
                self.known[value] = self._refined(value, exact if known else dtype_range(value.dtype))

    def _refined(self, value: Value, interval: Interval) -> Interval:
        """``interval`` with what else is known of ``value``."""
        others = [value.bounds] if value.bounds else []
        if value.content is not None and value.content.size:
            low, high = -EXTENT[1], EXTENT[1]
            entries = [
                (d, d) if dims.is_static([d]) else (low if isinstance(d, Expr) and not dims.nonnegative(d) else 0, high)
                for d in value.content.ravel().tolist()
            ]
            others.append((min(int(a) for a, _ in entries), max(int(b) for _, b in entries)))
        for low, high in others:
            interval = max(interval[0], low), min(interval[1], high)
        return interval
