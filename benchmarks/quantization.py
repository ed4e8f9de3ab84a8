"""Quantised files beside those that ai-edge-quantizer alone makes of the same float32 file: size, SQNR, speed, islands.

python -m benchmarks.quantization [--models vittrack,mobilenet_v2] [--kinds integer_quant] [--samples 32]

SQNR is that of the worst output, over samples that calibration has not seen, against ONNX Runtime's float result; both
are run in the same interpreter.  ``lead`` is ours less the engine's, in dB; ``x float`` how many times as fast as the
float32 file of the same run, below 1 slower; ``MACs`` the share of multiplications that mixed precision left
integer; ``s`` what quantising took, of ours calibration with the first kind alone, and ``x s`` ours by the engine's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.untrained import UNTRAINED
from onnx2tf_lite import compile, passes
from onnx2tf_lite.emitters.tflite import write
from onnx2tf_lite.ir.graph import Graph, copy_graph
from onnx2tf_lite.quantization import CalibrationData, Goal, Quantiser
from onnx2tf_lite.quantization.recipes import RECIPES
from onnx2tf_lite.validation.feeds.inputs import bind
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.models import golden
from tests.models.feeds import feeds
from tests.quantization.nets import NETS

Feeds = dict[str, np.ndarray]
SEEN, UNSEEN = 100, 0  # seeds of calibration and of evaluation
JUDGED = 4
DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
#: What ai-edge-quantizer is asked for: bits of activations and of weights; None: float activations.
ENGINE = {
    "dynamic_range_quant": (None, 8),
    "integer_quant": (8, 8),
    "integer_quant_with_int16_act": (16, 8),
    "weight_only_int8": (None, 8),
    "weight_only_int4": (None, 4),
}


@dataclass(frozen=True)
class Case:
    """How to come by a model, and its samples by seed."""

    name: str
    make: Callable[[], Path | onnx.ModelProto]
    sample: Callable[[int], Feeds]


def cases() -> list[Case]:
    """Every model that is present."""
    real = [m for m in golden.real() if m.present and m.entry and m.entry.get("feeds")]
    found = [Case(m.name.partition("/")[2], partial(Path, m.path), _indexed(m.entry)) for m in real]
    found += [Case(name, make, partial(_picture, 96)) for name, make in NETS.items()]
    found += [Case(name, make, partial(_picture, 224)) for name, make in UNTRAINED.items()]
    return [*found, Case("digits", lambda: DIGITS / "digits.onnx", _digit)]


def _indexed(entry: Any) -> Callable[[int], Feeds]:
    return lambda seed: feeds(entry["inputs"], entry["feeds"], seed)


def _picture(extent: int, seed: int) -> Feeds:
    spec = {"shape": [1, 3, extent, extent], "gen": "image", "layout": "NCHW", "lo": -2, "hi": 2}
    return feeds([{"name": "x", "dtype": "float"}], {"x": spec}, seed)


def _digit(seed: int) -> Feeds:
    with np.load(DIGITS / "heldout.npz") as held:
        images = held["images"] if "images" in held else held[held.files[0]]
    name = onnx.load(DIGITS / "digits.onnx", load_external_data=False).graph.input[0].name
    return {name: np.asarray(images[seed % len(images)], np.float32).reshape(1, 1, *images.shape[-2:])}


@dataclass
class Row:
    """What came of one file."""

    size: int
    decibels: dict[str, float]
    agreement: float | None
    milliseconds: float
    integers: Integers | None
    seconds: float
    failed: str = ""
    macs: float | None = None  # share of multiplications that are integer, where mixed precision chose

    @property
    def worst(self) -> float:
        return min(self.decibels.values(), default=-np.inf)


class Subject:
    """A compiled model with its reference results."""

    def __init__(self, case: Case, count: int):
        import onnxruntime

        self.case = case
        source = case.make()
        model, _ = passes.optimize(passes.load(source))
        self.graph = compile.run(model, compile.STAGES)
        self.calibration = [case.sample(SEEN + i) for i in range(count)]
        self.unseen = [case.sample(UNSEEN + i) for i in range(JUDGED)]
        session = onnxruntime.InferenceSession(str(source) if isinstance(source, Path) else source.SerializeToString())
        self.names = [o.name for o in session.get_outputs()]
        self.expected = [session.run(self.names, s) for s in self.unseen]
        self.program = next(p for _, p in compile.branches(copy_graph(self.graph), ["integer"]))
        self.places = self.program.placements

    def file(self, program: Graph) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            write(program, Path(folder) / "m.tflite")
            return (Path(folder) / "m.tflite").read_bytes()

    def stored(self, sample: Mapping[str, np.ndarray]) -> Feeds:
        symbols = bind([(self.places[n].shape, a.shape) for n, a in sample.items() if n in self.places], {})
        made = {n: self.places[n].store(a, symbols) for n, a in sample.items() if n in self.places}
        return {n: np.asarray(a, self.places[n].value.dtype) for n, a in made.items()}

    def measure(self, content: bytes, seconds: float) -> Row:
        from ai_edge_litert.interpreter import Interpreter

        engine = Interpreter(model_content=content, num_threads=os.cpu_count())
        runner = engine.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        noise, power, chosen, best = dict.fromkeys(self.names, 0.0), dict.fromkeys(self.names, 0.0), [], np.inf
        for sample, expected in zip(self.unseen, self.expected, strict=True):
            given = {n: _stored(a, inputs[n]) for n, a in self.stored(sample).items() if n in inputs}
            start = time.perf_counter()
            results = runner(**given)
            best = min(best, time.perf_counter() - start)
            results = {n: _real(a, outputs[n]) for n, a in results.items()}
            for name, want in zip(self.names, expected, strict=True):
                place = self.places[name]
                symbols = bind([(place.shape, want.shape)], {})
                got = replace(place, real=False).restore(results[name], symbols).astype(np.float64)
                noise[name] += float(np.square(got - want).sum())
                power[name] += float(np.square(want.astype(np.float64)).sum())
                if want.ndim == 2 and want.shape[1] > 1 and want.dtype.kind == "f":
                    chosen.append(float((got.argmax(1) == want.argmax(1)).mean()))
        decibels = {n: 10 * np.log10(power[n] / noise[n]) if noise[n] and power[n] else 200.0 for n in self.names}
        return Row(
            len(content), decibels, float(np.mean(chosen)) if chosen else None, 1e3 * best, counted(content), seconds
        )

    def ours(self, kind: str, quantiser: Quantiser) -> Row:
        start = time.perf_counter()
        settings = compile.Settings(quantiser=quantiser)
        _, program = next(compile.branches(copy_graph(self.graph), [kind], settings))
        seconds = time.perf_counter() - start
        width = RECIPES[kind].activations
        known = [found for (base, *_), found in quantiser.chosen.items() if base == width]
        choice = known[-1].choice if known else None
        return replace(self.measure(self.file(program), seconds), macs=None if choice is None else choice.macs)

    def engine(self, kind: str, content: bytes) -> Row:
        from ai_edge_quantizer import quantizer

        start = time.perf_counter()
        activations, weights = ENGINE[kind]
        made = quantizer.Quantizer(bytearray(content))
        result = None
        if activations:
            made.add_static_config(".*", "*", activations, weights)
            data = [self.stored(s) for s in self.calibration]
            result = made.calibrate({"serving_default": data})
        elif kind.startswith("weight_only"):
            made.add_weight_only_config(".*", "*", weights)
        else:
            made.add_dynamic_config(".*", "*", weights)
        quantised = made.quantize(result, enable_progress_report=False).quantized_model
        return self.measure(bytes(quantised), time.perf_counter() - start)


def _stored(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or array.dtype.kind != "f":
        return array
    info = np.iinfo(detail["dtype"])
    return np.asarray(np.clip(np.round(array / scale) + zero, info.min, info.max), detail["dtype"])


def _real(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float64) - zero) * scale if scale and array.dtype.kind in "iu" else array


def counted(content: bytes) -> Integers:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tflite"
        path.write_bytes(content)
        return Integers.of(FlatFile(path))


def attempt(make: Callable[[], Row]) -> Row:
    """A row, or what kept it from being one."""
    try:
        return make()
    except Exception as error:  # of the other tool, or a file that does not run: it is a result
        return Row(0, {}, None, np.inf, None, 0.0, f"{type(error).__name__}: {error}"[:150])


def run(case: Case, kinds: Iterable[str], count: int, **asked: Any) -> Iterable[tuple[str, str, Row]]:
    """(kind, whose, row) of a model, float32 first."""
    subject = Subject(case, count)
    content = subject.file(subject.program)
    yield "float32", "ours", subject.measure(content, 0.0)
    rows = {f"{n}@onnx": np.stack([s[n] for s in subject.calibration]) for n in subject.calibration[0]}
    parts = {n: a.reshape(-1, *a.shape[2:]) if a.ndim > 1 else a[0] for n, a in rows.items()}
    quantiser = Quantiser(CalibrationData.of(parts, ()), **asked)
    for kind in kinds:
        yield kind, "ours", attempt(partial(subject.ours, kind, quantiser))
        if kind in ENGINE:
            yield kind, "engine", attempt(partial(subject.engine, kind, content))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantization", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="", help="names, separated by commas; default: all")
    parser.add_argument("--kinds", default=",".join(ENGINE))
    parser.add_argument("--min-sqnr", type=float, help="ours with mixed precision")
    parser.add_argument("--samples", type=int, default=16, help="for calibration")
    args = parser.parse_args()
    goal = {} if args.min_sqnr is None else {"goal": Goal(args.min_sqnr)}
    known = {case.name: case for case in cases()}
    wanted = args.models.split(",") if args.models else list(known)
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"no such models: {', '.join(unknown)}; there are {', '.join(known)}")
    print("| model | kind | whose | bytes | worst SQNR | lead | argmax | x float | operators | MACs | s | x s |")
    print("|---|---|---|--:|--:|--:|--:|--:|---|--:|--:|--:|")
    for case in map(known.__getitem__, wanted):
        plain, other = np.inf, None
        for kind, whose, row in run(case, args.kinds.split(","), args.samples, **goal):
            plain = row.milliseconds if kind == "float32" else plain
            if whose == "ours":
                other = row
            print(_line(case.name, kind, whose, row, other if whose == "engine" else None, plain), flush=True)


def _line(name: str, kind: str, whose: str, row: Row, other: Row | None, plain: float) -> str:
    """``other``: ours, beside that of the engine."""
    if row.failed:
        return f"| {name} | {kind} | {whose} | {row.failed} | | | | | | | | |"
    lead = "" if other is None else f"{other.worst - row.worst:+.1f}"
    ratio = "" if other is None else f"{other.seconds / row.seconds:.1f}"
    macs = "" if row.macs is None else f"{100 * row.macs:.3g} %"
    agreement = "" if row.agreement is None else f"{100 * row.agreement:.0f} %"
    each = "/".join(f"{d:.1f}" for d in row.decibels.values())[:60]
    speed = f"{plain / row.milliseconds:.2f}"
    parts = [name, kind, whose, row.size, each, lead, agreement, speed, row.integers, macs, f"{row.seconds:.1f}", ratio]
    return f"| {' | '.join(map(str, parts))} |"


if __name__ == "__main__":
    main()
