"""Peak memory of a conversion above the imports, and its time against that of copying the weights.

python -m benchmarks.memory [--megabytes 500] [--outputs float32] [--folder FOLDER] [--no-check]

Beyond 1.5 GB the weights lie in a file beside the model.  The model is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import IMPORTS, measure

SIZE = 2048
ONE_FILE = 1500  # MB


def write_dense_model(path: Path, megabytes: int) -> None:
    """A chain of dense layers of 2048 x 2048 (16 MiB each) with a Relu between."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    layers = max(1, megabytes * 1_000_000 // (SIZE * SIZE * 4))
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    beside = path.with_suffix(".weights").open("wb") if megabytes > ONE_FILE else None
    for i in range(layers):
        array = rng.standard_normal((SIZE, SIZE), np.float32) / 45
        if beside is None:
            weights.append(numpy_helper.from_array(array, f"w{i}"))
        else:
            tensor = TensorProto(name=f"w{i}", dims=array.shape, data_type=TensorProto.FLOAT)
            tensor.data_location = TensorProto.EXTERNAL
            said = {"location": Path(beside.name).name, "offset": i * array.nbytes, "length": array.nbytes}
            for key, value in said.items():
                tensor.external_data.add(key=key, value=str(value))
            beside.write(array.tobytes())
            weights.append(tensor)
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], f"dense{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"x{i + 1}"], f"relu{i}"))
    first, last = (helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, SIZE]) for i in (0, layers))
    graph = helper.make_graph(nodes, "dense", [first], [last], weights)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    if beside is not None:
        beside.close()


def copy(files: list[Path], folder: Path) -> float:
    """Seconds that a process takes to copy ``files``, 4 MB at a time."""
    code = (
        "import sys\n"
        "for path in sys.argv[2:]:\n"
        "    with open(path, 'rb') as source, open(sys.argv[1], 'wb') as target:\n"
        "        while part := source.read(1 << 22): target.write(part)\n"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, folder / "copy", *files], check=True)
    seconds = time.perf_counter() - start
    os.unlink(folder / "copy")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--outputs", default="float32")
    parser.add_argument("--folder", help="where the model and the files go")
    parser.add_argument("--no-check", action="store_true", help="conversion only")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # the child that makes the model
    args = parser.parse_args()
    if args.write:
        write_dense_model(args.write, args.megabytes)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder, path = Path(name), Path(name) / "dense.onnx"
        # in a process of its own: a child's peak counts what its parent held when it was forked
        subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--write", path, "--megabytes", str(args.megabytes)], check=True
        )
        files = list(folder.iterdir())
        weights = sum(f.stat().st_size for f in files) / 2**20
        command = [sys.executable, "-m", "onnx2tf_lite", "-i", str(path), "-o", str(folder / "out")]
        command += ["--outputs", args.outputs]
        base = measure([sys.executable, "-c", IMPORTS])[2]
        seconds = copy(files, folder)
        print(f"weights {weights:.0f} MB, copied in {seconds:.1f} s; imports alone {base:.0f} MB")
        runs = {"conversion only": ["--no-check"]} | ({} if args.no_check else {"conversion and check": []})
        for label, extra in runs.items():
            wall, cpu, peak = measure(command + extra)
            more = peak - base
            print(
                f"{label:21} peak {peak:.0f} MB, {more:.0f} above the imports, {more / weights:.2f} x the weights; "
                f"{wall:.1f} s ({cpu:.1f} of the processor), {wall / seconds:.2f} x the copy"
            )


if __name__ == "__main__":
    main()
