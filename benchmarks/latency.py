"""Time of one inference of networks as exported, against the same file without the algebra, in runs that alternate.

python -m benchmarks.latency [--seconds 2] [NAME ...]

``was``: compiled without :data:`PASSES`, the rules of ``fusion.ALGEBRA``, the stage windows and what drops guards;
everything else, the layout and the kernels, is the same.  ``ratio``: to that, of the file that is written by default,
and of the one of ``--target cpu``, which has to keep the limit, since this is a processor.  LiteRT with XNNPACK, one
thread; the ratio is that of the fastest runs, which other work on the machine disturbs least.  ``deployed``: against
the network re-parameterised before the export, both by default.  The exit code is 1 where a ratio exceeds its limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx

from benchmarks.architectures import ARCHITECTURES, TRAINED, build
from onnx2tf_lite import compile, passes
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.fusion import ALGEBRA, RULES
from onnx2tf_lite.ir.editor import rewrite
from onnx2tf_lite.ir.graph import Graph
from onnx2tf_lite.ir.kinds import KINDS
from onnx2tf_lite.ir.orders import MatMul
from onnx2tf_lite.legalize import guards
from onnx2tf_lite.targets import WANTED
from onnx2tf_lite.validation.files.profile import profile

PASSES = frozenset(("reparameterise", "groupnorm"))
#: Operators whose time no algebra saves where they stay what they are.
PRODUCTS = frozenset(k.name for k in KINDS.values() if k.weights is not None or isinstance(k.layout, MatMul))
COPIES = 5  # of every interpreter: where its memory happens to lie changes the time of a convolution by half
DEPLOYED = 1.05  # of the time of the network that was re-parameterised before the export
SLOWER = 1.02  # no network may be


def compiled(model: onnx.ModelProto, algebra: bool, target: str = "") -> Graph:
    """The program of a model, with or without the algebra; in the forms of a target."""
    options = passes.PassOptions(disabled=frozenset() if algebra else PASSES)
    tuned, _ = passes.optimize(passes.load(model), options)

    forms = frozenset(WANTED.get(target, ()))
    stages = [*compile.STAGES, *compile.stages("integer", forms)]
    if algebra:
        return compile.run(tuned, stages, compile.Settings(forms=forms))

    def fuse(graph: Graph, settings: Any) -> Graph:
        rewrite(graph, [r for r in RULES if r not in ALGEBRA])
        return graph

    plain = [(name, fuse if name == "fuse" else stage) for name, stage in stages if name != "windows"]
    with mock.patch.object(guards, "drop"):
        return compile.run(tuned, plain)


def interpreter(graph: Graph, folder: str) -> Any:
    """An interpreter with its inputs set."""
    from ai_edge_litert.interpreter import Interpreter

    path = str(Path(folder) / "model.tflite")
    tflite.write(graph, path)
    made = Interpreter(model_content=Path(path).read_bytes(), num_threads=1)
    made.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in made.get_input_details():
        made.set_tensor(detail["index"], rng.standard_normal(detail["shape"]).astype(np.float32))
    return made


def fastest(engines: dict[str, Any], seconds: float) -> dict[str, float]:
    """The shortest processor time of each, in rounds of two runs: the first brings its weights into the caches.

    They run in the calling thread; what other processes take meanwhile is not counted.
    """
    best = dict.fromkeys(engines, float("inf"))
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < 10 or time.perf_counter() < end:
        for name, engine in engines.items():
            engine.invoke()
            start = time.thread_time()
            engine.invoke()
            best[name] = min(best[name], time.thread_time() - start)
        rounds += 1
    return best


def products(graph: Graph, folder: str) -> float:
    """The part of the time that layers and products take, each operator alone: no ratio can be below it, as long as
    these stay as they are."""
    path = Path(folder) / "profile.tflite"
    tflite.write(graph, str(path))
    rows = profile(path).rows
    return sum(r.seconds for r in rows if r.kind in PRODUCTS) / sum(r.seconds for r in rows)


def count(graph: Graph) -> str:
    moved = sum(op.is_a("TRANSPOSE") for op in graph.ops)
    return f"{len(graph.ops):5} {moved:3}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--profile", action="store_true", help="say what part of the time without it products take")
    args = parser.parse_args()
    print(f"{'':18} {'was':>5} {'T':>3} {'ms':>8}   {'ops':>5} {'T':>3} {'ms':>8} {'ratio':>6}   ", end="")
    print(f"{'cpu':>5} {'T':>3} {'ms':>8} {'ratio':>6} {'limit':>6}  deployed")
    worse = sum(row(name, args.seconds, args.profile) for name in args.names)
    return 1 if worse else 0


def row(name: str, seconds: float, shares: bool) -> bool:
    """Print the figures of a network; True where a ratio exceeds its limit."""
    model = build(name)
    programs = {
        "plain": compiled(model, False),
        "algebra": compiled(model, True),
        "cpu": compiled(model, True, "cpu"),
    }
    if name in TRAINED:
        programs["deployed"] = compiled(build(name, deployed=True), True)
    with tempfile.TemporaryDirectory() as folder:
        copies = {f"{k} {i}": interpreter(g, folder) for i in range(COPIES) for k, g in programs.items()}
        each = fastest(copies, seconds)
        share = f"  products {products(programs['plain'], folder):.0%}" if shares else ""
    best = {k: min(each[f"{k} {i}"] for i in range(COPIES)) for k in programs}
    ratios, limit = {k: best[k] / best["plain"] for k in ("algebra", "cpu")}, ARCHITECTURES[name][2]
    by_hand = best["algebra"] / best["deployed"] if name in TRAINED else 0.0
    worse = ratios["cpu"] > limit or ratios["algebra"] > SLOWER or by_hand > DEPLOYED
    figures = [f"{count(programs[k])} {best[k] * 1e3:8.3f} {ratios[k]:6.2f}" for k in ratios]
    print(f"{name:18} {count(programs['plain'])} {best['plain'] * 1e3:8.3f}   {'   '.join(figures)}", end="")
    print(f" {limit:6.2f}  {f'{by_hand:.2f}' if by_hand else '':>8}{'  !' if worse else ''}{share}", flush=True)
    return worse


if __name__ == "__main__":
    sys.exit(main())
