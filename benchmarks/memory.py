"""Peak memory of a conversion above the imports, as a multiple of the weights.

python benchmarks/memory.py [--megabytes 500]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from process import IMPORTS, measure


def write_dense_model(path: Path, megabytes: int) -> None:
    """A chain of dense layers of 2048 x 2048 (16 MiB each) with a Relu between."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    layers = max(1, megabytes * 1_000_000 // (2048 * 2048 * 4))
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for i in range(layers):
        weights.append(numpy_helper.from_array(rng.normal(size=(2048, 2048)).astype(np.float32) / 45, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], f"dense{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"x{i + 1}"], f"relu{i}"))
    first, last = (helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, 2048]) for i in (0, layers))
    graph = helper.make_graph(nodes, "dense", [first], [last], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # the child that makes the model
    args = parser.parse_args()
    if args.write:
        write_dense_model(args.write, args.megabytes)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.onnx"
        # in a process of its own: a child's peak counts what its parent held when it was forked
        subprocess.run([sys.executable, __file__, "--write", path, "--megabytes", str(args.megabytes)], check=True)
        weights = path.stat().st_size / 2**20
        command = [sys.executable, "-m", "onnx2tf_lite", "-i", str(path), "-o", folder, "--outputs", "float32"]
        base = measure([sys.executable, "-c", IMPORTS])[2]
        print(f"weights {weights:.0f} MB, imports alone {base:.0f} MB")
        for label, extra in (("conversion and check", []), ("conversion only", ["--no-check"])):
            wall, _, peak = measure(command + extra)
            ratio = (peak - base) / weights
            print(f"{label:21} peak {peak:.0f} MB, {wall:.1f} s: {ratio:.2f} x the weights above the imports")


if __name__ == "__main__":
    main()
