"""The noise budget of an 8-bit program: what rounding each kind of tensor costs, and what the best scales could save.

python -m benchmarks.noise_budget [--models efficientnet,untrained_efficientnet_b0] [--samples 32] [--unseen 16]

The float program of an `integer_quant` file, with its channels made alike and its ranges, is run with some of its
activations rounded and nothing else, on pictures that calibration has not seen; so all noise is theirs.  ``own``: SQNR
of the tensors themselves, the mean in dB of those that are not exact; ``outputs``: that of the outputs, the mean over
pictures in dB.  The last rows round all of them by other scales, which nobody could choose, since they are made of the
very pictures:

``steps of least squares, nothing cut off``  each tensor has the step of the range that is best for its own numbers, and
    levels without end, so that what a smaller range cuts off costs nothing
``... for each channel``                     what making channels alike could reach at most: a step for each of them
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.quantization import SEEN, UNSEEN, Case, cases
from onnx2tf_lite import compile, passes
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building, copy_graph
from onnx2tf_lite.quantization import CalibrationData, Quantiser
from onnx2tf_lite.quantization.calibrate import Statistics
from onnx2tf_lite.quantization.recipes import I8
from onnx2tf_lite.quantization.runner import ProgramRunner
from onnx2tf_lite.quantization.stage import FLOAT, Chosen
from onnx2tf_lite.quantization.trials import plan_of

Feeds = Mapping[str, np.ndarray]
KIND = "integer_quant"
ROWS = 196  # places that are looked at, of a tensor and a picture
SHARES = np.linspace(0.3, 1, 15)  # of the extremes
NOTHING = 1e-30


@dataclass(frozen=True)
class Steps:
    """Of a tensor, or of each of its channels; ``ends``: whether there are 256 levels and no more."""

    scale: np.ndarray
    zero: np.ndarray
    ends: bool = True

    def of(self, x: np.ndarray) -> np.ndarray:
        """Numbers as they are after rounding."""
        levels = np.round(x / self.scale + self.zero)
        levels = np.clip(levels, -128, 127) if self.ends else levels
        return np.asarray((levels - self.zero) * self.scale)

    def emitted(self, x: Value) -> Value:
        """The same in a program."""
        zero = b.lift(self.zero.astype(np.float32))
        levels = b.emit("ROUND", b.emit("ADD", b.mul(x, (1 / self.scale).astype(np.float32)), zero, activation=None))
        if self.ends:
            levels = b.emit("MINIMUM", b.emit("MAXIMUM", levels, b.lift(np.float32(-128))), b.lift(np.float32(127)))
        return b.mul(b.emit("SUB", levels, zero, activation=None), self.scale.astype(np.float32))


class Kept(Quantiser):
    """One that keeps the float program whose ranges it has chosen."""

    def _choose(self, graph: Graph, base: np.dtype, found: Statistics, ends: tuple[np.dtype, np.dtype]) -> Chosen:
        self.prepared, self.found = copy_graph(graph), found
        return super()._choose(graph, base, found, ends)


class Budget:
    """A model, quantised; what rounding its activations costs."""

    def __init__(self, case: Case, samples: int, unseen: int):
        model, _ = passes.optimize(passes.load(case.make()))
        seen = [case.sample(SEEN + i) for i in range(samples)]
        self.unseen = [case.sample(UNSEEN + i) for i in range(unseen)]
        data = CalibrationData.of({f"{n}@onnx": np.concatenate([s[n] for s in seen]) for n in seen[0]}, ())
        self.quantiser = Kept(data)
        settings = compile.Settings(quantiser=self.quantiser)
        graph = compile.run(model, compile.STAGES)
        self.file = next(program for _, program in compile.branches(graph, [KIND], settings))
        self.graph = self.quantiser.prepared
        self.expected = list(self._results(self.graph))
        self._look()

    def _look(self) -> None:
        """Which tensors are rounded, by which steps and in how many roundings in line, and numbers of each."""
        graph, chosen = copy_graph(self.graph), self.quantiser.chosen[I8, FLOAT, FLOAT]
        plan = plan_of(graph, self.graph, dict(zip(self.graph.ops, chosen.widths, strict=True)), chosen.ranges,
                       self.quantiser.found, True)  # fmt: skip
        roots = [v for v in (*graph.inputs, *(op.outputs[0] for op in plan.ops)) if plan.root(v) is v]
        quants = {v.name: plan.quant(v, width) for v in roots if (width := plan.width(v)) is not None}
        self.steps = {n: Steps(q.scale.astype(np.float64), q.zero_point) for n, q in quants.items() if q.dtype == I8}
        self.kinds = {v.name: v.producer.kind.name if v.producer else "input" for v in roots}
        self.fixed = {v.name for v in roots if plan._fixed_of(v) is not None}
        depth = dict.fromkeys(graph.inputs, 1)
        for op in graph.ops:
            behind = max((depth.get(v, 0) for v in op.inputs if v is not None), default=0)
            depth |= {v: behind + (v.name in self.steps) for v in op.outputs}
        self.in_line = max(depth[v] for v in graph.outputs)
        runner, rng = ProgramRunner(self.graph), np.random.default_rng(0)
        values = [v for v in (*self.graph.inputs, *(v for op in self.graph.ops for v in op.outputs))
                  if v.name in self.steps]  # fmt: skip
        seen: dict[str, list[np.ndarray]] = {v.name: [] for v in values}
        for feeds in self.unseen:
            runner.run(feeds)
            for value in values:
                rows = runner.read(value).reshape(-1, runner.read(value).shape[-1])
                seen[value.name].append(rows[rng.permutation(len(rows))[:ROWS]])
        self.numbers = {name: np.concatenate(rows).astype(np.float64) for name, rows in seen.items()}

    def _results(self, program: Graph) -> Iterator[np.ndarray]:
        runner = ProgramRunner(program, everything=False)
        for feeds in self.unseen:
            runner.run(feeds)
            yield np.concatenate([a.ravel() for a in runner.results().values()]).astype(np.float64)

    def outputs(self, program: Graph) -> float:
        """The mean over pictures, in dB."""
        pairs = zip(self._results(program), self.expected, strict=True)
        return float(np.mean([decibels(got, want) for got, want in pairs]))

    def rounded(self, steps: Mapping[str, Steps]) -> Graph:
        """The float program with some activations rounded, by their names."""
        twin = copy_graph(self.graph)
        old, twin.ops = twin.ops, []
        for value in (v for v in twin.inputs if v.name in steps):
            with building(twin):
                replaced = {value: steps[value.name].emitted(value)}
            for op in old:
                op.replace_uses(replaced)
        for op in old:
            twin.ops.append(op)
            for place, value in enumerate(op.outputs):
                if value.name in steps:
                    with building(twin, op.origin):
                        raw = Value(twin.fresh_name(value.name), value.shape, value.dtype, producer=op)
                        op.outputs[place] = raw
                        last = steps[value.name].emitted(raw).producer
                        assert last is not None
                        last.outputs[0], value.producer = value, last
        return twin

    def rows(self) -> Iterator[tuple[str, Mapping[str, Steps]]]:
        """What is rounded, and by which steps."""
        for kind in dict.fromkeys(self.kinds[name] for name in self.steps):
            yield kind, {name: steps for name, steps in self.steps.items() if self.kinds[name] == kind}
        yield "all of them", self.steps
        yield "... steps of least squares, nothing cut off", self._other(least)
        yield "... for each channel", self._other(by_channel)

    def _other(self, choose: Callable[[np.ndarray], Steps]) -> dict[str, Steps]:
        """``choose`` for every tensor whose kernel has no scale of its own."""
        return {n: s if n in self.fixed else choose(self.numbers[n]) for n, s in self.steps.items()}

    def own(self, steps: Mapping[str, Steps]) -> float:
        """The mean over tensors that rounding changes, in dB."""
        found = [decibels(s.of(self.numbers[n]), self.numbers[n]) for n, s in steps.items()]
        return float(np.mean([each for each in found if np.isfinite(each)]))


def least(x: np.ndarray) -> Steps:
    """One step for all numbers: of the range with the least squared error, and of levels without end."""
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    known = [_between(share * low, share * high) for share in SHARES]
    best = min(known, key=lambda steps: float(np.square(steps.of(x) - x).sum()))
    return Steps(best.scale, best.zero, ends=False)


def by_channel(x: np.ndarray) -> Steps:
    """The same for each channel."""
    known = [least(channel) for channel in x.T]
    scales, zeros = [s.scale for s in known], [s.zero for s in known]
    return Steps(np.concatenate(scales), np.concatenate(zeros), ends=False)


def _between(low: float, high: float) -> Steps:
    scale = max(high - low, NOTHING) / 255
    return Steps(np.array([scale]), np.array([float(np.clip(np.round(-128 - low / scale), -128, 127))]))


def decibels(got: np.ndarray, want: np.ndarray) -> float:
    """Signal to noise."""
    noise = np.square(got - want).sum()
    return 10 * float(np.log10(np.square(want).sum() / noise)) if noise else np.inf


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise_budget", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="efficientnet", help="names, separated by commas")
    parser.add_argument("--samples", type=int, default=32, help="for calibration")
    parser.add_argument("--unseen", type=int, default=16, help="on which it is judged")
    args = parser.parse_args()
    known = {case.name: case for case in cases()}
    print("| model | rounded | tensors | own dB | outputs dB |")
    print("|---|---|--:|--:|--:|")
    for name in args.models.split(","):
        budget = Budget(known[name], args.samples, args.unseen)
        print(f"| {name} | the file, {budget.in_line} roundings in line | | | {budget.outputs(budget.file):.1f} |")
        for what, steps in budget.rows():
            own, outputs = budget.own(steps), budget.outputs(budget.rounded(steps))
            print(f"| {name} | {what} | {len(steps)} | {own:.1f} | {outputs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
