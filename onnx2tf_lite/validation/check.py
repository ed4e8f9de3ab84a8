"""The check: reference and files on the same inputs, outputs always, every layer on request or to name a culprit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.graph import Graph, Placement
from ..passes.manager import nearest
from . import inputs
from .compare import Tolerance, change, compare, tolerance
from .reference import Reference, ReferenceFailed, jitter
from .report import FileReport, Report, Row
from .targets import RUNTIMES, TargetFailed, open_target

Arrays = dict[str, np.ndarray]
TRIES = 5  # further sizes that are tried for a second sample


@dataclass(frozen=True)
class Program:
    """Where the tensors of the model are in the files: ONNX name -> its placement and its name there."""

    places: Mapping[str, Placement]
    names: Mapping[str, str]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph) -> Program:
        """The map as it stands, before later stages change the graph; it does not keep the weights alive."""
        written = dict(zip(graph.outputs, graph.output_names, strict=True))
        names = {n: written.get(p.value, p.value.name) for n, p in graph.placements.items()}
        places = {
            n: replace(p, value=replace(p.value, producer=None, content=None)) for n, p in graph.placements.items()
        }
        return cls(places, names | {n: n for n in graph.output_names}, tuple(graph.output_names))


@dataclass(frozen=True)
class CheckOptions:
    """``layers``: compare every intermediate.  ``data``: arrays by input name; else seeded random ones, free dimensions
    from ``hints`` (input name -> shape) where given."""

    layers: bool = False
    data: Mapping[str, np.ndarray] | None = None
    hints: Mapping[str, Sequence[int]] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    seed: int = 0


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


def check(
    reference: Reference,
    files: Mapping[str, Path],
    program: Program,
    options: CheckOptions | None = None,
    listener: Callable[[str], None] = lambda what: None,
) -> Report:
    """Run each of ``files`` (kind -> path) and the reference on the same inputs and compare."""
    return _Check(reference, program, options or CheckOptions()).run(files, listener)


@dataclass
class _Check:
    reference: Reference
    program: Program
    options: CheckOptions
    samples: list[Sample] = field(default_factory=list)

    @property
    def ends(self) -> list[str]:
        return [s.name for s in self.reference.inputs] + list(self.program.outputs)

    def run(self, files: Mapping[str, Path], listener: Callable[[str], None]) -> Report:
        report = Report(notes=self.reference.notes)
        try:
            listener("reference")
            self.samples = self.sample()
            if self.options.layers:
                self.read_layers()
            report.samples = [{n: a.shape for n, a in s.feeds.items()} for s in self.samples]
            for kind, path in files.items():
                give_back()
                listener(path.name)
                report.files.append(self.file(kind, path))
        except ReferenceFailed as error:
            report.error = f"could not be checked: {error}"
        report.engine = self.reference.engine
        return report

    def sample(self) -> list[Sample]:
        """The user's data, or inputs that the reference runs with: of two sizes for a dynamic model, if there are."""
        session, o, specs, places = self.reference.open(), self.options, self.reference.inputs, self.program.places
        if o.data is not None:
            given = inputs.from_user(o.data, specs, places)
            return [Sample(symbols, feeds, session.run(feeds)) for symbols, feeds in given]
        known = [s.name for s in specs]
        if unknown := [n for n in o.hints if n not in known]:
            raise ConversionError(
                *(Problem(f"input '{n}'", "no such input to give a shape", nearest(n, known)) for n in unknown)
            )
        found: list[Sample] = []
        failure, tries = ReferenceFailed("no input can be made for the model"), 0
        for symbols, feeds in inputs.generate(specs, places, o.hints, o.seed):
            if found and (symbols == found[0].symbols or tries == TRIES):
                break
            tries += bool(found)
            try:
                found.append(Sample(symbols, feeds, session.run(feeds)))
            except ReferenceFailed as error:
                failure = error
            if len(found) == 2:
                break
        if not found:
            raise ReferenceFailed(f"{failure} (give shape_hints, -sh, or test data, -tdnp)")
        return found

    def read_layers(self) -> None:
        """Every tensor with a counterpart, and the outputs, of each sample."""
        names = [n for n in self.reference.nodes if n in self.program.places]
        session = self.reference.open(list(dict.fromkeys([*names, *self.reference.outputs])))
        for sample in self.samples:
            sample.expected = session.run(sample.feeds)

    def read_slack(self, kind: str) -> None:
        """How well-conditioned the model is on the samples."""
        quantised = bool(self.reference.steps)
        for sample in self.samples:
            session = self.reference.open(list(sample.expected), rounding="" if quantised else kind)
            moved = session.run({n: jitter(a) for n, a in sample.feeds.items()} if quantised else sample.feeds)
            sample.slack[kind] = {n: change(moved[n], a) for n, a in sample.expected.items()}

    def file(self, kind: str, path: Path) -> FileReport:
        inside = kind != "saved_model"  # of a SavedModel only the outputs can be read
        report = self.compare(kind, path, inside and self.options.layers)
        if report.ok or report.error:
            return report
        try:
            self.read_slack(kind)
            report = self.compare(kind, path, bool(report.layers))
            if inside and not report.layers and not report.ok:
                self.read_layers()
                self.read_slack(kind)
                report = self.compare(kind, path, True)
        except ReferenceFailed as error:
            self.reference.notes.append(f"{path.name}: no closer look: {error}")
        return report

    def compare(self, kind: str, path: Path, layers: bool) -> FileReport:
        """Run a file on all samples in all its runtimes; the report has the worst of every tensor."""
        limit = tolerance(kind, bool(self.reference.steps), self.options.rtol, self.options.atol)
        report = FileReport(kind, path.name, str(limit), limit.why, RUNTIMES[kind])
        places, names, rows = self.program.places, self.program.names, dict[str, Row]()
        wanted = [n for n in (self.samples[0].expected if layers else self.program.outputs) if n in places]
        for runtime in RUNTIMES[kind]:
            try:
                target = open_target(kind, path, runtime, self.ends, layers)
                for sample in self.samples:
                    feeds = {n: places[n].store(_narrow(a), sample.symbols) for n, a in sample.feeds.items()}
                    results = target.run(feeds)
                    for name in (n for n in wanted if names[n] in results):
                        row = self.row(kind, name, results[names[name]], sample, limit, runtime)
                        if name not in rows or _badness(row) > _badness(rows[name]):
                            rows[name] = row
                del target  # with its copy of the weights, before the next runtime makes one
            except TargetFailed as error:
                report.error = f"{error} ({runtime})"
        report.outputs = [rows[n] for n in self.program.outputs if n in rows]
        report.layers = [rows[n] for n in self.reference.nodes if n in rows] if layers else []
        return report

    def row(self, kind: str, name: str, stored: np.ndarray, sample: Sample, limit: Tolerance, runtime: str) -> Row:
        place, expected = self.program.places[name], sample.expected[name]
        try:
            got = place.restore(stored, inputs.bind([(place.shape, expected.shape)], sample.symbols))
        except ValueError:  # another number of elements: compare says so
            got = stored
        node, op = self.reference.nodes.get(name, ("", "input"))
        whole = len(place.perm) == len(place.split) == len(place.shape)
        perm = tuple(int(i) for i in np.argsort(place.perm)) if whole else None
        slack, step = sample.slack.get(kind, {}).get(name, 0.0), self.reference.steps.get(name)
        found = compare(got, expected, limit, step, slack, ranked=name in self.program.outputs)
        return Row(node or name, op, name, expected.shape, stored.shape, perm, str(expected.dtype), found, runtime)


def give_back() -> None:
    """Freed memory to the system, where libc can: the reference's weights, before a file's are loaded."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _badness(row: Row) -> tuple[bool, float]:
    return not row.ok, row.difference.used


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array
