"""GroupQueryAttention: decoders whose key heads serve several queries, with a cache.

Axis names: B batch, S new tokens, L rows of the cache after, N heads, K key heads, H head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.dims import Dim
from ...ir.graph import Value
from ...record import record
from .. import attention as standard
from .._loops import scalar
from ..normalization import rms_normalization
from ..registry import UnsupportedError, current_node
from ._cache import CacheRows, Numbers, along_batch
from ._domain import op

Pair = tuple[Value, Value]  # of keys and of values


def heads(x: Value, count: int) -> Value:
    """[B,S,N*H] as [B,N,S,H]."""
    return b.transpose(b.reshape(x, (*x.shape[:2], count, dims.floordiv(x.shape[2], count))), (0, 2, 1, 3))


def _unpacked(q: Value, k: Value | None, v: Value | None, count: int, keys: int) -> list[Value]:
    """Queries [B,N,S,H], keys and values [B,K,S,H], which may all lie in q."""
    if k is None or v is None:
        size = dims.floordiv(q.shape[2], count + 2 * keys)
        q, k, v = b.split(q, [count * size, keys * size, keys * size], 2)
    return [heads(q, count), heads(k, keys), heads(v, keys)]


def _weights(scores: Value, sink: Value | None) -> Value:
    """The softmax of [B,N,S,L]; with ``sink`` [N] over one score more, which no value belongs to."""
    if sink is None:
        return b.softmax(scores)
    column = b.broadcast_to(b.reshape(sink, (1, -1, 1, 1)), (*scores.shape[:3], 1))
    return b.narrow(b.softmax(b.concat([scores, column], 3)), 3, 0, scores.shape[3])


def attend(
    q: Value, k: Value, v: Value, seen: list[Value], *, scale: float, softcap: float = 0.0, bias: Value | None = None,
    sink: Value | None = None
) -> tuple[Value, Value, Value]:  # fmt: skip
    """[B,S,N*H], the scores and the weights [B,N,S,L]; each of ``seen`` says of them which may be looked at."""
    scores = standard.grouped_product(q * float(scale or 1 / sqrt(q.shape[3])), k, adj_y=True)  # type: ignore[arg-type]
    scores = b.tanh(scores / float(softcap)) * float(softcap) if softcap else scores
    if bias is not None:
        scores = scores + _columns(bias, k.shape[2])
    weights = _weights(standard.masked(scores, None, seen), sink)
    y = b.transpose(standard.grouped_product(weights, v), (0, 2, 1, 3))
    return b.reshape(y, (y.shape[0], y.shape[1], -1)), scores, weights


def _columns(bias: Value, rows: Dim) -> Value:
    """[.,.,S,L]: a bias of as many columns as there are tokens, of which the cache may have room for more."""
    return b.pad(bias, [(0, 0)] * 3 + [(0, rows - bias.shape[3])])


def _of_tokens(bias: Value, tokens: Value) -> Value:
    """The columns of a bias for ``tokens`` [B,L], which are in another order."""
    last = scalar(bias.shape[3] - 1)
    place = b.minimum(b.maximum(tokens, 0), last)
    columns = b.transpose(b.broadcast_to(bias, (tokens.shape[0], *bias.shape[1:])), (0, 3, 1, 2))
    return b.transpose(b.gather(columns, place, 1, batch_dims=1), (0, 2, 3, 1))


def along_keys(x: Value) -> Value:
    """[.,L] as [.,1,1,L]."""
    return b.reshape(x, (x.shape[0], 1, 1, x.shape[1]))


def seen_of(first: Value, steps: Dim, tokens: Value, causal: bool = True, window: int = -1) -> list[Value]:
    """Which ``tokens`` [., L] the queries see that stand at ``first`` [B] and behind: those before, and ``window``."""
    distance = b.reshape(b.iota(steps), (1, 1, steps, 1)) + along_batch(first, 4) - along_keys(tokens)
    before = [b.greater_equal(distance, 0)] if causal else []
    return before + ([b.less(distance, window)] if window > 0 else [])


def _places(first: Value, positions: Value | None, steps: Dim) -> Value:
    """[B,S] of the positions of ``steps`` tokens, of which the first is at ``first`` [B,1]."""
    return first + b.reshape(b.iota(steps), (1, steps)) if positions is None else b.narrow(positions, 1, 0, steps)


def _of_prompt(positions: Value, length: Dim) -> Value:
    """``positions`` [B,S]; where all tokens are new, those behind the very first of these, as ONNX Runtime has them."""
    batch, steps = positions.shape
    places = b.reshape(b.iota(steps, positions.dtype), (1, steps))
    running = b.broadcast_to(places + b.narrow(b.narrow(positions, 0, 0, 1), 1, 0, 1), (batch, steps))
    if isinstance(length, int) and isinstance(steps, int):
        return running if length == steps else positions
    return b.where(b.equal(scalar(length), scalar(steps)), running, positions)


def _turned(x: Value, cos: Value | None, sin: Value | None, places: Value, interleaved: int) -> Value:
    """[B,N,S,H] with the angles of its ``places`` [B,S]; the tables [M,H/2] may be narrower."""
    if cos is None or sin is None:
        raise UnsupportedError("do_rotary without cos_cache and sin_cache", "give both")
    turned = 2 * int(cos.shape[1])  # type: ignore[arg-type]
    return standard.rotary_embedding(x, cos, sin, places, interleaved=interleaved, rotary_embedding_dim=turned)


def _normed(x: Value, weight: Value | None, epsilon: float) -> Value:
    """[B,N,S,H] with a root mean square of 1 along H, times ``weight`` [H]; as it is without that."""
    return x if weight is None else rms_normalization(x, weight, epsilon=epsilon)


def _length(total: Value | None, count: Value) -> Dim:
    """The number of tokens of the longest row of the batch."""
    wanted = total if total is not None else b.reduce("REDUCE_MAX", count, [0])
    return b.dims_of(b.reshape(b.cast(wanted, np.int32), (1,)))[0]


def _within(y: Value, axis: int, fresh: Value) -> Value:
    """``y`` with zeros behind the ``fresh`` [B] first of its ``axis``."""
    place = b.reshape(b.iota(y.shape[axis]), (-1, *(1,) * (y.rank - 1 - axis)))
    return b.where(b.less(place, along_batch(fresh, y.rank)), y, np.float32(0))


def _shown(scores: Value, seen: Sequence[Value], length: Dim) -> Value:
    """[B,N,S,length], 0 where nothing is looked at."""
    for condition in seen:
        scores = b.where(condition, scores, np.float32(0))
    return b.narrow(scores, 3, 0, length)


@record
class Memory:
    """What the queries see: keys and values [B,K,L,H], their ``tokens`` [1 or B,L] and which are ``there``; and the
    caches that are left."""

    pair: Sequence[Value]
    caches: Sequence[Value]
    tokens: Value
    there: Value

    @classmethod
    def of(cls, pair: Sequence[Value], caches: Sequence[Value], count: Value) -> Memory:
        """CacheRows in the order of the ``count`` [B] tokens."""
        tokens = b.reshape(b.iota(pair[0].shape[2]), (1, -1))
        return cls(pair, caches, tokens, b.less(tokens, along_batch(count, 2)))

    @classmethod
    def growing(cls, numbers: Sequence[Numbers], past: Pair, new: Pair, step: CacheRows, rows: Dim) -> Memory:
        """Behind a cache of every token, which has room for ``rows``."""
        caches = [step.cleared(step.present(p, n.stored(x), rows)) for n, p, x in zip(numbers, past, new, strict=True)]
        return cls.of([n.real(cache) for n, cache in zip(numbers, caches, strict=True)], caches, step.left)

    @classmethod
    def sliding(cls, numbers: Sequence[Numbers], past: Pair, new: Pair, step: CacheRows) -> Memory:
        """Behind a cache that always has the last tokens, in what it held and what comes."""
        capacity, stored = past[0].shape[2], [n.stored(x) for n, x in zip(numbers, new, strict=True)]
        caches = [step.cleared(step.present(p, x, capacity)) for p, x in zip(past, stored, strict=True)]
        pair = [n.real(b.concat([p, x], 2)) for n, p, x in zip(numbers, past, stored, strict=True)]
        return cls(pair, caches, *step.staged(capacity, new[0].shape[2]))


def _memory(
    numbers: Sequence[Numbers], past: Pair | None, new: Pair, before: Value, fresh: Value, length: Dim, window: int
) -> Memory:
    """What there is to see of a cache that slides with a ``window``, of one that does not (0), or without a cache."""
    if past is None:
        step = CacheRows.growing(before, fresh)
        return Memory.of(new, new if new[0].shape[2] == 1 else [step.cleared(x) for x in new], step.left)
    rows = past[0].shape[2]
    if window:
        return Memory.sliding(numbers, past, new, CacheRows.sliding(before, fresh, rows, window))
    return Memory.growing(numbers, past, new, CacheRows.growing(before, fresh), dims.maximum(rows, length))


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

    ``valid``[B]: how many of the S new tokens there are; by default all, or the first ``last`` + 1.  Results of others
    are 0, as are the rows of the caches behind the tokens.  ``k_scale`` and ``v_scale``: of a cache of integers, which
    new tokens are rounded to before they are read.
    """
    if last is None or (sliding_window_cache and (qk_output or past_key is None)):
        raise UnsupportedError("no seqlens_k, or scores or no past with sliding_window_cache", "export the plain form")
    batch, steps = q.shape[:2]
    query, key, value = _unpacked(q, k, v, num_heads, kv_num_heads)
    query = _normed(query, q_norm, q_norm_epsilon or qk_norm_epsilon)
    key = _normed(key, k_norm, k_norm_epsilon or qk_norm_epsilon)
    count = b.pinned(b.reshape(b.cast(last, np.int32), (-1,)), (batch,)) + 1
    given = scalar(steps) if valid is None else b.pinned(b.cast(valid, np.int32), (batch,))
    fresh = b.minimum(count, given)
    length = _length(total, count)
    if do_rotary:
        first = along_batch(count - fresh, 2)
        if positions is not None and valid is None:
            positions = _of_prompt(positions, length)
        angles = (_places(first, positions, x.shape[2]) for x in (query, key))
        query, key = (
            _turned(x, cos, sin, places, rotary_interleaved) for x, places in zip((query, key), angles, strict=True)
        )
    before, past = count - fresh, None if past_key is None or past_value is None else (past_key, past_value)
    numbers = [Numbers(s, kv_cache_bit_width) for s in (k_scale, v_scale)]
    window = local_window_size if sliding_window_cache else 0
    memory = _memory(numbers, past, (key, value), before, fresh, length, window)
    bias = _of_tokens(bias, memory.tokens) if bias is not None and window else bias
    seen = seen_of(before, steps, memory.tokens, bool(causal), local_window_size)
    if window or not causal:
        seen.append(along_keys(memory.there))
    sink = b.fill((num_heads,), np.float32(0)) if sink is None and smooth_softmax == 1 else sink
    keys, values = memory.pair
    y, scores, weights = attend(query, keys, values, seen, scale=scale, softcap=softcap, bias=bias, sink=sink)
    shown = _shown(weights if qk_output == 2 else scores, seen, length) if current_node().wants(3) else None
    if steps != 1 or valid is not None:
        y, shown = _within(y, 1, fresh), shown and _within(shown, 2, fresh)
    return [y, *memory.caches, shown]
