"""The numbers that tensors hold on the user's samples: true minima and maxima, and how they are distributed.

One sample is in memory at a time.  The first pass takes the extremes, a second one counts into bins between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.graph import Graph, Value
from .runner import Runner

BINS = 2048
Feeds = Mapping[str, np.ndarray]


@dataclass
class Spread:
    """The numbers of one tensor: extremes, and counts in bins of equal width between them."""

    low: float = np.inf
    high: float = -np.inf
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def widen(self, x: np.ndarray) -> None:
        """Take the extremes of an array in; infinities stand for no number that occurs."""
        low, high = x.min(), x.max()
        if not np.isfinite(low) or not np.isfinite(high):
            finite = x[np.isfinite(x)]
            if not finite.size:
                return
            low, high = finite.min(), finite.max()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def count(self, x: np.ndarray) -> None:
        """Count the elements of an array."""
        if self.high > self.low:
            finite = x[np.isfinite(x)]
            self.counts += np.histogram(finite, BINS, (self.low, self.high))[0]

    @property
    def seen(self) -> bool:
        """True where any number occurred."""
        return self.low <= self.high

    @property
    def centres(self) -> np.ndarray:
        """The middles of the bins."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2


def calibrate(
    graph: Graph,
    values: Iterable[Value],
    samples: Callable[[], Iterable[Feeds]],
    listener: Callable[[str], None] = lambda what: None,
) -> tuple[dict[Value, Spread], int]:
    """The spread of each of ``values`` on ``samples()``, which is called for each of two passes; and how many samples
    there were.

    :raises ConversionError: a sample does not run.
    """
    runner = Runner(graph)
    spreads = {v: Spread() for v in values if runner.has(v)}
    count = 0
    for what, take in (("range", Spread.widen), ("spread", Spread.count)):
        for number, feeds in enumerate(samples(), start=1):
            listener(f"calibrate: {what}, sample {number}")
            _run(runner, feeds, number)
            count = number
            for value, spread in spreads.items():
                array = runner.read(value)
                if array.size:
                    take(spread, array)
    return {v: s for v, s in spreads.items() if s.seen}, count


def _run(runner: Runner, feeds: Feeds, number: int) -> None:
    try:
        runner.run(feeds)
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConversionError(Problem(f"calibration sample {number}", f"does not run: {said}")) from error
