"""Whole-process time and memory of a conversion against a process that only imports the libraries, alternating.

python -m benchmarks.process [--runs 7] [--model MODEL]                 the .tflite, with check; against the imports
python -m benchmarks.process --default [--no-check]                     everything; against TensorFlow's import and load
                                                                        and the floor: these without Keras, and
                                                                        one run of the reference
python -m benchmarks.process --peer PYTHON [--no-check]                 float32 and float16; against onnx2tf, of an
                                                                        interpreter that has it, and beside the floor:
                                                                        the libraries that it takes and, for the check,
                                                                        every runtime end to end and layer by layer
MODEL: a file, or the name of a network of benchmarks/architectures.py (mobilenet_v2).
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
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
#: Prints what a command took.
BEGIN = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(code)
"""
#: Of a network of images.  Its layers, one after the other on operands of their own, are as much as another run.
FLOOR = """
import sys, onnx, onnx_graphsurgeon
source, *files = sys.argv[1:]
if files:
    import ai_edge_litert.schema_py_generated
    import numpy as np
    from benchmarks.check import interpreter, reference
    (x,) = onnx.load(source, load_external_data=False).graph.input
    x = np.zeros([d.dim_value for d in x.type.tensor_type.shape.dim], np.float32)
    for _ in range(2):
        reference(source, x)
        for file in files:
            for plain in (False, True):
                interpreter(file, np.ascontiguousarray(x.transpose(0, 2, 3, 1)), plain)
"""
#: The process that converts waits for that which has TensorFlow, and the reference of the check beside it.
FLOOR_OF_ALL = """
import os, sys, onnx, onnx_graphsurgeon
source, model = sys.argv[1:]
child = os.fork()
if child:
    sys.exit(os.waitpid(child, 0)[1])
from onnx2tf_lite.emitters import runtime
runtime.tensorflow_alone().saved_model.load(model)
import numpy as np
from benchmarks.check import reference
(x,) = onnx.load(source, load_external_data=False).graph.input
reference(source, np.zeros([d.dim_value for d in x.type.tensor_type.shape.dim], np.float32))
"""
LOADS = "import sys, tensorflow; tensorflow.saved_model.load(sys.argv[1])"
SAMPLE = 0.05  # seconds between two looks at the memory of a process and its children


def light_model(name: str) -> Path:
    """A model of the onnx package's own backend tests."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"


def measure(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, peak RSS in MB) of one finished process; a failure is an error.

    Begun by a small process: the system counts what a process was begun by, until it has replaced that, as its own.
    """
    done = subprocess.run([sys.executable, "-S", "-c", BEGIN, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {done.returncode}")
    wall, seconds, peak = map(float, done.stdout.split())
    return wall, seconds, peak / 1024


def watch(command: list[str]) -> tuple[float, float, float]:
    """The same, but the peak of its memory and that of its children together, shared pages counted once (PSS)."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, sum(map(proportional, family(process.pid))))
        time.sleep(SAMPLE)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    seconds = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, seconds, peak


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
        others = {"imports only": [sys.executable, "-c", IMPORTS]}
        if args.peer:
            convert += ["--outputs", "float32,float16"]
            own = shutil.copy(args.model, f"{folder}/theirs.onnx")  # it writes what it made simpler over its input
            others = {"onnx2tf": [args.peer, "-m", "onnx2tf", "-i", own, "-o", f"{folder}/theirs"]}
            files = [f"{folder}/ours/{args.model.stem}_{kind}.tflite" for kind in ("float32", "float16")]
            others["floor"] = [sys.executable, "-c", FLOOR, str(args.model), *files * (not args.no_check)]
        elif args.default:
            others = {"TensorFlow loads": [sys.executable, "-c", LOADS, f"{folder}/ours"]}
            if not args.no_check:
                others["floor"] = [sys.executable, "-c", FLOOR_OF_ALL, str(args.model), f"{folder}/ours"]
        else:
            convert += ["--outputs", "float32"]
        # byte code as an installed package has it, whatever PYTHONDONTWRITEBYTECODE says
        compileall.compile_dir(str(Path(onnx2tf_lite.__file__).parent), quiet=1)
        look = watch if args.default else measure
        commands = {"convert" if args.no_check else "convert + check": convert} | others
        for command in commands.values():
            look(command)  # warm the disk cache
        taken = [{label: look(command) for label, command in commands.items()} for _ in range(args.runs)]
    print(f"{args.model.stem}, {args.runs} alternating runs; median [min, max]")
    ours, theirs, *floor = commands
    for index, (name, unit) in enumerate([("wall", "s"), ("cpu", "s"), ("peak", "MB")]):
        rows = {label: [run[label][index] for run in taken] for label in commands}
        for what, label in zip(("ratio", "floor's ratio"), (ours, *floor), strict=False):
            rows[what] = [run[label][index] / run[theirs][index] for run in taken]
        for what, values in rows.items():
            middle = statistics.median(values)
            print(
                f"{name:5} {what:16} {middle:8.2f} [{min(values):.2f}, {max(values):.2f}] {unit * (what in commands)}"
            )


if __name__ == "__main__":
    main()
