"""Convert the digits model to Keras, train it on for an epoch on digits that are shifted, write it with int8 inside.

    python examples/finetune/finetune.py [folder]

Two pixels are a quarter of such a picture: the model as it is fails on some.  What is printed is its accuracy on
shifted held-out digits, before, after, and of the int8 .tflite; the exit code is 1 where training did not help or int8
lost more than two digits in a hundred.  Needs tf-keras and LiteRT.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import onnx2tf_lite

DIGITS = Path(__file__).resolve().parents[1] / "digits"
RNG = np.random.default_rng(0)


def shifted(images: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Images [N, 8, 8, 1], moved down and to the right by ``step`` pixels (up and left where negative); ink that leaves
    is lost."""
    moved = np.roll(images, step, (1, 2))
    for axis, by in zip((1, 2), step, strict=True):
        gone = np.arange(8) < by if by >= 0 else np.arange(8) >= 8 + by
        moved[(slice(None), gone) if axis == 1 else (slice(None), slice(None), gone)] = 0
    return moved


def everywhere(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All 25 steps of at most two pixels."""
    steps = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    return np.concatenate([shifted(images, s) for s in steps]), np.tile(labels, len(steps))


def accuracy_of_file(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Of a .tflite with one image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    (name,) = run.get_input_details()
    found = [next(iter(run(**{name: image[None]}).values())).argmax() for image in images]
    return float(np.mean(np.array(found) == labels))


def main(folder: Path) -> int:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    held = np.load(DIGITS / "heldout.npz")
    images, labels = held["images"].reshape(-1, 8, 8, 1), held["labels"]
    half = len(images) // 2
    train, test = everywhere(images[:half], labels[:half]), everywhere(images[half:], labels[half:])

    result = onnx2tf_lite.convert(DIGITS / "digits.onnx", folder, outputs=["keras"], non_verbose=True)
    model = result.tf_keras_model
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(5e-4), loss, metrics=["accuracy"])
    before = model.evaluate(*test, verbose=0)[1]
    model.fit(*train, batch_size=32, epochs=1, verbose=0)
    after = model.evaluate(*test, verbose=0)[1]

    int8 = folder / "digits_shifted_int8.tflite"
    int8.write_bytes(quantised(model, train[0]))
    rows = RNG.choice(len(test[0]), 500, replace=False)
    lost = accuracy_of_file(int8, test[0][rows], test[1][rows])
    print(f"{before:7.1%}  shifted digits, the model as it was")
    print(f"{after:7.1%}  after one epoch on others")
    print(f"{lost:7.1%}  written with int8 inside, {int8.stat().st_size // 1024} KB (on 500 of them)")
    return int(after <= before or lost < after - 0.02)


def quantised(model: object, images: np.ndarray) -> bytes:
    """The model with int8 inside, by TensorFlow's converter; ``images`` [N, 8, 8, 1] give the ranges."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images[::16])
    return bytes(converter.convert())


if __name__ == "__main__":
    given = sys.argv[1:]
    if given:
        Path(given[0]).mkdir(parents=True, exist_ok=True)
        sys.exit(main(Path(given[0])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
