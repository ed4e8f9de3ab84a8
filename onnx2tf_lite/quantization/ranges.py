"""The range of each tensor: its extremes, or less where that serves the outputs better.

Cutting off rare large numbers makes the steps of all others smaller; whether that is worth it depends on what becomes
of them, so it is measured at the outputs and not at the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..ir.graph import Op
from .calibrate import Spread, Statistics
from .flat import limits
from .plan import Range, kernels
from .recipes import I16
from .trials import Trials

STRETCHES = 10  # of the program, whose tensors are decided together
TAIL = 1e-4  # share of the numbers that a percentile leaves out, half of it at each end
LEVELS = 255
BEYOND = "twice the extremes"


def extremes(spread: Spread) -> Range:
    """All that was seen."""
    return spread.low, spread.high


def percentile(spread: Spread) -> Range:
    """Without the rarest at either end."""
    total = spread.counts.cumsum()
    if not total[-1]:
        return extremes(spread)
    edges = np.linspace(spread.low, spread.high, len(total) + 1)
    first = int(np.searchsorted(total, TAIL / 2 * total[-1], "right"))
    last = int(np.searchsorted(total, (1 - TAIL / 2) * total[-1]))
    return min(float(edges[first]), 0.0) if spread.low < 0 else spread.low, max(float(edges[last + 1]), 0.0)


def least_squares(spread: Spread) -> Range:
    """The range, as a share of the extremes, whose rounding and cutting off make the smallest error together."""
    centres, counts = spread.centres, spread.counts
    low, high = min(spread.low, 0.0), max(spread.high, 0.0)

    def error(share: float) -> float:
        step = share * (high - low) / LEVELS
        beyond = np.maximum(centres - share * high, 0) + np.maximum(share * low - centres, 0)
        return float((counts * (np.square(beyond) + (beyond == 0) * step**2 / 12)).sum())

    best = min(np.linspace(0.3, 1, 36)[::-1], key=error)
    return float(best * low), float(best * high)


POLICIES: dict[str, Callable[[Spread], Range]] = {
    "extremes": extremes,
    "percentile": percentile,
    "least squares": least_squares,
}


def choose(
    trials: Trials, statistics: Statistics, width: np.dtype, listener: Callable[[str], None]
) -> tuple[dict[str, Range], dict[str, int]]:
    """The ranges by the names of tensors, and how many follow each policy; 16 bits reach the extremes anyway."""
    if width == I16:
        known = beyond_extremes(statistics)
        return known, {BEYOND: len(known)}
    known = extremes_of(statistics)
    ends = limits(trials.graph)
    choices = {
        name: {n: _within(policy(s), ends.get(n)) for n, s in statistics.spreads.items()}
        for name, policy in POLICIES.items()
    }
    widths = dict.fromkeys(trials.graph.ops, width)

    def score_of(ranges: Mapping[str, Range]) -> float:
        listener(f"ranges: trial {trials.count + 1}")
        return trials.run(widths, ranges).mean

    scores = {name: score_of(ranges) for name, ranges in choices.items()}
    best = max(scores, key=lambda n: scores[n])
    ranges, score, policy = dict(choices[best]), scores[best], dict.fromkeys(known, best)
    for stretch in _stretches(kernels(trials.graph, width)):
        names = [v.name for op in stretch for v in op.outputs if v.name in known]
        for name in POLICIES:
            other = ranges | {n: choices[name][n] for n in names}
            if all(policy[n] == name for n in names) or (found := score_of(other)) <= score:
                continue
            ranges, score = other, found
            policy |= dict.fromkeys(names, name)
    used = list(policy.values())
    return ranges, {name: used.count(name) for name in POLICIES if name in used}


def widened(ranges: Mapping[str, Range], statistics: Statistics, others: Mapping[str, Spread]) -> dict[str, Range]:
    """With what occurs on ``others``, too, at those ends where nothing was cut off of what calibration saw."""
    found = dict(ranges)
    for name, other in others.items():
        if name in found and name in statistics.spreads:
            (low, high), seen = found[name], statistics.spreads[name]
            low = min(low, other.low) if low <= seen.low or seen.low >= 0 else low
            high = max(high, other.high) if high >= seen.high or seen.high <= 0 else high
            found[name] = low, high
    return found


def _within(found: Range, ends: Range | None) -> Range:
    return found if ends is None else (max(found[0], ends[0]), min(found[1], ends[1]))


def extremes_of(statistics: Statistics) -> dict[str, Range]:
    """The extremes of every tensor, by name."""
    return {name: extremes(spread) for name, spread in statistics.spreads.items()}


def beyond_extremes(statistics: Statistics) -> dict[str, Range]:
    """Twice the extremes: 16 bits have room for what calibration has not seen."""
    return {name: (2 * low, 2 * high) for name, (low, high) in extremes_of(statistics).items()}


def _stretches(ops: Sequence[Op]) -> list[Sequence[Op]]:
    size = max(1, -(-len(ops) // STRETCHES))
    return [ops[i : i + size] for i in range(0, len(ops), size)]
