"""Whole-process time and memory of a conversion against a process that only imports the libraries, alternating.

python -m benchmarks.process [--runs 7] [--model MODEL]                 the .tflite, with check; against the imports
python -m benchmarks.process --default [--no-check]                     everything; against TensorFlow's import and load
python -m benchmarks.process --peer PYTHON                              float32 and float16; against onnx2tf, of an
                                                                        interpreter that has it
MODEL: a file, or the name of a network of benchmarks/architectures.py (mobilenet_v2).
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
from contextlib import suppress
from pathlib import Path

import onnx

import onnx2tf_lite
from benchmarks.architectures import ARCHITECTURES, build
from onnx2tf_lite.fleet.process import family

IMPORTS = "import onnx, onnxruntime, onnxsim, onnx_graphsurgeon, ai_edge_litert.interpreter"
LOADS = "import sys, tensorflow; tensorflow.saved_model.load(sys.argv[1])"
SAMPLE = 0.05  # seconds between two looks at the memory of a process and its children


def light_model(name: str) -> Path:
    """A model of the onnx package's own backend tests."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"


def measure(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, peak RSS in MB) of one finished process; a failure is an error."""
    return watch(command, together=False)


def watch(command: list[str], together: bool = True) -> tuple[float, float, float]:
    """The same; ``together``: the peak of its memory and that of its children, shared pages counted once (PSS)."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while together and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, sum(map(proportional, family(process.pid))))
        time.sleep(SAMPLE)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    seconds = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, seconds, peak if together else usage.ru_maxrss / 1024


def proportional(process: int) -> float:
    """MB of a process; a page that several share counts as a part for each."""
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--model", type=Path, default=light_model("squeezenet"), help="default: a light SqueezeNet")
    parser.add_argument("--default", action="store_true", help="all that is written where nothing is asked for")
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--peer", help="an interpreter in whose environment onnx2tf is installed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if str(args.model) in ARCHITECTURES:
            name, args.model = str(args.model), Path(folder, f"{args.model}.onnx")
            onnx.save(build(name), args.model)
        convert = [sys.executable, "-m", "onnx2tf_lite", "-i", str(args.model), "-o", f"{folder}/ours"]
        convert += ["--no-check"] * args.no_check
        label, other = "imports only", [sys.executable, "-c", IMPORTS]
        if args.peer:
            convert += ["--outputs", "float32,float16"]
            label, other = "onnx2tf", [args.peer, "-m", "onnx2tf", "-i", str(args.model), "-o", f"{folder}/theirs"]
        elif args.default:
            label, other = "TensorFlow loads", [sys.executable, "-c", LOADS, f"{folder}/ours"]
        else:
            convert += ["--outputs", "float32"]
        # byte code as an installed package has it, whatever PYTHONDONTWRITEBYTECODE says
        compileall.compile_dir(str(Path(onnx2tf_lite.__file__).parent), quiet=1)
        look = watch if args.default else measure
        look(convert), look(other)  # warm the disk cache
        pairs = [(look(convert), look(other)) for _ in range(args.runs)]
    print(f"{args.model.stem}, {args.runs} alternating runs; median [min, max]")
    ours = "convert" if args.no_check else "convert + check"
    for index, (name, unit) in enumerate([("wall", "s"), ("cpu", "s"), ("peak", "MB")]):
        rows = {ours: [a[index] for a, _ in pairs], label: [b[index] for _, b in pairs]}
        rows["ratio"] = [a[index] / b[index] for a, b in pairs]
        for what, values in rows.items():
            middle = statistics.median(values)
            print(f"{name:5} {what:16} {middle:8.2f} [{min(values):.2f}, {max(values):.2f}] {unit * (what != 'ratio')}")


if __name__ == "__main__":
    main()
