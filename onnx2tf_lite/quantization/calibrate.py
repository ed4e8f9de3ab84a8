"""The numbers that tensors hold on the user's samples: true minima and maxima, and how they are distributed.

One sample is in memory at a time.  The first pass takes the extremes, a second one counts into bins between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.graph import Graph, Op, Value
from . import masks
from .rounding import PATCHES, Moments, is_known, operands
from .runner import ProgramRunner

BINS = 2048
Feeds = Mapping[str, np.ndarray]


@dataclass
class Spread:
    """The numbers of one tensor: extremes, and counts in bins of equal width between them; ``floor`` as
    :func:`masks.floor` of what a SOFTMAX reads, ``bottomless`` where -inf is among them."""

    low: float = np.inf
    high: float = -np.inf
    floor: float = np.inf
    bottomless: bool = False
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def widen(self, x: np.ndarray) -> None:
        """Take the extremes of an array in; infinities stand for no number that occurs."""
        low, high = x.min(), x.max()
        if not np.isfinite(low) or not np.isfinite(high):
            finite = x[np.isfinite(x)]
            self.bottomless |= bool(np.isneginf(x).any())
            if not finite.size:
                return
            low, high = finite.min(), finite.max()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def count(self, x: np.ndarray) -> None:
        """Count the elements of an array."""
        if self.high > self.low:
            finite = x[np.isfinite(x)]
            finest = BINS * float(np.finfo(np.float32).eps) * max(abs(self.low), abs(self.high))
            if self.high - self.low <= finest:  # numbers of the array's type would not tell the edges apart
                finite = finite.astype(np.float64)
            self.counts += np.histogram(np.maximum(finite, self.low), BINS, (self.low, self.high))[0]

    @property
    def seen(self) -> bool:
        """True where any number occurred."""
        return self.low <= self.high

    @property
    def centres(self) -> np.ndarray:
        """The middles of the bins."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2


@dataclass
class Statistics:
    """What calibration found, by the names of tensors, which copies of a graph have alike.

    ``spreads``  of every tensor of real numbers; ``moments`` of the operands of linear operations, by their result
    ``samples``  how many there were
    """

    spreads: dict[str, Spread] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    samples: int = 0


def calibrate(
    graph: Graph, samples: Callable[[], Iterable[Feeds]], listener: Callable[[str], None] = lambda what: None
) -> Statistics:
    """The statistics of ``graph`` on ``samples()``, which is called for each of two passes.

    :raises ConversionError: a sample does not run.
    """
    runner, found = ProgramRunner(graph), Statistics()
    spreads, found.samples = _extremes(graph, runner, samples(), listener)
    known = list(spreads)
    rng = np.random.default_rng(0)
    linear = _linear(graph, known)
    found.moments = {op.outputs[0].name: Moments() for op in linear}
    share = max(PATCHES // found.samples, 16) if found.samples else 0
    for number, feeds in enumerate(samples(), start=1):
        listener(f"calibrate: spread, sample {number}")
        _run(runner, feeds, number)
        for value in known:
            spreads[value].count(runner.read(value))
        for op in linear:
            x = runner.read(op.inputs[0])  # type: ignore[arg-type]
            found.moments[op.outputs[0].name].take(operands(op, x, share, rng), number, found.samples)
    found.spreads = {v.name: s for v, s in spreads.items() if s.seen}
    return found


def spreads_on(graph: Graph, samples: Iterable[Feeds]) -> dict[str, Spread]:
    """Those of every tensor of ``graph``, by its name, on some samples; nothing is counted.

    :raises ConversionError: a sample does not run.
    """
    spreads, _ = _extremes(graph, ProgramRunner(graph), samples, lambda what: None)
    return {v.name: s for v, s in spreads.items() if s.seen}


def _extremes(
    graph: Graph, runner: ProgramRunner, samples: Iterable[Feeds], listener: Callable[[str], None]
) -> tuple[dict[Value, Spread], int]:
    """What is known, and of how many samples."""
    spreads, number, ranked = {v: Spread() for v in tensors(graph) if runner.has(v)}, 0, masks.read(graph)
    for number, feeds in enumerate(samples, start=1):
        listener(f"calibrate: range, sample {number}")
        _run(runner, feeds, number)
        if number == 1:
            spreads = {v: s for v, s in spreads.items() if runner.holds(v)}
        for value, spread in spreads.items():
            array = runner.read(value)
            if array.size:
                spread.widen(array)
            if array.size and value in ranked:
                spread.floor = min(spread.floor, masks.floor(array))
    masks.cut(graph, spreads)
    return spreads, number


def _linear(graph: Graph, known: Sequence[Value]) -> list[Op]:
    """Operations on tensors that are known, by weights of their own: shared ones stay so."""
    linear = [op for op in graph.ops if is_known(op) and op.inputs[0] in known]
    users = Counter(id(op.inputs[1].data) for op in linear)  # type: ignore[union-attr]
    return [op for op in linear if users[id(op.inputs[1].data)] == 1]  # type: ignore[union-attr]


def tensors(graph: Graph) -> Iterator[Value]:
    """Every tensor of real numbers that a graph is given or computes; loops do not write what nobody reads."""
    read = {*graph.consumers(), *graph.outputs}
    for value in [*graph.inputs, *(v for op in graph.ops for v in op.outputs)]:
        if value.dtype == np.float32 and value in read:
            yield value


def _run(runner: ProgramRunner, feeds: Feeds, number: int) -> None:
    try:
        runner.run(feeds)
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConversionError(Problem(f"calibration sample {number}", f"does not run: {said}")) from error
