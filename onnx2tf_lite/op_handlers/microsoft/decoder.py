"""Attention of decoders, with the keys and values of earlier tokens in a cache.

Axis names: B batch, S new tokens, P rows of the cache before, L after, N heads, K key heads, H head size.  The cache of
each row of the batch is filled as far as its own length says.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.dims import Dim
from ...ir.graph import Value
from .. import attention as standard
from .._loops import scalar
from ..normalization import rms_normalization
from ..registry import Unsupported, current_node
from ._domain import op
from .transformer import multi_head_attention

PLAIN = "export the model without it"


def _heads(x: Value, count: int) -> Value:
    """[B,S,N*H] as [B,N,S,H]."""
    return b.transpose(b.reshape(x, (*x.shape[:2], count, -1)), (0, 2, 1, 3))


def _unpacked(q: Value, k: Value | None, v: Value | None, count: int, keys: int) -> list[Value]:
    """Queries [B,N,S,H], keys and values [B,K,S,H], which may all lie in q."""
    if k is None or v is None:
        size = dims.floordiv(q.shape[2], count + 2 * keys)
        q, k, v = b.split(q, [count * size, keys * size, keys * size], 2)
    return [_heads(q, count), _heads(k, keys), _heads(v, keys)]


def _appended(past: Value, new: Value, before: Value, rows: Dim) -> Value:
    """[B,K,L,H]: the cache, with the new rows behind the first ``before`` of each row of the batch."""
    batch, _, count, _ = past.shape
    steps = new.shape[2]
    place, filled = b.reshape(b.iota(rows), (1, rows)), b.reshape(before, (batch, 1))
    fresh = b.logical_and(b.greater_equal(place, filled), b.less(place, filled + scalar(steps)))
    source = b.where(fresh, place - filled + scalar(count), b.minimum(place, scalar(count + steps - 1)))
    joined = b.transpose(b.concat([past, new], 2), (0, 2, 1, 3))
    return b.transpose(b.gather(joined, source, 1, batch_dims=1), (0, 2, 1, 3))


def _cleared(cache: Value, count: Value) -> Value:
    """[B,K,L,H] with zeros behind the first ``count`` rows of each row of the batch."""
    kept = b.less(b.reshape(b.iota(cache.shape[2]), (1, 1, -1, 1)), b.reshape(count, (-1, 1, 1, 1)))
    return b.where(kept, cache, cache.dtype.type(0))


def _weights(scores: Value, sink: Value | None) -> Value:
    """The softmax of [B,N,S,L]; with ``sink`` [N] over one score more, which no value belongs to."""
    if sink is None:
        return b.softmax(scores)
    column = b.broadcast_to(b.reshape(sink, (1, -1, 1, 1)), (*scores.shape[:3], 1))
    return b.narrow(b.softmax(b.concat([scores, column], 3)), 3, 0, scores.shape[3])


def _attend(
    q: Value, k: Value, v: Value, before: Value, *, scale: float, softcap: float = 0.0, window: int = -1,
    bias: Value | None = None, sink: Value | None = None, causal: bool = True
) -> Value:  # fmt: skip
    """[B,S,N*H]; query i of a row stands at ``before`` + i and sees itself and ``window`` keys before it, all at -1."""
    scores = standard.grouped_product(q * float(scale or 1 / sqrt(q.shape[3])), k, adj_y=True)  # type: ignore[arg-type]
    scores = b.tanh(scores / float(softcap)) * float(softcap) if softcap else scores
    if bias is not None:
        scores = scores + b.narrow(bias, 3, 0, k.shape[2])
    offset = b.reshape(before, (-1, 1, 1, 1))
    seen = standard.allowed(scores, offset, [(0 if causal else -1, window)])
    y = standard.grouped_product(_weights(standard.masked(scores, None, seen), sink), v)
    return b.reshape(b.transpose(y, (0, 2, 1, 3)), (y.shape[0], y.shape[2], -1))


def _turned(x: Value, cos: Value | None, sin: Value | None, places: Value, interleaved: int) -> Value:
    """[B,N,S,H] with the angles of its ``places`` [B,S]; the tables [M,H/2] may be narrower."""
    if cos is None or sin is None:
        raise Unsupported("do_rotary without cos_cache and sin_cache", "give both")
    turned = 2 * int(cos.shape[1])  # type: ignore[arg-type]
    return standard.rotary_embedding(x, cos, sin, places, interleaved=interleaved, rotary_embedding_dim=turned)


def _normed(x: Value, weight: Value | None, epsilon: float) -> Value:
    """[B,N,S,H] with a root mean square of 1 along H, times ``weight`` [H]; as it is without that."""
    return x if weight is None else rms_normalization(x, weight, epsilon=epsilon)


def _real(cache: Value, scale: Value | None) -> Value:
    """The numbers that an int8 cache stands for."""
    return cache if scale is None else b.cast(cache, np.float32) * scale


def _stored(x: Value, scale: Value | None) -> Value:
    """``x`` as the integers of an int8 cache, rounded half to even."""
    if scale is None:
        return x
    whole = b.round_(x / scale)
    return b.cast(b.minimum(b.maximum(whole, np.float32(-128)), np.float32(127)), np.int8)


@op("GroupQueryAttention")
def group_query_attention(
    q: Value, k: Value | None = None, v: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, last: Value | None = None, total: Value | None = None, cos: Value | None = None,
    sin: Value | None = None, positions: Value | None = None, bias: Value | None = None, sink: Value | None = None,
    k_scale: Value | None = None, v_scale: Value | None = None, q_norm: Value | None = None,
    k_norm: Value | None = None, valid: Value | None = None, *, num_heads: int, kv_num_heads: int, do_rotary: int = 0,
    local_window_size: int = -1, rotary_interleaved: int = 0, scale: float = 0.0, smooth_softmax: int = -1,
    softcap: float = 0.0, causal: int = 1, qk_output: int = 0, qk_norm_epsilon: float = 1e-6,
    q_norm_epsilon: float = 0.0, k_norm_epsilon: float = 0.0, sliding_window_cache: int = 0,
    kv_cache_bit_width: int = 0, k_quant_type: str = "NONE", v_quant_type: str = "NONE"
) -> list[Value | None]:  # fmt: skip
    """q[B,S,N*H], k and v[B,S,K*H], or all in q; ``last``[B] is the place of the last token of each row.

    ``k_scale`` and ``v_scale``: of a cache of int8, which new tokens are rounded to before they are read.
    """
    if valid is not None or sliding_window_cache or kv_cache_bit_width == 4:
        raise Unsupported("a sliding cache, one of 4 bits, or rows of unequal length (query_seqlens)", PLAIN)
    if last is None or current_node().wants(3):
        raise Unsupported("no seqlens_k, or the scores as a result", PLAIN)
    batch, steps = q.shape[:2]
    query, key, value = _unpacked(q, k, v, num_heads, kv_num_heads)
    query = _normed(query, q_norm, q_norm_epsilon or qk_norm_epsilon)
    key = _normed(key, k_norm, k_norm_epsilon or qk_norm_epsilon)
    count = b.pinned(b.reshape(b.cast(last, np.int32), (-1,)), (batch,)) + 1
    before = b.maximum(count - scalar(steps), 0)
    if do_rotary:
        places = b.reshape(before, (batch, 1)) + b.reshape(b.iota(steps), (1, steps))
        places = places if positions is None else positions
        query, key = (_turned(x, cos, sin, places, rotary_interleaved) for x in (query, key))
    if past_key is not None and past_value is not None:
        wanted = total if total is not None else b.reduce("REDUCE_MAX", count, [0])
        (length,) = b.dims_of(b.reshape(b.cast(wanted, np.int32), (1,)))
        rows = dims.maximum(past_key.shape[2], length)
        filled = before + scalar(steps)
        caches = [
            _cleared(_stored(_appended(_real(past, scale), new, before, rows), scale), filled)
            for past, new, scale in ((past_key, key, k_scale), (past_value, value, v_scale))
        ]
        key, value = (_real(cache, scale) for cache, scale in zip(caches, (k_scale, v_scale), strict=True))
    else:
        caches = [key, value]
    sink = b.fill((num_heads,), np.float32(0)) if sink is None and smooth_softmax == 1 else sink
    window = local_window_size - 1 if local_window_size > 0 else -1
    y = _attend(query, key, value, before, scale=scale, softcap=softcap, window=window, bias=bias, sink=sink,
                causal=bool(causal))  # fmt: skip
    return [y, *caches]


@op("DecoderMaskedMultiHeadAttention")
def decoder_masked_multi_head_attention(
    q: Value, k: Value, v: Value | None = None, mask: Value | None = None, attention_bias: Value | None = None,
    past_key: Value | None = None, past_value: Value | None = None, past_length: Value | None = None,
    beam_width: Value | None = None, indirection: Value | None = None, bias: Value | None = None, *, num_heads: int,
    mask_filter_value: float = -10000.0, output_qk: int = 0, past_present_share_buffer: int = 0, scale: float = 0.0
) -> list[Value | None]:  # fmt: skip
    """One new token, q[B,1,D]: MultiHeadAttention, whose cache has its final size where it is shared."""
    if indirection is not None:
        raise Unsupported("cache_indirection: a beam search inside the cache", "search over the results instead")
    if not past_present_share_buffer:
        return list(multi_head_attention(
            q, k, v, bias, mask, attention_bias, past_key, past_value, num_heads=num_heads,
            mask_filter_value=mask_filter_value, scale=scale or None))  # fmt: skip
    if past_key is None or past_value is None or past_length is None or v is None or mask is not None:
        raise Unsupported("a shared cache without its length, or with a mask", PLAIN)
    shares = [None] * 3 if bias is None else b.split(bias, [q.shape[2], k.shape[2], v.shape[2]], 0)
    query, key, value = (
        _heads(x if share is None else x + share, num_heads) for x, share in zip((q, k, v), shares, strict=True)
    )
    before = b.broadcast_to(b.reshape(b.cast(past_length, np.int32), (1,)), (q.shape[0],))
    key, value = (_appended(p, n, before, p.shape[2]) for p, n in ((past_key, key), (past_value, value)))
    return [_attend(query, key, value, before, scale=scale, bias=attention_bias), key, value]
