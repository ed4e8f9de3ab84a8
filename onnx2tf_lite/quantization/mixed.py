"""Which operations keep more bits, so that the goal is met: as few as possible, by what each costs at fewer.

A network at 8 bits that is far from the goal says little: once the first layers have lost a picture, better ones behind
them change nothing.  So costs are measured the other way round, from a program in which everything is raised: there the
noise of different operations is small, nearly independent, and adds.  First for stretches of the program, then for the
parts of those that cost most; the cheapest are lowered together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.dims import Expr
from ..ir.graph import Op, Value
from ..record import record
from .plan import Range, is_kernel, kernels
from .recipes import I16
from .trials import GOOD, Fidelity, Trials, Widths

STRETCHES = 12  # of the program, to begin with
BUDGET = 48  # trials that measure costs
NAMED = 5  # operations that a sentence names
WORTH = 1.0  # dB of the mean, from which on 16 bits are taken without a goal
FURTHER = 12  # stretches beyond those that are tried one by one


@record
class Goal:
    """``sqnr`` in dB that every output has to reach, or ``agreement``: share of samples with the same argmax."""

    sqnr: float | None = None
    agreement: float | None = None

    def __bool__(self) -> bool:
        return self.sqnr is not None or self.agreement is not None

    def unjudged(self, outcome: Fidelity) -> Iterator[Problem]:
        """What no output of a program can be judged by."""
        if self.sqnr is not None and not outcome.decibels:
            yield Problem("min_sqnr", "no output has real numbers", "end the model before it makes integers (-onimc)")
        if self.agreement is not None and outcome.agreement is None:
            yield Problem("min_agreement", "no output is [batch, classes]", "ask for decibels: --min-sqnr")

    def missing(self, outcome: Fidelity) -> list[str]:
        """Where an outcome is not good enough, in words."""
        low = {name: d for name, d in outcome.decibels.items() if self.sqnr is not None and d < self.sqnr}
        share = outcome.agreement or 0.0
        same = [f"the argmax is the same on {100 * share:.4g} % of the samples"] * (share < (self.agreement or 0.0))
        return [*(f"output '{name}' has {d:.1f} dB" for name, d in low.items()), *same]

    def met(self, outcome: Fidelity) -> bool:
        """True where an outcome is good enough."""
        return not self.missing(outcome)

    def order(self, outcome: Fidelity) -> tuple[float, float]:
        """By which of two outcomes, neither of them good enough, the better one is the larger."""
        return (outcome.agreement or 0.0) if self.agreement else 0.0, outcome.worst

    def __str__(self) -> str:
        parts = [
            f"SQNR {self.sqnr:g} dB" if self.sqnr is not None else "",
            f"the same argmax on {100 * self.agreement:g} % of the samples" if self.agreement else "",
        ]
        return " and ".join(p for p in parts if p)


@dataclass
class MixedPrecision:
    """The widths that were chosen.

    ``raised``  by operation what keeping it (and the rest of its stretch) at fewer bits cost, in dB of the worst output
    ``before``  the outcome with all operations at the width of the recipe, ``after`` with those chosen
    ``missed``  the goal, where nothing reaches it
    """

    widths: dict[Op, np.dtype | None]
    raised: dict[Op, float]
    before: Fidelity
    after: Fidelity
    trials: int = 0
    macs: float = 1.0
    missed: Goal | None = None

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        raised = [
            {"node": node_of(op), "operator": op.kind.name, "as": str(self.widths[op] or "float32"), "cost": cost}
            for op, cost in self.raised.items()
        ]
        outcomes = {"before": self.before.decibels, "after": self.after.decibels}
        missed = {} if self.missed is None else {"missed": str(self.missed)}
        return {"sqnr": outcomes, "raised": raised, "integer_macs": self.macs, "trials": self.trials, **missed}

    def __str__(self) -> str:
        if not self.raised:
            return f"{self.after} with all operations alike"
        few = sorted(self.raised, key=lambda op: -self.raised[op])[:NAMED]
        named = ", ".join(f"{op.kind.name} {node_of(op)!r} ({self.raised[op]:.1f} dB)" for op in few)
        more = f" and {len(self.raised) - len(few)} more" if len(self.raised) > len(few) else ""
        kinds = Counter(str(self.widths[op] or "float32") for op in self.raised)
        into = ", ".join(f"{count} in {name}" for name, count in kinds.items())
        return (
            f"{self.before}, then {self.after} with {into}: {named}{more}; {100 * self.macs:.3g} % of the "
            f"multiplications are integer ({self.trials} trials)"
        )


class Search:
    """``base``: the width that operations have if they can."""

    def __init__(
        self, trials: Trials, base: np.dtype, ranges: Mapping[str, Range], listener: Callable[[str], None]
    ) -> None:
        self.trials, self.base, self.ranges, self.listener = trials, base, ranges, listener
        self.ops = kernels(trials.graph, base)
        self.levels: list[np.dtype | None] = [I16] * (base != I16)  # above it, the least first
        self.levels += [None] * (not trials.closed)

    def run(self, goal: Goal, coarse: Sequence[Op] = ()) -> MixedPrecision:
        """The smallest set of raised operations that was found; the ``coarse`` ones, together, where that serves.

        :raises ConversionError: no output can be judged by the goal.
        """
        widths: dict[Op, np.dtype | None] = dict.fromkeys(self.trials.graph.ops, self.base)
        before = self._try(widths)
        if problems := [*goal.unjudged(before)]:
            raise ConversionError(*problems)
        choice = MixedPrecision(widths, {}, before, before)
        if coarse:
            finer = widths | dict.fromkeys(coarse, I16)
            after = self._try(finer)
            if after.mean > before.mean + WORTH:
                choice = MixedPrecision(finer, dict.fromkeys(coarse, after.mean - before.mean), before, after)
        if not goal.met(choice.after):
            choice = self._lower(before, goal)
        choice.missed = None if goal.met(choice.after) else goal
        choice.trials = self.trials.count
        total = sum(macs(op) for op in self.trials.graph.ops if is_kernel(op, self.base)) or 1
        choice.macs = sum(macs(op) for op in self.ops if choice.widths[op] is not None) / total
        return choice

    def _try(self, widths: Widths) -> Fidelity:
        self.listener(f"mixed precision: trial {self.trials.count + 1}")
        return self.trials.run(widths, self.ranges)

    def _top(self, before: Fidelity, goal: Goal) -> tuple[dict[Op, np.dtype | None], Fidelity]:
        """Everything raised, to 16 bits if that is enough; what is best where nothing is."""
        ops = self.trials.graph.ops
        found: list[tuple[dict[Op, np.dtype | None], Fidelity]] = [(dict.fromkeys(ops, self.base), before)]
        for level in self.levels:
            widths = {op: self._at(level, op) for op in ops}
            found.append((widths, self._try(widths)))
            if goal.met(found[-1][1]):
                return found[-1]
        return max(found, key=lambda pair: goal.order(pair[1]))

    def _at(self, level: np.dtype | None, op: Op) -> np.dtype | None:
        """``level``, where the operation has a kernel of it; else float, or the base where nothing may be."""
        return level if level is None or is_kernel(op, level) else None if None in self.levels else self.base

    def _lower(self, before: Fidelity, goal: Goal) -> MixedPrecision:
        """From everything raised, lower as many stretches as the goal allows, those first that cost least."""
        top, best = self._top(before, goal)
        if not goal.met(best):  # what lowering costs is of no use
            gained = best.worst - before.worst
            return MixedPrecision(top, {op: gained for op in self.ops if top[op] != self.base}, before, best)
        costs = self._costs(top, best)
        order = sorted(costs, key=lambda s: costs[s] / len(s))
        low, high = 0, len(order)
        widths, outcome = top, best
        while low < high:  # how many of them can be lowered together
            middle = (low + high + 1) // 2
            lowered = top | dict.fromkeys((op for s in order[:middle] for op in s), self.base)
            if goal.met(found := self._try(lowered)):
                low, widths, outcome = middle, lowered, found
            else:
                high = middle - 1
        for stretch in order[low + 1 : low + 1 + FURTHER]:
            lowered = widths | dict.fromkeys(stretch, self.base)
            if goal.met(found := self._try(lowered)):
                widths, outcome = lowered, found
        raised = {op: costs[s] for s in order for op in s if widths[op] != self.base}
        return MixedPrecision(widths, raised, before, outcome)

    def _costs(self, top: Widths, best: Fidelity) -> dict[tuple[Op, ...], float]:
        """What each stretch costs when it alone is at the base width, in dB; the costly ones in parts."""
        size = max(1, -(-len(self.ops) // STRETCHES))
        queue = [tuple(self.ops[i : i + size]) for i in range(0, len(self.ops), size)]
        costs: dict[tuple[Op, ...], float] = {}
        end = self.trials.count + BUDGET
        while queue:
            stretch = queue.pop(0)
            costs[stretch] = min(best.worst, GOOD) - self._try({**top, **dict.fromkeys(stretch, self.base)}).worst
            large = [s for s in costs if len(s) > 1]
            if not queue and large and self.trials.count < end:
                widest = max(large, key=lambda s: costs[s])
                del costs[widest]
                queue = [widest[: len(widest) // 2], widest[len(widest) // 2 :]]
        return costs


def node_of(op: Op) -> str:
    """The node that an operation comes from."""
    return op.origin.node if op.origin else op.outputs[0].name


def macs(op: Op) -> int:
    """Multiplications of one invocation, free extents counted as one."""
    if op.kind.weights is not None and op.inputs[1] is not None:
        taps = _size(op.inputs[1].shape) // max(_extent(op.inputs[1].shape[op.kind.weights.outputs]), 1)
        return _size((op.inputs[0] if op.kind.weights.scatters else op.outputs[0]).shape) * taps  # type: ignore[union-attr]
    return _size(op.outputs[0].shape) * _depth(op.inputs) if op.is_a("BATCH_MATMUL") else 0


def _depth(operands: Sequence[Value | None]) -> int:
    return _extent(operands[0].shape[-1]) if operands[0] is not None else 0


def _size(shape: Sequence[object]) -> int:
    return int(np.prod([_extent(d) for d in shape], dtype=np.int64))


def _extent(dim: object) -> int:
    return 1 if isinstance(dim, Expr) else int(dim)  # type: ignore[call-overload]
