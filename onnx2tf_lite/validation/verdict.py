"""The verdict on one file: compare, ask how far the model itself moves where it differs, find the culprits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from . import child
from .isolate import Isolation, judged
from .judge import compare, tolerance
from .reference import ReferenceFailed
from .report import FileReport, Row
from .run import Run, badness, narrow
from .samples import Samples
from .targets import RUNTIMES, Target, TargetFailed, TFLite

HISTOGRAMS = 12  # rows of a file that get one


@dataclass
class Verdict:
    """The check of one file."""

    whole: Samples
    target: Target
    rows: dict[str, Row] = field(default_factory=dict)
    unmatched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        o, self.reference = self.whole.options, self.whole.reference
        self.program, self.outputs = self.target.program, list(self.target.program.outputs)
        self.limit = tolerance(self.target.kind, bool(self.reference.steps), o.rtol, o.atol, o.metric)
        self.layers = self.whole.names([self.target])
        self.run = Run(self.whole, self.target, self.limit)
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
                        self.error = f"{died}{self.run.place_of_death(runtime)} ({runtime})"

    def take(self, runtimes: Sequence[str], names: Sequence[str]) -> None:
        """The rows of one child."""
        found = child.call(lambda: self.run.rows(runtimes, names), self.target.forks)
        self.unmatched |= found.unmatched
        self.error = found.failed or self.error
        for runtime, took in found.seconds.items():
            self.seconds[runtime] = self.seconds.get(runtime, 0.0) + took
        for row in found.rows:
            if row.tensor not in self.rows or badness(row) > badness(self.rows[row.tensor]):
                self.rows[row.tensor] = row

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
                values = {n: narrow(a) for n, a in (sample.feeds | sample.expected).items()}
                found = isolation.measure(
                    part, runtime, values, self.run.symbols(sample), self.limit, self.reference.steps
                )
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
            found[self.reference.layers[tensor]] = self.reference.nodes[tensor][0]
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
                for row, drawn in child.call(partial(self.run.histograms, runtime, number, rows), self.target.forks):
                    self.rows[row.tensor] = replace(row, histogram=drawn)
