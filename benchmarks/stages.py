"""Seconds per stage of a .tflite-only conversion (check and onnxsim left out), best of some runs in one process.

python -m benchmarks.stages [--runs 3] [model.onnx ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"


def five_hundred_nodes(channels: int = 16, extent: int = 32) -> onnx.ModelProto:
    """A residual network of Conv, BatchNormalization, Relu, Add and Sigmoid: 100 blocks of 5 nodes."""
    vector, size = (channels,), [1, channels, extent, extent]
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for i in range(100):
        shapes = {f"w{i}": (channels, channels, 3, 3)} | {f"{letter}{i}": vector for letter in "sbmv"}
        tensors = {
            n: rng.uniform(0.5, 1, s) if n[0] in "sv" else rng.normal(size=s) / channels for n, s in shapes.items()
        }
        weights += [numpy_helper.from_array(a.astype(np.float32), n) for n, a in tensors.items()]
        nodes += [
            helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{i}", f"s{i}", f"b{i}", f"m{i}", f"v{i}"], [f"n{i}"], f"bn{i}"),
            helper.make_node("Relu", [f"n{i}"], [f"r{i}"], f"relu{i}"),
            helper.make_node("Add", [x, f"r{i}"], [f"a{i}"], f"add{i}"),
            helper.make_node("Sigmoid", [f"a{i}"], [f"y{i}"], f"sigmoid{i}"),
        ]
        x = f"y{i}"
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, size)], [info(x, TensorProto.FLOAT, size)]
    graph = helper.make_graph(nodes, "residual", *ends, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(folder: Path, channels: int, extent: int) -> tuple[Path, Path]:
    """That network in a folder, and the float32 .tflite of it."""
    from onnx2tf_lite import convert

    source = folder / "five_hundred_nodes.onnx"
    onnx.save(five_hundred_nodes(channels, extent), source)
    made = convert(source, folder / "out", outputs=("float32",), check="none", non_verbose=True)
    return source, made.files["float32"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, default=sorted(SHARED.glob("*.onnx")))
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    from onnx2tf_lite import convert

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "five_hundred_nodes.onnx"
        onnx.save(five_hundred_nodes(), made)
        for path in [made, *args.models]:
            best: dict[str, float] = {}
            for _ in range(args.runs):
                result = convert(
                    str(path), f"{folder}/out", outputs=("float32",), simplify="never", check="none", non_verbose=True
                )
                timings = result.report["stages"]
                if not best or sum(timings.values()) < sum(best.values()):
                    best = dict(timings)
            cells = "  ".join(f"{stage} {seconds:.3f}" for stage, seconds in best.items())
            print(f"{path.stem:28} {sum(best.values()):.3f} s  {cells}", flush=True)


if __name__ == "__main__":
    main()
