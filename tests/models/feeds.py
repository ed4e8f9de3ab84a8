"""Inputs for the real models, as their index describes them: pictures, noise, integers within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
DTYPES = {"float": np.float32, "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "bool": np.bool_}


def feeds(inputs: list[dict[str, Any]], specs: dict[str, Any], seed: int = 0) -> Feeds:
    """An array for each input by name; ``specs`` says for each how it is made (``gen``), its shape and bounds."""
    rng = np.random.default_rng(seed)
    return {i["name"]: _make(specs[i["name"]], rng).astype(DTYPES[i["dtype"]]) for i in inputs}


def _make(spec: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    shape, low, high = spec["shape"], spec.get("lo"), spec.get("hi")
    makers = {
        "zeros": lambda: np.zeros(shape),
        "const": lambda: np.full(shape, spec["value"]),
        "values": lambda: np.reshape(spec["value"], shape),
        "normal": lambda: rng.standard_normal(shape),
        "uniform": lambda: rng.uniform(low, high, shape),
        "randint": lambda: rng.integers(low, high, shape),
        "image": lambda: low + _images(shape, spec["layout"], rng) * (high - low),
    }
    return makers[spec["gen"]]()


def _images(shape: list[int], layout: str, rng: np.random.Generator) -> np.ndarray:
    """Pictures in [0, 1] with one to six channels, in the order of axes ``layout``."""
    channels_last = layout == "NHWC"
    n, (h, w, c) = shape[0], shape[1:] if channels_last else (*shape[2:], shape[1])
    x = np.stack([_scene(h, w, rng) for _ in range(n)])
    x = np.concatenate([x, x], -1)[..., :c]
    return x if channels_last else x.transpose(0, 3, 1, 2)


def _scene(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """A picture [h, w, 3] that detectors react to: a gradient, boxes and discs, bars like text, noise."""
    down, across = np.mgrid[0:h, 0:w].astype(np.float64)
    planes = [
        (0.3 + 0.4 * rng.random())
        + 0.3 * (down / h - 0.5) * rng.uniform(-1, 1)
        + 0.3 * (across / w - 0.5) * rng.uniform(-1, 1)
        for _ in range(3)
    ]
    image = np.stack(planes, -1)
    for _ in range(14):
        y, x = rng.uniform(0, h), rng.uniform(0, w)
        high, wide = rng.uniform(0.05, 0.25) * h, rng.uniform(0.05, 0.25) * w
        if rng.random() < 0.5:
            inside = ((down - y) / high) ** 2 + ((across - x) / wide) ** 2 < 1
        else:
            inside = (abs(down - y) < high) & (abs(across - x) < wide)
        image[inside] = rng.random(3)
    for _ in range(4):
        _bars(image, rng)
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1)


def _bars(image: np.ndarray, rng: np.random.Generator) -> None:
    """A light strip with a row of short dark strokes."""
    h, w, _ = image.shape
    top, left = int(rng.uniform(0, 0.85) * h), int(rng.uniform(0, 0.4) * w)
    high, wide = max(6, int(0.09 * h)), int(0.5 * w)
    image[top : top + high, left : left + wide] = 0.95
    x = left + 2
    while x < min(left + wide - 3, w):
        stroke = int(rng.integers(1, 4))
        if rng.random() < 0.7:
            image[top + high // 5 : top + high - high // 5, x : x + stroke] = 0.05
        else:
            image[top + high // 2 : top + high // 2 + max(1, high // 8), x : x + stroke + 2] = 0.05
        x += stroke + int(rng.integers(1, 3))
