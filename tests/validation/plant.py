"""Errors planted in written .tflite files, at seeded random places, and whether the checker finds the layer.

    python -m tests.validation.plant [--each 20] [--seed 0] [--as KIND] [name ...]     # found / planted
    python -m tests.validation.plant --small 30 [--each 3] [--as KIND]              # in that many nets of each family

Planted are single weights, biases, entries of tables, other constants (each changed by the largest magnitude of its
tensor), attributes (activations, strides, pads, dilations, axes, slopes), and the axes, begins, pads and places that
are operands.  An error counts where it changes what its layer makes of dense random operands, of the signs that they
have end to end, beyond the tolerance; the check is the one that users run, with its defaults.
``--as``: in files of another kind than float32, or of another version of the model (see ``alarms``), quantised by
onnxruntime.

The Ifs of silero_vad ask how many states there are, which the model declares: they are decided before anything is
written.  So it is also converted with that extent left open, which writes both branches.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx2tf_lite import ConversionError, child, convert, passes, validation
from onnx2tf_lite.emitters import EMITTERS, TENSORFLOW
from onnx2tf_lite.validation.figures.judge import Tolerance, compare, tolerance
from onnx2tf_lite.validation.files.tflite_file import TFLiteFile
from onnx2tf_lite.validation.files.written import FileError
from onnx2tf_lite.validation.layers.alone import Bench
from onnx2tf_lite.validation.layers.bodies import branches
from onnx2tf_lite.validation.layers.isolate import Layer, Layers, Runs
from onnx2tf_lite.validation.original.reference import Reference
from onnx2tf_lite.validation.whole.run import Run
from onnx2tf_lite.validation.whole.samples import CheckOptions, Samples
from tests.models import golden

from . import single, small
from .alarms import VERSIONS
from .counts import Counts
from .editor import Editor
from .kinds import PLANTS

OTHERS = {"attribute": single.attribute, "where": single.where}
SILERO = "real/silero_vad_16k_op15"
LIMITS = child.Limits(600, 4 << 30, processor=60)  # of the layers of one error


@dataclass
class Model:
    """A converted model: where each operator of its file belongs."""

    source: Path
    file: Path
    feeds: Any
    reference: Reference

    @classmethod
    def of(cls, model: golden.Model, folder: Path, kind: str = "float32") -> Model:
        given = model.feeds() or [None]
        samples = (
            {n: np.concatenate([f[n] for f in given]) for n in given[0]} if given[0] and "integer" in kind else None
        )
        result = convert(model.path, folder, outputs=(kind,), calibration=samples, check="none", non_verbose=True)
        feeds = given[0]
        reference = Reference.of(model.path, passes.load(model.path))
        reference.bounds.seconds = 1e6  # of all errors together
        return cls(model.path, result.files[kind], feeds, reference)

    @cached_property
    def limit(self) -> Tolerance:
        """Of a layer, but for what is allowed to add up over several."""
        whole = tolerance(self.target.kind, bool(self.reference.steps))
        return replace(whole.isolated, rtol=whole.rtol)

    @cached_property
    def target(self) -> TFLiteFile:
        return TFLiteFile(self.file, self.reference)

    def layers(self, target: TFLiteFile) -> Layers:
        known = target.program.names
        names = [s.name for s in self.reference.inputs] + [n for n in self.reference.nodes if n in known]
        return Layers(target, names, {})

    @cached_property
    def all_layers(self) -> dict[str, Layer]:
        layers = self.layers(self.target)
        return {n: x for n in layers.counterpart.values() if (x := layers.layer(n))}

    def layers_of(self, op: int) -> set[str]:
        """The ONNX tensors that the operator is the, or a, last step to, by the map of the file as it was written."""
        return {n for n, layer in self.all_layers.items() if op in layer.segment.operators}

    def above(self, subgraph: int, op: int) -> Iterator[tuple[int, int]]:
        """An operator, those in whose bodies it is, and last that of the main program: each with its subgraph."""
        yield subgraph, op
        edit = Editor(self.file)
        for number, graph in enumerate(edit.model.subgraphs):
            for index, table in enumerate(graph.operators):
                bodies = [v for k, v in vars(table.builtinOptions or object).items() if k.endswith("SubgraphIndex")]
                if subgraph and subgraph in bodies:
                    yield from self.above(number, index)
                    return

    def inside(self, subgraph: int, op: int) -> set[str]:
        """As :meth:`layers_of`, in a branch that is a model of its own."""
        if subgraph not in self.branches:
            return set()
        layers = self.branches[subgraph].layers
        return {n for n in layers.counterpart.values() if (x := layers.layer(n)) and op in x.segment.operators}

    @cached_property
    def run(self) -> Run:
        """On the model's own inputs."""
        samples = Samples(self.reference, CheckOptions(data=self.feeds))
        samples.draw([self.target])
        return Run(samples, self.target, self.limit)

    @cached_property
    def branches(self) -> dict[int, Bench]:
        """By the number of their subgraph."""
        return dict(branches(self.run, self.target))

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """What the tensors of the file are on the model's own inputs."""
        names = list(self.target.program.names.values())
        feeds = self.run.feeds(self.run.whole.samples[0])
        found = self.target.open("builtin kernels", names).run(feeds)
        return {n: found[n] for n in found} | feeds

    def effect(self, path: Path, layers: set[str]) -> bool:
        """Does a changed file make other results of one of the ``layers``, beyond the tolerance?"""
        _ = self.values, self.all_layers  # once, and not in a child
        try:
            return child.call(
                lambda: self._effect(TFLiteFile(path, self.reference, self.target.kind), layers), limits=LIMITS
            )
        except (child.DiedError, FileError):  # kernels may refuse an attribute, abort, or never end
            return True

    def _effect(self, changed: TFLiteFile, layers: set[str]) -> bool:
        for name, seed in ((n, s) for n in layers for s in range(4)):
            operands = [self.dense(n, seed) for n in self.all_layers[name].reads]
            was, now = (self.alone(t, name, operands) for t in (self.target, changed))
            if compare(now, was, self.limit, self.reference.steps.get(name)).what:
                return True
        return False

    def alone(self, target: TFLiteFile, name: str, operands: list[np.ndarray]) -> np.ndarray:
        """A layer of this file, or of a changed one, whose operators may have other numbers."""
        layers = self.layers(target)
        layer = layers.layer(name)
        assert layer is not None
        return Runs(layers, [layer]).results(operands, "builtin kernels")[0][0]

    def dense(self, name: str, seed: int) -> np.ndarray:
        """Normal numbers of the size that the tensor has on the model's own inputs, of one sign where that is so there;
        integers as they are there."""
        value, rng = self.values[self.target.program.names[name]], np.random.default_rng(seed)
        if value.dtype == np.float32:
            size = float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) or 1.0
            drawn = (rng.standard_normal(value.shape) * (size if np.isfinite(size) else 1)).astype(np.float32)
            return np.abs(drawn) if value.size and value.min() >= 0 else drawn
        return rng.integers(-128, 128, value.shape).astype(np.int8) if value.dtype == np.int8 else value


@dataclass
class Outcome:
    """Who was to be blamed, who was, and whether anything was to be seen at all."""

    kind: str
    expected: set[str]
    blamed: set[str]
    seen: bool
    verdict: str

    @property
    def exact(self) -> bool:
        return (
            bool(self.blamed) and self.blamed <= self.expected
            if len(self.expected) > 1
            else self.blamed == self.expected
        )


def plant(model: Model, kind: str, seed: int, folder: Path) -> Outcome | None:
    """One error of :data:`PLANTS`; None where the model has no place for it."""
    edit = Editor(model.file)
    op = PLANTS[kind](edit, np.random.default_rng(seed))
    if op is None:
        return None
    return outcome(model, kind, edit.save(folder / f"planted_{kind}_{seed}.tflite"), model.layers_of(op))


def outcome(model: Model, kind: str, path: Path, expected: set[str]) -> Outcome:
    """What the check says of a file with an error in one of the ``expected`` layers."""
    (file,) = validation.check(model.source, path, inputs=model.feeds, layers=False).files
    path.unlink()
    return Outcome(kind, expected, {r.tensor for r in file.culprits}, not file.ok, file.verdict)


@dataclass
class Tally(Counts):
    """Of one model."""

    planted: int = 0
    without_effect: int = 0
    found: int = 0
    blamed: int = 0
    missed: list[str] = field(default_factory=list)

    @property
    def effective(self) -> int:
        """Those that change something."""
        return self.planted - self.without_effect

    def __str__(self) -> str:
        rest = f"{self.planted} planted, {self.without_effect} change nothing beyond the tolerance"
        return f"{self.found:3} of {self.effective:3} found, {self.blamed:3} at their layer ({rest})"


def singles(model: Model, each: int, seed: int, folder: Path) -> Iterator[tuple[str, Outcome | None]]:
    """(place, outcome) of ``each`` single changes; None where one changes nothing."""
    kinds = [k for k in single.PLACES if next(single.places(Editor(model.file), k), None)]
    kinds += [k for k, change in OTHERS.items() if change(Editor(model.file), np.random.default_rng(seed))]
    for number in range(each):
        kind, rng = kinds[number % len(kinds)], np.random.default_rng([seed, number])
        edit = Editor(model.file)
        place = OTHERS[kind](edit, rng) if kind in OTHERS else single.element(edit, kind, rng)
        if place is None:
            continue
        path = edit.save(folder / f"planted_{number}.tflite")
        places = list(model.above(*place))
        layers, inside = model.layers_of(places[-1][1]), set[str]().union(*(model.inside(*p) for p in places))
        where = f"{kind} of operator {place[1]} in subgraph {place[0]}"
        yield where, outcome(model, kind, path, layers | inside) if model.effect(path, layers) else None


def open_states(folder: Path, model: golden.Model) -> golden.Model:
    """silero_vad with as many states as it is given, so that its Ifs stay."""
    proto = onnx.load(model.path)
    (state,) = (t for t in proto.graph.input if t.name == "state")
    state.type.tensor_type.shape.dim[0].Clear()
    onnx.save(proto, folder / "open.onnx")
    return replace(model, name=f"{model.name}, states open", path=folder / "open.onnx")


def tally(model: Model, each: int, seed: int, folder: Path) -> Tally:
    result = Tally()
    for where, found in singles(model, each, seed, folder):
        result.planted += 1
        if found is None:
            result.without_effect += 1
            continue
        result.found += found.seen
        result.blamed += bool(found.blamed & found.expected)
        if not found.seen or not found.blamed & found.expected:
            what = "found elsewhere" if found.seen else "MISSED"
            told = f"{sorted(found.expected)}, blamed {sorted(found.blamed)}; {found.verdict}"
            result.missed.append(f"{what}: {where}: {told}")
    return result


def version(model: golden.Model, name: str, folder: Path, again: bool) -> tuple[golden.Model, str]:
    """A model in the version that is asked for, and the kind of file to write; ``again``: with its branches."""
    if again:
        return open_states(folder, model), "float32"
    if name in VERSIONS:
        return replace(model, name=f"{model.name} {name}", path=VERSIONS[name](folder, model)), "float32"
    return model, name


def models(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, golden.Model, str]]:
    """Each with the line that it is counted in, and the kind of file to write."""
    if args.small:
        for net in small.nets(folder, range(args.small)):
            entry, kind = version(net, args.version, folder, False)
            yield net.name.partition(".")[0], entry, kind
        return
    asked = golden.named(*args.names) if args.names else [m for m in golden.real() if m.present]
    again = [m for m in asked if m.name == SILERO and args.version == "float32"]
    for number, model in enumerate([*asked, *again]):
        entry, kind = version(model, args.version, folder, number >= len(asked))
        yield entry.name, entry, kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of models, such as real/mnist_8; default: all real ones")
    parser.add_argument("--each", type=int, default=20, metavar="N", help="errors in each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", type=int, default=0, metavar="N", help="nets of each small family instead")
    kinds = [n for n, row in EMITTERS.items() if row.checked_as not in TENSORFLOW]
    parser.add_argument("--as", dest="version", default="float32", choices=[*kinds, *VERSIONS])
    args = parser.parse_args()
    lines: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for line, entry, kind in models(args, Path(folder)):
            try:
                model = Model.of(entry, Path(folder), kind)
            except ConversionError as error:
                print(f"{entry.name}: {str(error)[:100]}", flush=True)
                continue
            found = tally(model, args.each, args.seed, Path(folder))
            lines[line] = lines.get(line, Tally()) + found
            for missed in found.missed:
                print("   ", entry.name, missed[:400], flush=True)
            if not args.small:
                print(f"{line:32} {found}", flush=True)
    if args.small:
        for line, found in lines.items():
            print(f"{line:32} {found}")
    total = sum(lines.values(), Tally())
    print(f"{'all':32} {total}")
    raise SystemExit(total.found < total.effective)


if __name__ == "__main__":
    main()
