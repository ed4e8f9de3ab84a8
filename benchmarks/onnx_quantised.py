"""Models that onnxruntime.quantization has quantised: what our files of them compute with, and how fast.

python -m benchmarks.onnx_quantised [--models super_resolution_espcn,mnist_8] [--forms S8S8,dynamic] [--unchecked]

``operators`` of the .tflite, and in words which of them are floats; ``x float`` how many times as fast as the file of
the float model in the same run; ``layers``: how many are within one step of ONNX Runtime on their own operands,
without its 8-bit kernels, which saturate (15 dB for hybrid kernels).  onnx2tf 2.6.9 has 16 operators for S8S8 of
super_resolution_espcn and 275 for that of yunet_n_dynamic.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.models import golden, onnx_quantised

MODELS = "super_resolution_espcn,yunet_n_dynamic,mnist_8"
REPEATS = 5


def milliseconds(path: Path, model: golden.Model) -> float:
    """The best of some invocations on the first sample of the model."""
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(str(path), num_threads=os.cpu_count())
    runner = engine.get_signature_runner()
    sample, details = next(iter(model.feeds())), runner.get_input_details()
    given = {n: _stored(a, details[n]) for n, a in sample.items()}
    best = np.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        runner(**given)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def _stored(array: np.ndarray, detail: Any) -> np.ndarray:
    """A sample in the order of axes that the file has."""
    last = array.ndim == 4 and detail["shape"][-1] == array.shape[1] != detail["shape"][1]
    return np.asarray(array.transpose(0, 2, 3, 1) if last else array, detail["dtype"], order="C")


def row(model: golden.Model, form: str, folder: Path, plain: float, check: str) -> str:
    """One line of the table."""
    try:
        source = onnx_quantised.make(folder, model, onnx_quantised.FORMS[form])
        result = convert(source, folder / "out", outputs=("float32",), non_verbose=True, check=check)
    except ConversionError as error:
        return f"refused: {error}"
    path = result.files["float32"]
    file = FlatFile(path)
    layers = "" if result.check is None else _layers(result.check.files[0])
    speed = plain / milliseconds(path, model)
    return f"{len(file.operators)} | {Integers.of(file)} | {speed:.2f} | {layers} | {result.exit_code}"


def _layers(report: Any) -> str:
    alone = [r for r in report.rows if r.alone is not None]
    return f"{sum(not r.alone.what for r in alone)} of {len(alone)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_quantised", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=MODELS, help="names, separated by commas")
    parser.add_argument("--forms", default=",".join(onnx_quantised.FORMS))
    parser.add_argument("--unchecked", action="store_true", help="operators and speed alone")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    check = "none" if args.unchecked else "layers"
    print("| model | form | operators | of them | x float | layers | exit code |\n|---|---|--:|---|--:|---|--:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in golden.named(*(f"real/{n}" for n in args.models.split(","))):
            real = convert(model.path, folder / "float", outputs=("float32",), non_verbose=True, check="none")
            plain = milliseconds(real.files["float32"], model)
            for form in args.forms.split(","):
                print(f"| {model.path.stem} | {form} | {row(model, form, folder, plain, check)} |", flush=True)


if __name__ == "__main__":
    main()
