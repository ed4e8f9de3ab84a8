"""How the time of a conversion grows with the number of nodes: a .tflite without check, one process per measurement.

python -m benchmarks.scale [--kinds residual dense ...] [--nodes 1000 3000 10000 30000] [--profile]

Four kinds of graphs: ``residual`` (3 x 3 convolutions that share one weight, each added to its input), ``transformer``
(blocks of attention and a gated product), ``elementwise`` (chains of arithmetic) and ``dense`` (concatenations of the
last results, each read by a 1 x 1 convolution).
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, EXTENT, WINDOW = 4, 8, 32
Made = tuple[list[onnx.NodeProto], dict[str, np.ndarray], str, list[int]]


def _weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: (rng.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}


def residual(count: int) -> Made:
    """Conv, Relu, Add; all convolutions have the same weight."""
    nodes, x = [], "x"
    for i in range(count // 3):
        nodes += [
            helper.make_node("Conv", [x, "w"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"),
            helper.make_node("Add", [x, f"r{i}"], [f"y{i}"], f"add{i}"),
        ]
        x = f"y{i}"
    return nodes, _weights(w=(CHANNELS, CHANNELS, 3, 3)), x, [1, CHANNELS, EXTENT, EXTENT]


def transformer(count: int) -> Made:
    """Attention with one head and a gated product, ten nodes a block."""
    nodes, x = [], "x"
    for i in range(count // 10):
        n = lambda kind, inputs, out, i=i, **attrs: nodes.append(  # noqa: E731
            helper.make_node(kind, inputs, [f"{out}{i}"], f"{out}{i}", **attrs)
        )
        n("MatMul", [x, "wq"], "q")
        n("MatMul", [x, "wk"], "k")
        n("MatMul", [x, "wv"], "v")
        n("Transpose", [f"k{i}"], "t", perm=[0, 2, 1])
        n("MatMul", [f"q{i}", f"t{i}"], "s")
        n("Softmax", [f"s{i}"], "p", axis=-1)
        n("MatMul", [f"p{i}", f"v{i}"], "a")
        n("Add", [x, f"a{i}"], "b")
        n("Sigmoid", [f"b{i}"], "g")
        n("Mul", [f"b{i}", f"g{i}"], "y")
        x = f"y{i}"
    return nodes, _weights(wq=(EXTENT, EXTENT), wk=(EXTENT, EXTENT), wv=(EXTENT, EXTENT)), x, [1, CHANNELS, EXTENT]


def elementwise(count: int) -> Made:
    """Add of a constant per channel, Mul, Sigmoid."""
    nodes, x = [], "x"
    for i in range(count):
        kind, *operand = [("Add", "c"), ("Mul", "c"), ("Sigmoid",)][i % 3]
        nodes.append(helper.make_node(kind, [x, *operand], [f"y{i}"], f"n{i}"))
        x = f"y{i}"
    return nodes, _weights(c=(1, CHANNELS, 1, 1)), x, [1, CHANNELS, EXTENT, EXTENT]


def dense(count: int) -> Made:
    """Concat of the last ``WINDOW`` results, 1 x 1 Conv, Relu."""
    nodes, last = [], ["x"]
    for i in range(count // 3):
        width = len(last) * CHANNELS
        nodes += [
            helper.make_node("Concat", last, [f"k{i}"], f"concat{i}", axis=1),
            helper.make_node("Conv", [f"k{i}", f"w{width}"], [f"c{i}"], f"conv{i}"),
            helper.make_node("Relu", [f"c{i}"], [f"y{i}"], f"relu{i}"),
        ]
        last = [*last, f"y{i}"][-WINDOW:]
    widths = {f"w{n * CHANNELS}": (CHANNELS, n * CHANNELS, 1, 1) for n in range(1, WINDOW + 1)}
    return nodes, _weights(**widths), last[-1], [1, CHANNELS, EXTENT, EXTENT]


KINDS: dict[str, Callable[[int], Made]] = {f.__name__: f for f in (residual, transformer, elementwise, dense)}


def model(kind: str, count: int) -> onnx.ModelProto:
    """About ``count`` nodes of a kind."""
    nodes, weights, last, shape = KINDS[kind](count)
    ends = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)] for n in ("x", last))
    graph = helper.make_graph(nodes, kind, *ends, [numpy_helper.from_array(a, n) for n, a in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def seconds(path: Path) -> tuple[float, dict[str, float]]:
    """Of the processor for the conversion, without the imports; of the clock by stage."""
    from onnx2tf_lite import convert

    quiet = {"outputs": ("float32",), "check": "none", "simplify": "never", "non_verbose": True}
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model("residual", 30), f"{folder}/small.onnx")
        convert(f"{folder}/small.onnx", folder, **quiet)  # imports what is imported late
        begin = time.process_time()
        stages = convert(str(path), folder, **quiet).report["stages"]
        return time.process_time() - begin, stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--nodes", nargs="*", type=int, default=[1000, 3000, 10000, 30000])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        total, stages = seconds(args.one)
        largest = sorted(stages.items(), key=lambda entry: -entry[1])[:4]
        print(total, " ".join(f"{name} {value:.2f}" for name, value in largest), sep="\t")
        return
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            measured = []
            for count in args.nodes:
                path = Path(folder) / f"{kind}{count}.onnx"
                onnx.save(model(kind, count), path)
                command = [sys.executable, "-m", "benchmarks.scale", "--one", str(path)]
                total, stages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\t")
                measured.append(float(total))
                print(f"{kind:12} {count:6} nodes {float(total):7.2f} s   {stages.strip()}", flush=True)
            if len(measured) > 1:
                growth = math.log(measured[-1] / measured[0]) / math.log(args.nodes[-1] / args.nodes[0])
                print(f"{kind:12} grows as nodes^{growth:.2f}\n", flush=True)
            if args.profile:
                with cProfile.Profile() as profile:
                    seconds(path)
                pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
