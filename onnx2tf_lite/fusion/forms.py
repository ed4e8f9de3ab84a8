"""Compositions for which there is one operator, and reshapes that an operator's own options make needless."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from .pattern import Match, again, any_, const, either, number, op, rule


@rule(op("AVERAGE_POOL_2D", any_("x"), padding="VALID", activation=None))
def global_pool(m: Match) -> Value | str | None:
    """pool over everything as MEAN"""
    if m.x.shape[1:3] != tuple(m.root.attrs["kernel"]):
        return None
    return b.reduce("MEAN", m.x, (1, 2), keepdims=True)


REDUCTIONS = "MEAN|SUM|REDUCE_MAX|REDUCE_MIN|REDUCE_PROD|REDUCE_ANY|REDUCE_ALL"


@rule(op("RESHAPE", op(REDUCTIONS, name="inner", keepdims=True)), origin="inner")
def drop_unit_axes(m: Match) -> Value | str | None:
    """reduction without keepdims"""
    axes = m.inner.attrs["axes"]
    kept = tuple(d for i, d in enumerate(m.inner.outputs[0].shape) if i not in axes)
    return again(m.inner, keepdims=False) if kept == m.root.outputs[0].shape else None


@rule(op("RESHAPE", op("FULLY_CONNECTED", op("RESHAPE", any_("x"), shared=True), name="fc")), origin="fc")
def keep_leading_axes(m: Match) -> Value | str | None:
    """FULLY_CONNECTED on the unflattened operand"""
    rows, weights, *bias = m.fc.inputs
    assert rows is not None and weights is not None
    fits = m.x.rank and m.x.shape[-1] == weights.shape[-1] == rows.shape[-1]
    return again(m.fc, m.x, weights, *bias) if fits else None


@rule(op("BATCH_MATMUL", any_("x"), const("w"), adj_x=False))
def fully_connected(m: Match) -> Value | str | None:
    """product with a constant matrix as FULLY_CONNECTED"""
    if m.x.is_constant or any(d != 1 for d in m.w.shape[:-2]):
        return None
    matrix = b.reshape(m.w, m.w.shape[-2:])
    return b.fully_connected(m.x, matrix if m.root.attrs["adj_y"] else b.transpose(matrix, (1, 0)))


_gate6 = op("ADD", any_("x"), number(3), activation="RELU6")
_sixth = 1 / 6
_line = op("ADD", op("MUL", any_("x"), number(_sixth), activation=None), number(0.5), activation="RELU")
_gate1 = op("MINIMUM", _line, number(1))


@rule(either(op("MUL", any_("x"), op("MUL", _gate6, number(_sixth), activation=None), activation=None),
             op("MUL", any_("x"), op("DIV", _gate6, number(6), activation=None), activation=None),
             op("MUL", op("MUL", any_("x"), _gate6, activation=None), number(_sixth), activation=None),
             op("DIV", op("MUL", any_("x"), _gate6, activation=None), number(6), activation=None),
             op("MUL", any_("x"), _gate1, activation=None)))  # fmt: skip
def hard_swish(m: Match) -> Value | str | None:
    """HARD_SWISH"""
    return b.hard_swish(m.x)


_denominator = op("ADD", op("EXP", op("NEG", any_("x"))), number(1), activation=None)


@rule(op("DIV", number(1), _denominator, activation=None))
def logistic(m: Match) -> Value | str | None:
    """LOGISTIC"""
    return b.logistic(m.x)


@rule(op("DIV", number(1), op("SQRT", any_("x")), activation=None))
def rsqrt(m: Match) -> Value | str | None:
    """RSQRT"""
    return b.rsqrt(m.x)


@rule(op("POW", any_("x"), const("n")))
def power(m: Match) -> Value | str | None:
    """power of two as SQUARE"""
    square = m.n.size == 1 and m.n.data.item() == 2 and m.x.dtype == np.float32
    return b.square(m.x) if square else None


RULES = [global_pool, drop_unit_axes, keep_leading_axes, fully_connected, hard_swish, logistic, rsqrt, power]
