"""The check of one file: compare, ask how far the model itself moves where it differs, find the culprits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np

from ..ir.graph import Placement
from . import child, inputs
from .compare import Histogram, compare, tolerance
from .isolate import Isolation, judged
from .reference import ReferenceFailed
from .report import FileReport, Row
from .samples import Arrays, Sample, Samples
from .targets import RUNTIMES, Target, TargetFailed, TFLite

HISTOGRAMS = 12  # rows of a file that get one
#: What a child finds: the worst row of each tensor; tensors of no counterpart; a failure; the time of each runtime.
Found = tuple[list[Row], set[str], str, dict[str, float]]


@dataclass
class FileCheck:
    """The check of one file."""

    whole: Samples
    target: Target
    rows: dict[str, Row] = field(default_factory=dict)
    unmatched: set[str] = field(default_factory=set)
    turned: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)  # in a child only

    def __post_init__(self) -> None:
        o, self.reference = self.whole.options, self.whole.reference
        self.program, self.outputs = self.target.program, list(self.target.program.outputs)
        self.limit = tolerance(self.target.kind, bool(self.reference.steps), o.rtol, o.atol, o.metric)
        self.layers = self.whole.names([self.target])
        self.number = self.reference.layers
        self.error = ""
        self.seconds: dict[str, float] = {}

    def report(self) -> FileReport:
        """All stages: compare; where something differs ask how far the model itself moves; find the culprits."""
        o, inside = self.whole.options, self.target.inside and bool(self.layers)
        layers = o.layers and inside
        notes = [*self.program.notes]
        if missing := [n for n in self.reference.outputs if n not in self.outputs]:
            self.error = f"output '{missing[0]}' of the model is not in the file"
        else:
            try:
                self.compare(self.layers if layers else self.outputs)
                if not self.error and not self.right:
                    layers = self.look_closer(layers, inside)
                if layers and not self.error:
                    self.isolate()
                    self.draw()
            except (ReferenceFailed, child.Died) as error:
                notes.append(f"no closer look: {error}")
        if not self.error and (missing := [n for n in self.outputs if n not in self.rows]):
            self.error = f"output '{missing[0]}' could not be compared" + "".join(f" ({n})" for n in notes[-1:])
        if self.unmatched:
            few = ", ".join(sorted(self.unmatched)[:5])
            notes.append(f"{len(self.unmatched)} tensors of the same name have other shapes and were left out: {few}")
        report = FileReport(
            self.target.kind, self.target.path.name, str(self.limit), self.limit.why, RUNTIMES[self.target.kind],
            error=self.error, source=self.limit.source, metric=self.limit.metric, matched=self.program.matched,
            size=self.target.size, operators=self.target.operators, transposes=self.target.transposes,
            seconds=self.seconds, notes=notes,
        )  # fmt: skip
        report.outputs = [self.rows[n] for n in self.outputs if n in self.rows]
        report.layers = [self.rows[n] for n in self.layers if n in self.rows] if layers else []
        return report

    @property
    def right(self) -> bool:
        return all(r.ok for r in self.rows.values())

    def look_closer(self, layers: bool, inside: bool) -> bool:
        """Compare again, with what rounding does to the model itself allowed; every layer where it still differs."""
        kind = self.target.kind
        if kind != "quantised" and self.whole.options.metric in (None, "max"):
            self.slack(self.layers if layers else self.outputs)
            self.compare(self.layers if layers else self.outputs)
        if self.right or layers or not inside:
            return layers
        if kind != "quantised" and self.whole.options.metric in (None, "max"):
            self.slack(self.layers)
        self.compare(self.layers)
        return True

    def slack(self, names: Sequence[str]) -> None:
        for chunk in self.split(names):
            self.whole.read_slack(self.target.kind, chunk)

    def split(self, names: Sequence[str]) -> list[list[str]]:
        samples = self.whole.samples
        return self.whole.chunks(names, [self.target], samples[0].symbols, len(samples))

    # ------------------------------------------------------------------------------------------ comparing

    def compare(self, names: Sequence[str]) -> None:
        """Run the file on all samples in all its runtimes; ``rows`` has the worst of every tensor."""
        names = list(dict.fromkeys([*names, *self.outputs]))
        before, self.rows = self.rows, {}
        self.error = ""
        runtimes = RUNTIMES[self.target.kind]
        for chunk in self.split(names):
            try:
                self.whole.read(chunk)
            except (ReferenceFailed, child.Died):
                self.rows = before  # half a comparison says nothing
                raise
            try:
                self.take(runtimes, chunk)
            except child.Died:  # which of them was it?
                for runtime in runtimes:
                    try:
                        self.take([runtime], chunk)
                    except child.Died as died:
                        self.error = f"{died}{self.place_of_death(runtime)} ({runtime})"

    def take(self, runtimes: Sequence[str], names: Sequence[str]) -> None:
        """The rows of one child."""
        rows, unmatched, failed, seconds = child.call(lambda: self._rows(runtimes, names), self.target.forks)
        self.unmatched |= unmatched
        self.error = failed or self.error
        for runtime, took in seconds.items():
            self.seconds[runtime] = self.seconds.get(runtime, 0.0) + took
        for row in rows:
            if row.tensor not in self.rows or _badness(row) > _badness(self.rows[row.tensor]):
                self.rows[row.tensor] = row

    def _rows(self, runtimes: Sequence[str], names: Sequence[str]) -> Found:
        """In a child."""
        known, failed = self.program.names, ""
        rows: dict[str, Row] = {}
        unmatched: set[str] = set()
        seconds: dict[str, float] = {}
        stored = list(dict.fromkeys(known[n] for n in names))
        for runtime in runtimes:
            start = time.perf_counter()
            try:
                runner = self.target.open(runtime, stored)
                for number, sample in enumerate(self.whole.samples):
                    results, symbols = runner.run(self.feeds(sample)), self.symbols(sample)
                    for name in names:
                        if known[name] not in results:
                            continue
                        row = self.row(name, results[known[name]], sample, symbols, number, runtime)
                        if row is None:
                            unmatched.add(name)
                        elif name not in rows or _badness(row) > _badness(rows[name]):
                            rows[name] = row
                del runner, results  # with its copy of the weights, before the next runtime makes one
            except TargetFailed as error:
                failed = f"{error} ({runtime})"
            seconds[runtime] = time.perf_counter() - start
        return list(rows.values()), unmatched, failed, seconds

    def feeds(self, sample: Sample) -> Arrays:
        """The inputs as the file takes them, by their names in the program."""
        places, known = self.program.places, self.program.names
        symbols = self.symbols(sample)
        return {
            known[n]: self.target.store(n, places[n].store(_narrow(a), symbols), known[n])
            for n, a in sample.feeds.items()
            if n in known
        }

    def symbols(self, sample: Sample) -> dict[str, int]:
        places = self.program.places
        return inputs.bind([(places[n].shape, a.shape) for n, a in sample.feeds.items() if n in places], sample.symbols)

    def row(
        self, name: str, stored: np.ndarray, sample: Sample, symbols: Mapping[str, int], number: int, runtime: str
    ) -> Row | None:
        """None where a foreign file has another tensor of this name."""
        expected = sample.expected[name]
        place = self.program.place(name, expected.shape, stored.shape)
        if place is None and name not in self.outputs:
            return None
        plain = self.target.real(self.program.names[name], stored, expected.dtype)
        perm, slack = None, sample.slack.get(self.target.kind, {}).get(name, 0.0)
        got, against = plain, expected
        if place is not None:
            whole = len(place.perm) == len(place.split) == len(place.shape)
            perm = tuple(int(i) for i in np.argsort(place.perm)) if whole else None
            if (
                perm
                and len(perm) > 2
                and perm != tuple(range(len(perm)))
                and stored.shape == tuple(expected.shape[i] for i in perm)
            ):
                against = self.ordered(name, number, expected, perm)
            else:
                with suppress(ValueError):  # another number of elements: compare says so
                    got = _restored(place, plain, inputs.bind([(place.shape, expected.shape)], symbols))
        node, op = self.reference.nodes.get(name, ("", "input"))
        found = compare(got, against, self.limit, self.reference.steps.get(name), slack, ranked=name in self.outputs)
        assumed = place is not None and self.program.assumed(name, expected.shape, stored.shape)
        return Row(
            node or name, op, name, expected.shape, stored.shape, perm, _name(expected.dtype), found, runtime,
            index=self.number.get(name, -1), stored=self.program.names[name], stored_dtype=_name(stored.dtype),
            source=self.limit.source, sample=number, assumed=assumed,
        )  # fmt: skip

    def ordered(self, name: str, number: int, expected: np.ndarray, perm: tuple[int, ...]) -> np.ndarray:
        """The reference in the order of the file, once for all runtimes: figures do not depend on the order."""
        if (name, number) not in self.turned:
            self.turned[name, number] = np.ascontiguousarray(expected.transpose(perm))
        return self.turned[name, number]

    def place_of_death(self, runtime: str) -> str:
        """The operator that kills the process, by runs of the first half, quarter, ... of the program."""
        if not isinstance(self.target, TFLite):
            return ""
        file, sample = self.target.file, self.whole.samples[0]

        def run(count: int) -> None:
            self.target.bisect(runtime, count).run(self.feeds(sample))

        def dies(count: int) -> bool:
            try:
                child.call(lambda: run(count))
            except child.Died:
                return True
            except TargetFailed:
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

    # ------------------------------------------------------------------------------------------ culprits

    def isolate(self) -> None:
        """What each suspect introduces; in a quantised file every layer is one."""
        if not isinstance(self.target, TFLite):
            return
        everything = self.target.kind == "quantised" or any(t.quantised for t in self.target.file.tensors)
        rows = [r for n in self.layers if (r := self.rows.get(n)) and (everything or not r.ok)]
        known = [s.name for s in self.reference.inputs] + [n for n in self.layers if n in self.rows]
        isolation = Isolation(self.target, known, {(r.tensor, r.shape): r.stored_shape for r in self.rows.values()})
        suspects = {}
        for row in rows:
            if isolation.is_view(row.tensor):  # it is what another tensor is: nothing lies between them
                self.rows[row.tensor] = judged(row, compare(np.zeros(1), np.zeros(1), self.limit))
            elif suspect := isolation.suspect(row):
                suspects[row.tensor] = suspect
        for group in self.split(list(suspects)):
            chosen = [suspects[n] for n in group]
            self.whole.read(
                list(dict.fromkeys(n for s in chosen for n in (s.row.tensor, *s.reads) if n in self.reference.nodes))
            )
            for runtime, number in dict.fromkeys((s.row.runtime, s.row.sample) for s in chosen):
                part = [s for s in chosen if (s.row.runtime, s.row.sample) == (runtime, number)]
                sample = self.whole.samples[number]
                values = {n: _narrow(a) for n, a in (sample.feeds | sample.expected).items()}
                found = isolation.measure(part, runtime, values, self.symbols(sample), self.limit, self.reference.steps)
                for suspect, isolated in zip(part, found, strict=True):
                    self.rows[suspect.row.tensor] = judged(suspect.row, isolated)
        for name, row in self.rows.items():
            segment = isolation.segment(name)
            ops = tuple(self.target.file.operators[i].name for i in segment.operators) if segment else ()
            self.rows[name] = replace(row, operators=ops, covers=self.covers(name))

    def covers(self, name: str) -> tuple[str, ...]:
        """The ONNX nodes between this tensor and those before it that are in the file."""
        found, queue, seen = {}, [name], {name}
        while queue:
            tensor = queue.pop()
            if tensor not in self.reference.nodes or (tensor != name and tensor in self.rows):
                continue
            found[self.number[tensor]] = self.reference.nodes[tensor][0]
            fresh = [t for t in self.reference.reads[tensor] if t not in seen]
            seen.update(fresh)
            queue += fresh
        return tuple(found[i] for i in sorted(found))

    def draw(self) -> None:
        """Histograms of the worst layers."""
        report = FileReport("", "", "", "", (), layers=[self.rows[n] for n in self.layers if n in self.rows])
        worst = [r for r in report.worst(HISTOGRAMS) if not r.ok or r.isolated or self.whole.options.histograms]
        groups: dict[tuple[str, int], list[Row]] = {}
        for row in worst:
            groups.setdefault((row.runtime, row.sample), []).append(row)
        self.whole.read([r.tensor for r in worst])
        for (runtime, number), rows in groups.items():
            with suppress(TargetFailed, child.Died):
                for row, drawn in child.call(partial(self._draw, runtime, number, rows), self.target.forks):
                    self.rows[row.tensor] = replace(row, histogram=drawn)

    def _draw(self, runtime: str, number: int, rows: Sequence[Row]) -> list[tuple[Row, Histogram | None]]:
        """In a child."""
        sample, known = self.whole.samples[number], self.program.names
        results = self.target.open(runtime, [known[r.tensor] for r in rows]).run(self.feeds(sample))
        drawn = []
        for row in rows:
            stored, expected = results[known[row.tensor]], sample.expected[row.tensor]
            drawn.append((row, Histogram.of(self.target.real(known[row.tensor], stored, expected.dtype), expected)))
        return drawn


def _restored(place: Placement, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
    """In ONNX order; the real numbers of quantised tensors were restored by the target, by the file's scale."""
    return (replace(place, real=False) if place.real else place).restore(array, symbols)


@cache
def _name(dtype: np.dtype) -> str:
    """numpy takes 50 us for it."""
    return dtype.name


def _badness(row: Row) -> tuple[bool, float]:
    return not row.ok, row.difference.used


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array
