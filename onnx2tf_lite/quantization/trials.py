"""Quantised versions of a program, run on some samples: how much each differs from the float program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..fusion import qdq
from ..ir.graph import Graph, Op, copy_graph
from . import outside
from .annotate import annotate
from .calibrate import Statistics
from .coarse import is_coarse
from .plan import Plan, Range
from .runner import ProgramRunner

Feeds = Mapping[str, np.ndarray]
GOOD = 60.0  # dB, beyond which nobody sees a difference
EXACT = 140.0  # dB, beyond which float32 has none
Widths = Mapping[Op, "np.dtype | None"]


@dataclass
class Fidelity:
    """How far the outputs are from those of the float program: ``decibels`` of signal to noise by output, on the
    worst sample; ``each``: of every output on every sample, ``GOOD`` at most; ``agreement``: share of samples on which
    [batch, classes] outputs choose the same classes, None where there are none."""

    decibels: dict[str, float]
    each: Sequence[float] = ()
    agreement: float | None = None

    def __str__(self) -> str:
        return "/".join(f"{d:.1f}" for d in self.decibels.values()) + " dB"

    @property
    def mean(self) -> float:
        """Over outputs and samples, which tells versions apart with less chance than the worst sample."""
        return float(np.mean(self.each or [GOOD]))

    @property
    def worst(self) -> float:
        """Of all outputs."""
        return min(self.decibels.values(), default=np.inf)


@dataclass
class Trials:
    """``graph`` is prepared and stays as it is; ``samples`` are those that versions of it are judged on; ``ends``: the
    dtypes of the inputs and outputs of these."""

    graph: Graph
    statistics: Statistics
    samples: Sequence[Feeds]
    per_channel: bool = True
    count: int = 0
    expected: list[dict[str, np.ndarray]] = field(default_factory=list)
    ends: tuple[np.dtype, np.dtype] = (outside.FLOAT, outside.FLOAT)

    def __post_init__(self) -> None:
        if self.expected:
            return
        runner = ProgramRunner(self.graph, everything=False)
        for feeds in self.samples:
            runner.run(feeds)
            self.expected.append(runner.results())

    @property
    def closed(self) -> bool:
        """True where versions are integer throughout."""
        return outside.FLOAT not in self.ends

    def run(self, widths: Widths, ranges: Mapping[str, Range]) -> Fidelity:
        """The version with these widths and, by the names of tensors, these ranges."""
        self.count += 1
        twin = copy_graph(self.graph)
        plan = plan_of(twin, self.graph, widths, ranges, self.statistics, self.per_channel, self.closed)
        annotate(plan)
        outside.quantise(twin, *self.ends, plan.outer)
        qdq(twin)
        runner = ProgramRunner(twin, everything=False)
        decibels: dict[str, float] = {}
        same, each = [], []
        for feeds, expected in zip(self.samples, self.expected, strict=True):
            runner.run(feeds)
            for name, got in runner.results().items():
                want = expected[name]
                if want.dtype.kind != "f":
                    continue
                left = min(_decibels(got, want), EXACT)
                each.append(min(left, GOOD))
                decibels[name] = min(decibels.get(name, np.inf), left)
                if want.ndim == 2 and want.shape[1] > 1:
                    same.append(bool((got.argmax(1) == want.argmax(1)).all()))
        return Fidelity(decibels, each, float(np.mean(same)) if same else None)


def _decibels(got: np.ndarray, want: np.ndarray) -> float:
    power, noise = (float(np.square(x.astype(np.float64)).sum()) for x in (want, got - want))
    if not np.isfinite(noise):
        return -np.inf
    return 10 * float(np.log10(power / noise)) if power and noise else np.inf if not noise else -np.inf


def plan_of(
    twin: Graph,
    graph: Graph,
    widths: Widths,
    ranges: Mapping[str, Range],
    statistics: Statistics,
    per_channel: bool,
    closed: bool = False,
) -> Plan:
    """A plan for ``twin``, a copy of ``graph``, in which ``widths`` are those of its operations; not ``closed``: those
    whose kernels are too coarse stay float."""
    copies = dict(zip(graph.ops, twin.ops, strict=True))
    values = [*twin.inputs, *(v for op in twin.ops for v in op.outputs)]
    known = {v: ranges[v.name] for v in values if v.name in ranges and v.dtype == np.float32}
    wanted = {
        copies[op]: None if not closed and is_coarse(op, width, statistics) else width for op, width in widths.items()
    }
    return Plan(twin, wanted, known, per_channel, statistics.moments)
