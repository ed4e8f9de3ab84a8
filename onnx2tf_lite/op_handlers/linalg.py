"""Determinants and inverses by Gauss's elimination with partial pivoting, a WHILE over the columns.

Rows are not exchanged: each step marks the row of its pivot as used.  Axis names: B batch, n rows and columns.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from ._loops import Seen, iterate
from .registry import op

F32 = np.dtype(np.float32)


def _pivot(a: Value, unused: Value, k: Value, n: Dim) -> tuple[Value, Value, Value, Value]:
    """Column ``k`` of a[B,n,*], the chosen row as a mark [B,n] and as numbers [B,*], and its element [B,1]."""
    column = b.gather(a, k, axis=2)
    size = b.where(b.greater(unused, 0.0), b.abs_(column), -1.0)
    mark = b.one_hot(b.arg("ARG_MAX", size, 1), n, np.float32(1), np.float32(0))
    row = b.reduce("SUM", a * b.reshape(mark, (*mark.shape, 1)), [1])
    return column, mark, row, b.reduce("SUM", column * mark, [1], keepdims=True)


def _outer(x: Value, y: Value) -> Value:
    return b.reshape(x, (*x.shape, 1)) * b.reshape(y, (y.shape[0], 1, y.shape[1]))


def _nonzero(pivot: Value) -> Value:
    """A divisor: the row that a zero pivot stands in changes nothing."""
    return b.where(b.equal(pivot, 0.0), 1.0, pivot)


@op("Det")
def det(x: Value) -> Value:
    """The product of the pivots; the sign changes for every unused row before the chosen one."""
    *batch, n, _ = x.shape
    rows = dims.product(batch)

    def step(k: Value, state: list[Value], outer: Seen) -> list[Value]:
        a, unused, total = state
        column, mark, row, pivot = _pivot(a, unused, k, n)
        before = b.reduce("SUM", unused * b.cumsum(mark, 1, exclusive=True, reverse=True), [1], keepdims=True)
        sign = 1.0 - b.floor_mod(before, 2.0) * 2.0
        return [a - _outer(column / _nonzero(pivot), row), unused - mark, total * pivot * sign]

    start = [b.reshape(x, (rows, n, n)), b.fill((rows, n), np.float32(1)), b.fill((rows, 1), np.float32(1))]
    return b.reshape(iterate(n, start, [], step)[2], batch)


@op("Inverse", domain="com.microsoft")
def inverse(x: Value) -> Value:
    """Gauss-Jordan on [x | 1]; ``order`` [B,step,row] puts the rows right at the end."""
    *batch, n, _ = x.shape
    rows = dims.product(batch)
    diagonal = b.reshape(b.iota(n), (n, 1)), b.reshape(b.iota(n), (1, n))
    unit = b.broadcast_to(b.expand_rank(b.cast(b.equal(*diagonal), F32), 3), (rows, n, n))

    def step(k: Value, state: list[Value], outer: Seen) -> list[Value]:
        a, unused, order = state
        column, mark, row, pivot = _pivot(a, unused, k, n)
        row = row / pivot
        now = b.cast(b.equal(b.reshape(b.iota(n), (1, n)), k), F32)
        return [a - _outer(column - mark, row), unused - mark, order + _outer(b.broadcast_to(now, mark.shape), mark)]

    both = b.concat([b.reshape(x, (rows, n, n)), unit], 2)
    a, _, order = iterate(n, [both, b.fill((rows, n), F32.type(1)), b.fill((rows, n, n), F32.type(0))], [], step)
    return b.reshape(b.matmul(order, b.narrow(a, 2, n, n)), x.shape)
