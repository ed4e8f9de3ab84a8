"""Time of one inference of networks as exported, against the same file without the algebra, in runs that alternate.

python benchmarks/latency.py [--seconds 2] [NAME ...]

The second file is compiled without :data:`PASSES`, the rules of ``fusion.ALGEBRA``, the stage windows and what drops
guards; everything else, the layout and the kernels, is the same.  LiteRT with XNNPACK, one thread; the ratio is that of
the fastest runs, which other work on the machine disturbs least.  ``deployed``: against the network re-parameterised
before the export.  The exit code is 1 where a ratio exceeds its limit.
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
from architectures import ARCHITECTURES, TRAINED, build

from onnx2tf_lite import compile, passes
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.fusion import ALGEBRA, RULES
from onnx2tf_lite.ir.editor import rewrite
from onnx2tf_lite.ir.graph import Graph
from onnx2tf_lite.ir.kinds import KINDS
from onnx2tf_lite.ir.orders import MatMul
from onnx2tf_lite.legalize import guards
from onnx2tf_lite.validation.profile import profile

PASSES = frozenset(("reparameterise", "groupnorm"))
#: Operators whose time no algebra saves where they stay what they are.
PRODUCTS = frozenset(k.name for k in KINDS.values() if k.weights is not None or isinstance(k.layout, MatMul))
COPIES = 5  # of every interpreter: where its memory happens to lie changes the time of a convolution by half
DEPLOYED = 1.05  # of the time of the network that was re-parameterised before the export


def compiled(model: onnx.ModelProto, algebra: bool) -> Graph:
    """The program of a model, with or without the algebra."""
    options = passes.PassOptions(disabled=frozenset() if algebra else PASSES)
    tuned, _ = passes.optimize(passes.load(model), options)

    stages = [*compile.STAGES, *compile.BRANCHES["integer"]]
    if algebra:
        return compile.run(tuned, stages)

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
    print(f"{'':18} {'ops':>5} {'T':>3}   {'was':>5} {'T':>3} {'ms':>8} {'was':>8} {'ratio':>6} {'limit':>6}  deployed")
    worse = 0
    for name in args.names:
        programs = {"algebra": compiled(build(name), True), "plain": compiled(build(name), False)}
        if name in TRAINED:
            programs["deployed"] = compiled(build(name, deployed=True), True)
        with tempfile.TemporaryDirectory() as folder:
            copies = {f"{k} {i}": interpreter(g, folder) for i in range(COPIES) for k, g in programs.items()}
            each = fastest(copies, args.seconds)
            share = f"  products {products(programs['plain'], folder):.0%}" if args.profile else ""
        best = {k: min(each[f"{k} {i}"] for i in range(COPIES)) for k in programs}
        ratio, limit = best["algebra"] / best["plain"], ARCHITECTURES[name][2]
        by_hand = best["algebra"] / best["deployed"] if name in TRAINED else 0.0
        worse += ratio > limit or by_hand > DEPLOYED
        counts = f"{count(programs['algebra'])}   {count(programs['plain'])}"
        times = f"{best['algebra'] * 1e3:8.3f} {best['plain'] * 1e3:8.3f} {ratio:6.2f} {limit:6.2f}"
        mark = "" if ratio <= limit and by_hand <= DEPLOYED else "  !"
        print(f"{name:18} {counts} {times}  {f'{by_hand:.2f}' if by_hand else '':>8}{mark}{share}", flush=True)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
