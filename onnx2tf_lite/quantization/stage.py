"""Quantising as a stage of the compiler: prepare, calibrate, annotate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, starmap
from typing import Any

import numpy as np

from ..ir import rewrite
from ..ir.graph import Graph, copy_graph
from ..record import record
from . import alike, loops, outside
from .alike import Alike
from .annotate import annotate
from .calibrate import Statistics, calibrate, spreads_on
from .coarse import is_coarse, to_refine
from .equalise import equalise
from .mixed import Goal, MixedPrecision, Search, node_of
from .pictures import COUNT
from .plan import Range, is_integer, is_kernel
from .positions import positions
from .prepare import prepare
from .ranges import BEYOND, beyond_extremes, choose, widened
from .recipes import I8, I16, RECIPES, Recipe
from .samples import CalibrationData
from .trials import Trials, Widths, plan_of
from .weights import quantise_weights

FLOAT = np.dtype(np.float32)
JUDGED = 4  # samples that versions of a program are judged on
MOST_JUDGED = 12  # where there is a goal: one that few samples meet says little of others
SHARE = 3  # every which sample is judged on, and kept from calibration where there are enough
DYNAMIC = RECIPES["dynamic_range_quant"]
NAMED = 3  # operations that a sentence names

Key = tuple[np.dtype, np.dtype, np.dtype]  # the width of what is not raised; of inputs, of outputs
COARSE, READ = "too coarse for integers", "positions"
WHY = {
    COARSE: "float, but in files that are integer throughout, since their kernels' steps are too coarse",
    READ: "float, since they say which elements are read, or are made of that alone",
    **loops.WHY,
}


@record
class Chosen:
    """What was decided for a prepared program: the width of each operation, ranges by the names of tensors, how many of
    those follow each policy, what mixed precision did (None where nothing was tried), and the nodes that stay float, by
    the reason (one of ``WHY``)."""

    widths: list[np.dtype | None]
    ranges: Mapping[str, Range]
    policies: Mapping[str, int]
    choice: MixedPrecision | None = None
    floats: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        mixed = {} if self.choice is None else self.choice.to_json()
        return {"ranges": dict(self.policies), **mixed, **self.floats}

    def __str__(self) -> str:
        ranges = ", ".join(f"{count} by {name}" for name, count in self.policies.items())
        mixed = "" if self.choice is None else f"; {self.choice}"
        floats = (f"; {WHY[reason]}: {_few(nodes)}" for reason, nodes in self.floats.items())
        return f"ranges: {ranges}{mixed}{''.join(floats)}"


@dataclass
class Quantiser:
    """What is asked of all quantised programs of one conversion; what calibration found is kept between them.

    ``goal``                 what mixed precision has to reach; nothing is raised without one
    ``inputs``, ``outputs``  dtype of those of a program that is integer outside; int8, uint8 or float32
    """

    data: CalibrationData = field(default_factory=CalibrationData)
    per_channel: bool = True
    inputs: np.dtype = I8
    outputs: np.dtype = I8
    listener: Callable[[str], None] = lambda what: None
    warn: Callable[[str], None] = lambda what: None
    goal: Goal = field(default_factory=Goal)
    chosen: dict[Key, Chosen] = field(default_factory=dict)  # by :meth:`_choice`
    ranges: dict[np.dtype, tuple[Mapping[str, Range], Mapping[str, int]]] = field(default_factory=dict)
    known: dict[bool, Statistics] = field(default_factory=dict)  # by whether the program is one of 16 bits
    judged: int = JUDGED  # first samples, on which versions are judged
    kept: int = 0  # first samples that calibration does not see
    alike: Alike | None = None
    stored: dict[str, list[str]] = field(default_factory=dict)  # nodes by the form of their int4 weights

    def closed(self, recipe: Recipe) -> bool:
        """True where a program that is integer outside has to be so inside: nobody asked for floats."""
        return FLOAT not in self.ends(recipe)

    @property
    def missed(self) -> list[str]:
        """Which goals were not reached."""
        remedy = (
            "give more samples, lower it, or ask for a kind with float inputs and outputs, which may have floats inside"
        )
        found = ((name, c.missed, c.after) for name, chosen in self._decided() if (c := chosen.choice) and c.missed)
        worst = f"on the worst of {self.judged} samples"
        return [
            f"{name}: {g} not reached: {', '.join(g.missing(now))} {worst}; what may help: {remedy}"
            for name, g, now in found
        ]

    def _decided(self) -> Iterator[tuple[str, Chosen]]:
        for (width, *ends), chosen in self.chosen.items():
            outer = f", inputs of {ends[0]}, outputs of {ends[1]}" if {*ends} != {FLOAT} else ""
            yield f"{width} activations" + (outer if FLOAT in ends else ", integer throughout"), chosen

    def to_json(self) -> dict[str, Any]:
        """For the report of the conversion; nothing where nothing was calibrated."""
        samples = max((found.samples for found in self.known.values()), default=0)
        decided = {name: chosen.to_json() for name, chosen in self._decided()}
        seen = {"samples": samples, "held_out": self.kept, "random": self.data.random}
        seen["made"] = self.data.made is not None
        found: dict[str, Any] = {"int4 weights": self.stored} if self.stored else {}
        if self.alike is not None and self.alike.regions:
            found["channels"] = self.alike.to_json()
        return {**seen, **decided, **found} if samples else found

    def sentences(self) -> list[str]:
        """What was decided, for the terminal."""
        forms = [f"int4 weights: {'; '.join(starmap(_form, self.stored.items()))}"] if self.stored else []
        forms += [f"channels: {self.alike}"] if self.alike is not None and self.alike.regions else []
        return [*(f"{name}: {chosen}" for name, chosen in self._decided()), *forms]

    def run(self, graph: Graph, recipe: Recipe) -> Graph:
        """The stage: ``graph``, float, becomes one from which ``fusion.qdq`` forms integer kernels; in place.

        :raises ConversionError: there is no calibration data, where something is left to calibrate, or it does not fit.
        """
        self.data = self.data.sized(graph)
        if recipe.activations is None:
            moments = self._statistics(graph, False).moments if self.data.given else {}
            forms = quantise_weights(rewrite.graphs(graph), recipe, self.per_channel, moments)
            if recipe.bits < 8:
                self.stored = forms
            return graph
        if self.data.given or not is_integer(graph, recipe.activations):
            self._calibrated(graph, recipe, recipe.activations)
        else:
            if self.goal:
                self.warn(
                    f"{self.goal} is no goal for the model's own integers: they are kept, and nothing else is float"
                )
            outside.quantise(graph, *self.ends(recipe))
        return graph

    def ends(self, recipe: Recipe) -> tuple[np.dtype, np.dtype]:
        """The dtypes of inputs and outputs."""
        if not recipe.outside or recipe.activations is None:
            return FLOAT, FLOAT
        return (I16, I16) if recipe.activations == I16 else (self.inputs, self.outputs)

    def _calibrated(self, graph: Graph, recipe: Recipe, activations: np.dtype) -> None:
        """Annotate what the model leaves float, in place."""
        wide = activations.itemsize > 1
        found = self._statistics(graph, wide)
        prepare(graph, wide)
        found = found if wide else self._equalised(graph, found)
        closed, ends = self.closed(recipe), self.ends(recipe)
        chosen = self._choice(graph, activations, found, ends)
        widths = dict(zip(graph.ops, chosen.widths, strict=True))
        quantise_weights(
            graph.subgraphs(), DYNAMIC, self.per_channel
        )  # what loops compute with is not seen from outside
        plan = plan_of(graph, graph, widths, chosen.ranges, found, self.per_channel, closed)
        annotate(plan)
        outside.quantise(graph, *ends, plan.outer)

    def _equalised(self, graph: Graph, plain: Statistics) -> Statistics:
        """The statistics of a prepared program, whose channels are made alike, in place, where that is better."""
        if self.alike is None:
            listen, samples = self.listener, lambda: islice(self.data.samples(graph), self.kept, None)
            judged = list(islice(self.data.samples(graph), self.judged))
            self.alike = alike.decide(graph, plain, samples, judged, self.per_channel, listen)
        equalise(graph, self.alike.factors)
        return self.alike.statistics

    def _choice(self, graph: Graph, base: np.dtype, found: Statistics, ends: tuple[np.dtype, np.dtype]) -> Chosen:
        """Widths and ranges: the same for files that differ outside alone, where there is no goal, which is another one
        between other ends."""
        key = base, *(ends if self.goal else (FLOAT, FLOAT))
        if key not in self.chosen:
            self.chosen[key] = self._choose(graph, base, found, key[1:])
        return self.chosen[key]

    def _choose(self, graph: Graph, base: np.dtype, found: Statistics, ends: tuple[np.dtype, np.dtype]) -> Chosen:
        floats = _floats(graph, base, found) if FLOAT in ends else {}
        if base == I16 and not self.goal:  # 16 bits reach everything: there is nothing to try
            widths: Widths = dict.fromkeys(graph.ops, base)
            wide = self._widened(graph, beyond_extremes(found), found)
            return Chosen(list(widths.values()), wide, {BEYOND: len(found.spreads)}, floats=floats)
        twin = copy_graph(graph)
        trials = Trials(twin, found, list(islice(self.data.samples(twin), self.judged)), self.per_channel)
        if base not in self.ranges:
            narrow, counts = choose(trials, found, base, self.listener)
            self.ranges[base] = self._widened(graph, narrow, found), counts
        ranges, policies = self.ranges[base]
        trials = replace(trials, ends=ends)
        refined = to_refine(twin, found) if base == I8 else []
        choice = Search(trials, base, ranges, self.listener).run(self.goal, refined)
        return Chosen(list(choice.widths.values()), ranges, policies, choice, floats)

    def _widened(self, graph: Graph, ranges: Mapping[str, Range], found: Statistics) -> dict[str, Range]:
        """With what occurs on the samples that were kept to judge ranges by: they are the user's, too."""
        held = islice(self.data.samples(graph), self.kept)
        return widened(ranges, found, spreads_on(copy_graph(graph), held)) if self.kept else dict(ranges)

    def _statistics(self, graph: Graph, wide: bool) -> Statistics:
        """What calibration finds in the program, once for all that are prepared alike."""
        if wide not in self.known:
            if self.data.random and not self.known:
                self.warn("calibrated on noise, on request: the scales fit no real input, and accuracy says nothing")
            if self.data.made is not None and not self.known:
                self.warn(
                    f"there is no calibration data: calibrated on {COUNT} made pictures, which say little of real "
                    "ones; give some with -cind or --calibration"
                )
            if not self.known and self.data.ignores_normalisation:
                self.warn("mean, deviation and order of colours are those of images: arrays are taken as they are")
            twin = copy_graph(graph)
            prepare(twin, wide)
            most = MOST_JUDGED if self.goal else JUDGED
            share = sum(1 for _ in islice(self.data.samples(twin), SHARE * most)) // SHARE
            self.kept = share if share >= JUDGED else 0
            self.judged = max(share, JUDGED)
            self.known[wide] = calibrate(twin, lambda: islice(self.data.samples(twin), self.kept, None), self.listener)
        return self.known[wide]


def _floats(graph: Graph, base: np.dtype, found: Statistics) -> dict[str, list[str]]:
    """The nodes that stay float although there are kernels of ``base``, by the reason."""
    stay = positions(graph).ops
    why = {
        COARSE: [op for op in graph.ops if op not in stay and is_coarse(op, base, found)],
        READ: [op for op in graph.ops if op in stay and is_kernel(op, base)],
        **loops.float_inside(graph),
    }
    return {reason: list(dict.fromkeys(map(node_of, ops))) for reason, ops in why.items() if ops}


def _few(nodes: Sequence[str]) -> str:
    """The first ones, and how many more."""
    return ", ".join(map(repr, nodes[:NAMED])) + (f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else "")


def _form(form: str, nodes: list[str]) -> str:
    """How many have it, and which where there are few."""
    named = ": " + ", ".join(map(repr, nodes)) if len(nodes) <= NAMED else ""
    return f"{len(nodes)} {form}{named}"
