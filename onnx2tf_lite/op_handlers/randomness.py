"""Random numbers: RandomUniform, RandomNormal, Bernoulli, Multinomial, Dropout.

The sequences are TFLite's own, so only distributions agree with other runtimes.  A seed makes every run the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir.dims import Shape
from ..ir.graph import Value
from .registry import current_node, op
from .shapes import ir_type


def _seed(seed: float | None) -> int:
    """The bits of a seed as a non-zero integer; 0 where none is given."""
    return 0 if seed is None else int(np.float32(seed).view(np.int32)) or 1


def _uniform(shape: Shape, low: float, high: float, seed: float | None) -> Value:
    return b.emit("RANDOM_UNIFORM", shape=tuple(shape), seed=_seed(seed)) * (high - low) + low


def _normal(shape: Shape, mean: float, scale: float, seed: float | None) -> Value:
    return b.emit("RANDOM_STANDARD_NORMAL", shape=tuple(shape), seed=_seed(seed)) * scale + mean


@op("RandomUniform")
def random_uniform(
    *, shape: Sequence[int], dtype: int = 1, low: float = 0.0, high: float = 1.0, seed: float | None = None
) -> Value:
    return b.cast(_uniform(tuple(shape), low, high, seed), ir_type(dtype))


@op("RandomUniformLike")
def random_uniform_like(
    x: Value, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0, seed: float | None = None
) -> Value:
    return b.cast(_uniform(x.shape, low, high, seed), x.dtype if dtype is None else ir_type(dtype))


@op("RandomNormal")
def random_normal(
    *, shape: Sequence[int], dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Value:
    return b.cast(_normal(tuple(shape), mean, scale, seed), ir_type(dtype))


@op("RandomNormalLike")
def random_normal_like(
    x: Value, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Value:
    return b.cast(_normal(x.shape, mean, scale, seed), x.dtype if dtype is None else ir_type(dtype))


@op("Bernoulli")
def bernoulli(x: Value, *, dtype: int | None = None, seed: float | None = None) -> Value:
    """1 with probability x.  (ONNX's definition as a function compares the other way round.)"""
    return b.cast(b.less(_uniform(x.shape, 0.0, 1.0, seed), x), x.dtype if dtype is None else ir_type(dtype))


@op("Multinomial")
def multinomial(x: Value, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Value:
    """x[N,classes] are unnormalised log probabilities: ``sample_size`` classes for each row."""
    return b.cast(b.emit("MULTINOMIAL", x, count=sample_size, seed=_seed(seed)), ir_type(dtype))


@op("Dropout")
def dropout(
    x: Value, ratio: Value | None = None, training_mode: Value | None = None, *, seed: int | None = None
) -> tuple[Value, Value | None]:
    """Training: an element is kept and divided by 1 - ratio, or 0.  Inference: the operand, and a mask that is true."""
    training = _known(training_mode, False)
    known = _known(ratio, 0.5)
    if training is False or known == 0:
        return x, b.fill(x.shape, True, bool) if current_node().wants(1) else None
    rate: b.Operand = b.reshape(ratio, ()) if known is None else known
    kept = b.greater_equal(_uniform(x.shape, 0.0, 1.0, seed), rate)
    if training is None:
        kept = b.logical_or(kept, b.logical_not(b.reshape(training_mode, ())))
        rate = b.where(b.reshape(training_mode, ()), b.lift(rate, np.float32), np.float32(0))
    return b.where(kept, x / (1.0 - rate), 0.0), kept


def _known(value: Value | None, default: float) -> float | None:
    """The number that an optional operand is; None where only run time knows it."""
    if value is None:
        return default
    return None if value.data is None else value.data.item()
