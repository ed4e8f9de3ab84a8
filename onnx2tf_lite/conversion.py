"""From a model to checked files: the stages in order, and nothing left behind where one fails."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from . import compile, emitters, passes, validation
from .emitters import EMITTERS, Emitter
from .errors import ConversionError, Problem
from .ir.graph import Graph, Placement
from .options import OBSOLETE, REFUSED
from .passes.manager import nearest
from .passes.shapes import cut
from .report import Log, TensorInfo, operators, write_json
from .validation.report import HEADER, cells

LARGE_FILE = 1 << 26


@dataclass
class ConversionResult:
    """What a conversion made.

    ``files`` maps each kind (``float32``, ...) to its path, the SavedModel to its folder; ``tensors`` every ONNX tensor
    that exists in the files to its place there; ``check`` is the comparison with ONNX Runtime.
    """

    files: dict[str, Path]
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    tensors: Mapping[str, Placement]
    check: validation.Report | None
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 right (or not checked on request), 1 a file differs or does not run, 2 the check could not run."""
        if self.check is None:
            return 0
        return 2 if self.check.error else int(not self.check.ok)


def convert(
    input_onnx_file_path: str | os.PathLike[str] = "",
    output_folder_path: str | os.PathLike[str] = "saved_model",
    *,
    onnx_graph: onnx.ModelProto | None = None,
    outputs: Sequence[str] | None = None,
    batch_size: int | None = None,
    overwrite_input_shape: Shapes | None = None,
    shape_hints: Shapes | None = None,
    keep_ncw_or_nchw_or_ncdhw_input_names: Iterable[str] | None = None,
    keep_nwc_or_nhwc_or_ndhwc_input_names: Iterable[str] | None = None,
    keep_shape_absolutely_input_names: Iterable[str] | None = None,
    keep_ncw_or_nchw_or_ncdhw_output_names: Iterable[str] | None = None,
    keep_shape_absolutely_output_names: Iterable[str] | None = None,
    channels_last_names: Iterable[str] | None = None,
    input_names_to_interrupt_model_conversion: Iterable[str] | None = None,
    output_names_to_interrupt_model_conversion: Iterable[str] | None = None,
    simplify: str = "auto",
    not_use_onnxsim: bool = False,
    fold_budget: int = passes.PassOptions.fold_budget,
    disable_passes: Iterable[str] = (),
    keep_nodes: Iterable[str] = (),
    check: str = "outputs",
    check_onnx_tf_outputs_elementwise_close: bool = False,
    check_onnx_tf_outputs_elementwise_close_full: bool = False,
    check_onnx_tf_outputs_elementwise_close_rtol: float | None = None,
    check_onnx_tf_outputs_elementwise_close_atol: float | None = None,
    test_data: str | os.PathLike[str] | Mapping[str, np.ndarray] | None = None,
    test_data_nhwc_path: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    disable_model_save: bool = False,
    non_verbose: bool = False,
    verbosity: str = "info",
    **others: Any,
) -> ConversionResult:
    """Convert an ONNX model to ``outputs`` in ``output_folder_path`` and compare them with ONNX Runtime.

    :param onnx_graph: the model itself instead of a path; wins over the path.
    :param outputs: of ``saved_model``, ``float32``, ``float16``.  Without TensorFlow the default set is written without
        the SavedModel, which a warning says; asking for it is an error then.
    :param batch_size: size of every free first dimension.
    :param overwrite_input_shape: ``["x:1,3,224,224"]`` or ``{"x": (1, 3, 224, 224)}``; ``shape_hints`` has the same
        form, is used by the check only and leaves the model dynamic.
    :param keep_...: names of inputs and outputs that stay in ONNX order, whatever that costs;
        ``channels_last_names`` are stored channels-last.
    :param keep_nodes: names of nodes that tuning neither folds, fuses nor removes, such as a multiplication by one.
    :param input_names_to_interrupt_model_conversion: tensors at which the model begins; ``output_names_...``: ends.
    :param check: ``outputs``, ``layers`` or ``none``; a limit of ``rtol * max|reference| + atol`` per tensor.
    :param test_data: arrays by input name, or an .npz or .npy file with them; else seeded random inputs.
    :param html: write the check of every layer as a page there (needs plotly, ``onnx2tf_lite[report]``).
    :param disable_model_save: convert and check, write nothing.
    :param others: options of onnx2tf that have nothing to do here (a warning), or that do not exist (an error).
    :raises ConversionError: with everything that is wrong; nothing is written then.

    A file that differs from ONNX Runtime is written all the same: ``result.exit_code`` and ``result.check`` say so.
    """
    log = Log("error" if non_verbose else verbosity)
    _compatibility(others, log)
    wanted = _wanted(outputs, log)
    if html is not None:
        validation.page.require()
    if check_onnx_tf_outputs_elementwise_close_full or (html is not None and check != "none"):
        check = "layers"
    _one_of("check", check, ("outputs", "layers", "none"))
    _one_of("simplify", simplify, ("auto", "always", "never"))
    pins = dict.fromkeys(channels_last_names or (), "channels_last")
    for names in (
        keep_ncw_or_nchw_or_ncdhw_input_names,
        keep_nwc_or_nhwc_or_ndhwc_input_names,
        keep_shape_absolutely_input_names,
        keep_ncw_or_nchw_or_ncdhw_output_names,
        keep_shape_absolutely_output_names,
    ):
        pins |= dict.fromkeys(names or (), "onnx")
    data = test_data if test_data is not None else test_data_nhwc_path
    job = _Job(
        source=onnx_graph if onnx_graph is not None else Path(input_onnx_file_path),
        stem=Path(input_onnx_file_path).stem or "model",
        wanted=wanted,
        pins=pins,
        options=passes.PassOptions(
            simplify="never" if not_use_onnxsim else simplify,
            fold_budget=fold_budget,
            disabled=frozenset(disable_passes),
            keep_nodes=frozenset(keep_nodes),
            batch_size=batch_size,
            input_shapes=parse_shapes(overwrite_input_shape),
            input_names=tuple(input_names_to_interrupt_model_conversion or ()),
            output_names=tuple(output_names_to_interrupt_model_conversion or ()),
        ),
        check=None
        if check == "none"
        else validation.CheckOptions(
            layers=check == "layers",
            histograms=html is not None,
            data=data if data is None or isinstance(data, Mapping) else validation.inputs.read(data),
            hints=parse_shapes(shape_hints),
            rtol=check_onnx_tf_outputs_elementwise_close_rtol,
            atol=check_onnx_tf_outputs_elementwise_close_atol,
        ),
        log=log,
    )
    if not onnx_graph and not os.fspath(input_onnx_file_path):
        raise ConversionError("there is no model: give input_onnx_file_path or onnx_graph")
    result = job.run(None if disable_model_save else Path(output_folder_path))
    if html is not None and result.check is not None:
        Path(html).write_text(result.check.to_html(), encoding="utf-8")
    return result


Shapes = Mapping[str, Sequence[int]] | Sequence[str]


def parse_shapes(shapes: Shapes | None) -> dict[str, tuple[int, ...]]:
    """``name:1,3,224,224`` words (or a mapping) by name; -1 leaves a dimension free."""
    if isinstance(shapes, Mapping):
        return {name: tuple(map(int, dims)) for name, dims in shapes.items()}
    result = {}
    for word in shapes or ():
        name, _, dims = word.rpartition(":")
        try:
            result[name] = tuple(int(d) for d in dims.split(",") if d.strip())
        except ValueError as error:
            raise ConversionError(Problem(f"shape {word!r}", "not of the form name:1,3,224,224")) from error
        if not name:
            raise ConversionError(Problem(f"shape {word!r}", "not of the form name:1,3,224,224"))
    return result


def _one_of(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConversionError(Problem(f"{what} {value!r}", "is unknown", nearest(value, known)))


def _wanted(outputs: Sequence[str] | None, log: Log) -> list[Emitter]:
    """The rows of the kinds that are asked for; of the default ones those that can be written here."""
    for kind in outputs or ():
        _one_of("output", kind, EMITTERS)
    if outputs is None:
        wanted = emitters.rows(emitters.default())
        for row in wanted:
            if row.missing:
                log.warn(f"{row.name} is not written: {row.missing}")
        return [row for row in wanted if not row.missing]
    if not outputs:
        raise ConversionError("outputs is empty: there is nothing to write")
    wanted = emitters.rows(outputs)
    if missing := [row for row in wanted if row.missing]:
        remedy = "or leave it out of the outputs"
        raise ConversionError(*(Problem(f"output '{row.name}'", row.missing, remedy) for row in missing))
    return wanted


def _compatibility(others: Mapping[str, Any], log: Log) -> None:
    """Keywords of onnx2tf that are not ours."""
    obsolete, refused = ({long: why for (_, long, _), why in table.items()} for table in (OBSOLETE, REFUSED))
    problems = []
    for name, value in others.items():
        if name not in obsolete and name not in refused:
            raise TypeError(f"convert() has no keyword {name!r}: {nearest(name, convert.__kwdefaults__ or ())}")
        if value in (None, False, "", []):
            continue
        if name in refused:
            problems.append(Problem(name, "is not supported", refused[name]))
        else:
            log.warn(f"{name} is ignored: {obsolete[name]}")
    if problems:
        raise ConversionError(*problems)


@dataclass
class _Job:
    source: Path | onnx.ModelProto
    stem: str
    wanted: list[Emitter]
    pins: dict[str, str]
    options: passes.PassOptions
    check: validation.CheckOptions | None
    log: Log

    def run(self, folder: Path | None) -> ConversionResult:
        log = self.log
        branches = list(dict.fromkeys(row.branch for row in self.wanted))
        stages = [*compile.STAGES, *(stage for branch in branches for stage in compile.BRANCHES[branch])]
        log.stages = 2 + len(stages) + len(self.wanted) + (self.check is not None)
        settings = compile.Settings(self.pins, self.options.keep_nodes,
                                    lambda i, n: log.step(f"lower: node {i + 1} of {n}"))  # fmt: skip
        with _workshop(folder) as work:
            with log.progress():
                with _uncollected():
                    graph, reference, tuning = self.build(settings)
                    inputs = list(graph.inputs)
                    files, counts, program = self.emit(graph, branches, settings, work)
                del graph  # the runtimes read the files: the model's weights are not needed any more,
                if any(f.stat().st_size > LARGE_FILE for f in files.values()):
                    gc.collect()  # and graphs are cyclic
                found = None
                if reference is not None:
                    with log.stage("check"):
                        found = validation.check(reference, files, options=self.check, listener=log.step)
            ends = [TensorInfo.of(v.name, program.places[v.name]) for v in inputs]
            results = [TensorInfo.of(n, program.places[n]) for n in program.outputs]
            report: dict[str, Any] = {
                "model": str(self.source) if isinstance(self.source, Path) else self.stem,
                "inputs": [asdict(i) for i in ends],
                "outputs": [asdict(o) for o in results],
                "files": {p.name: p.stat().st_size for p in files.values() if p.is_file()},
                "options": asdict(self.options) | {"pins": self.pins, "outputs": [row.name for row in self.wanted]},
                "passes": [asdict(r) for r in tuning],
                "layout": asdict(settings.layout),
                "operators": counts,
                "stages": log.seconds,
                "check": found.to_json() if found else "not asked for",
                "warnings": log.warnings,
            }
            write_json(work / f"{self.stem}_report.json", report)
            if found:
                found.conversion = {name: part for name, part in report.items() if name != "check"}
            if folder is not None:
                _deliver(work, folder)
        written = {row.name: row.path(folder, self.stem) for row in self.wanted} if folder else {}
        result = ConversionResult(written, ends, results, program.places, found, report, log.warnings)
        self.tell(result, folder)
        return result

    def build(self, settings: compile.Settings) -> tuple[Graph, validation.Reference | None, list[passes.PassReport]]:
        """The laid-out, fused program, and the model that it is compared with."""
        log = self.log
        with log.stage("load"):
            model = passes.load(self.source)
            nodes = {n.name for n in model.nodes}
            if missing := sorted(self.options.keep_nodes - nodes):
                what = "no node has this name"
                raise ConversionError(*(Problem(f"keep_nodes '{n}'", what, nearest(n, nodes)) for n in missing))
            reference = self.reference(model) if self.check else None
        with log.stage("tune"):
            model, tuning = passes.optimize(model, self.options, lambda name, i, n: log.step(f"tune: {name}"))
        graph = compile.run(model, compile.STAGES, settings, log.stage)
        for warning in settings.warnings:
            log.warn(warning)
        return graph, reference, tuning

    def emit(
        self, graph: Graph, branches: Sequence[str], settings: compile.Settings, work: Path
    ) -> tuple[dict[str, Path], dict[str, int], validation.Program]:
        """The files, in ``work``; of the last branch's program its operators and where the tensors are."""
        files = {}
        for branch, program in compile.branches(graph, branches, settings, self.log.stage):
            for row in [row for row in self.wanted if row.branch == branch]:
                files[row.name] = row.path(work, self.stem) if row.suffix else work / row.name
                with self.log.stage(row.name):
                    row.write(program, files[row.name])
        return files, operators(program), validation.Program.of(program)

    def reference(self, model: Any) -> validation.Reference:
        """The model as the user gave it, cut where he asks for that."""
        ends = self.options.input_names, self.options.output_names
        if not any(ends):
            return validation.Reference.of(self.source, model)
        part = passes.load(self.source)
        cut(part, *ends)
        return validation.Reference.of(passes.to_proto(part), part)

    def tell(self, result: ConversionResult, folder: Path | None) -> None:
        """The summary."""
        log, report, found = self.log, result.report, result.check
        for line in report["passes"]:
            log.debug(f"pass {line['name']}: {'; '.join(line['notes']) or 'nothing to do'} ({line['seconds']:.3f} s)")
        for end in result.inputs:
            log.info(f"input  {end}")
        for end in result.outputs:
            log.info(f"output {end}")
        moves = f"{len(report['layout']['transposes'])} transposes ({report['layout']['emitted_bytes']} bytes)"
        log.info(f"{sum(report['operators'].values())} operators, {moves}")
        if folder:
            names = [row.article or row.path(folder, self.stem).name for row in self.wanted]
            log.info(f"wrote {', '.join(names)} in {folder}")
        if found is None:
            log.info("not compared with ONNX Runtime, on request")
            return
        for file in found.files:
            if self.check and self.check.layers and file.layers:
                log.table(HEADER, [cells(row) for row in file.layers])
            (log.info if file.ok else log.error)(file.verdict)
        for note in found.notes:
            log.info(f"note: {note}")
        if found.error:
            log.error(found.error)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cyclic garbage collection inside: a compiler makes many objects that live to its end, and the collector visits
    them again and again (a fifth of the time of a small model)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _workshop(folder: Path | None) -> Iterator[Path]:
    """A folder beside the target in which everything is made; it disappears whatever happens."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConversionError(Problem(f"output folder '{folder}'", "is a file", "name a folder with -o"))
    beside = None
    if folder is not None:
        beside = next(p for p in folder.absolute().parents if p.is_dir())
    try:
        made = tempfile.mkdtemp(prefix=".onnx2tf-", dir=beside)
    except OSError as error:
        raise ConversionError(Problem(f"output folder '{folder}'", f"cannot be written: {error.strerror}")) from error
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _deliver(work: Path, folder: Path) -> None:
    """Move everything into place; what was there under the same names goes, everything else stays."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = [work / row.name for row in EMITTERS.values() if not row.suffix]  # their files lie in the folder itself
    inside = [item for part in whole if part.is_dir() for item in sorted(part.iterdir())]
    for item in [*inside, *sorted(p for p in work.iterdir() if p not in whole)]:
        target = folder / item.name
        if target.is_dir() and not target.is_symlink():
            os.rename(target, work / f"{item.name}.old")
        os.replace(item, target)
