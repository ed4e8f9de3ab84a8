"""Which whole numbers a tensor can hold: interval analysis, the proof behind every int64 -> int32 narrowing.

The transfer functions stand in the definitions of the operators; what is known to be shape arithmetic
(``Value.content``) fits 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from . import dims
from .dims import Expr
from .graph import Graph, Op, Value
from .intervals import EXTENT, Interval, dtype_range, fits
from .kinds import KINDS

# for passes.int64, until it asks here for whole ranges
TRANSFER: dict[str, Callable[..., Any]] = {n: k.interval for n, k in KINDS.items() if k.interval}


class Ranges:
    """Intervals of the values of one graph; ask in program order, :meth:`learn` after every operation."""

    def __init__(self, graph: Graph):
        self.known: dict[Value, Interval] = {}
        for value in graph.inputs:
            if value.dtype.kind in "iub":
                self.known[value] = self._refined(value, dtype_range(value.dtype))

    def of(self, value: Value) -> Interval:
        """The interval of an integer value (of anything else: that of int64, which proves nothing)."""
        if value not in self.known:
            if value.dtype.kind not in "iub":
                return dtype_range(np.dtype(np.int64))
            data = value.data
            if data is None:
                self.known[value] = self._refined(value, dtype_range(value.dtype))
            else:
                self.known[value] = (int(data.min()), int(data.max())) if data.size else (0, 0)
        return self.known[value]

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
