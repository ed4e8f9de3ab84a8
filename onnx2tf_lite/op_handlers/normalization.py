"""Normalisations: all as mean, square, mean, RSQRT and one multiplication, which XNNPACK runs entirely."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import build as b
from ..ir import dims
from ..ir.graph import Value
from .registry import Unsupported, op


def normalized(x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + epsilon) over ``axes``, with the mean and the reciprocal deviation (axes kept)."""
    mean = b.reduce("MEAN", x, axes, keepdims=True)
    centred = x - mean
    inverse = b.rsqrt(b.reduce("MEAN", b.square(centred), axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def per_channel(parameter: Value, rank: int) -> Value:
    """[C] as [C, 1, ...], to go with [N, C, ...]."""
    return b.reshape(parameter, (*parameter.shape, *(1,) * (rank - 2)))


def affine(x: Value, scale: Value | None, bias: Value | None) -> Value:
    """x * scale + bias, of which either may be absent."""
    x = x if scale is None else x * scale
    return x if bias is None else x + bias


@op("LayerNormalization")
def layer_normalization(
    x: Value, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Value, Value, Value]:
    result, mean, inverse = normalized(x, range(b.axis_of(axis, x.rank), x.rank), epsilon)
    return affine(result, scale, bias), mean, inverse


@op("RMSNormalization")
def rms_normalization(x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Value:
    over = range(b.axis_of(axis, x.rank), x.rank)
    return x * b.rsqrt(b.reduce("MEAN", b.square(x), over, keepdims=True) + epsilon) * scale


@op("InstanceNormalization")
def instance_normalization(x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    result = normalized(x, range(2, x.rank), epsilon)[0]
    return affine(result, per_channel(scale, x.rank), per_channel(bias, x.rank))


@op("GroupNormalization")
def group_normalization(
    x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    """[N, C, ...] as [N, G, C/G, ...]; statistics over all but N and G, scale and bias [C]."""
    n, c, *space = x.shape
    grouped = b.reshape(x, (n, num_groups, dims.floordiv(c, num_groups), *space))
    result = b.reshape(normalized(grouped, range(2, grouped.rank), epsilon)[0], x.shape)
    return affine(result, per_channel(scale, x.rank), per_channel(bias, x.rank))


@op("LpNormalization")
def lp_normalization(x: Value, *, axis: int = -1, p: int = 2) -> Value:
    """x / norm; 0 where the norm is 0."""
    if p == 1:
        norm = b.reduce("SUM", b.abs_(x), [axis], keepdims=True)
    elif p == 2:
        norm = b.sqrt(b.reduce("SUM", b.square(x), [axis], keepdims=True))
    else:
        raise Unsupported(f"p = {p} is not in the standard", "use 1 or 2")
    return x / b.where(b.equal(norm, 0), 1, norm)


@op("MeanVarianceNormalization")
def mean_variance_normalization(x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Value:
    """(x - mean) / (deviation + 1e-9)."""
    centred = x - b.reduce("MEAN", x, axes, keepdims=True)
    return centred / (b.sqrt(b.reduce("MEAN", b.square(centred), axes, keepdims=True)) + 1e-9)


@op("BatchNormalization")
def batch_normalization(
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> tuple[Value, ...]:
    """One multiplication and one addition; in training mode with the statistics of the batch, and running averages."""
    if not training_mode:
        factor = scale * b.rsqrt(variance + epsilon)
        return (affine(x, per_channel(factor, x.rank), per_channel(bias - mean * factor, x.rank)),)
    over = [a for a in range(x.rank) if a != 1]
    result, batch_mean, _ = normalized(x, over, epsilon)
    batch_variance = b.reduce("MEAN", b.square(x - batch_mean), over)
    running = [
        old * momentum + b.reshape(new, old.shape) * (1 - momentum)
        for old, new in ((mean, batch_mean), (variance, batch_variance))
    ]
    return affine(result, per_channel(scale, x.rank), per_channel(bias, x.rank)), *running
