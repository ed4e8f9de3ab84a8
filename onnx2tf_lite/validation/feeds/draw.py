"""Seeded arrays of one kind each: pictures, masks, ids, numbers around the constants that a model tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RARE = 8  # one element in so many is one of the constants that the model looks for


def scene(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """A smooth picture f64[height, width, channels] in [0, 1]: a gradient per channel, rectangles, discs, light noise.

    White noise is no picture: networks amplify it beyond what any picture does, and their rounding errors with it.
    """
    y, x = (np.arange(extent) / max(extent - 1, 1) - 0.5 for extent in (height, width))
    y = y[:, None]
    slopes = rng.uniform(-0.3, 0.3, (2, channels))
    picture = rng.uniform(0.3, 0.7, channels) + y[..., None] * slopes[0] + x[..., None] * slopes[1]
    for number in range(12):
        centre, radius = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.05, 0.25, 2)
        dy, dx = (y - centre[0]) / radius[0], (x - centre[1]) / radius[1]
        inside = dy**2 + dx**2 < 1 if number % 2 else (abs(dy) < 1) & (abs(dx) < 1)
        picture[inside] = rng.random(channels)
    return np.asarray(np.clip(picture + rng.normal(0, 0.02, picture.shape), 0, 1))


def pictures(
    rng: np.random.Generator, shape: Sequence[int], channels_last: bool, span: tuple[float, float]
) -> np.ndarray:
    """[N,C,H,W] or [N,H,W,C] scenes between the ends of ``span``."""
    batch, *rest = shape
    height, width, channels = rest if channels_last else (*rest[1:], rest[0])
    scenes = np.stack([scene(rng, height, width, channels) for _ in range(batch)]) if batch else np.zeros((0, *rest))
    low, high = span
    drawn = low + (high - low) * scenes
    return drawn if channels_last or not batch else drawn.transpose(0, 3, 1, 2)


def masks(rng: np.random.Generator, shape: Sequence[int], empty: bool) -> np.ndarray:
    """Truth values by rows: the first is full, the others mixed and begin with a true one; with ``empty`` the last row
    holds none."""
    drawn = rng.random(shape) < 0.75
    if drawn.ndim and drawn.size:
        drawn[..., :1] = True
        rows = drawn.reshape(-1, drawn.shape[-1])
        rows[0] = len(rows) > 1 or empty or rows[0]
        if empty:
            rows[-1] = False
    return np.asarray(drawn)


def lengths(rng: np.random.Generator, shape: Sequence[int], longest: int, short: bool) -> np.ndarray:
    """From 1 to ``longest``, which is the first; if ``short`` the last is 1.

    0 has no defined result: ONNX Runtime's final state is zero then, where nothing was ever added to the initial one.
    """
    drawn = rng.integers(min(1, longest), longest + 1, shape)
    flat = drawn.reshape(-1)
    if flat.size:
        flat[0] = longest
        flat[-1] = min(1, longest) if short else flat[-1]
    return flat.reshape(shape)


def whole(rng: np.random.Generator, shape: Sequence[int], low: int, high: int, distinct: bool) -> np.ndarray:
    """Integers of [low, high); without repetition where that is asked for and possible."""
    count = int(np.prod(shape))
    if distinct and count <= high - low:
        return low + rng.permutation(high - low)[:count].reshape(shape)
    return np.asarray(rng.integers(low, max(high, low + 1), shape))


def sprinkle(rng: np.random.Generator, array: np.ndarray, values: Sequence[float]) -> np.ndarray:
    """One element in :data:`RARE` replaced by one of ``values``."""
    if not len(values) or not array.ndim:
        return array
    return np.where(rng.random(array.shape) < 1 / RARE, rng.choice(np.asarray(values), array.shape), array)


def within(array: np.ndarray, needs: set[str] | frozenset[str]) -> np.ndarray:
    """Numbers near these that a divisor, an argument of a logarithm or of an arc sine, or an unsigned byte may be."""
    if "positive" in needs:
        return np.asarray(np.abs(array) + 0.1)
    if "unsigned" in needs:
        return np.asarray(np.minimum(np.abs(array) * 40, 255))
    if "size" in needs:  # a scale
        return np.asarray(1 + np.abs(np.tanh(array)))
    if "unit" in needs:
        return np.asarray(np.tanh(array))
    if "nonzero" in needs:
        return np.where(np.abs(array) < 0.1, np.where(array < 0, -0.1, 0.1), array)
    return array
