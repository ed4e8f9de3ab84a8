"""The reference's side of a check: the inputs, and ONNX Runtime's tensors for them, within a budget of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from ...errors import ConversionError, Problem, did_you_mean
from ...ir.graph import Placement, concrete
from ...record import record
from ..bounds import FIRST, HELD, MEMORY, OverBudgetError
from ..feeds import inputs
from ..feeds.extents import SIZES, generate
from ..figures.judge import SLACK
from ..figures.measure import change, exact, usual
from ..figures.phrase import dims
from ..files.written import Described
from ..original.reference import EXACT, INSIDE, ROUNDED, STEPWISE, UNQUANTISED, NoReferenceError, Reference, Session
from .asked import asked_by, spanned, stored
from .shared import Shared

Arrays = dict[str, np.ndarray]
MOST = 4  # samples that are drawn to show the cases of a model, where nobody says how many
TRIES = 12  # candidates for every sample after the first
ANEW, SHARE = 8, 2.0**-4  # sets of inputs for the noise of a quantised model, and by how much they are moved
SHARED = 16  # of the budget may several files share one part
STIRS = 4  # runs with noise in every layer
DRAWN = 2  # times that an input is larger while it is drawn: in 64 bits
#: Samples with NaN, and with empty tensors (sizes at which the model makes nothing), that are put aside before one of
#: them is taken, the former rather.
SPARES = {"NaN": 4, "empty": 24}


@record
class CheckOptions:
    """What to compare on what, and how strictly.

    ``layers``: every tensor with a counterpart, not the outputs alone.  ``data``: arrays by input name (or one list of
    such samples), else seeded random ones, free dimensions from ``hints`` (input name -> shape) where given.
    ``fills``: input name, or ``*`` for all others -> the number that fills it, instead of random ones.
    ``samples``: how many random ones; None: two sizes for a dynamic model, and as many (up to four) as show every case
    of its inputs, else one.  ``rtol``, ``atol``, ``metric``:
    see ``compare``.  ``budget``: bytes that the check may take above the weights of the model; layers that take more
    are compared in chunks, and what takes more alone is not run.  ``seconds``: as long as the check may take; None: 300
    and 10 for every MB of weights.
    ``histograms``: of the worst layers even where they agree.  ``require_coverage``: percent of layers, branches and
    weights without which a file does not match.
    """

    layers: bool = False
    data: Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]] | None = None
    hints: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fills: Mapping[str, float] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    metric: str | None = None
    seed: int = 0
    samples: int | None = None
    budget: int = MEMORY
    seconds: float | None = None
    histograms: bool = False
    require_coverage: float = 0.0


@dataclass
class Sample:
    """Inputs in ONNX order, the symbols that their shapes say, and what the reference makes of them.

    ``slack`` says by kind of file how far each tensor of the reference moves when its own weights are rounded as the
    file's are; it is looked at where a file seems to differ.  ``noise``: root mean square of what the quantisation of
    the model does to the tensors of the reference that stand for real numbers.
    """

    symbols: dict[str, int]
    feeds: Arrays
    expected: Arrays
    slack: dict[str, dict[str, float]] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)


@dataclass
class Samples:
    """The samples of a check.  ``held``: the names of the tensors that they have now; ``shared`` by several files;
    ``suits``: what the one file that they were drawn for asks of them (:func:`asked_by`)."""

    reference: Reference
    options: CheckOptions
    samples: list[Sample] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    shared: Shared = field(default_factory=Shared)
    suits: object = None

    def draw(self, targets: Sequence[Described]) -> None:
        """The user's data, or inputs that the reference runs with; ConversionError for hints of no input."""
        specs = self.reference.inputs
        self.shared = Shared(self.options.budget // SHARED if len(targets) > 1 else 0)
        if not self.suits or any(asked_by(target, specs) != self.suits for target in targets):
            self._draw(targets)
            self.suits = asked_by(targets[0], specs) if len(targets) == 1 else None

    def _draw(self, targets: Sequence[Described]) -> None:
        o, specs = self.options, self.reference.inputs
        places = next((t.program.places for t in targets if all(s.name in t.program.places for s in specs)), None)
        places = places or {s.name: inputs.default_place(s) for s in specs}
        known = [s.name for s in specs]
        asked = dict.fromkeys(o.hints, "a shape") | dict.fromkeys(o.fills.keys() - {"*"}, "a value")
        if unknown := [(n, f"no such input to give {what}") for n, what in asked.items() if n not in known]:
            raise ConversionError(*(Problem(f"input '{n}'", what, did_you_mean(n, known)) for n, what in unknown))
        for name, shape in o.hints.items():
            inputs.check_hint(name, shape, places[name])
        given = None if o.data is None else inputs.from_user(o.data, specs, places)
        layers = self.names(targets)  # also where they are not compared: how large their operands are
        search = _Search(self, places, layers, targets)
        self.reference.bounds.runs = len(given) if given else o.samples or 1
        self.samples, state = self.reference.bounds.call(lambda: search.run(given))
        self.reference.adopt(state)
        self.held = set.intersection(*(set(s.expected) for s in self.samples))

    def barren(self, sample: Sample) -> str:
        """Where the model makes nothing of the inputs, which TFLite's kernels refuse; empty where it does not."""
        shapes = {n: a.shape for n, a in (sample.feeds | sample.expected).items()}
        for name, window in self.reference.windows.items():
            extents = shapes.get(window.over, ())[2:]
            if any(d < least for d, least in zip(extents, window.least, strict=False)):
                return f"the window of '{name}' does not fit into {dims(extents)} (ONNX Runtime makes a result up)"
        return next((f"'{n}' of the model is empty" for n, shape in shapes.items() if 0 in shape), "")

    def names(self, targets: Iterable[Described]) -> list[str]:
        """Every tensor of the model with a counterpart in one of the files, in graph order."""
        known = set().union(*(t.program.names for t in targets if t.inside), set())
        return [n for n in self.reference.nodes if n in known]

    def chunks(
        self, names: Sequence[str], targets: Sequence[Described], symbols: Mapping[str, int], count: int
    ) -> list[list[str]]:
        """``names`` in groups whose tensors of ``count`` samples stay within the budget."""
        places = {n: t.program.places[n] for t in targets for n in names if n in t.program.places}
        chunks: list[list[str]] = [[]]
        most = min(self.options.budget, self.reference.bounds.tensors) // HELD
        room = most
        for name in names:
            place = places.get(name)
            size = count * stored(place, symbols) if place else 0
            if size > room and chunks[-1]:
                chunks.append([])
                room = most
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

        for sample, values in zip(self.samples, self.reference.bounds.call(compute), strict=True):
            sample.expected = values
        self.held = set(wanted)

    def let_go(self, names: Collection[str]) -> None:
        """No longer have other values of the reference than those of ``names``."""
        for sample in self.samples:  # what came from a child is all in one piece of memory
            sample.feeds = {n: a.copy() for n, a in sample.feeds.items()}
            sample.expected = {n: a.copy() for n, a in sample.expected.items() if n in names}
        self.held &= set(names)

    def rounded_inside(self) -> Samples:
        """The same inputs, with the outputs that ONNX Runtime makes where it rounds to integers inside of operators.

        :raises NoReferenceError: it does not run the model in this way.
        """
        outputs = self.reference.outputs

        def compute() -> list[Arrays]:
            session = self.reference.open(outputs, INSIDE)
            return [session.run(s.feeds) for s in self.samples]

        made = self.reference.bounds.call(compute)
        samples = [Sample(s.symbols, s.feeds, values) for s, values in zip(self.samples, made, strict=True)]
        return replace(self, samples=samples, held=set(outputs))

    def read_slack(self, kind: str, names: Sequence[str]) -> None:
        """How well-conditioned the model is on the samples.

        Of one that computes in 16-bit floats also how far what it means is from what it rounds to: either is right.
        """
        if all(set(names) <= set(s.slack.get(kind, ())) for s in self.samples):
            return
        self.read(names)
        quantised = bool(self.reference.steps)

        def compute() -> list[dict[str, float]]:
            found = [dict.fromkeys(names, 0.0) for _ in self.samples]
            ways = [("scales" if quantised else kind, 1.0), *([(ROUNDED, 1 / SLACK)] if self.reference.halves else [])]
            for rounding, share in ways:
                session = self.reference.open(list(names), rounding)
                for slack, sample in zip(found, self.samples, strict=True):
                    moved = session.run(sample.feeds)
                    slack |= {n: max(slack[n], share * change(moved[n], sample.expected[n])) for n in names}
            return found

        for sample, slack in zip(self.samples, self.reference.bounds.call(compute), strict=True):
            sample.slack.setdefault(kind, {}).update(slack)

    def stirred(self, noise: Mapping[str, float], names: Sequence[str]) -> list[dict[str, float]]:
        """How far the reference moves, on every sample, with such :attr:`Reference.noise`; nothing where it does not
        run like that."""
        return self.apart(lambda: replace(self.reference, noise=noise).open(names), names, STIRS)

    def inexact(self, names: Sequence[str]) -> list[dict[str, float]]:
        """How far the reference is, on every sample, from what the model means; nothing where ONNX Runtime has no
        kernels in float64."""
        return self.apart(lambda: self.reference.open(names, EXACT), names, 1)

    def apart(self, opened: Callable[[], Session], names: Sequence[str], times: int) -> list[dict[str, float]]:
        """How far the reference is at most, on every sample, from so many runs of another form of it."""
        self.read(names)

        def compute() -> list[dict[str, float]]:
            session = opened()
            runs = [[session.run(s.feeds) for _ in range(times)] for s in self.samples]
            pairs = zip(runs, self.samples, strict=True)
            return [{n: max(change(run[n], s.expected[n]) for run in some) for n in names} for some, s in pairs]

        try:
            return list(self.reference.bounds.call(compute))
        except NoReferenceError:
            return [{} for _ in self.samples]

    def read_noise(self, names: Sequence[str]) -> None:
        """The quantisation noise of a quantised model itself, where its quantisation can be taken out; of integers in
        their steps.

        On one set of inputs few results may be near the real numbers by chance, and where one step decides how much is
        rounded after it noise varies from run to run.  So it is the most that it is on any sample, and on some more
        which are moved by so much that everything is rounded anew: as a share of the tensor, if that is less."""
        wanted = [n for n in names if not exact(self.samples[0].expected[n].dtype)]

        def compute() -> list[dict[str, tuple[float, float]]]:
            rounded, real = self.reference.open(wanted), self.reference.open(wanted, rounding=UNQUANTISED)
            found = []
            for sample in self.samples:
                most = dict.fromkeys(wanted, (0.0, 0.0))
                for seed in range(ANEW):
                    feeds = {n: moved(a, seed) for n, a in sample.feeds.items()} if seed else sample.feeds
                    ends = rounded.run(feeds), real.run(feeds)
                    most |= {n: max(most[n], (usual([ends[0][n] - ends[1][n]]), usual([ends[0][n]]))) for n in wanted}
                found.append(most)
            return found

        with suppress(NoReferenceError):
            found = self.reference.bounds.call(compute)
            for name in wanted:
                apart, size = np.array([most[name] for most in found]).T
                share = max(apart / np.maximum(size, np.finfo(float).tiny))
                for sample, own in zip(self.samples, np.minimum(share * size, max(apart)), strict=True):
                    sample.noise[name] = float(own)


def moved(array: np.ndarray, seed: int) -> np.ndarray:
    """Floats changed by some steps of eight bits, each by another share."""
    if array.dtype.kind != "f":
        return array
    noise = np.random.default_rng(seed).uniform(-SHARE, SHARE, array.shape)
    return np.asarray(array * (1 + noise), array.dtype)


@dataclass
class _Search:
    """For inputs that the reference runs with, in a child process."""

    whole: Samples
    places: Mapping[str, Placement]
    layers: list[str]
    targets: Sequence[Described]
    sessions: dict[bool, Session] = field(default_factory=dict)
    large: OverBudgetError | None = None  # why some sizes were not tried
    begun: tuple[float, float] = (0.0, 0.0)  # when, by the clock and by the processor of the child

    def __post_init__(self) -> None:
        self.options, self.reference = self.whole.options, self.whole.reference
        fills, spans = self.options.fills, [spanned(spec, self.targets) for spec in self.reference.inputs]
        self.specs = [replace(s, fill=fills.get(s.name, fills.get("*"))) for s in spans]
        self.free = any(not isinstance(d, int) for s in self.specs for d in self.places[s.name].shape)

    def run(self, given: Sequence[tuple[dict[str, int], Arrays]] | None) -> tuple[list[Sample], dict[str, object]]:
        """The samples, and what the reference came to say of itself."""
        self.begun = time.monotonic(), time.process_time()
        if given is not None:
            self.count = len(given)
            for symbols, _ in given:
                self.reference.bounds.fit(self.memory(symbols))
            found = [self.expected(*one) for one in given]
        else:
            found = self.drawn()
        return found, self.reference.state

    def drawn(self) -> list[Sample]:
        cases, once = max((s.turns for s in self.specs), default=1), self.once()
        self.count = self.options.samples or max(min(cases, MOST), 1 + self.free) + bool(once)
        found = [self.first()]
        for turn in range(1, self.count):
            if self.late:
                said = f"a run of the model takes {self.reference.bounds.plain:.0f} s"
                self.reference.notes.append(
                    f"checked on {len(found)} of {self.count} sets of inputs: {said} (--samples)"
                )
                break
            if once and turn == self.count - 1:
                sample = self.one(len(found), found[0], again=False, hints=once)
            else:
                sample = self.one(turn, found[0], again=bool(self.options.samples) or turn < cases)
            found += [sample] if sample else []
        return found

    @property
    def late(self) -> bool:
        """Would one more run, which nobody asked for, take more than half of the time for the first one?"""
        spent, plain = _elapsed(*self.begun), self.reference.bounds.plain or 0.0
        return not self.options.samples and spent + plain > FIRST * self.reference.bounds.seconds / 2

    def once(self) -> dict[str, Sequence[int]]:
        """Shapes in which all that goes along a free axis step by step takes one step, where nobody says how many
        samples there are to be; empty where nothing does."""
        shapes: dict[str, Sequence[int]] = {}
        for spec in (s for s in self.specs if s.name not in self.options.hints):
            place = self.places[spec.name].shape
            if any(not isinstance(place[axis], int) for axis in spec.facts.turns):
                shapes[spec.name] = [1 if axis in spec.facts.turns else -1 for axis in range(len(place))]
        return {} if self.options.samples or not shapes else dict(self.options.hints) | shapes

    def first(self) -> Sample:
        """The first sample, run in another way where the reference refuses what it has loaded."""
        state, failure = self.reference.state, None
        while True:
            try:
                sample = self.one(0, None, again=False)
            except NoReferenceError as error:
                failure = failure or error  # of the reference itself, with what the user can do about it
                if not self.reference.fall_back(str(error)):
                    self.reference.adopt(state)
                    raise failure from error
                self.sessions.clear()
                continue
            assert sample is not None
            return sample

    def one(
        self, turn: int, first: Sample | None, again: bool, hints: Mapping[str, Sequence[int]] | None = None
    ) -> Sample | None:
        """Sample number ``turn``, if ``again`` of the ``first`` one's sizes where no others do; of the shapes that
        ``hints`` say instead of the user's.

        None where the model does not run with such inputs; NoReferenceError where there is no ``first`` one either.
        """
        spares: dict[str, list[Sample]] = {doubt: [] for doubt in SPARES}
        failure: Exception | None = None
        for symbols, feeds in self.candidates(turn, first, again, hints or self.options.hints):
            try:
                sample = self.expected(symbols, feeds)
            except (NoReferenceError, MemoryError) as error:
                failure = error if isinstance(error, NoReferenceError) else MemoryError(str(error))  # numpy has its own
                continue
            doubt = "empty" if self.whole.barren(sample) else "NaN" if _has_nan(sample) else ""
            if not doubt:
                return sample
            spares[doubt].append(sample)
            if len(spares[doubt]) == SPARES[doubt] or self.late:
                break
        if any(spares.values()) or first is not None:
            return next(chain(*spares.values()), None)
        failure = failure or self.large or NoReferenceError("no input can be made for the model")
        raise type(failure)(f"{failure}{self.advice()}")

    def candidates(
        self, turn: int, first: Sample | None, again: bool, hints: Mapping[str, Sequence[int]]
    ) -> Iterable[tuple[dict[str, int], Arrays]]:
        """Symbols and inputs that are to be tried for :meth:`one`."""
        seed = self.options.seed
        if first is None:
            drawn = generate(self.specs, self.places, hints, seed, turn, fits=self.fits)
            return islice(drawn, TRIES) if self.reference.engine == STEPWISE else drawn  # which is slow
        start = max((d for d in first.symbols.values() if d in SIZES), default=None)
        drawn = generate(self.specs, self.places, hints, seed, turn, start, self.fits)
        same = {n: a.shape for n, a in first.feeds.items()}
        last = generate(self.specs, self.places, same, seed, turn, fits=self.fits) if again else ()
        return chain(islice(drawn, TRIES if self.free else 2), last)

    def expected(self, symbols: dict[str, int], feeds: Arrays) -> Sample:
        """What the reference makes of the inputs; every layer, where those fit into the budget."""
        start = time.monotonic(), time.process_time()
        everything = len(self.whole.chunks(self.layers, self.targets, symbols, self.count)) == 1
        if everything not in self.sessions:
            outputs = self.reference.outputs
            wanted = list(dict.fromkeys([*self.layers, *outputs])) if everything else list(outputs)
            self.sessions[everything] = self.reference.open(wanted)
        sample = Sample(symbols, feeds, self.sessions[everything].run(feeds))
        self.reference.bounds.plain = max(self.reference.bounds.plain or 0.0, _elapsed(*start))
        return sample

    def fits(self, symbols: Mapping[str, int]) -> bool:
        """Nothing is drawn of sizes that take more than the budget."""
        try:
            self.reference.bounds.fit(max(self.memory(symbols), DRAWN * self.inputs(symbols)))
        except OverBudgetError as error:
            self.large = error
            return False
        return True

    def memory(self, symbols: Mapping[str, int]) -> int:
        """Bytes of the largest tensor, before anything is allocated, by what the files say of the shapes."""
        places = [p for t in self.targets for p in t.program.places.values()]
        return max((stored(p, symbols) for p in places), default=0)

    def inputs(self, symbols: Mapping[str, int]) -> int:
        """Bytes of the largest input."""
        sizes = [(s.dtype.itemsize, concrete(self.places[s.name].shape, symbols)) for s in self.specs]
        return max((size * int(np.prod(np.abs(shape), dtype=np.int64)) for size, shape in sizes), default=0)

    def advice(self) -> str:
        """What the user can do about inputs that do not suit the model, where he can."""
        hinted = {n for n, h in self.options.hints.items() if -1 not in h}
        words = ["shape_hints, -sh"] if self.free and not hinted.issuperset(s.name for s in self.specs) else []
        words += ["test data, -tdnp"] if any(s.dtype.kind in "iu" for s in self.specs) or words else []
        return f" (give {', or '.join(words)})" if words else ""


def _elapsed(clock: float, processor: float) -> float:
    """Seconds since then: of a machine that may be busy, or of one thread."""
    return min(time.monotonic() - clock, time.process_time() - processor)


def _has_nan(sample: Sample) -> bool:
    return any(a.dtype.kind in "fc" and bool(np.isnan(a).any()) for a in sample.expected.values())
