"""Whether making channels alike serves a program: tried once, on samples that calibration does not see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Graph, copy_graph
from ..record import record
from .calibrate import Statistics, calibrate
from .equalise import equalise, factors, regions
from .ranges import extremes_of
from .recipes import I8
from .trials import Fidelity, Trials

if TYPE_CHECKING:
    from .equalise import Feeds

LOOKED_AT = 8  # samples that say how large channels are


@record
class Alike:
    """What was decided: ``factors`` of the channels, none where they stay as they are, and what calibration found then;
    the outcome ``before`` and ``after`` with all ``regions`` scaled that are worth it."""

    statistics: Statistics
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    regions: int = 0
    before: Fidelity | None = None
    after: Fidelity | None = None

    def to_json(self) -> dict[str, object]:
        """For the report."""
        outcomes = {"before": self.before and self.before.decibels, "after": self.after and self.after.decibels}
        return {"equalised": len(self.factors), "regions": self.regions, "sqnr": outcomes}

    def __str__(self) -> str:
        what = f"equalised in {self.regions} places" if self.factors else "not equalised"
        return f"{what} ({self.before} as they are, {self.after} with ranges alike)"


def decide(
    graph: Graph,
    plain: Statistics,
    samples: Callable[[], Iterable[Feeds]],
    judged: Sequence[Feeds],
    per_channel: bool,
    listener: Callable[[str], None],
) -> Alike:
    """``graph`` is prepared, ``plain`` what calibration on ``samples()`` found in it; it stays as it is."""
    found = regions(graph)
    known = factors(graph, found, islice(samples(), LOOKED_AT)) if found else {}
    if not known:
        return Alike(plain)
    twin = copy_graph(graph)
    equalise(twin, known)
    other = calibrate(twin, samples, listener)
    before, after = (_outcome(Trials(g, s, judged, per_channel)) for g, s in ((graph, plain), (twin, other)))
    if after.mean > before.mean:
        return Alike(other, known, len(known), before, after)
    return Alike(plain, {}, len(known), before, after)


def _outcome(trials: Trials) -> Fidelity:
    return trials.run(dict.fromkeys(trials.graph.ops, I8), extremes_of(trials.statistics))
