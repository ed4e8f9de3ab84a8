"""Rounding of weights so that the error of a layer's result is small, not that of each weight.

The error of a sum of products depends on how the operands go together: what is rounded up in one weight can be made up
for by those whose operands move alike.  This is GPTQ (Frantar et al. 2022, after Optimal Brain Surgeon): weights are
rounded one after the other, and the error of each is spread over those that are still to come, by the inverse of the
second moments of the operands.  What is left on average goes into the bias.

The engine has it for fully connected layers alone, on its own calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir.graph import Op, Quant

MOST = 2304  # weights of a result beyond which its second moments take too long to invert
DAMPING = 0.01  # of their mean, against directions that were not seen
KEPT = 4  # every which sample is kept to judge rounding by, where there are fewer windows than weights
PATCHES = 4096  # windows that are looked at, over all samples


@dataclass
class Moments:
    """Of the operands of a linear operation: sums of ``second`` [group, weight, weight] and ``first`` [group, weight]
    powers over ``count`` windows; ``kept``: windows [group, window, weight] of other samples, by which it is judged
    whether so few say anything; ``rounded``: what came of them, by the scales."""

    second: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    first: np.ndarray = field(default_factory=lambda: np.zeros(0))
    count: int = 0
    kept: list[np.ndarray] = field(default_factory=list)
    rounded: dict[bytes, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def take(self, rows: np.ndarray, number: int, samples: int) -> None:
        """Operands [group, window, weight] of a sample, by its number of all."""
        few = rows.shape[1] * samples < rows.shape[2]
        if few and number % KEPT == 0:
            self.kept.append(rows)
        else:
            self.add(rows)

    @property
    def whole(self) -> Moments:
        """With what was kept."""
        found = Moments(self.second.copy(), self.first.copy(), self.count)
        for rows in self.kept:
            found.add(rows)
        return found

    def add(self, rows: np.ndarray) -> None:
        """Operands [group, window, weight]."""
        if not self.count:
            self.second = np.zeros((rows.shape[0], rows.shape[2], rows.shape[2]))
            self.first = np.zeros((rows.shape[0], rows.shape[2]))
        wide = rows.astype(np.float64)
        self.second += np.matmul(wide.transpose(0, 2, 1), wide)
        self.first += wide.sum(1)
        self.count += rows.shape[1]

    @property
    def known(self) -> bool:
        """True where there were enough windows to say which weights go together, or others to judge that by."""
        return self.count > 0 and (int(self.second.shape[-1]) <= self.count or bool(self.kept))


def is_known(op: Op) -> bool:
    """True for operations whose operands can be looked at."""
    weights = op.inputs[1] if op.kind.weights is not None else None
    if weights is None or weights.data is None or op.outputs[0].dtype.kind != "f":
        return False
    return weights.rank in (2, 4) and grouped(op, weights.data).shape[2] <= MOST


def _depthwise(op: Op) -> bool:
    """True where each result is a sum over one channel."""
    return op.kind.weights is not None and op.kind.weights.inputs is None


def grouped(op: Op, weights: np.ndarray) -> np.ndarray:
    """Weights as [group, result, weight]: results of a group are sums over the same operands."""
    if _depthwise(op):
        channels = weights.shape[3] // op.attrs["multiplier"]
        taps = weights.reshape(-1, weights.shape[3]).T
        return taps.reshape(channels, op.attrs["multiplier"], -1)
    if op.is_a("CONV_2D"):
        groups = _groups(op)
        return weights.reshape(groups, weights.shape[0] // groups, -1)
    return weights.reshape(1, -1, weights.shape[-1])  # one tap of a transposed convolution is as good as a result


def ungrouped(op: Op, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of :func:`grouped`."""
    if _depthwise(op):
        return rows.reshape(shape[3], -1).T.reshape(shape)
    return rows.reshape(shape)


def _groups(op: Op) -> int:
    x, weights = op.inputs[0], op.inputs[1]
    assert x is not None and weights is not None
    channels, own = x.shape[-1], weights.shape[-1]
    return channels // own if isinstance(channels, int) and isinstance(own, int) else 1


def operands(op: Op, x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Some of the operands [group, window, weight] of an operation on ``x``."""
    form = op.kind.weights
    return (_rows if form is None or form.window is None or form.scatters else _windows)(op, x, count, rng)


def _rows(op: Op, x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rows = x.reshape(-1, x.shape[-1])
    return rows[rng.permutation(len(rows))[:count]][None]


def _windows(op: Op, x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    weights = op.inputs[1]
    assert weights is not None and weights.data is not None
    kernel, strides, dilations = weights.data.shape[1:3], op.attrs["strides"], op.attrs.get("dilations", (1, 1))
    padded, corners, extents = x, [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True), start=1):
        reach = (k - 1) * d + 1
        extent = -(-x.shape[axis] // s) if op.attrs["padding"] == "SAME" else (x.shape[axis] - reach) // s + 1
        lack = max((extent - 1) * s + reach - x.shape[axis], 0)
        pads = [(lack // 2, lack - lack // 2) if i == axis else (0, 0) for i in range(4)]
        padded = np.pad(padded, pads) if lack else padded
        extents.append(extent)
        corners.append((s, np.arange(k) * d))
    *at, batch = _places((*extents, x.shape[0]), count, rng)
    rows, columns = ((p * s)[:, None] + reach for p, (s, reach) in zip(at, corners, strict=True))
    windows = padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]  # [count, height, width, channels]
    count = len(batch)
    if _depthwise(op):
        return np.asarray(windows.transpose(3, 0, 1, 2).reshape(x.shape[3], count, -1))
    groups = _groups(op)
    apart = windows.reshape(*windows.shape[:3], groups, -1)
    return np.asarray(apart.transpose(3, 0, 1, 2, 4).reshape(groups, count, -1))


def _places(extents: tuple[int, ...], count: int, rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Indices along each of ``extents``, of ``count`` places at random; of every one where there are no more."""
    total = math.prod(extents)
    if total <= count:
        return np.unravel_index(np.arange(total), extents)
    return [rng.integers(0, extent, count) for extent in extents]


def rounded(op: Op, weights: np.ndarray, quant: Quant, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """The weights as they are after rounding to ``quant``, and what that adds to each result on average.

    Parameters along axis 0 may be more than there are rows: those of blocks, into which the rows are cut.
    """
    key = quant.scale.tobytes()
    if key not in moments.rounded:
        moments.rounded[key] = _rounded(op, weights, quant, moments)
    return moments.rounded[key]


def _rounded(op: Op, weights: np.ndarray, quant: Quant, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    rows, steps = grouped(op, weights).astype(np.float64), grouped(op, _steps(quant, weights.shape))
    largest = quant.ends[1]
    levels, error = _fitted(rows, steps, largest, moments)
    if moments.kept:
        plain = np.clip(np.round(rows / steps), -largest, largest)
        seen = np.concatenate(moments.kept, 1).transpose(0, 2, 1)
        off, off_plain = (np.matmul(found * steps - rows, seen) for found in (levels, plain))
        serves = np.square(off - error).sum() < np.square(off_plain).sum()
        levels, error = _fitted(rows, steps, largest, moments.whole) if serves else (plain, np.zeros_like(error))
    form = op.kind.weights
    results = error.reshape(-1) if form is not None and not form.scatters else np.zeros(weights.shape[0])
    return ungrouped(op, levels * steps, weights.shape).astype(np.float32), results


def _fitted(rows: np.ndarray, steps: np.ndarray, largest: int, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers for weights [group, result, weight], and what they add to each result [group, result, 1]."""
    levels = _spread(rows / steps, moments.second / moments.count, largest)
    return levels, np.matmul(levels * steps - rows, moments.first[:, :, None] / moments.count)


def _steps(quant: Quant, shape: tuple[int, ...]) -> np.ndarray:
    """The scale of each weight."""
    if quant.axis == 0:
        return np.repeat(quant.scale.astype(np.float64), math.prod(shape) // quant.scale.size).reshape(shape)
    return np.asarray(np.ones(shape) * quant._parameters(len(shape))[0])


def _spread(levels: np.ndarray, second: np.ndarray, largest: int) -> np.ndarray:
    """Whole numbers up to ``largest`` for ``levels`` [group, result, weight], the operands that are largest first."""
    size = levels.shape[2]
    diagonal = np.einsum("gii->gi", second)
    floor = DAMPING * diagonal.mean(1, keepdims=True) + 1e-12
    order = np.argsort(-diagonal, 1, kind="stable")
    places = np.arange(len(levels))[:, None]
    moments = second[places[:, :, None], order[:, :, None], order[:, None, :]]
    moments = moments + np.eye(size) * floor[:, :, None]
    inverse = np.linalg.inv(moments)
    upper = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    left = levels[places, :, order].transpose(0, 2, 1).copy()
    done = np.empty_like(left)
    for i in range(size):
        done[:, :, i] = np.clip(np.round(left[:, :, i]), -largest, largest)
        error = (left[:, :, i] - done[:, :, i]) / upper[:, i, i, None]
        left[:, :, i:] -= error[:, :, None] * upper[:, None, i, i:]
    result = np.empty_like(done)
    result[places, :, order] = done.transpose(0, 2, 1)
    return result
