"""Attention and RotaryEmbedding.  Axis names: B batch, H heads, Q queries, K keys, D head size, G queries per key head.

Forbidden scores are replaced by -inf, not added to it (LiteRT's ADD clamps infinities); rows in which nothing is
allowed become 0 after the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from ..ir import build as b
from ..ir.dims import Dim
from ..ir.graph import Value
from ._loops import scalar
from .registry import UnsupportedError, current_node, op

LOWEST = np.finfo(np.float32).min


def _heads(x: Value, count: int | None) -> Value:
    """[B, S, H*D] as [B, H, S, D]."""
    if x.rank == 4:
        return x
    if not count:
        raise UnsupportedError("3-D operands without q_num_heads and kv_num_heads", "give the number of heads")
    return b.transpose(b.reshape(x, (*x.shape[:2], count, -1)), (0, 2, 1, 3))


def grouped_product(x: Value, y: Value, adj_y: bool = False) -> Value:
    """[B,H,Q,.] times [B,H/G,...]: every key head serves G query heads."""
    if x.shape[1] == y.shape[1]:
        return b.matmul(x, y, adj_y=adj_y)
    batch, heads, rows, depth = x.shape
    groups = b.reshape(x, (batch, y.shape[1], -1, rows, depth))
    grouped = b.matmul(groups, b.reshape(y, (batch, y.shape[1], 1, *y.shape[2:])), adj_y=adj_y)
    return b.reshape(grouped, (batch, heads, rows, grouped.shape[-1]))


def allowed(scores: Value, offset: Value, bounds: Sequence[tuple[int, int]]) -> list[Value]:
    """For each (low, high): low <= query + offset - key <= high, a negative bound being none."""
    rows, keys = scores.shape[2:]
    place = b.reshape(b.iota(rows), (1, 1, rows, 1)) + offset
    distance = place - b.reshape(b.iota(keys), (1, 1, 1, keys))
    return [b.greater_equal(distance, -low) for low, _ in bounds if low >= 0] + [
        b.less_equal(distance, high) for _, high in bounds if high >= 0
    ]


@op("Attention")
def attention(q: Value, k: Value, v: Value, mask: Value | None = None, past_key: Value | None = None,
              past_value: Value | None = None, lengths: Value | None = None, *, is_causal: int = 0,
              kv_num_heads: int | None = None, q_num_heads: int | None = None, qk_matmul_output_mode: int = 0,
              scale: float | None = None, softcap: float = 0.0, softmax_precision: int = 0, left_window_size: int = -1,
              right_window_size: int = -1) -> list[Value | None]:  # fmt: skip
    """softmax(scale * q kT + masks) v; outputs Y, present key and value, scores after the stage of the output mode."""
    flat = q.rank == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    before = past_key.shape[2] if past_key is not None else 0
    k = k if past_key is None else b.concat([past_key, k], 2)
    v = v if past_value is None else b.concat([past_value, v], 2)
    stages = [grouped_product(q * _scale(scale, q.shape[3]), k, adj_y=True)]
    stages.append(b.tanh(stages[0] / float(softcap)) * float(softcap) if softcap else stages[0])
    offset = scalar(before)
    conditions = []
    if lengths is not None:
        count = b.reshape(b.cast(lengths, np.int32), (-1, 1, 1, 1))
        offset = offset if past_key is not None else count - scalar(q.shape[2])
        conditions.append(b.less(b.reshape(b.iota(k.shape[2]), (1, 1, 1, k.shape[2])), count))
    bounds = [(0 if is_causal else -1, -1), (right_window_size, left_window_size)]
    if any(bound >= 0 for pair in bounds for bound in pair):
        conditions += allowed(stages[1], offset, bounds)
    stages.append(masked(stages[1], mask, conditions))
    weights = b.softmax(stages[2])
    if mask is not None or lengths is not None or left_window_size >= 0 or right_window_size >= 0:
        some = b.greater(b.reduce("REDUCE_MAX", stages[2], [3], keepdims=True), LOWEST / 2)
        weights = b.where(some, weights, np.float32(0))
    y = grouped_product(weights, v)
    y = b.reshape(b.transpose(y, (0, 2, 1, 3)), (y.shape[0], y.shape[2], -1)) if flat else y
    scores = [*stages, weights][qk_matmul_output_mode]
    return [y, k, v, scores if current_node().wants(3) else None]


def _scale(scale: float | None, size: Dim) -> Value | float:
    """The attribute, else 1 / sqrt of the head size."""
    if scale or isinstance(size, int):
        return float(scale or 1 / sqrt(size))  # type: ignore[arg-type]
    return b.rsqrt(b.cast(scalar(size), np.float32))


def masked(scores: Value, mask: Value | None, conditions: list[Value]) -> Value:
    """Scores with a float mask added, and -inf where one of the conditions forbids."""
    if mask is not None:
        missing = scores.shape[-1] - mask.shape[-1] if mask.rank else 0
        pads = [(0, 0)] * (mask.rank - 1) + [(0, missing)]
        if mask.dtype == bool:
            conditions = [*conditions, b.pad(mask, pads, False)]
        else:
            scores = scores + b.pad(b.cast(mask, np.float32), pads, -np.inf)
    for condition in conditions:
        scores = b.where(condition, scores, np.float32(-np.inf))
    return scores


@op("RotaryEmbedding")
def rotary_embedding(
    x: Value,
    cos: Value,
    sin: Value,
    positions: Value | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Value:
    """Pairs of the first ``rotary_embedding_dim`` elements of each head turned by the angle of their position."""
    heads = _heads(x, num_heads)
    batch, count, steps, size = heads.shape
    turned = rotary_embedding_dim or size
    half = turned // 2
    if positions is not None:
        cos, sin = b.gather(cos, b.cast(positions, np.int32)), b.gather(sin, b.cast(positions, np.int32))
    cos, sin = (b.reshape(t, (*t.shape[:-2], 1, steps, half)) for t in (cos, sin))
    part = b.narrow(heads, 3, 0, turned)
    pairs = (batch, count, steps, half, 2) if interleaved else (batch, count, steps, 2, half)
    axis = 4 if interleaved else 3
    split = b.split(b.reshape(part, pairs), [1, 1], axis)
    first, second = (b.reshape(t, (batch, count, steps, half)) for t in split)
    both = b.pack([cos * first - sin * second, sin * first + cos * second], axis)
    rest = b.narrow(heads, 3, turned, size - turned)
    y = b.concat([b.reshape(both, (batch, count, steps, turned)), rest], 3)
    return y if x.rank == 4 else b.reshape(b.transpose(y, (0, 2, 1, 3)), x.shape)
