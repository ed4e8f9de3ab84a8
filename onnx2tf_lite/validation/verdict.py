"""The verdict on one file: compare, ask how far the model itself moves where it differs, find the culprits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar, cast

import numpy as np

from .. import child
from .bounds import OverBudgetError, TooLongError
from .figures.judge import QUANTISED, SLACK, TOLERANCES, Difference, Tolerance, compare, tolerance
from .figures.measure import exact
from .files import quantised
from .files.integers import Integers
from .files.tflite_file import TFLiteFile
from .files.written import FileError, LayeredFile, WrittenFile
from .layers.alone import Alone, Bench
from .layers.bodies import branches
from .layers.coverage import cover, end_to_end
from .layers.endless import endless
from .original.reference import STEPWISE, UNIT, NoReferenceError, Reference
from .reports.report import CARRIES, INTRODUCES, Coverage, FileReport, Row
from .whole.pointers import pointers
from .whole.run import Run, badness
from .whole.samples import Samples

T = TypeVar("T")

HISTOGRAMS = 12  # rows of a file that get one
SLOW = 2.0  # seconds of a run of the model node by node from which it is run no more often than end to end
SIGMAS = 4


@dataclass
class Verdict:
    """The check of one file."""

    whole: Samples
    target: WrittenFile
    rows: dict[str, Row] = field(default_factory=dict)
    unmatched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        o, self.reference = self.whole.options, self.whole.reference
        self.program, self.outputs = self.target.program, list(self.target.program.outputs)
        self.limit = tolerance(quantised.form(self.target), bool(self.reference.steps), o.rtol, o.atol, o.metric)
        self.layers = self.whole.names([self.target])
        self.run = Run(self.whole, self.target, self.limit)
        self.error = ""
        self.coverage: Coverage | None = None
        self.noise, self.rounding, self.rounded_inside = 0.0, 0.0, math.inf  # see FileReport
        self.refused = self.late = False  # by a runtime, or it came to no end
        self.anew = False  # see Bench.rounds_anew
        self.failed: dict[str, Alone] = {}  # layers that are refused by themselves, too
        self.inner: dict[str, tuple[Reference, Alone]] = {}  # see blame_alone
        self.seconds: dict[str, float] = {}

    def report(self) -> FileReport:
        """All stages: compare; run every layer on its own; where something differs find out why."""
        notes, unchecked = [*self.program.notes], False
        if isinstance(self.target, TFLiteFile):
            self.reference.bounds.runtimes = pointers(self.target, self.whole.samples)
        layers = self.whole.options.layers and self.inside
        if missing := [n for n in self.reference.outputs if n not in self.outputs]:
            self.error = f"output '{missing[0]}' of the model is not in the file"
        else:
            try:
                layers = self.stages(layers)
                self.beside_rounding()
            except (NoReferenceError, child.DiedError, OverBudgetError) as error:
                if unchecked := self.right and not self.rows.keys() >= set(self.outputs):
                    layers = self.give_up(error) or layers
                else:
                    notes.append(f"no closer look: {error}")
        if not self.error and (missing := [n for n in self.outputs if n not in self.rows]):
            self.error = f"output '{missing[0]}' could not be compared" + "".join(f" ({n})" for n in notes[-1:])
        if self.unmatched:
            few = ", ".join(sorted(self.unmatched)[:5])
            notes.append(f"{len(self.unmatched)} tensors of the same name have other shapes and were left out: {few}")
        report = FileReport(
            self.target.kind, self.target.path.name, str(self.limit), self.limit.why, quantised.runtimes(self.target),
            coverage=self.coverage, required=self.whole.options.require_coverage, error=self.error,
            source=self.limit.source, metric=self.limit.metric,
            matched=self.program.matched, size=self.target.size, operators=self.target.operators,
            transposes=self.target.transposes, seconds=self.seconds, notes=notes, integers=self.integers,
            noise=self.noise, rounding=self.rounding, rounded_inside=self.rounded_inside, unchecked=unchecked,
        )  # fmt: skip
        report.outputs = [self.rows[n] for n in self.outputs if n in self.rows]
        report.layers = [self.rows[n] for n in self.layers if n in self.rows] if layers else []
        return report

    def stages(self, layers: bool) -> bool:
        """True where every layer was compared."""
        self.compare(self.layers if layers else self.outputs)
        if self.error:
            return (self.find_loops() if self.late else self.refused and self.look_inside()) or layers
        alone = self.each_alone()
        wrong = bool(self.inner) or any(a.difference.what for a in alone.values())
        asked = layers
        if wrong or not self.right:
            layers = self.look_closer(layers, wrong)
        if layers and not self.error:
            self.isolate()
            self.blame(alone)
            self.draw()
            self.explain()
            self.add_up()
            self.blame_alone()
        return layers and (asked or wrong or not self.carried)

    def look_inside(self) -> bool:
        """Find the layers that are wrong on their own in a file that does not run from end to end, as where a result
        has another shape than the next operator takes, or that do not run on what the model gives them; True where
        there are any."""
        if not isinstance(self.target, TFLiteFile) or not self.inside:
            return False
        wrong = {n: a for n, a in self.each_alone().items() if a.difference.what}
        self.inner |= {n: (self.reference, a) for n, a in (wrong | self.failed).items()}
        self.blame_alone()
        return bool(self.inner)

    def give_up(self, error: Exception) -> bool:
        """Nothing can be said of the file, but which of its loops have no end where that is why; True where some have
        none."""
        self.error = f"could not be checked: {error}"
        return isinstance(error, TooLongError) and self.find_loops()

    def find_loops(self) -> bool:
        """Find the loops that do not end, in a file that does not; True where there are any."""
        if not isinstance(self.target, TFLiteFile) or not self.inside:
            return False
        with suppress(NoReferenceError, OverBudgetError):
            for found in endless(self.bench(self.target)):
                self.inner[found.layer.name] = self.reference, found
        self.blame_alone()
        return bool(self.inner)

    def beside_rounding(self) -> None:
        """The outputs beside those that ONNX Runtime makes where it rounds to integers inside of operators, whose
        layers the files are held to without that: as far away as its own rounding is."""
        if not self.reference.inside or self.error or not self.right:
            return
        run = Run(self.whole.rounded_inside(), self.target, QUANTISED)
        found = self.call(lambda: run.rows(quantised.runtimes(self.target), self.outputs))
        real = [r.difference.sqnr for r in found.rows if not exact(np.dtype(r.dtype))]
        self.rounded_inside = min(real, default=math.inf)

    def each_alone(self) -> dict[str, Alone]:
        """Every layer on its own, where the runtime allows that; OverBudgetError where one run takes too long."""
        start, plain = time.perf_counter(), self.reference.bounds.plain or 0.0
        try:
            if self.reference.engine == STEPWISE and plain > SLOW:
                raise OverBudgetError(f"a run of the model takes {plain:.0f} s, node by node")
            found, self.coverage = self.in_tensorflow() if self.target.tensorflow else self.in_children()
        except (child.DiedError, OverBudgetError, FileError) as error:
            found, self.coverage = {}, end_to_end(self.reference, len(self.layers or self.outputs), str(error))
        self.seconds["layers on their own"] = time.perf_counter() - start
        return found

    def in_tensorflow(self) -> tuple[dict[str, Alone], Coverage]:
        """All of it in one process, since TensorFlow takes seconds to load; FileError for a file of others."""
        if not self.inside:
            raise FileError("only files of this package say where their layers are in TensorFlow")
        target = cast("LayeredFile", self.target)

        def work() -> tuple[dict[str, Alone], Coverage]:
            with self.reference.bounds.here():
                bench = self.bench(target)
                found = bench.check()
                return found, cover(bench, found)

        answer: tuple[dict[str, Alone], Coverage] = self.call(work)
        return answer

    def in_children(self) -> tuple[dict[str, Alone], Coverage]:
        """A child for every group of layers, and the branches too."""
        assert isinstance(self.target, TFLiteFile)
        bench = self.bench(self.target)
        found, inner = bench.check(), dict[int, Coverage]()
        self.failed = {n: a for n, a in bench.failed.items() if n not in found}
        for number, branch in branches(self.run, self.target):
            inside = branch.check()
            inner[number] = cover(branch, inside, inner)
            self.inner |= {n: (branch.reference, a) for n, a in inside.items() if a.difference.what}
        return found, cover(bench, found, inner)

    def bench(self, target: LayeredFile) -> Bench:
        """Its layers, with their shapes as they were seen."""
        return Bench(self.run, target, {(r.tensor, r.shape): r.stored_shape for r in self.rows.values()})

    def blame(self, alone: Mapping[str, Alone]) -> None:
        """What every layer does on its own, beside what it does end to end."""
        same = {self.rows[n].stored: found for n, found in alone.items() if n in self.rows}
        for name, row in self.rows.items():
            found = alone.get(name) or same.get(row.stored)
            if found is None or (
                name not in alone and found.difference.what
            ):  # the tensor is wrong by one of its names
                continue
            carried = CARRIES if row.difference.what else ""
            role = INTRODUCES if found.difference.what else row.role or carried
            self.rows[name] = replace(row, alone=found.difference, role=role)

    def explain(self) -> None:
        """A quantised model whose layers are all right by themselves: what half-way cases add up to over its layers is
        held to the model's own quantisation noise, not to steps.

        By rounding at each layer the model ends a root mean square n from the real numbers that it rounds, which
        saturate as it does.  A file that rounds ``quantised.rounding`` times as much ends that many n from them, so the
        two are n and that apart at most; if all cases were half-way they would be independent, and sqrt(2) n apart.
        The root mean square of m numbers is good to 1 / sqrt(2 m) of it: :data:`SIGMAS` of these are allowed.  A file
        that rounds where the model does not ends farther away, and is held to what other quantised files are.
        """
        failing = [r for r in self.rows.values() if not r.ok]
        if not self.reference.quantised or not failing or any(r.role != CARRIES for r in failing):
            return
        real = [r for r in failing if not exact(np.dtype(r.dtype))]
        share = self.share_of_noise(real)
        anew = self.anew and self.limit.steps and all(10 ** (-r.difference.sqnr / 20) <= QUANTISED.rtol for r in real)
        if real and (share <= 1 or anew):
            self.noise = share
            for row in failing:
                self.rows[row.tensor] = replace(row, difference=replace(row.difference, what="", asked=""), role="")

    def share_of_noise(self, rows: Sequence[Row]) -> float:
        """The largest difference of some, as a share of what the model's own quantisation noise may make it."""
        apart = 1 + quantised.rounding(self.target, self.filled())
        self.whole.read([r.tensor for r in rows if r.tensor in self.reference.nodes])
        self.whole.read_noise([r.tensor for r in rows])
        noise = [self.whole.samples[r.sample].noise.get(r.tensor, 0.0) for r in rows]
        sure = [1 + SIGMAS / math.sqrt(2 * max(math.prod(r.shape), 1)) for r in rows]
        found = zip(rows, noise, sure, strict=True)
        return max((float(r.difference.rmse / (apart * n * k)) if n else math.inf for r, n, k in found), default=0.0)

    def add_up(self) -> None:
        """A model whose layers are all right by themselves, in a file of floats: what they differ by is held to what it
        makes of as much noise in each of them, and to what the reference itself is good for, where that is more than
        the limit."""
        failing = [r for r in self.rows.values() if not r.ok]
        reached = self.coverage is not None and self.coverage.layers == self.coverage.all_layers
        asked = self.limit.source == "default"
        if not failing or not reached or not asked or self.target.kind == "quantised" or self.inner:
            return
        if any(r.role != CARRIES for r in failing):
            return
        noise = self.own_noise()
        names = [r.tensor for r in failing]
        moves = [self.whole.inexact(names), self.whole.stirred(noise, names)]
        usual = TOLERANCES[self.target.kind]
        held = [excused(row, max(found[row.sample].get(row.tensor, 0.0) for found in moves), usual) for row in failing]
        self.rows |= {row.tensor: row for row in held}
        self.rounding = max(noise.values(), default=UNIT) if any(row.ok for row in held) else 0.0

    def own_noise(self) -> dict[str, float]:
        """How far layers by themselves differ, of their maxima, where that is more than any rounding."""
        own = {n: r.isolated or r.alone for n, r in self.rows.items()}
        return {n: d.max_rel for n, d in own.items() if d is not None and UNIT < d.max_rel < 1}

    def filled(self) -> float:
        """How much of the range of 16-bit integers the tensors of the model take up, as a root mean square of the
        fullest one."""
        steps = quantised.wide_steps(self.target)
        most = 0.0
        for chunk in self.split(list(steps)) if steps else []:
            self.whole.read(chunk)
            values = [(s.expected[n], steps[n]) for s in self.whole.samples for n in chunk]
            most = max([most, *(quantised.share_of_range(array, step) for array, step in values)])
        return most

    def blame_alone(self) -> None:
        """Layers that are wrong on their own, of which end to end nothing is known: those inside branches, and all
        where the file does not run."""
        for name, (reference, found) in self.inner.items():
            node, op = reference.nodes[name]
            self.rows[name] = Row(node, op, name, (), (), None, "float32", Difference(), found.runtime,
                                  alone=found.difference, role=INTRODUCES, covers=(node,))  # fmt: skip
            self.layers += [name] if name not in self.layers else []

    @property
    def integers(self) -> Integers | None:
        """What of a file is integers, quantised here or by the model; None of a plain float one."""
        if isinstance(self.target, TFLiteFile) and "quantised" in (self.target.kind, self.target.file.kind):
            return Integers.of(self.target.file)
        return None

    @property
    def inside(self) -> bool:
        """Can layers be compared?"""
        return self.target.inside and bool(self.layers)

    @property
    def right(self) -> bool:
        """Is every tensor that was compared within its limit?"""
        return all(r.ok for r in self.rows.values())

    @property
    def carried(self) -> bool:
        """Are the outputs within what rounding does to the model, and does no layer introduce more?

        What the layers between them carry then says nothing."""
        right = all(self.rows[n].ok for n in self.outputs if n in self.rows)
        return right and not self.noise and all(r.role != INTRODUCES for r in self.rows.values())

    def look_closer(self, layers: bool, wrong: bool) -> bool:
        """Compare again, with what rounding does to the model itself allowed; every layer where it still differs, or
        where one is ``wrong`` on its own, or where rounding was allowed for: that excuses what a layer carries."""
        allowed = self.target.kind != "quantised" and self.whole.options.metric in (None, "max")
        if not self.right and allowed:
            self.slack(self.layers if layers else self.outputs)
            self.compare(self.layers if layers else self.outputs)
        excused = isinstance(self.target, TFLiteFile) and any(r.difference.slack for r in self.rows.values())
        if layers or not self.inside or (self.right and not wrong and not excused):
            return layers
        if allowed and (excused or not self.right):
            self.slack(self.layers)
        self.compare(self.layers)
        return True

    def slack(self, names: Sequence[str]) -> None:
        """Have how far rounding moves the tensors of the model, in the samples."""
        for chunk in self.split(names):
            self.whole.read_slack(self.target.kind, chunk)

    def split(self, names: Sequence[str]) -> list[list[str]]:
        """Groups of tensors that fit into the budget."""
        samples = self.whole.samples
        return self.whole.chunks(names, [self.target], samples[0].symbols, len(samples))

    # ------------------------------------------------------------------------------------------ comparing

    def compare(self, names: Sequence[str]) -> None:
        """Run the file on all samples in all its runtimes; ``rows`` has the worst of every tensor."""
        names = list(dict.fromkeys([*names, *self.outputs]))
        before, self.rows = self.rows, {}
        self.error = ""
        runtimes = quantised.runtimes(self.target)
        for chunk in self.split(names):
            try:
                self.whole.read(chunk)
            except (NoReferenceError, child.DiedError, OverBudgetError):
                self.rows = before  # half a comparison says nothing
                raise
            try:
                self.take(runtimes, chunk)
            except child.DiedError:  # which of them was it?
                for runtime in runtimes:
                    try:
                        self.take([runtime], chunk)
                    except child.DiedError as died:
                        self.refused, self.late = True, died.late
                        place = "" if died.late else self.run.place_of_death(runtime)
                        self.error = f"{died}{place} ({runtime})"

    def take(self, runtimes: Sequence[str], names: Sequence[str]) -> None:
        """The rows of one child."""
        found = self.call(lambda: self.run.rows(runtimes, names))
        self.unmatched |= found.unmatched
        self.error, self.refused = found.failed or self.error, self.refused or bool(found.failed)
        for runtime, took in found.seconds.items():
            self.seconds[runtime] = self.seconds.get(runtime, 0.0) + took
        for row in found.rows:
            if row.tensor not in self.rows or badness(row) > badness(self.rows[row.tensor]):
                self.rows[row.tensor] = row

    def call(self, function: Callable[[], T]) -> T:
        """What runs the file, in a child."""
        return self.reference.bounds.call(function, self.target.forks, self.target.tensorflow)

    # ------------------------------------------------------------------------------------------ culprits

    def isolate(self) -> None:
        """What each suspect introduces; in a quantised file every layer is one."""
        if not isinstance(self.target, TFLiteFile):
            return
        everything = self.target.kind == "quantised" or any(t.quantised for t in self.target.file.tensors)
        known = {n: self.rows[n] for n in self.layers if n in self.rows}
        suspects = [n for n, r in known.items() if everything or not r.ok or r.difference.slack]
        bench = self.bench(self.target)
        if suspects:
            bench.look()
        for name in suspects:
            if bench.layers.is_view(name):  # it is what another tensor is: nothing lies between them
                self.rows[name] = judged(self.rows[name], compare(np.zeros(1), np.zeros(1), self.limit))
        layers = [*filter(None, map(bench.layers.layer, suspects))]
        self.anew = bench.rounds_anew(layers)
        for group in bench.groups(layers):
            bench.hold(group)
            for runtime, number in dict.fromkeys((self.rows[x.name].runtime, self.rows[x.name].sample) for x in group):
                same = [x for x in group if (self.rows[x.name].runtime, self.rows[x.name].sample) == (runtime, number)]
                found = bench.as_seen(same, runtime, number)
                self.rows |= {x.name: judged(self.rows[x.name], found.get(x.name)) for x in same}
        for name, row in self.rows.items():
            self.rows[name] = replace(row, operators=bench.layers.operators(name), covers=self.covers(name))

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
            with suppress(FileError, child.DiedError, OverBudgetError):
                for row, drawn in self.call(partial(self.run.histograms, runtime, number, rows)):
                    self.rows[row.tensor] = replace(row, histogram=drawn)


def excused(row: Row, move: float, usual: Tolerance) -> Row:
    """The row, within its limit where it differs by no more than :data:`SLACK` times what noise in every layer does to
    it, or what is ``usual`` of its kind of file: the largest difference, of integers the share that differs."""
    found, allowed = row.difference, SLACK * move
    whole, top = exact(np.dtype(row.dtype)), found.max_abs / found.max_rel if found.max_rel else 0.0
    if usual.metric == "max" and not whole:
        allowed = max(allowed, usual.rtol * top + usual.atol)
    if not (1 - found.within if whole else found.max_abs) <= allowed:
        return row
    used = found.max_abs / allowed if allowed else 0
    within = replace(found, what="", asked="", slack=move / (top or 1.0), limit=allowed, used=used)
    return replace(row, difference=within, role="")


def judged(row: Row, isolated: Difference | None) -> Row:
    """The row with what it introduces, and its role where it disagrees.

    What rounding does to the model up to here is no excuse for what the layer makes of its own operands."""
    difference = row.difference
    if isolated is not None and isolated.what and difference.slack and not difference.what:
        difference = replace(difference, what=isolated.what, asked=isolated.asked)
    role = "" if not difference.what or isolated is None else INTRODUCES if isolated.what else CARRIES
    return replace(row, difference=difference, isolated=isolated, role=role)
