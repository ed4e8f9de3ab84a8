"""TfIdfVectorizer.  Axis names: B rows, P starting places, G n-grams of the pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.graph import Value
from .registry import UnsupportedError, op

MODES = ("TF", "IDF", "TFIDF")
#: Gaps up to which a program with one search for each is of use.
WRITTEN = 1000


@op("TfIdfVectorizer")
def tfidf(x: Value, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str,
          ngram_counts: Sequence[int], ngram_indexes: Sequence[int], pool_int64s: Sequence[int] | None = None,
          pool_strings: Sequence[str] | None = None, weights: Sequence[float] | None = None) -> Value:  # fmt: skip
    """x[B,tokens] or [tokens] -> how often each n-gram of the pool occurs, with gaps of up to ``max_skip_count``.

    ``ngram_counts[n - 1]`` is where the pool's n-grams begin; result ``ngram_indexes[g]`` belongs to n-gram g.
    """
    if pool_int64s is None or mode not in MODES:
        raise UnsupportedError("TFLite has no strings", "map the words to numbers before the model")
    tokens = b.reshape(b.cast(x, np.int32), (x.shape[0] if x.rank == 2 else 1, x.shape[-1]))
    ends = [*ngram_counts[1:], len(pool_int64s)]
    found = []
    for n, (start, end) in enumerate(zip(ngram_counts, ends, strict=True), start=1):
        pool = np.reshape(np.asarray(pool_int64s[start:end], np.int32), (-1, n))
        skips = range(_skips(tokens.shape[1], n, max_skip_count)) if min_gram_length <= n <= max_gram_length else []
        counts = b.fill((tokens.shape[0], len(pool)), np.float32(0))
        for skip in skips if len(pool) else []:
            counts = counts + _occurrences(tokens, pool, skip + 1)
        found.append(counts)
    size = max(ngram_indexes) + 1
    columns = (b.places(size, len(ngram_indexes))[:, None] == np.asarray(ngram_indexes)).astype(np.float32)
    result = b.fully_connected(b.concat(found, 1), columns)
    if mode == "IDF":
        result = b.minimum(result, 1.0)
    if mode != "TF" and weights is not None:
        result = result * (columns @ np.asarray(weights, np.float32))
    return b.reshape(result, (*x.shape[:-1], size))


def _skips(length: dims.Dim, n: int, most: int) -> int:
    """How many gaps, from 0 to ``most``, the tokens of an n-gram can have within ``length`` tokens."""
    count = most + 1 if n > 1 else 1
    if n > 1 and isinstance(length, int):
        count = min(count, max((length - 1) // (n - 1), 1))
    if count > WRITTEN:
        raise UnsupportedError(
            f"it looks for n-grams with {count:,} gaps, each of them written out", "fix the input shape"
        )
    return count


def _occurrences(tokens: Value, pool: np.ndarray, step: int) -> Value:
    """How often tokens[B,..], read ``step`` apart, are each n-gram of pool[G,n]: [B,G]."""
    (rows, length), n = tokens.shape, pool.shape[1]
    places = dims.maximum(length - (n - 1) * step, 0)
    if places == 0:
        return b.fill((rows, len(pool)), np.float32(0))
    same = [
        b.equal(
            b.reshape(b.narrow(tokens, 1, dims.minimum(i * step, length), places), (rows, places, 1)),
            pool[None, None, :, i],
        )
        for i in range(n)
    ]
    hits = same[0]
    for other in same[1:]:
        hits = b.logical_and(hits, other)
    return b.reduce("SUM", b.cast(hits, np.float32), [1])
