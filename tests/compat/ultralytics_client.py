"""Export a network of random weights as the ultralytics package does, and compare what comes out: `test_ultralytics`.

Runs in an environment with ultralytics, this package and ``compat``.  One line of JSON per file: its name, its shape
and the largest difference from the network in PyTorch as a share of its largest value.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=os.getcwd(), CUDA_VISIBLE_DEVICES="-1")
SIZE = 64


def data_set(folder: Path) -> Path:
    """Pictures of noise with a box in each, which int8 export is calibrated on."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(16):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(folder / "images" / f"{i}.png")
        (folder / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    page = folder / "data.yaml"
    page.write_text(f"path: {folder.absolute()}\ntrain: images\nval: images\nnames:\n  0: thing\n")
    return page


def results(folder: Path, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What every file in ``folder`` gives for the image [1,H,W,3]."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    for path in sorted(folder.glob("*.tflite")):
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        (given,), (wanted, *_) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(given["index"], quantised(image, given))
        interpreter.invoke()
        yield path.name, real(interpreter.get_tensor(wanted["index"]), wanted)
    loaded = tf.saved_model.load(str(folder))
    yield "saved_model", np.asarray(tf.nest.flatten(loaded(tf.constant(image)))[0])


def quantised(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (np.rint(array / scale) + zero).astype(detail["dtype"]) if scale else array.astype(detail["dtype"])


def real(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * scale if scale else array


def main(network: str) -> None:
    import torch
    from ultralytics import YOLO
    from ultralytics.engine.exporter import Exporter

    torch.manual_seed(0)
    page, weights = data_set(Path("data")), Path("network.pt")
    np.save("calibration_image_sample_data_20x128x128x3_float32.npy", np.zeros((20, 128, 128, 3), np.float32))
    YOLO(network).save(str(weights))
    image = np.random.default_rng(1).random((1, SIZE, SIZE, 3), np.float32)
    # from 8.4 on the form `tflite` does without onnx2tf, and a SavedModel has the integer files beside it
    old = hasattr(Exporter, "export_tflite")
    integers = ("tflite", {"int8": True}) if old else ("saved_model", {"quantize": 8})
    for label, form, more in (("saved_model", "saved_model", {}), ("pb", "pb", {}), ("int8", *integers)):
        model = YOLO(str(weights))
        model.export(format=form, imgsz=SIZE, **more, **({"data": str(page)} if more else {}))
        if form == "pb":
            print(json.dumps(["pb network.pb", [Path("network.pb").stat().st_size], 0.0]))
            continue
        with torch.no_grad():
            trained = YOLO(str(weights)).model.eval()
            expected = trained(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
        expected = (expected[0] if isinstance(expected, tuple | list) else expected).numpy()
        for name, found in results(Path("network_saved_model"), image):
            pixels = np.array([SIZE if i < 4 else 1 for i in range(expected.shape[1])])[None, :, None]
            wanted = expected / pixels if form == "tflite" else expected  # whose boxes are shares of the picture
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            print(json.dumps([f"{label} {name}", list(found.shape), float(error)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
