"""The reference's side of a check: the inputs, and ONNX Runtime's tensors for them, within a budget of memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.graph import Placement, concrete
from ..passes.manager import nearest
from . import child, inputs
from .measure import change
from .reference import Reference, ReferenceFailed, jitter
from .targets import Target

Arrays = dict[str, np.ndarray]
TRIES = 5  # further sizes that are tried for a second sample
BUDGET = 1 << 30


@dataclass(frozen=True)
class CheckOptions:
    """What to compare on what, and how strictly.

    ``layers``: every tensor with a counterpart, not the outputs alone.  ``data``: arrays by input name (or one list of
    such samples), else seeded random ones, free dimensions from ``hints`` (input name -> shape) where given.
    ``samples``: how many random ones; None: two sizes for a dynamic model, else one.  ``rtol``, ``atol``, ``metric``:
    see ``compare``.  ``budget``: bytes of reference tensors held at once; beyond, layers are compared in chunks.
    ``histograms``: of the worst layers even where they agree.
    """

    layers: bool = False
    data: Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]] | None = None
    hints: Mapping[str, Sequence[int]] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    metric: str | None = None
    seed: int = 0
    samples: int | None = None
    budget: int = BUDGET
    histograms: bool = False


@dataclass
class Sample:
    """Inputs in ONNX order, the symbols that their shapes say, and what the reference makes of them.

    ``slack`` says by kind of file how far each tensor of the reference moves when its own weights are rounded as the
    file's are; it is looked at where a file seems to differ.
    """

    symbols: dict[str, int]
    feeds: Arrays
    expected: Arrays
    slack: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Samples:
    """The samples of a check.  ``held``: the names of the tensors that they have now."""

    reference: Reference
    options: CheckOptions
    samples: list[Sample] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    def draw(self, targets: Sequence[Target]) -> None:
        """The user's data, or inputs that the reference runs with: of two sizes for a dynamic model, if there are."""
        o, specs = self.options, self.reference.inputs
        places = next((t.program.places for t in targets if all(s.name in t.program.places for s in specs)), None)
        places = places or {s.name: inputs.default_place(s) for s in specs}
        known = [s.name for s in specs]
        if unknown := [n for n in o.hints if n not in known]:
            raise ConversionError(
                *(Problem(f"input '{n}'", "no such input to give a shape", nearest(n, known)) for n in unknown)
            )
        for name, shape in o.hints.items():
            inputs.check_hint(name, shape, places[name])
        given = None if o.data is None else inputs.from_user(o.data, specs, places)
        layers = self.names(targets) if o.layers else list(self.reference.outputs)
        self.samples, names, self.reference.engine, self.reference.notes[:] = child.call(
            lambda: self._draw(given, places, layers, targets)
        )
        self.held = set(names)

    def _draw(self, given: Any, places: Mapping[str, Placement], layers: list[str], targets: Sequence[Target]) -> Any:
        """In a child: the samples, the tensors that they hold, and what the reference came to say of itself."""
        o = self.options
        found: list[Sample] = []
        session, wanted = None, list(self.reference.outputs)
        wished = len(given) if given is not None else 0
        count = wished or o.samples or 2
        candidates = given or inputs.generate(self.reference.inputs, places, o.hints, o.seed, o.samples)
        failure, tries = ReferenceFailed("no input can be made for the model"), 0
        for symbols, feeds in candidates:
            if session is None:
                if len(self.chunks(layers, targets, symbols, count)) == 1:  # then one run gives everything
                    wanted = list(dict.fromkeys([*layers, *wanted]))
                session = self.reference.open(wanted)
            if not wished and o.samples is None and found and (symbols == found[0].symbols or tries == TRIES):
                break
            tries += bool(found)
            try:
                found.append(Sample(symbols, feeds, session.run(feeds)))
            except ReferenceFailed as error:
                if wished:
                    raise
                failure = error
            if len(found) == count:
                break
        if not found:
            raise ReferenceFailed(f"{failure} (give shape_hints, -sh, or test data, -tdnp)")
        return found, wanted, self.reference.engine, self.reference.notes

    def names(self, targets: Iterable[Target]) -> list[str]:
        """Every tensor of the model with a counterpart in one of the files, in graph order."""
        known = set().union(*(t.program.names for t in targets if t.inside), set())
        return [n for n in self.reference.nodes if n in known]

    def chunks(
        self, names: Sequence[str], targets: Sequence[Target], symbols: Mapping[str, int], count: int
    ) -> list[list[str]]:
        """``names`` in groups whose tensors of ``count`` samples stay within the budget."""
        places = {n: t.program.places[n] for t in targets for n in names if n in t.program.places}
        chunks: list[list[str]] = [[]]
        room = self.options.budget
        for name in names:
            place = places.get(name)
            extents = concrete(place.shape, symbols) if place else ()
            size = (
                count * max(place.value.dtype.itemsize, 4) * int(np.prod(np.abs(extents), dtype=np.int64))
                if place
                else 0
            )
            if size > room and chunks[-1]:
                chunks.append([])
                room = self.options.budget
            chunks[-1].append(name)
            room -= size
        return chunks

    def read(self, names: Sequence[str]) -> None:
        """Have the reference's values of ``names``, and no others, in the samples."""
        if self.held >= set(names):
            return
        wanted = list(dict.fromkeys(names))
        for sample in self.samples:
            sample.expected = {}  # before the next ones come
        self.held = set()

        def compute() -> list[Arrays]:
            session = self.reference.open(wanted)
            return [session.run(s.feeds) for s in self.samples]

        for sample, values in zip(self.samples, child.call(compute), strict=True):
            sample.expected = values
        self.held = set(wanted)

    def read_slack(self, kind: str, names: Sequence[str]) -> None:
        """How well-conditioned the model is on the samples."""
        if all(set(names) <= set(s.slack.get(kind, ())) for s in self.samples):
            return
        self.read(names)
        quantised = bool(self.reference.steps)

        def compute() -> list[dict[str, float]]:
            session = self.reference.open(list(names), rounding="" if quantised else kind)
            runs = (
                session.run({n: jitter(a) for n, a in s.feeds.items()} if quantised else s.feeds) for s in self.samples
            )
            return [
                {n: change(moved[n], s.expected[n]) for n in names} for moved, s in zip(runs, self.samples, strict=True)
            ]

        for sample, slack in zip(self.samples, child.call(compute), strict=True):
            sample.slack.setdefault(kind, {}).update(slack)
