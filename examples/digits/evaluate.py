"""Accuracy of the example model on the held-out digits: the ONNX file and, when given, converted .tflite files.

    python examples/digits/evaluate.py [saved_model/..._float32.tflite ...]

The exit code is 1 when a .tflite file classifies fewer images correctly than the ONNX file by more than
``--tolerance`` (a share of the images). Needs numpy, onnxruntime and, for .tflite, ai_edge_litert.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_tflite(path: Path, images: np.ndarray) -> np.ndarray:
    """One image at a time, as it stands: with one channel NCHW and NHWC hold the same bytes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for image in images:
        interpreter.set_tensor(source["index"], encode(image.reshape(source["shape"]), source))
        interpreter.invoke()
        rows.append(decode(interpreter.get_tensor(target["index"]), target).reshape(-1))
    return np.stack(rows)


def encode(x: np.ndarray, detail: dict) -> np.ndarray:
    """Into the input's type; an integer input is quantised with its own scale and zero point."""
    if np.issubdtype(detail["dtype"], np.integer):
        scale, zero = detail["quantization"]
        limits = np.iinfo(detail["dtype"])
        x = np.clip(np.round(x / scale) + zero, limits.min, limits.max)
    return x.astype(detail["dtype"])


def decode(x: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (x.astype(np.float32) - zero) * scale if np.issubdtype(x.dtype, np.integer) else x


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tflite", nargs="*", type=Path, help="converted files to compare with the ONNX file")
    parser.add_argument("--tolerance", type=float, default=0.0, help="share of images that may be lost (default 0)")
    args = parser.parse_args()

    held = np.load(HERE / "heldout.npz")
    images, labels = held["images"], held["labels"]
    expected = run_onnx(HERE / "digits.onnx", images)
    wanted = accuracy(expected, labels)
    print(f"{wanted:8.2%}  digits.onnx (ONNX Runtime), {len(labels)} held-out digits")
    failed = False
    for path in args.tflite:
        logits = run_tflite(path, images)
        got = accuracy(logits, labels)
        same = int((logits.argmax(1) == expected.argmax(1)).sum())
        print(f"{got:8.2%}  {path.name} (LiteRT), same answer as the ONNX file for {same} of {len(labels)}")
        failed |= got < wanted - args.tolerance
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
