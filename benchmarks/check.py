"""Time of checking every layer of a 500-node model, against one plain inference of each runtime with its loading.

python -m benchmarks.check [--runs 5] [--channels 64] [--extent 56]

The blocks are those of a residual network: 3 x 3 convolution, BatchNormalization, Relu, Add, Sigmoid.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stages import written


def reference(path: Path, x: Any) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def interpreter(path: Path, x: Any, plain: bool) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    engine = Interpreter(str(path), experimental_op_resolver_type=kind, num_threads=os.cpu_count())
    engine.allocate_tensors()
    engine.set_tensor(engine.get_input_details()[0]["index"], x)
    engine.invoke()
    engine.get_tensor(engine.get_output_details()[0]["index"])


def seconds(function: Any) -> tuple[float, float]:
    """(wall, processor) seconds, children included."""
    start, before = time.perf_counter(), os.times()
    function()
    after = os.times()
    return time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--extent", type=int, default=56)
    args = parser.parse_args()
    from onnx2tf_lite.validation import check

    with tempfile.TemporaryDirectory() as folder:
        source, file = written(Path(folder), args.channels, args.extent)
        x = np.random.default_rng(0).standard_normal((1, args.channels, args.extent, args.extent)).astype(np.float32)
        moved = np.ascontiguousarray(x.transpose(0, 2, 3, 1))

        def plain() -> None:
            reference(source, x)
            interpreter(file, moved, False)
            interpreter(file, moved, True)

        def layers() -> None:
            report = check(source, file, {"x": x})
            if not report.ok or len(report.files[0].layers) < 250:
                raise SystemExit(report.files[0].verdict)

        plain(), layers()  # imports, disk cache
        pairs = [(seconds(layers), seconds(plain)) for _ in range(args.runs)]
        rows = len(check(source, file, {"x": x}).files[0].layers)
    print(f"{rows} layers, {args.runs} alternating runs; median [min, max]")
    for index, clock in enumerate(("wall", "cpu")):
        values = {"all layers": [a[index] for a, _ in pairs], "each runtime once": [b[index] for _, b in pairs]}
        values["ratio"] = [a[index] / b[index] for a, b in pairs]
        for label, found in values.items():
            print(f"{clock:5}{label:18}{statistics.median(found):8.3f} [{min(found):.3f}, {max(found):.3f}]")


if __name__ == "__main__":
    main()
