"""From a model to checked files: read, tune, compile, emit, check, deliver; nothing is left behind where one fails."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from . import compile, emitters, passes, quantization, validation
from .commands.strict import to_json
from .commands.terminal import Terminal
from .delivery import deliver, workshop
from .emitters import Emitter
from .errors import ConversionError, Problem, ToolError, boundary, did_you_mean
from .ir.graph import Graph, Placement
from .model.write import atomic
from .options import Options, explained, resolve
from .passes.shapes import cut
from .quantization import RECIPES
from .report import TensorInfo, edges, operators
from .targets import WANTED

if TYPE_CHECKING:
    from .quantization import Quantiser
    from .targets.verdict import Fit

LARGE_FILE = 1 << 26
JUDGED = 4  # calibration samples on which quantised files are judged


@dataclass
class ConversionResult:
    """What a conversion made.

    ``files`` maps each kind (``float32``, ...) to its path, the SavedModel to its folder; ``tensors`` every ONNX tensor
    that exists in the files to its place there; ``check`` is the comparison with ONNX Runtime; ``program`` compiles the
    program of the float files again; ``fits`` how each .tflite fits the device asked for; ``missed`` goals not reached.
    """

    files: dict[str, Path]
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    tensors: Mapping[str, Placement]
    check: validation.Report | None
    report: dict[str, Any]
    warnings: list[str]
    program: Callable[[], Graph] = field(repr=False)
    fits: list[Fit] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @cached_property
    def tf_keras_model(self) -> Any:
        """The model as a functional ``tf_keras`` model of real layers, made when it is asked for.

        Inputs are named and ordered as in ONNX, outputs in the order of ONNX; both lie in memory as in the files.

        :raises ConversionError: where tf-keras is not installed, or the program has no input.
        """
        from .emitters import keras

        return keras.build(self.program()).model

    @property
    def exit_code(self) -> int:
        """0 right (or not checked on request), 1 a file differs or does not run, none runs on the target or a goal was
        not reached, 2 it could not be checked."""
        short = bool(self.missed) or (bool(self.fits) and not any(fit.ok for fit in self.fits))
        if self.check is None or (short and not self.check.error):
            return int(short)
        return 0 if self.check.ok else 1 if self.check.wrong and not self.check.error else 2


@explained
def convert(
    input_onnx_file_path: str | os.PathLike[str] = "",
    output_folder_path: str | os.PathLike[str] = "saved_model",
    *,
    onnx_graph: onnx.ModelProto | None = None,
    options: Options | None = None,
    **keywords: object,
) -> ConversionResult:
    """Convert an ONNX model to files in ``output_folder_path`` and compare them with ONNX Runtime.

    TensorFlow writes nothing, but runs the SavedModel for the check: without it that file is not checked, which
    ``exit_code`` 2 says.  A file that differs from ONNX Runtime is written all the same: ``result.exit_code`` and
    ``result.check`` say so.  Keywords of onnx2tf that are not listed are ignored with a warning, or refused with what
    to do instead; two that contradict each other are an error.

    :param input_onnx_file_path: the model.
    :param output_folder_path: where the files go.
    :param onnx_graph: the model itself instead of a path; wins over the path, which still names the files.
    :param options: everything else in one object, instead of keywords.
    :raises ConversionError: with everything that is wrong; nothing is written then.
    """
    if options is not None and keywords:
        raise ConversionError(f"options and {', '.join(keywords)} are given: give one or the other")
    asked = options or resolve(keywords)
    if onnx_graph is None and not os.fspath(input_onnx_file_path):
        raise ConversionError("there is no model: give input_onnx_file_path or onnx_graph")
    source = onnx_graph if onnx_graph is not None else Path(input_onnx_file_path)
    stem = Path(input_onnx_file_path).stem or "model"
    return _Conversion(source, stem, Path(output_folder_path) if asked.save else None, asked).run()


@dataclass
class _Conversion:
    """One run.  ``folder``: None where nothing is to be written."""

    source: Path | onnx.ModelProto
    stem: str
    folder: Path | None
    options: Options

    def __post_init__(self) -> None:
        o = self.options
        self.name = str(self.source) if isinstance(self.source, Path) else self.stem
        self.besides: list[str] = []  # names of files that no kind of output is
        self.log = Terminal(o.verbosity, listener=o.listener)
        for warning in o.warnings:
            self.log.warn(warning)
        self.wanted = self._wanted()
        self.branches = list(dict.fromkeys(row.branch for row in self.wanted))
        self.tuning = passes.PassOptions(
            simplify=o.simplify,
            fold_budget=passes.PassOptions.fold_budget if o.fold_budget is None else o.fold_budget,
            disabled=frozenset(o.disabled_passes) | ({"batchnorm"} if o.keep_batchnorm else set()),
            keep_nodes=frozenset(o.keep_nodes),
            batch_size=o.batch_size,
            input_shapes=dict(o.input_shapes),
            input_names=o.input_names,
            output_names=o.output_names,
        )
        self.quantises = any(row.branch in RECIPES for row in self.wanted)
        calibrated = o.calibration is not None or bool(o.calibration_parts) or o.random_calibration
        self.quantiser = self._quantiser() if self.quantises else None
        integers = any(row.branch in RECIPES and RECIPES[row.branch].activations is not None for row in self.wanted)
        self.drawn = o.picture_calibration and integers and not calibrated
        self.settings = compile.Settings(
            o.pins, self.tuning.keep_nodes, self._lowering, self.quantiser, o.io_layout, o.keep_batchnorm
        )
        self.settings.forms = frozenset([*WANTED.get(o.target, ()), *o.forms])
        self.check = self._check() if o.check != "none" else None
        self.beside: validation.beside.Beside | None = None

    def _quantiser(self) -> Quantiser:
        from .quantization import CalibrationData, Goal, Quantiser

        o = self.options
        look: dict[str, object] = {"mean": o.calibration_mean, "std": o.calibration_std, "bgr": o.calibration_bgr}
        look |= {"random": o.random_calibration, "shapes": o.shape_hints}
        data = CalibrationData.of(o.calibration, o.calibration_parts, **look)
        ends, goal = (np.dtype(o.input_dtype), np.dtype(o.output_dtype)), Goal(o.min_sqnr, o.min_agreement)
        return Quantiser(data, o.per_channel, *ends, self.log.step, self.log.warn, goal)

    def _lowering(self, index: int, count: int) -> None:
        self.log.step(f"lower: node {index + 1} of {count}")

    def _wanted(self) -> list[Emitter]:
        """The rows of the kinds that are asked for; of the default ones those that can be written here."""
        o = self.options
        wanted = emitters.rows(o.kinds)
        missing = [row for row in wanted if row.missing]
        asked = [row for row in missing if o.outputs is not None or row.name in o.added]
        if asked:
            remedy = "or leave it out of the outputs"
            raise ConversionError(*(Problem(f"output '{row.name}'", row.missing, remedy) for row in asked))
        for row in missing:
            self.log.warn(f"{row.name} is not written: {row.missing}")
        return [row for row in wanted if not row.missing]

    def _check(self) -> validation.CheckOptions:
        o = self.options
        if o.html is not None:
            validation.page.require()
            if not Path(o.html).absolute().parent.is_dir():
                raise ConversionError(Problem(f"--html {o.html}", "its folder does not exist", "make it first"))
        from .validation.feeds import inputs

        given = o.test_data is None or isinstance(o.test_data, Mapping)
        return validation.CheckOptions(
            layers=o.check == "layers",
            histograms=o.html is not None,
            data=o.test_data if given else inputs.read(o.test_data),
            hints=o.shape_hints,
            fills=o.value_hints,
            samples=o.samples,
            rtol=o.rtol,
            atol=o.atol,
            require_coverage=o.require_coverage,
            budget=validation.CheckOptions.budget if o.budget is None else o.budget,
            seconds=o.seconds,
        )

    def run(self) -> ConversionResult:
        """All of it.

        :raises ConversionError: nothing is written then.
        """
        stages = sum((compile.stages(branch, self.settings.forms) for branch in self.branches), compile.STAGES)
        asked = bool(self.options.target) + bool(self.options.asked)
        self.log.stages = 2 + len(stages) + len(self.wanted) + (self.check is not None) + asked
        with workshop(self.folder) as work, ExitStack() as self.until_the_end:
            try:
                result = self._made(work)
                if self.folder is not None:
                    deliver(work, self.folder, [row.name for row in self.wanted if not row.suffix])
            except ConversionError as error:
                if not any(problem.ours for problem in error.problems):
                    raise
                raise ConversionError(*validation.refusal.judged(error.problems, self.source)) from error
            except OSError as error:
                where = f"file '{error.filename}'" if error.filename else "a file"
                raise ConversionError(Problem(where, f"cannot be read or written: {error.strerror}")) from error
        self.tell(result)
        return result

    def _made(self, work: Path) -> ConversionResult:
        """The files in ``work``, compared."""
        log = self.log
        with log.progress():
            with _uncollected():
                graph, tuned = self.build()
                inputs = [v.name for v in graph.inputs]
                self._check_on_samples(graph)
                files, counts, program = self.emit(graph, work)
            del graph  # the runtimes read the files: the model's weights are not needed any more, and graphs are cyclic
            if any(f.stat().st_size > LARGE_FILE for f in files.values()):
                gc.collect()
            found = self._checked(files)
            data = self.check.data if self.check else None
            speed = quantization.speed.on(files, data, program.places) if found and self.quantises else {}
            fits = self.fits(files)
        ends = [TensorInfo.of(n, program.places[n]) for n in inputs]
        results = [TensorInfo.of(n, program.places[n]) for n in program.outputs]
        report = {
            "model": self.name,
            "inputs": [asdict(i) for i in ends],
            "outputs": [asdict(o) for o in results],
            "signature": self.signature([*inputs, *program.outputs]),
            "files": {p.name: p.stat().st_size for p in files.values() if p.is_file()},
            "options": asdict(self.tuning)
            | {"pins": self.options.pins, "io_layout": self.options.io_layout}
            | {"outputs": [row.name for row in self.wanted]},
            "passes": [asdict(r) for r in tuned],
            "layout": asdict(self.settings.layout),
            "operators": counts,
            "quantisation": self.quantiser.to_json() if self.quantiser else {},
            "milliseconds": speed,
            "stages": log.seconds,
            "check": found.to_json() if found else "not asked for",
            "fits": [fit.to_json() for fit in fits],
            "warnings": log.warnings,
        }
        (work / f"{self.stem}_report.json").write_text(to_json(report) + "\n", encoding="utf-8")
        if found:
            self._complete(found, report, fits)
        written = {row.name: row.path(self.folder, self.stem) for row in self.wanted} if self.folder else {}
        described = ends, results, program.places, found, report, log.warnings, self.float_program, fits
        return ConversionResult(written, *described, self.quantiser.missed if self.quantiser else [])

    def _checked(self, files: Mapping[str, Path]) -> validation.Report | None:
        """What the check finds; None where none is asked for."""
        if self.beside is None or self.check is None:
            return None
        with self.log.stage("check"), boundary("check"):
            return self.beside.check(files, self.check, self.log.step)

    def _complete(self, found: validation.Report, report: Mapping[str, object], fits: list[Fit]) -> None:
        """The report of the check with that of the conversion, and its page where one is wanted: an older one stays
        where that cannot be."""
        found.fits = fits
        found.conversion = {name: part for name, part in report.items() if name != "check"}
        if self.options.html is None:
            return
        try:
            with atomic(self.options.html) as page:
                page.write(validation.page.render(found).encode())
        except ToolError as error:
            raise ConversionError(Problem("--html", error.what)) from error

    def build(self) -> tuple[Graph, list[passes.PassReport]]:
        """The laid-out, fused program, and what tuning did.  The check begins."""
        log = self.log
        with log.stage("load"), boundary("model"):
            model = self.resized(passes.load(self.source, log.warn))
            for tensor in model.inputs:
                if tensor.shape is None and tensor.name in self.tuning.input_shapes:
                    tensor.shape = list(self.tuning.input_shapes[tensor.name])
            nodes = {n.name for n in model.nodes if n.name}
            if missing := sorted(self.tuning.keep_nodes - nodes):
                what = "no node has this name" if nodes else "no node of the model has a name"
                remedies = {n: did_you_mean(n, nodes) if nodes else "give them names with sng4onnx" for n in missing}
                raise ConversionError(*(Problem(f"keep_nodes '{n}'", what, remedies[n]) for n in missing))
            if self.quantiser is not None and self.drawn:
                self.quantiser.data = replace(self.quantiser.data, made=quantization.pictures.told(model))
            if self.check is not None:  # inputs are chosen later where something is quantised
                kinds = {} if self.quantises else {row.name: row.checked_as for row in self.wanted}
                begun = validation.beside.Beside(self.reference(model), self.check, kinds)
                self.beside = self.until_the_end.enter_context(begun)
        with log.stage("tune"), boundary("stage 'tune'"):
            model, tuned = passes.optimize(model, self.tuning, lambda name, i, n: log.step(f"tune: {name}"))
        graph = compile.run(model, compile.STAGES, self.settings, log.stage)
        for warning in self.settings.warnings:
            log.warn(warning)
        return graph, tuned

    def resized(self, model: gs.Graph) -> gs.Graph:
        """The model; where inputs are to have other numbers than it declares, with these carried through it."""
        if not self.tuning.input_shapes:
            return model
        from .tools._extents import carried, contradicting

        declared = {t.name: t.shape for t in model.inputs}
        if not (other := contradicting(declared, self.tuning.input_shapes)):
            return model
        for name, shape in other.items():
            self.log.warn(f"input '{name}' is {declared[name]} in the model and becomes {shape}, as is asked for")
        self.source = carried(self.source, other)
        return passes.load(self.source, self.log.warn)

    def _check_on_samples(self, graph: Graph) -> None:
        """Quantised files are judged on what they are calibrated for, where no other inputs are given."""
        if self.check and self.check.data is None and self.quantiser and self.quantiser.data.given:
            self.quantiser.data = self.quantiser.data.sized(graph)
            self.check = replace(self.check, data=self.quantiser.data.first(graph, JUDGED))

    def float_program(self) -> Graph:
        """The program of the float files once more: a result does not keep the weights in memory."""
        settings = replace(self.settings, listener=None, warnings=[], notes=[])
        model, _ = passes.optimize(passes.load(self.source), self.tuning)
        graph = compile.run(model, compile.STAGES, settings)
        return next(compile.branches(graph, ("float",), settings))[1]

    def emit(self, graph: Graph, work: Path) -> tuple[dict[str, Path], dict[str, int], validation.Program]:
        """The files, in ``work``; of the last branch's program its operators and where the tensors are (of one that was
        quantised here only where there is no other)."""
        files, told = {}, None
        for branch, program in compile.branches(graph, self.branches, self.settings, self.log.stage):
            if self.beside is not None:
                self.beside.expect(validation.Program.of(program))
            for row in [row for row in self.wanted if row.branch == branch]:
                files[row.name] = row.path(work, self.stem) if row.suffix else work / row.name
                with self.log.stage(row.name), boundary(f"output '{row.name}'"):
                    self.besides += [path.name for path in row.write(program, files[row.name], self.options)]
                    if self.beside is not None:
                        self.beside.begin(row.name, files[row.name])
            if told is None or branch not in RECIPES:
                told = operators(program), validation.Program.of(program)
        assert told is not None
        return files, *told

    def fits(self, files: Mapping[str, Path]) -> list[Fit]:
        """How each .tflite fits the device; for ``micro`` the best that does also as C++."""
        o = self.options
        if not (o.target or o.asked):
            return []
        from .targets import c_array
        from .targets.verdict import judge
        from .validation.files.flatfile import FlatFile

        found: list[tuple[Fit, FlatFile]] = []
        flat = [FlatFile(path) for path in files.values() if path.suffix == ".tflite"]
        for name in dict.fromkeys(d for d in (o.target, o.asked) if d):
            with self.log.stage(name), boundary(f"device '{name}'"):
                found += [(judge(name, file), file) for file in flat]
        arrays = [(fit, file) for fit, file in found if fit.device == o.target and fit.arena]
        if arrays:
            fit, file = arrays[-1]  # integers, where there are any: they are written last
            stem = file.path.with_name(f"{self.stem}_{'int8' if file.kind == 'quantised' else 'float32'}")
            self.besides += [path.name for path in c_array.write(file, stem, fit.arena)]
        return [fit for fit, _ in found]

    def reference(self, model: gs.Graph) -> validation.Reference:
        """The model as the user gave it, cut where he asks for that."""
        ends = self.options.input_names, self.options.output_names
        if not any(ends):
            return validation.Reference.of(self.source, model)
        part = passes.load(self.source)
        cut(part, *ends)
        return validation.Reference.of(passes.to_proto(part), part)

    def signature(self, names: list[str]) -> dict[str, str]:
        """What TensorFlow's signature calls the inputs and outputs; nothing where no file has one."""
        if not {"saved_model", "frozen"} & {row.checked_as for row in self.wanted}:
            return {}
        from .emitters.saved_model import signature_keys

        return signature_keys(names)

    def tell_asked(self, result: ConversionResult) -> None:
        """Which goals were not reached, and what a device makes of the files."""
        for line in result.missed:
            self.log.error(line)
        for fit in result.fits:
            if fit.stranded:
                from .targets import verdict

                self.log.table(verdict.HEADER, [verdict.cells(v) for v in fit.stranded])
            (self.log.info if fit.ok else self.log.error)(fit.sentence)
            for note in fit.notes:
                self.log.info(f"note: {note}")

    def tell(self, result: ConversionResult) -> None:
        """The summary."""
        log, report, found = self.log, result.report, result.check
        for line in report["passes"]:
            log.debug(f"pass {line['name']}: {'; '.join(line['notes']) or 'nothing to do'} ({line['seconds']:.3f} s)")
        for line in edges(result.inputs, result.outputs, report["signature"], self.options.io_layout):
            log.info(line)
        moves = f"{len(report['layout']['transposes'])} transposes ({report['layout']['emitted_bytes']} bytes)"
        log.info(f"{sum(report['operators'].values())} operators, {moves}")
        if self.folder is not None:
            names = [row.article or row.path(self.folder, self.stem).name for row in self.wanted]
            log.info(f"wrote {', '.join([*names, *self.besides])} in {self.folder}")
        told = self.quantiser.sentences() if self.quantiser else []
        for line in [*told, *(quantization.speed.sentences(report["milliseconds"]) if self.quantises else ())]:
            log.info(line)
        self.tell_asked(result)
        if found is None:
            log.info("not compared with ONNX Runtime, on request")
            return
        from .validation.reports import show

        show.tell(found, log, layers=self.options.check == "layers")


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cyclic garbage collection inside: it visits what lives to the end again and again, a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
