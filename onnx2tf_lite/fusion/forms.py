"""Compositions for which there is one operator, and reshapes that an operator's own options make needless."""

from __future__ import annotations

import math

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from ..ir.rules import Match, again, rule
from .weights import per_channel


@rule("AVERAGE_POOL_2D(x, padding=VALID, activation=None)")
def global_pool(m: Match) -> Value | None:
    """pool over everything as MEAN

    The only window is all of the image: its average is the mean over height and width.
    """
    if m.x.shape[1:3] != tuple(m.root.attrs["kernel"]):
        return None
    return b.reduce("MEAN", m.x, (1, 2), keepdims=True)


@rule("RESHAPE(inner := reduction(..., keepdims=True))", origin="inner")
def drop_unit_axes(m: Match) -> Value | None:
    """reduction without keepdims

    Leaving out the axes of extent 1 that a reduction keeps is the same as not keeping them.
    """
    inner = m.op("inner")
    kept = tuple(d for i, d in enumerate(m.inner.shape) if i not in inner.attrs["axes"])
    return again(inner, keepdims=False) if kept == m.root.outputs[0].shape else None


@rule("RESHAPE(fc := FULLY_CONNECTED(shared(RESHAPE(x)), ...))", origin="fc")
def keep_leading_axes(m: Match) -> Value | None:
    """FULLY_CONNECTED on the unflattened operand

    It is a product with the last axis, whatever axes are before it.
    """
    rows, weights, *bias = m.op("fc").inputs
    assert rows is not None and weights is not None
    fits = 0 < m.x.rank <= m.op("fc").kind.max_rank and m.x.shape[-1] == weights.shape[-1] == rows.shape[-1]
    return again(m.op("fc"), m.x, weights, *bias) if fits else None


@rule("BATCH_MATMUL(x, const(w), adj_x=False)")
def fully_connected(m: Match) -> Value | None:
    """product with a constant matrix as FULLY_CONNECTED

    x @ w = FULLY_CONNECTED(x, transpose(w)).
    """
    if m.x.is_constant or any(d != 1 for d in m.w.shape[:-2]):
        return None
    matrix = b.reshape(m.w, m.w.shape[-2:])
    return b.fully_connected(m.x, matrix if m.root.attrs["adj_y"] else b.transpose(matrix, (1, 0)))


@rule("SUM(product := MUL(x, const(w), activation=None))")
def expectation(m: Match) -> Value | None:
    """sum of the last axis, each element times a number, as FULLY_CONNECTED

    sum_i x_i w_i is the product with one column.
    """
    channels, last = m.x.shape[-1:], m.x.rank - 1
    numbers = per_channel(m.w, *channels) if last > 0 and (m.w.size,) == channels else None
    if numbers is None or m.product.shape != m.x.shape or m.root.attrs["axes"] != (last,):
        return None
    result = b.fully_connected(m.x, b.reshape(m.w, (1, -1)), np.zeros(1, np.float32))
    return result if m.root.attrs["keepdims"] else b.reshape(result, m.root.outputs[0].shape)


@rule("DIV(1, ADD(EXP(NEG(x)), 1, activation=None), activation=None)")
def logistic(m: Match) -> Value | None:
    """LOGISTIC

    1 / (1 + exp(-x)).
    """
    return b.logistic(m.x)


@rule("DIV(1, SQRT(x), activation=None)")
def rsqrt(m: Match) -> Value | None:
    """RSQRT

    1 / sqrt(x).
    """
    return b.rsqrt(m.x)


@rule("POW(x, const(n))")
def power(m: Match) -> Value | None:
    """power of two as SQUARE

    x ** 2 = x * x.
    """
    square = m.n.size == 1 and m.n.data == 2 and m.x.dtype == np.float32
    return b.square(m.x) if square else None


_SIGNS = ("NOT_EQUAL(LESS(x, 0), const(negative))", "NOT_EQUAL(LESS(x, 0), LESS(y, 0))")
_QUOTIENTS = ("q := DIV(n, d, activation=None)", "q := CAST(DIV(n, d, activation=None))")


@rule(
    *(
        f"SELECT_V2(LOGICAL_AND({signs}, LOGICAL_NOT(EQUAL(FLOOR_MOD(x, y), 0))), SUB({quotient}, 1), q)"
        for signs in _SIGNS
        for quotient in _QUOTIENTS
    )
)
def floor_division(m: Match) -> Value | None:
    """division of whole numbers that rounds towards zero, corrected, as FLOOR_DIV

    floor(x / y) is trunc(x / y), less 1 where the signs differ and y does not divide x.
    """
    negative = m.get("negative")
    if m.q.dtype.kind != "i" or not (_same(m.x, m.n) and _same(m.y, m.d)):
        return None
    if negative is not None and (m.y.data is None or not np.array_equal(negative.data, m.y.data < 0)):  # type: ignore
        return None
    return b.cast(b.floor_div(m.n, m.d), m.q.dtype)


@rule("GATHER_ND(x, const(index))")
def gather_in_order(m: Match) -> Value | None:
    """elements gathered in the order in which they lie as a RESHAPE

    The index vectors count through the leading axes.
    """
    places, depth = m.index.data, m.index.shape[-1]
    if places is None or not isinstance(depth, int) or m.x.is_constant:
        return None
    lead = [d for d in m.x.shape[:depth] if isinstance(d, int)]
    if len(lead) < depth or places.size != math.prod(lead) * depth:
        return None
    every = np.stack(np.unravel_index(np.arange(math.prod(lead)), lead), -1)
    return b.reshape(m.x, m.root.outputs[0].shape) if np.array_equal(places.reshape(-1, depth), every) else None


def _same(x: Value, y: Value) -> bool:
    """True for equal whole numbers, of whatever dtype."""
    if x.data is not None and y.data is not None:
        return x.shape == y.shape and bool((x.data == y.data).all())
    origin = [v.producer.uses()[0] if v.made_by("CAST") and v.producer else v for v in (x, y)]
    return origin[0] is origin[1]


RULES = [
    global_pool,
    drop_unit_axes,
    keep_leading_axes,
    fully_connected,
    expectation,
    logistic,
    rsqrt,
    power,
    floor_division,
    gather_in_order,
]
