"""The child's side of a check: a file is run on the samples, and what it gives becomes rows of figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from ... import child
from ...ir.graph import Placement
from ..feeds import inputs
from ..figures.judge import POWERS, Tolerance, compare
from ..figures.measure import Array, Histogram, narrow, usual
from ..files import quantised
from ..files.tflite_file import TFLiteFile
from ..files.written import FileError, WrittenFile, as_told
from ..original.known_errors import unsaid
from ..reports.report import Row
from .samples import Arrays, Sample, Samples

SMALL = 1 << 23  # bytes of a tensor of which several are compared at a time
MANY = 1 << 26  # bytes of all of them from which that pays: threads take milliseconds, and wait for each other


@dataclass
class Found:
    """What a child sends back: the worst row of each tensor; tensors of no counterpart; a failure; seconds."""

    rows: list[Row] = field(default_factory=list)
    unmatched: set[str] = field(default_factory=set)
    failed: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """One file on the samples.  What runs the file is called in a child only."""

    whole: Samples
    target: WrittenFile
    limit: Tolerance
    turned: dict[tuple[str, int], Array] = field(default_factory=dict)
    powers: dict[str, float] = field(default_factory=dict)
    cut: dict[tuple[str, int, str], Row] = field(default_factory=dict)  # of those that differ, as far as integers reach
    apart: set[str] = field(default_factory=set)  # tensors that differ within that, on any sample

    def __post_init__(self) -> None:
        self.reference, self.program = self.whole.reference, self.target.program

    def rows(self, runtimes: Sequence[str], names: Sequence[str]) -> Found:
        """In a child: ``names`` compared on all samples."""
        known, found = self.program.names, Found()
        worst: dict[str, Row] = {}
        agreed: dict[str, list[bool]] = {}
        stored = list(dict.fromkeys(known[n] for n in names))
        for runtime in runtimes:
            start = time.perf_counter()
            try:
                runner = self.target.open(runtime, stored)
                for number, sample in enumerate(self.whole.samples):
                    results = runner.run(self.feeds(sample))
                    for name, row in self.compared(results, names, number, runtime):
                        if row is None:
                            found.unmatched.add(name)
                            continue
                        if row.agreement is not None:
                            agreed.setdefault(name, []).append(row.agreement == 1)
                        if name not in worst or badness(row) > badness(worst[name]):
                            worst[name] = row
                del runner, results  # with its copy of the weights, before the next runtime makes one
            except FileError as error:
                found.failed = f"{error}{self.advice()} ({runtime})"
            found.seconds[runtime] = time.perf_counter() - start
        found.rows = [replace(r, agreement=_share(agreed.get(n))) for n, r in self.untold(worst).items()]
        return found

    def untold(self, worst: dict[str, Row]) -> dict[str, Row]:
        """``worst`` by tensor, with what nothing tells apart forgiven: numbers below the integers of a tensor, such as
        those of a mask before a softmax, where all that is made of it is right all the same."""
        readers: dict[str, list[str]] = {}
        for name, reads in self.reference.reads.items():
            for tensor in reads:
                readers.setdefault(tensor, []).append(name)

        right: dict[str, bool] = {}
        for name in reversed(self.reference.reads):  # what is made of a tensor comes before it
            made = [right.get(n, False) for n in readers.get(name, ())]
            right[name] = bool(made) and all(made)  # of one that is not in the file
            if name in worst:
                row = worst[name]
                cut = self.cut.get((name, row.sample, row.runtime))
                worst[name] = cut if cut is not None and right[name] and name not in self.apart else row
                right[name] = worst[name].ok
        return worst

    def compared(
        self, results: Mapping[str, Array], names: Sequence[str], number: int, runtime: str
    ) -> Iterator[tuple[str, Row | None]]:
        """The rows of those tensors that there are, as many at a time as there are processors where all are small, but
        together are not."""
        sample, known = self.whole.samples[number], self.program.names
        symbols, there = self.symbols(sample), [n for n in names if known[n] in results]

        def row(name: str) -> Row | None:
            return self.row(name, results[known[name]], sample, symbols, number, runtime)

        sizes = [sample.expected[n].nbytes for n in there]
        count = child.processors() if sum(sizes) >= MANY and max(sizes) <= SMALL else 1
        if count == 1:
            yield from ((name, row(name)) for name in there)
            return
        from concurrent.futures import ThreadPoolExecutor  # takes milliseconds to load

        with ThreadPoolExecutor(count) as pool:
            for start in range(0, len(there), count):
                some = there[start : start + count]
                yield from zip(some, pool.map(row, some), strict=True)

    def advice(self) -> str:
        """What the user can do about inputs on which a file fails."""
        why = next(filter(None, map(self.whole.barren, self.whole.samples)), "")
        return f"; at these sizes {why}: give larger ones (--shape)" if why else ""

    def feeds(self, sample: Sample) -> Arrays:
        """The inputs as the file takes them, by their names in the program."""
        places, known = self.program.places, self.program.names
        symbols = self.symbols(sample)
        return {
            known[n]: self.target.store(n, places[n].store(narrow(a), symbols), known[n])
            for n, a in sample.feeds.items()
            if n in known
        }

    def symbols(self, sample: Sample) -> dict[str, int]:
        """What the free extents of the file are on a sample."""
        places = self.program.places
        return inputs.bind([(places[n].shape, a.shape) for n, a in sample.feeds.items() if n in places], sample.symbols)

    def row(
        self, name: str, stored: Array, sample: Sample, symbols: Mapping[str, int], number: int, runtime: str
    ) -> Row | None:
        """None where a foreign file has another tensor of this name."""
        expected = sample.expected[name]
        place, outputs = self.program.place(name, expected.shape, stored.shape), self.program.outputs
        if place is None and name not in outputs:
            return None
        got, against, perm = self.sides(name, number, place, stored, expected, symbols)
        node, op = self.reference.nodes.get(name, ("", "input"))
        got = unsaid(op, got, against)
        slack = sample.slack.get(self.target.kind, {}).get(name, 0.0)
        step, usual = self.reference.steps.get(name), self.usual(name)
        if name in self.reference.random and got.shape == against.shape:
            got = against  # no two runs make the same
        found = compare(got, against, self.limit, step, slack, ranked=name in outputs, usual=usual)
        carried = self.limit.rtol * found.rmse * 10 ** (found.sqnr / 20)  # noise that the signal may have
        found = quantised.within_a_step(self.target, self.program.names[name], found, carried)
        assumed = place is not None and self.program.assumed(name, expected.shape, stored.shape)
        made = Row(
            node or name, op, name, expected.shape, stored.shape, perm, _name(expected.dtype), found, runtime,
            index=self.reference.layers.get(name, -1), stored=self.program.names[name],
            stored_dtype=_name(stored.dtype), source=self.limit.source, sample=number, assumed=assumed,
            agreement=_share(self.agree(name, got, against)),
        )  # fmt: skip
        if found.what and name not in outputs:

            def restored(ends: Array) -> Array:
                return self.sides(name, number, place, ends, expected, symbols)[0]

            reached = quantised.reachable(self.target, self.program.names[name], against, stored, restored)
            near = compare(got, np.maximum(against, reached), self.limit, step, slack, usual=usual)
            self.cut[name, number, runtime] = replace(made, difference=near)
            if near.what:
                self.apart.add(name)
        return made

    def usual(self, name: str) -> float:
        """How large a tensor is over all samples, where noise is judged beside that; else 0."""
        if self.limit.metric not in POWERS or name not in self.reference.nodes:
            return 0.0
        if name not in self.powers:
            self.powers[name] = usual([s.expected[name] for s in self.whole.samples])
        return self.powers[name]

    def agree(self, name: str, got: Array, expected: Array) -> list[bool] | None:
        """Whether an output of a quantised file chooses the same class."""
        ranked = self.target.kind == "quantised" and name in self.program.outputs
        same = quantised.agree(got, expected) if ranked else None
        return None if same is None else [same]

    def sides(
        self, name: str, number: int, place: Placement | None, stored: Array, expected: Array,
        symbols: Mapping[str, int],
    ) -> tuple[Array, Array, tuple[int, ...] | None]:  # fmt: skip
        """Result and reference in one order of axes, and that of the file where it is a permutation."""
        plain = self.target.real(self.program.names[name], stored, expected.dtype)
        if place is None:
            return plain, expected, None
        whole = place.factor is None and len(place.perm) == len(place.split) == len(place.shape)
        perm = tuple(int(i) for i in np.argsort(place.perm)) if whole else None
        moves = perm is not None and len(perm) > 2 and perm != tuple(range(len(perm)))
        if perm and moves and stored.shape == tuple(expected.shape[i] for i in perm):
            return plain, self.ordered(name, number, expected, perm), perm
        with suppress(ValueError):  # another number of elements: compare says so
            plain = _restored(place, plain, inputs.bind([(place.shape, expected.shape)], symbols))
        return plain, expected, perm

    def ordered(self, name: str, number: int, expected: Array, perm: tuple[int, ...]) -> Array:
        """The reference in the order of the file, once for all runtimes: figures do not depend on the order."""
        if (name, number) not in self.turned:
            self.turned[name, number] = np.ascontiguousarray(expected.transpose(perm))
        return self.turned[name, number]

    def histograms(self, runtime: str, number: int, rows: Sequence[Row]) -> list[tuple[Row, Histogram | None]]:
        """In a child."""
        sample, known = self.whole.samples[number], self.program.names
        results = self.target.open(runtime, [known[r.tensor] for r in rows]).run(self.feeds(sample))
        drawn = []
        for row in rows:
            stored, expected = results[known[row.tensor]], sample.expected[row.tensor]
            drawn.append((row, Histogram.of(self.target.real(known[row.tensor], stored, expected.dtype), expected)))
        return drawn

    def place_of_death(self, runtime: str) -> str:
        """The operator that kills the process, by runs of the first half, quarter, ... of the program."""
        if not isinstance(self.target, TFLiteFile):
            return ""
        file, feeds = self.target.file, self.feeds(self.whole.samples[0])

        def start(count: int) -> None:
            self.target.bisect(runtime, count).run(feeds)

        def dies(count: int) -> bool:
            try:
                self.reference.bounds.call(lambda: start(count))
            except child.DiedError:
                return True
            except FileError:
                return False
            return False

        low, high = 0, len(file.operators)
        if not dies(high):
            return ""
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if dies(middle) else (middle, high)
        op = file.operators[high - 1]
        nodes = self.program.nodes
        node = f", made of {nodes[op.index]}" if op.index < len(nodes) and nodes[op.index] else ""
        return f" at operator {op.index} {op.name} (tensor '{file.tensors[op.outputs[0]].name}'{node})"


def _restored(place: Placement, array: Array, symbols: Mapping[str, int]) -> Array:
    """In ONNX order; the real numbers of quantised tensors were restored by the target, by the file's scale."""
    return as_told(place).restore(array, symbols)


@cache
def _name(dtype: np.dtype) -> str:
    """numpy takes 50 us for it."""
    return dtype.name


def _share(agreed: Sequence[bool] | None) -> float | None:
    return sum(agreed) / len(agreed) if agreed else None


def badness(row: Row) -> tuple[bool, float]:
    """What is larger for the worse of two rows of one tensor."""
    return not row.ok, row.difference.used
