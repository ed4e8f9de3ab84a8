"""Caches of keys and values: what lies in their rows, and in which numbers.

Axis names: B batch, S new tokens, C rows of the cache before, K key heads, H head size.  A row of the batch fills its
own number of rows; what an operator leaves unspecified behind them is 0.
"""

from __future__ import annotations

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.dims import Dim
from ...ir.graph import Value
from ...record import record
from .._loops import scalar


def along_batch(count: Value, rank: int) -> Value:
    """[B] as [B,1,...] of that rank."""
    return b.reshape(count, (-1, *(1,) * (rank - 1)))


@record
class CacheRows:
    """Numbers [B] of a step: tokens ``before`` it, ``fresh`` ones, rows ``held`` before and ``left`` after it.

    Row i of the cache is token ``before`` - ``held`` + i, and afterwards token ``before`` + ``fresh`` - ``left`` + i.
    """

    before: Value
    fresh: Value
    held: Value
    left: Value

    @classmethod
    def growing(cls, before: Value, fresh: Value) -> CacheRows:
        """Of a cache that keeps every token."""
        return cls(before, fresh, before, before + fresh)

    @classmethod
    def sliding(cls, before: Value, fresh: Value, capacity: Dim, window: int) -> CacheRows:
        """Of one that always has the last ``window`` tokens and gives up ``capacity`` - ``window`` + 1 at once."""
        once = scalar(capacity - (window - 1))

        def resident(count: Value) -> Value:
            beyond = b.maximum(count - scalar(capacity), 0)
            return count - b.floor_div(beyond + (once - 1), once) * once

        return cls(before, fresh, resident(before), resident(before + fresh))

    def present(self, past: Value, new: Value, rows: Dim) -> Value:
        """[B,K,rows,H]: the cache [B,K,C,H] after the step, from the keys or values [B,K,S,H] of that."""
        capacity, steps = past.shape[2], new.shape[2]
        place = b.reshape(b.iota(rows), (1, rows)) + along_batch(self.held + self.fresh - self.left, 2)
        held = along_batch(self.held, 2)
        made = b.logical_and(b.greater_equal(place, held), b.less(place, held + scalar(steps)))
        source = b.where(made, place - held + scalar(capacity), b.minimum(place, scalar(capacity + steps - 1)))
        joined = b.transpose(b.concat([past, new], 2), (0, 2, 1, 3))
        return b.transpose(b.gather(joined, source, 1, batch_dims=1), (0, 2, 1, 3))

    def cleared(self, cache: Value) -> Value:
        """[B,K,rows,H] with zeros behind the rows that are left."""
        kept = b.less(b.reshape(b.iota(cache.shape[2]), (1, 1, -1, 1)), along_batch(self.left, 4))
        return b.where(kept, cache, cache.dtype.type(0))

    def staged(self, capacity: Dim, steps: Dim) -> tuple[Value, Value]:
        """Of the rows of the cache before the step and the new ones behind: their tokens, and which there are."""
        old, new = (b.reshape(b.iota(count), (1, count)) for count in (capacity, steps))
        before, fresh, held = (along_batch(count, 2) for count in (self.before, self.fresh, self.held))
        there = b.concat([b.less(old, held), b.less(new, fresh)], 1)
        return b.concat([old + (before - held), new + before], 1), there


@record
class Numbers:
    """How a cache stores its real numbers: as they are, or by ``scale`` in integers of ``bits``, two of 4 in a byte."""

    scale: Value | None
    bits: int

    def stored(self, x: Value) -> Value:
        """[...,H] as it is in a cache, rounded half to even."""
        if self.scale is None:
            return x
        limit = np.float32(1 << self.bits - 1)
        whole = b.minimum(b.maximum(b.round_(x / self.scale), -limit), limit - 1)
        if self.bits == 8:
            return b.cast(whole, np.int8)
        pairs = b.reshape(whole + limit, (*x.shape[:-1], dims.floordiv(x.shape[-1], 2), 2))
        return b.cast(b.reduce("SUM", pairs * np.array([1, 16], np.float32), [-1]), np.uint8)

    def real(self, cache: Value) -> Value:
        """The numbers that a cache stands for."""
        if self.scale is None:
            return cache
        whole = b.cast(cache, np.float32)
        if self.bits == 4:
            high = b.floor(whole * np.float32(1 / 16))
            pairs = b.pack([whole - high * np.float32(16), high], whole.rank)
            whole = b.reshape(pairs, (*cache.shape[:-1], 2 * cache.shape[-1])) - np.float32(8)
        return whole * self.scale
