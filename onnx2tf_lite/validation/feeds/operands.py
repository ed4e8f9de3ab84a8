"""Operands for a layer on its own: dense, at the scale that was seen, over all that its operators tell apart.

Every operand has a value for every round, which depends on its name and the number of the round only, so both sides of
a check make the same one.  Round 0 is the plain one; later rounds are for layers of which one set of operands shows
too little.
"""

from __future__ import annotations

import math
import zlib
from functools import cache

import numpy as np

from ...record import record
from ..figures.measure import Array

#: Scale of the operands of a layer that takes any number, round for round; each pair is a draw and its negative, so
#: that what an activation hides in one shows in the other; larger ones come over a bias, smaller ones bring it out.
SCALES = (1.0, -1.0, 8.0, -8.0, 0.05, -0.05, 64.0, -64.0)
#: Operators that are defined, and as good, for floats of either sign and any size up to ``SCALES``.
TAKES_ANY = frozenset({
    "Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "LSTM", "GRU", "RNN", "BatchNormalization",
    "Add", "Sub", "Mul", "Neg", "Abs", "Max", "Min", "Where", "Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish",
    "HardSigmoid", "Sigmoid", "Tanh", "Elu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze",
    "Identity", "Concat", "Split", "Slice", "Pad", "Expand", "Tile", "Gather", "Resize", "Upsample", "DepthToSpace",
    "SpaceToDepth", "Constant", "ConstantOfShape", "Cast", "Shape", "Dropout", "DynamicQuantizeLinear", "ConvInteger",
    "MatMulInteger",
})  # fmt: skip

SEVERAL = 2
TURNS = (0, 1, 0)  # of loops, between what was seen and several; a condition of its own is true in the even rounds
ROUNDS = len(TURNS) + 2
POOL = (1 << 18) + 7
LOOK = 1 << 14  # elements of a tensor that say how large its values are


@record
class Seen:
    """What is known of an operand: its dtype, its shape in ONNX order, and figures of its values end to end.

    ``low``, ``high``, ``mean``, ``std`` of the finite ones; ``kept``: the values themselves where they may say shapes,
    places or counts and are taken as they are; ``whole``: floats without fractions; ``finite``: all of them.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    kept: Array | None = None
    whole: bool = False
    finite: bool = True

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes as ONNX stores them."""
        return self.size * self.dtype.itemsize

    @classmethod
    def of(cls, values: Array) -> Seen:
        """Figures of a tensor as it was end to end, by some of its elements where there are many."""
        shape, flat = values.shape, values.reshape(-1)
        if values.dtype.kind != "f":
            return cls(values.dtype, shape, kept=values)
        finite = not flat.size or _finite(flat)
        some = flat[:: max(1, flat.size // LOOK)]
        some = some if finite else some[np.isfinite(some)]
        if not some.size:
            return cls(values.dtype, shape, finite=finite)
        low, high = float(some.min()), float(some.max())
        mean, std = float(some.mean(dtype=np.float64)), float(some.std(dtype=np.float64))
        whole = high > low and finite and bool((some == np.rint(some)).all()) and bool((flat == np.rint(flat)).all())
        return cls(values.dtype, shape, low, high, mean, std, values if whole else None, whole, finite)


def _finite(flat: Array) -> bool:
    """Are they all?  A sum that is finite says so, of doubles at a price."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(flat.sum()) or np.isfinite(flat.sum(dtype=np.float64)))


@cache
def _pool() -> Array:
    """Normal numbers, drawn once: making new ones for every operand would cost more than running the layers."""
    pool = np.random.default_rng(0).standard_normal(POOL, np.float32)
    pool.flags.writeable = False
    return pool


def normal(shape: tuple[int, ...], seed: int) -> Array:
    """Float32 numbers of mean 0 and variance 1, which may not be written to, from another place of the pool for every
    ``seed``."""
    size = math.prod(shape)
    if size > POOL:
        return np.resize(_pool(), size).reshape(shape)
    start = seed * 7919 % (POOL - size + 1)
    return _pool()[start : start + size].reshape(shape)


@cache
def _factors(seed: int, most: float) -> Array:
    return np.asarray(1 + np.random.default_rng(seed).uniform(-most, most, POOL), np.float32)


def factors(size: int, seed: int, most: float) -> Array:
    """Float32 numbers that differ from 1 by at most as much, from one pool for every ``seed``."""
    pool = _factors(seed, most)
    return pool[:size] if size <= POOL else np.resize(pool, size)


def turns(seen: Seen, number: int) -> int:
    """How often a loop turns in round ``number``, of an operand that says so."""
    first = int(seen.kept.reshape(-1)[0]) if seen.kept is not None and seen.kept.size else 1
    return (first, *TURNS, max(first, SEVERAL))[number % ROUNDS]


def draw(
    name: str,
    seen: Seen,
    number: int,
    free: bool = False,
    rows: int = 0,
    loop: bool = False,
    ends: tuple[float, float] | None = None,
) -> Array:
    """The operand of round ``number``, in ONNX order.

    ``free``: for a layer that takes any float; ``rows`` of the table that the operand points into; ``loop``: it says
    how often a loop turns; ``ends``: of the range of a quantised model's tensor.
    """
    if loop:
        return np.full(seen.shape, turns(seen, number), seen.dtype)
    seed = zlib.crc32(name.encode()) + (number // 2 if free else number)
    kind = seen.dtype.kind
    if rows and kind in "iu":
        return _ids(seen, number, rows)
    if kind == "b":
        return _flags(seen, number, normal(seen.shape, seed if number != 1 else seed - 1))
    if kind == "f" and ends and number % 2:  # as _bytes
        return np.where(normal(seen.shape, seed) < 0, *ends).astype(seen.dtype)
    if kind == "f":
        return _any(seen, number, seed) if free else _like(seen, seed)
    if kind in "iu" and seen.dtype.itemsize == 1:
        return _bytes(seen, number, np.random.default_rng(seed))
    return seen.kept if seen.kept is not None else np.zeros(seen.shape, seen.dtype)


def _any(seen: Seen, number: int, seed: int) -> Array:
    """Normal numbers of either sign, as large as those seen."""
    size = float(np.hypot(seen.mean, seen.std)) or 1.0
    drawn = normal(seen.shape, seed) * np.float32(SCALES[number % len(SCALES)] * min(size, 1e4))
    return drawn.astype(seen.dtype, copy=False)


def _bytes(seen: Seen, number: int, rng: np.random.Generator) -> Array:
    """All values alike; in the odd rounds the two ends only, whose sums go far enough to open channels that an
    activation shuts."""
    info = np.iinfo(seen.dtype)
    if number % 2:
        return np.where(rng.random(seen.shape, np.float32) < 0.5, info.min, info.max).astype(seen.dtype)
    return rng.integers(info.min, info.max + 1, seen.shape).astype(seen.dtype)


def _like(seen: Seen, seed: int) -> Array:
    """Numbers of the range that was seen, which may be all that the operators are defined for."""
    if seen.whole and seen.kept is not None:
        flat = seen.kept.reshape(-1)
        return np.asarray(np.random.default_rng(seed).permutation(flat).reshape(seen.shape), seen.dtype)
    drawn = normal(seen.shape, seed)
    if not seen.high > seen.low:  # a constant, as far as is known
        drawn = np.abs(drawn) if seen.low >= 0 else drawn
        return np.asarray(drawn * (abs(seen.low) or 1.0)).astype(seen.dtype)
    drawn = drawn * np.float32(seen.std)
    drawn += np.float32(seen.mean)
    return np.clip(drawn, seen.low, seen.high, out=drawn).astype(seen.dtype, copy=False)


def _flags(seen: Seen, number: int, noise: Array) -> Array:
    """Both, then the opposite of each; all true, all false."""
    if number > 1:
        return np.full(seen.shape, number % 2 == 0)
    return np.asarray(noise < 0 if number == 0 else noise >= 0)


def _ids(seen: Seen, number: int, rows: int) -> Array:
    """The next places of a table of ``rows``; the round after the last begins again."""
    ids = (np.arange(max(seen.size, 1), dtype=np.int64) + number * max(seen.size, 1)) % rows
    return ids[: seen.size].reshape(seen.shape).astype(seen.dtype)
