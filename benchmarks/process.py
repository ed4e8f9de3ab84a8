"""Whole-process time of a conversion against the process that only imports the libraries, alternating.

python benchmarks/process.py [--runs 7] [--model model.onnx]
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx2tf_lite

IMPORTS = "import onnx, onnxruntime, onnxsim, onnx_graphsurgeon, ai_edge_litert.interpreter"


def light_model(name: str) -> Path:
    """A model of the onnx package's own backend tests."""
    import onnx

    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"


def measure(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, peak RSS in MB) of one finished process; a failure is an error."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--model", type=Path, default=light_model("squeezenet"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = ["-i", str(args.model), "-o", folder, "--outputs", "float32"]
        convert = [sys.executable, "-m", "onnx2tf_lite", *words]
        imports = [sys.executable, "-c", IMPORTS]
        # byte code as an installed package has it, whatever PYTHONDONTWRITEBYTECODE says
        compileall.compile_dir(str(Path(onnx2tf_lite.__file__).parent), quiet=1)
        measure(convert), measure(imports)  # warm the disk cache
        pairs = [(measure(convert), measure(imports)) for _ in range(args.runs)]
    print(f"{args.model.stem}, {args.runs} alternating runs; median [min, max]")
    for index, (name, unit) in enumerate([("wall", "s"), ("cpu", "s"), ("peak", "MB")]):
        rows = {"convert + check": [a[index] for a, _ in pairs], "imports only": [b[index] for _, b in pairs]}
        rows["ratio"] = [a[index] / b[index] for a, b in pairs]
        for label, values in rows.items():
            middle = statistics.median(values)
            print(
                f"{name:5} {label:16} {middle:8.2f} [{min(values):.2f}, {max(values):.2f}] {unit * (label != 'ratio')}"
            )


if __name__ == "__main__":
    main()
