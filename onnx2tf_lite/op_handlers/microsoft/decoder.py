"""Attention of one new token, with the keys and values of earlier ones in a cache.

Axis names: B batch, N heads, D hidden size.
"""

from __future__ import annotations

import numpy as np

from ...ir import build as b
from ...ir.graph import Value
from ..registry import UnsupportedError
from ._cache import CacheRows
from ._domain import op
from .grouped import attend, heads, seen_of
from .transformer import multi_head_attention


@op("DecoderMaskedMultiHeadAttention")
def decoder_masked_multi_head_attention(
    q: Value, k: Value, v: Value | None = None, mask: Value | None = None, attention_bias: Value | None = None,
    past_key: Value | None = None, past_value: Value | None = None, past_length: Value | None = None,
    beam_width: Value | None = None, indirection: Value | None = None, bias: Value | None = None, *, num_heads: int,
    mask_filter_value: float = -10000.0, output_qk: int = 0, past_present_share_buffer: int = 0, scale: float = 0.0
) -> list[Value | None]:  # fmt: skip
    """One new token, q[B,1,D]: MultiHeadAttention, whose cache has its final size where it is shared."""
    if indirection is not None:
        raise UnsupportedError("cache_indirection: a beam search inside the cache", "search over the results instead")
    if not past_present_share_buffer:
        return list(multi_head_attention(
            q, k, v, bias, mask, attention_bias, past_key, past_value, num_heads=num_heads,
            mask_filter_value=mask_filter_value, scale=scale or None))  # fmt: skip
    if past_key is None or past_value is None or past_length is None or v is None or mask is not None:
        raise UnsupportedError("a shared cache without its length, or with a mask", "export the model without it")
    shares = [None] * 3 if bias is None else b.split(bias, [q.shape[2], k.shape[2], v.shape[2]], 0)
    query, key, value = (
        heads(x if share is None else x + share, num_heads) for x, share in zip((q, k, v), shares, strict=True)
    )
    before = b.broadcast_to(b.reshape(b.cast(past_length, np.int32), (1,)), (q.shape[0],))
    rows = CacheRows.growing(before, b.broadcast_to(np.int32(1), before.shape))
    key, value = (rows.present(p, n, p.shape[2]) for p, n in ((past_key, key), (past_value, value)))
    seen = seen_of(before, 1, b.reshape(b.iota(key.shape[2]), (1, -1)))
    y, _, _ = attend(query, key, value, seen, scale=scale, bias=attention_bias)
    return [y, key, value]
