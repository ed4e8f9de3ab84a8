"""The check: reference and files on the same inputs, outputs always, every layer on request or to name a culprit.

Everything that runs a model does so in a child process (``child``): in one for all of a check, with a fork of it for
each further file where these take little.  Where one dies the check is done again with a child for every run, as it is
at once where memory is scarce.  The reference comes first: its tensors are then shared with the children that run the
files and compare, and only rows of figures come back from those.  Where the tensors would take more memory than the
budget, they are computed and compared in chunks, one run of each runtime per chunk; nothing takes more than ``bounds``
say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import onnx

from .. import child, pages
from ..emitters import EMITTERS
from ..errors import ConversionError
from .bounds import HELD, Bounds, OverBudgetError
from .feeds import inputs
from .feeds.operands import normal
from .files.opening import guess, open_file
from .files.program import Expected, Program
from .files.tensorflow_file import MISSING, installed, scarce
from .files.tflite_file import SHORT
from .files.written import FileError, WrittenFile
from .original.reference import NoReferenceError, Reference
from .reports.report import FileReport, Report
from .verdict import Verdict
from .whole.samples import CheckOptions, Samples

LARGE = 1 << 26  # bytes of weights
UNCHECKED = (NoReferenceError, OverBudgetError, child.DiedError)
Listener = Callable[[str], None]
Source = str | Path | onnx.ModelProto | Reference
Files = str | Path | Sequence[str | Path] | Mapping[str, Path]
Work = Callable[[], tuple[FileReport, dict[str, float]]]
Named = Sequence[tuple[str, Path]]  # files with their kinds, or ''


def check(
    onnx_model: Source,
    target: Files,
    inputs: Any = None,
    *,
    options: CheckOptions | None = None,
    listener: Listener = lambda what: None,
    **settings: Any,
) -> Report:
    """Compare files with ONNX Runtime on the same inputs, every layer unless ``layers=False``.

    :param onnx_model: path or model; or a :class:`Reference`.
    :param target: a path or several: .tflite (also quantised, also not ours), SavedModel folder, .keras, .h5; or
        ``{kind: path}``.
    :param inputs: arrays by input name (a first axis that is a multiple of the batch is several samples), a list of
        such samples, or an .npz or .npy file; random ones by default.
    :param settings: fields of :class:`CheckOptions`, instead of ``options``.
    :raises ConversionError: for a model or inputs that cannot be read.
    """
    chosen = options or CheckOptions(**{"layers": True, **settings})
    if inputs is not None:
        chosen = replace(chosen, data=_data(inputs))
    reference = onnx_model if isinstance(onnx_model, Reference) else make_reference(onnx_model)
    if isinstance(target, str | Path):
        files = [("", Path(target))]
    elif isinstance(target, Mapping):
        files = [(kind, Path(path)) for kind, path in target.items()]
    else:
        files = [("", Path(path)) for path in target]
    return Check(reference, chosen).run(files, listener)


def _data(given: Any) -> Any:
    return given if isinstance(given, Mapping | list | tuple) else inputs.read(given)


def make_reference(source: str | Path | onnx.ModelProto) -> Reference:
    """The model as a reference; ConversionError where it cannot be read."""
    from .. import passes

    model = source if isinstance(source, onnx.ModelProto) else Path(source)
    return Reference.of(model, passes.load(model))


@dataclass
class Check:
    """The check of one model's files.

    ``taken``: processors on which files of the same model are checked elsewhere, and memory is taken, meanwhile."""

    reference: Reference
    options: CheckOptions
    taken: int = 0

    def run(self, files: Named, listener: Listener) -> Report:
        """What is found of ``files``."""
        if scarce(self.options.budget, [form(*file) for file in files]):
            return self.answered(lambda: self.found(files, listener))
        return self.answered(lambda: child.one_for_all(lambda tell: self.found(files, tell), listener))

    def answered(self, find: Callable[[], Report]) -> Report:
        """What it finds, or that its process died."""
        try:
            return find()
        except child.DiedError as error:
            return self.died(error)

    def died(self, error: child.DiedError) -> Report:
        """Of a check whose process did."""
        report = self.blank()
        report.error = f"could not be checked: its process {error}"
        return report

    def prepare(self) -> None:
        """What takes time and no file: runtimes, the nodes of the model, random numbers, versions of packages."""
        _preload()
        normal((), 0), self.reference.parts, self.settings()

    def bounds(self) -> Bounds:
        """What it may take, from now on."""
        return Bounds.of(self.options.budget, self.options.seconds, self.reference.size, bool(self.taken))

    def found(self, coming: Iterable[Program | tuple[str, Path]], tell: Listener) -> Report:
        """All of it; ``coming``: files with their kinds, or ''; before them perhaps what they are going to be."""
        self.reference.bounds = self.bounds()
        samples, report = Samples(self.reference, self.options), self.blank()
        kinds, targets = list[str](), list[WrittenFile | FileReport]()
        for what in coming:
            if isinstance(what, Program):
                self.expect(what, samples, report)
            else:
                kinds.append(what[0])
                targets.append(self.open(*what))
        self.compare(targets, samples, report, tell)
        for kind, file in zip(kinds, report.files, strict=False):
            file.kind = kind or file.kind
        return report

    def expect(self, program: Program, samples: Samples, report: Report) -> None:
        """Draw the samples before there are files, where they will be the same; what is wrong is said when these are
        there."""
        other = bool(self.reference.steps) or self.reference.quantised  # the inputs go by what a file has for them
        if other or self.taken or self.reference.size >= LARGE or samples.samples:
            return
        with _timed(report.seconds, "reference"), suppress(*UNCHECKED, ConversionError):
            samples.draw([Expected(program)])

    def blank(self) -> Report:
        """A report of no files."""
        source = self.reference.source
        return Report(settings=self.settings(), model=str(source) if isinstance(source, Path) else "")

    def compare(
        self, targets: Sequence[WrittenFile | FileReport], samples: Samples, report: Report, tell: Listener
    ) -> None:
        """Into the ``report`` what is found of all the opened ones, or of as many as could be before an error."""
        _preload(tflite=not all(isinstance(target, FileReport) or target.tensorflow for target in targets))
        try:
            with _timed(report.seconds, "reference"):
                tell("reference")
                samples.draw([t for t in targets if not isinstance(t, FileReport)])
            report.samples = [{n: a.shape for n, a in s.feeds.items()} for s in samples.samples]
            works = [partial(self.verdict, samples, target, tell) for target in targets]
            for file, seconds in self.done(works, samples):
                report.files.append(file)
                report.seconds |= seconds
        except UNCHECKED as error:
            what = "ONNX Runtime " if isinstance(error, child.DiedError) else ""
            report.error = f"could not be checked: {what}{error}"
        report.notes, report.engine = self.reference.notes, self.reference.engine

    def done(self, works: Sequence[Work], samples: Samples) -> Iterator[tuple[FileReport, dict[str, float]]]:
        """What ``works`` give, in order; as many at a time as there are processors, where each takes little."""
        size = sum(a.nbytes for s in samples.samples for a in s.expected.values())
        quick = self.reference.size < LARGE and (self.reference.bounds.plain or SHORT) < SHORT
        fits = quick and HELD * size * len(works) <= self.reference.bounds.tensors
        count = max(child.processors() - self.taken, 1) if fits else 1
        for start in range(0, len(works), count):
            yield from child.at_once(works[start : start + count])

    def verdict(
        self, samples: Samples, target: WrittenFile | FileReport, tell: Listener
    ) -> tuple[FileReport, dict[str, float]]:
        """The report on one of the files, and what that took."""
        seconds: dict[str, float] = {}
        if isinstance(target, FileReport):
            return target, seconds
        if self.taken or self.reference.size >= LARGE:
            pages.give_back()  # its weights, before the file's are loaded
        with _timed(seconds, target.path.name):
            tell(target.path.name)
            return Verdict(samples, target).report(), seconds

    def open(self, kind: str, path: Path) -> WrittenFile | FileReport:
        """A file, or the report that says why it cannot be one."""
        try:
            target = open_file(form(kind, path), path, self.reference)
            if target.tensorflow and not installed():
                return FileReport(kind, path.name, "", "", (), error=f"not checked: {MISSING}", unchecked=True)
            target.program  # noqa: B018  (a foreign SavedModel is loaded for it)
            return target
        except (FileError, child.DiedError, OverBudgetError) as error:
            return failed(kind, path, error)

    def settings(self) -> dict[str, object]:
        """What it takes to do the same again."""
        o = self.options
        packages = ("onnx2tf_lite", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
        return {
            "layers": o.layers, "seed": o.seed, "samples": o.samples, "budget": o.budget,
            "seconds": self.bounds().seconds,
            "require_coverage": o.require_coverage,
            "rtol": o.rtol, "atol": o.atol, "metric": o.metric, "shapes": {n: list(s) for n, s in o.hints.items()},
            "inputs": "random" if o.data is None else "given",
            "versions": {p: _version(p) for p in packages},
        }  # fmt: skip


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def form(kind: str, path: Path) -> str:
    """What a file is checked as, by its kind or by what it is where that is ''."""
    return EMITTERS[kind].checked_as if kind in EMITTERS else kind or guess(path)


def failed(kind: str, path: Path, error: Exception) -> FileReport:
    """Of a file that could not be run; where that is one of the budget nothing is known of it."""
    over = isinstance(error, OverBudgetError)
    what = f"could not be checked: {error}" if over else str(error)
    return FileReport(kind, path.name, "", "", (), error=what, unchecked=over)


def _preload(tflite: bool = True) -> None:
    """What running takes, imported before any children that do so are forked."""
    for module in ("onnxruntime", *["ai_edge_litert.interpreter"] * tflite, "numpy.random"):
        import_module(module)


@cache
def _version(package: str) -> str:
    """By the module where it says so: the metadata of a package take milliseconds to find."""
    module = sys.modules.get(package.replace("-", "_"))
    if module is not None and package != "onnx2tf_lite" and hasattr(module, "__version__"):
        return str(module.__version__)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # of a checkout that is not installed
        return "not installed"
