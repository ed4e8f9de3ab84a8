"""Normalisations, attention and embeddings of transformers.

Axis names: B batch, S queries, P past, L new keys, T = P + L keys, N heads, H head size, D hidden size.
Masks are what ONNX Runtime's CPU kernels make of them: ``mask_filter_value`` added to scores of padding (a row that is
masked entirely so keeps its own softmax), the lowest number in place of it for keys of the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.dims import Dim
from ...ir.graph import Value
from .. import attention as standard
from .. import registry
from .._loops import scalar
from ..indexing import gather
from ..matmul import product
from ..normalization import affine, normalized
from ..registry import UnsupportedError, current_node
from ._domain import op

LOWEST = np.finfo(np.float32).min
SHARED = "a key and value buffer that the operator writes into has no TFLite form"

# ------------------------------------------------------------------------------------------------ normalisations


def _rms(x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value]:
    """x / sqrt(mean of squares + epsilon), and the reciprocal of that root."""
    inverse = b.rsqrt(b.reduce("MEAN", b.square(x), axes, keepdims=True) + epsilon)
    return x * inverse, inverse


@registry.op("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Value, Value]:
    """ONNX Runtime keeps this one in ONNX's own domain."""
    y, inverse = _rms(x, range(b.axis_of(axis, x.rank), x.rank), epsilon)
    return y * scale, inverse


def _total(x: Value, skip: Value, bias: Value | None) -> Value:
    return x + skip if bias is None else x + skip + bias


@op("SkipLayerNormalization")
def skip_layer_normalization(
    x: Value, skip: Value, gamma: Value, beta: Value | None = None, bias: Value | None = None, *, epsilon: float = 1e-12
) -> tuple[Value, ...]:
    """LayerNormalization of x + skip + bias; the sum is the fourth result."""
    total = _total(x, skip, bias)
    y, mean, inverse = normalized(total, [-1], epsilon)
    return affine(y, gamma, beta), mean, inverse, total


@op("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    x: Value, skip: Value, gamma: Value, bias: Value | None = None, *, epsilon: float = 1e-12
) -> tuple[Value | None, ...]:
    """RMS normalisation of x + skip + bias, which has no mean; the sum is the fourth result."""
    total = _total(x, skip, bias)
    y, inverse = _rms(total, [-1], epsilon)
    return y * gamma, None, inverse, total


@op("EmbedLayerNormalization")
def embed_layer_normalization(
    ids: Value,
    segments: Value | None,
    words: Value,
    positions: Value,
    segment_table: Value | None,
    gamma: Value,
    beta: Value,
    mask: Value | None = None,
    position_ids: Value | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
) -> tuple[Value, Value, Value]:
    """Normalised sum of the embeddings of words, positions and segments; words per row by the mask; the sum."""
    batch, steps = ids.shape
    place = b.narrow(positions, 0, 0, steps) if position_ids is None else gather(positions, position_ids)
    total = gather(words, ids) + place
    if segments is not None and segment_table is not None:
        total = total + gather(segment_table, segments)
    count = b.fill((batch,), np.int32(0)) if mask is None else b.reduce("SUM", b.cast(mask, np.int32), [1])
    return affine(normalized(total, [-1], epsilon)[0], gamma, beta), count, total


# ------------------------------------------------------------------------------------------------ attention


def _heads(x: Value, count: int) -> Value:
    """[B,S,N*H] as [B,N,S,H]."""
    return b.transpose(b.reshape(x, (*x.shape[:2], count, -1)), (0, 2, 1, 3))


def _mask(mask: Value | None, batch: Dim, steps: Dim, keys: Dim, causal: bool, filtered: float) -> Value | None:
    """What is added to the scores [B,N,S,T]."""
    padding = None if mask is None else b.where(_kept(mask, batch, keys), np.float32(0), np.float32(filtered))
    if not causal or steps == 1:  # the last key sees all
        return padding
    query, key = b.reshape(b.iota(steps), (steps, 1)), b.reshape(b.iota(keys), (1, keys))
    seen = b.less_equal(key - query, scalar(keys - steps))
    future = b.reshape(b.where(seen, np.float32(0), LOWEST), (1, 1, steps, keys))
    return future if padding is None else b.minimum(padding, future)


def _kept(mask: Value, batch: Dim, keys: Dim) -> Value:
    """The mask as bool of rank 4: numbers > 0 of shape [B,T] or [B,S,T], or ends [B], or ends and starts [2*B]."""
    if mask.rank in (2, 3):
        return b.greater(b.reshape(mask, (mask.shape[0], 1, *(1,) * (3 - mask.rank), *mask.shape[1:])), 0)
    if mask.rank != 1 or mask.shape[0] not in (batch, 2 * batch):
        raise UnsupportedError(
            f"a mask [{dims.show(mask.shape)}]: no CPU kernel of ONNX Runtime knows this form",
            "use a mask [batch, keys], [batch, queries, keys], [batch] or [2 * batch]",
        )
    place = b.reshape(b.iota(keys, mask.dtype), (1, 1, 1, keys))
    parts = b.split(mask, [batch] * (1 if mask.shape[0] == batch else 2), 0)
    ends, *starts = (b.reshape(v, (batch, 1, 1, 1)) for v in parts)
    kept = b.less(place, ends)
    return b.logical_and(kept, b.greater_equal(place, starts[0])) if starts else kept


def _attend(q: Value, k: Value, v: Value, scale: float | None, biases: Sequence[Value | None]) -> tuple[Value, Value]:
    """[B,S,N*H] = softmax(scale * q kT + biases) v, and the scores before the softmax."""
    scores = b.matmul(q * float(scale or 1 / sqrt(q.shape[3])), k, adj_y=True)  # type: ignore[arg-type]
    for bias in biases:
        scores = scores if bias is None else scores + bias
    y = b.transpose(b.matmul(b.softmax(scores), v), (0, 2, 1, 3))
    return b.reshape(y, (*y.shape[:2], -1)), scores


@op("Attention")
def attention(x: Value, w: Value, bias: Value | None = None, mask: Value | None = None, past: Value | None = None,
              attention_bias: Value | None = None, past_length: Value | None = None, *, num_heads: int,
              do_rotary: int = 0, mask_filter_value: float = -10000.0, past_present_share_buffer: int = 0,
              qkv_hidden_sizes: Sequence[int] | None = None, rotary_embedding_dim: int = 0, scale: float | None = None,
              unidirectional: int = 0) -> list[Value | None]:  # fmt: skip
    """x[B,S,D] times w[D,q+k+v], attended; past and present [2,B,N,T,H]."""
    if do_rotary or past_present_share_buffer or past_length is not None:
        raise UnsupportedError("do_rotary: no CPU kernel of ONNX Runtime defines it" if do_rotary else SHARED)
    linear = product(x, w)
    linear = linear if bias is None else linear + bias
    sizes: Sequence[Dim] = qkv_hidden_sizes or [dims.floordiv(w.shape[1], 3)] * 3
    q, k, v = (_heads(part, num_heads) for part in b.split(linear, sizes, -1))
    if past is not None:
        k, v = (
            b.concat([b.reshape(old, old.shape[1:]), new], 2)
            for old, new in zip(b.split(past, [1, 1], 0), (k, v), strict=True)
        )
    padding = _mask(mask, x.shape[0], x.shape[1], k.shape[2], bool(unidirectional), mask_filter_value)
    y, _ = _attend(q, k, v, scale, [padding, attention_bias])
    return [y, b.pack([k, v], 0) if current_node().wants(1) else None]


def _unpacked(q: Value, k: Value | None, v: Value | None, count: int) -> list[Value]:
    """Query, key and value [B,S,D], or [B,N,L,H] as they came; from q[B,S,N,3,H], or q and k[B,L,N,2,H] too."""
    packed = q if k is None else k if v is None else None
    if packed is None:
        return [q, k, v]  # type: ignore[list-item]
    if packed.rank != 5:
        raise UnsupportedError("attention without keys or values", "give key and value, or all in one of rank 5")
    parts = b.split(packed, [1] * int(packed.shape[3]), 3)  # type: ignore[arg-type]
    flat = [b.reshape(part, (*packed.shape[:2], -1)) for part in parts]
    return flat if k is None else [q, *flat]


@op("MultiHeadAttention")
def multi_head_attention(q: Value, k: Value | None = None, v: Value | None = None, bias: Value | None = None,
                         mask: Value | None = None, attention_bias: Value | None = None, past_key: Value | None = None,
                         past_value: Value | None = None, past_length: Value | None = None,
                         indirection: Value | None = None, *, num_heads: int, mask_filter_value: float = -10000.0,
                         scale: float | None = None, unidirectional: int = 0) -> list[Value]:  # fmt: skip
    """q[B,S,D], k and v [B,L,D] or [B,N,L,H]; results [B,S,D], present key and value [B,N,T,H], scores [B,N,S,T]."""
    if past_length is not None or indirection is not None:
        raise UnsupportedError(SHARED, "export past_key and past_value without a shared buffer")
    parts = _unpacked(q, k, v, num_heads)
    if bias is not None:
        widths = [part.shape[-1] * (1 if part.rank == 3 else num_heads) for part in parts]
        shares = b.split(bias, widths, 0)
        parts = [part + share if part.rank == 3 else part for part, share in zip(parts, shares, strict=True)]
    query, key, value = (part if part.rank == 4 else _heads(part, num_heads) for part in parts)
    if past_key is not None and past_value is not None:
        key, value = b.concat([past_key, key], 2), b.concat([past_value, value], 2)
    padding = _mask(mask, q.shape[0], query.shape[2], key.shape[2], bool(unidirectional), mask_filter_value)
    y, scores = _attend(query, key, value, scale, [padding, attention_bias])
    return [y, key, value, scores]


@op("RotaryEmbedding")
def rotary_embedding(
    x: Value,
    positions: Value,
    cos: Value,
    sin: Value,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Value:
    """x[B,S,D] or [B,N,S,H]; positions [B,S], or [1] of the first query.  ONNX Runtime does not use ``scale``."""
    if is_packed_batching:
        raise UnsupportedError("is_packed_batching: rows of different length in one tensor", "export without packing")
    steps = x.shape[1] if x.rank == 3 else x.shape[2]
    if positions.rank == 1:
        first = b.reshape(b.cast(positions, np.int32), (1, 1)) + b.reshape(b.iota(steps), (1, steps))
        positions = b.broadcast_to(first, (x.shape[0], steps))
    heads = num_heads or int(dims.floordiv(x.shape[-1], 2 * cos.shape[1]))  # type: ignore[arg-type]
    return standard.rotary_embedding(
        x, cos, sin, positions, interleaved=interleaved, num_heads=heads, rotary_embedding_dim=rotary_embedding_dim
    )
