"""The same models through this converter and through generations of onnx2tf, each from an environment of its own.

    python -m venv one && one/bin/pip install onnx2tf==1.29.24      # Python 3.11
    python -m venv two && two/bin/pip install onnx2tf==2.6.9        # Python 3.12
    python -m benchmarks.peers --peer 1.29=one/bin/onnx2tf --peer 2.6=two/bin/onnx2tf [MODEL ...]

Per model and converter: the exit code, seconds and peak memory of the whole process; of the float32 file the operators,
how many of them are TRANSPOSE, the largest error beside ONNX Runtime as a share of the largest value (as
onnx2tf-check sees it), and the time of the fastest run, one thread, of runs in which the files of a model take turns.
Models: those that are committed; each conversion has a copy, since onnx2tf overwrites what it reads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency import fastest
from benchmarks.peer_worker import pictures

REAL = Path(__file__).resolve().parents[1] / "tests" / "models" / "real"
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SECONDS = 3  # of inferences, for each model


@dataclass
class Outcome:
    """A line of the table."""

    code: int
    seconds: float
    megabytes: float
    operators: int | None = None
    transposes: int | None = None
    error: float | None = None
    milliseconds: float | None = None

    def __str__(self) -> str:
        shown = [f"{self.code:5d}", f"{self.seconds:8.1f}", f"{self.megabytes:8.0f}"]
        rest = [(self.operators, "6d"), (self.transposes, "6d"), (self.error, "10.1e"), (self.milliseconds, "9.2f")]
        return " ".join([*shown, *(f"{'-':>6}" if value is None else f"{value:{form}}" for value, form in rest)])


def run(command: list[str], model: Path, folder: Path) -> Outcome:
    """One conversion of a copy of ``model`` in a folder of its own."""
    folder.mkdir(parents=True)
    shutil.copy(model, folder)
    pictures(folder)
    found = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])  # its own onnxsim, too
    words = [*command, "-i", model.name, "-o", "out"]
    start = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=os.environ | {"PATH": found}, **SILENT)
    _, status, usage = os.wait4(process.pid, 0)
    return Outcome(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss / 1024)


def measured(outcome: Outcome, model: Path, file: Path) -> None:
    """Add what there is to say of the file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from onnx2tf_lite import validation

    plain = Interpreter(str(file), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    names = [op["op_name"] for op in plain._get_ops_details()]
    outcome.operators, outcome.transposes = len(names), names.count("TRANSPOSE")
    report = validation.check(str(model), [str(file)])
    outcome.error = max((output.difference.max_rel for output in report.files[0].outputs), default=None)


def ready(file: Path) -> Any:
    """An interpreter with inputs from 0 to 1; None for a file that LiteRT does not run (operators of TensorFlow)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        print(f"{file}: {str(error)[:200]}", file=sys.stderr)
        return None
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.random(detail["shape"]).astype(detail["dtype"]))
    return interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=sorted(REAL.glob("*.onnx")))
    parser.add_argument("--peer", action="append", default=[], help="NAME=command in the peer's environment")
    args = parser.parse_args()
    converters = {"ours": [sys.executable, "-m", "onnx2tf_lite", "--outputs", "float32", "--no-check"]}
    converters |= {name: [str(Path(path).absolute())] for name, _, path in (peer.partition("=") for peer in args.peer)}
    with tempfile.TemporaryDirectory() as work:
        pairs = [(model, name) for model in args.models for name in converters]
        places = {pair: Path(work, pair[0].stem, pair[1]) for pair in pairs}
        # all conversions first: what this process imports later would count as the memory of its children
        made = {pair: run(converters[pair[1]], pair[0], places[pair]) for pair in pairs}
        print(f"{'model':28} {'by':8} {'exit':>5} {'s':>8} {'MB':>8} {'ops':>6} {'TR':>6} {'error':>10} {'ms':>9}")
        for model in args.models:
            files = {name: found[0] for name in converters if (found := written(places[model, name]))}
            for name, file in files.items():
                measured(made[model, name], model, file)
            runners = {name: runner for name, file in files.items() if (runner := ready(file)) is not None}
            for name, seconds in fastest(runners, SECONDS).items():
                made[model, name].milliseconds = seconds * 1000
            for name in converters:
                print(f"{model.stem:28} {name:8} {made[model, name]}", flush=True)


def written(place: Path) -> list[Path]:
    return sorted((place / "out").glob("*_float32.tflite"))


if __name__ == "__main__":
    main()
