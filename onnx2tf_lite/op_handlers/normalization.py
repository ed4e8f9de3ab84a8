"""Normalisations: all as mean, square, mean, RSQRT and one multiplication, which XNNPACK runs entirely."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from .registry import UnsupportedError, op


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
    """Groups of one channel."""
    return grouped(x, scale, bias, x.shape[1], epsilon)


@op("GroupNormalization")
def group_normalization(
    x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    return grouped(x, scale, bias, num_groups, epsilon)


def grouped(x: Value, scale: Value, bias: Value, count: Dim, epsilon: float) -> Value:
    """[N, C, ...] normalised over each of ``count`` groups of neighbouring channels; ``scale`` and ``bias`` [C].

    Mean and variance of every channel first, and those of a group from them: its variance is the mean of
    var_c + (mean_c - mean_g)^2.  The large tensor is then read along whole axes, and only [N, C] is seen in groups: a
    MEAN over a part of an axis takes seven times as long (benchmarks/kernels.py), and may need a TRANSPOSE.
    """
    n, c, *space = x.shape
    axes, groups = range(2, x.rank), (count, dims.floordiv(c, count))
    mean = b.reduce("MEAN", x, axes, keepdims=True)
    variance = b.reduce("MEAN", b.squared_difference(x, mean), axes, keepdims=True)
    if count == c:
        ends = _rescaling(mean, variance, per_channel(scale, x.rank), per_channel(bias, x.rank), epsilon)
        return affine(x, *ends)
    each, inside = (b.reshape(v, (n, *groups)) for v in (mean, variance))
    centre = b.reduce("MEAN", each, [2], keepdims=True)
    spread = b.reduce("MEAN", inside + b.squared_difference(each, centre), [2], keepdims=True)
    factor, summand = _rescaling(centre, spread, b.reshape(scale, groups), b.reshape(bias, groups), epsilon)
    wide = (n, c, *(1 for _ in space))
    return affine(x, b.reshape(factor, wide), b.reshape(summand, wide))


def _rescaling(mean: Value, variance: Value, scale: Value, bias: Value, epsilon: float) -> tuple[Value, Value]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias as factor and summand of x.

    Not centred first, the large tensor is written once less; what is lost of a mean that is large beside the deviation
    is what the rounding of x itself loses.
    """
    factor = b.rsqrt(variance + epsilon) * scale
    return factor, bias - mean * factor


@op("LpNormalization")
def lp_normalization(x: Value, *, axis: int = -1, p: int = 2) -> Value:
    """x / norm; 0 where the norm is 0."""
    if p == 1:
        norm = b.reduce("SUM", b.abs_(x), [axis], keepdims=True)
    elif p == 2:
        norm = b.sqrt(b.reduce("SUM", b.square(x), [axis], keepdims=True))
    else:
        raise UnsupportedError(f"p = {p} is not in the standard", "use 1 or 2")
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
