"""Probabilities of C classes from those of every pair of them, as LIBSVM and ONNX Runtime approach them: the second
method of Wu, Lin and Weng, 2004.

Axis names: N rows, C classes.  The steps stop in each row where nothing would change by 0.005 / C, so that the results
are as far from the limit as ONNX Runtime's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from ._loops import Seen, iterate

STEPS = 100
CLOSE = 0.005
LEAST = 1e-7  # probability of a class against another


def of_pairs(decisions: Value, slopes: np.ndarray, offsets: np.ndarray, classes: int) -> Value:
    """[N, C] from the decisions [N, C * (C - 1) / 2], of probabilities 1 / (1 + exp(slope * decision + offset))."""
    wins = b.logistic(b.neg(decisions * slopes + offsets))
    wins = b.minimum(b.maximum(wins, np.float32(LEAST)), np.float32(1 - LEAST))
    products = _products(wins, classes)
    start = b.broadcast_to(np.full((1, classes), 1 / classes, np.float32), (decisions.shape[0], classes))
    (found,) = iterate(max(STEPS, classes), [start], [products], _step)
    return found


def _products(wins: Value, classes: int) -> Value:
    """Q [N, C, C]: minus the product of r[j,i] and r[i,j], and on the diagonal the sum of the squares of r[j,i]."""
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    upper, lower = (np.zeros((len(pairs), classes * classes), np.float32) for _ in range(2))
    beside = np.zeros_like(upper)
    for row, (i, j) in enumerate(pairs):
        upper[row, j * classes + j] = lower[row, i * classes + i] = 1  # r[i,j] lowers j, r[j,i] = 1 - r[i,j] lowers i
        beside[row, [i * classes + j, j * classes + i]] = -1
    losses = 1.0 - wins
    parts = ((b.square(wins), upper), (b.square(losses), lower), (wins * losses, beside))
    flat = [b.fully_connected(x, weights.T.copy()) for x, weights in parts]
    return b.reshape(flat[0] + flat[1] + flat[2], (wins.shape[0], classes, classes))


def _step(_: Value, state: list[Value], seen: Seen) -> Sequence[Value]:
    """One round over all classes, in the rows that have not come close."""
    (before,), (products,) = state, seen
    classes = int(before.shape[1])  # type: ignore[arg-type]
    p = before
    rates = b.reduce("SUM", products * b.reshape(p, (p.shape[0], 1, classes)), (2,))
    mean = b.reduce("SUM", p * rates, (1,), keepdims=True)
    error = b.reduce("REDUCE_MAX", b.abs_(rates - mean), (1,), keepdims=True)
    going = b.logical_not(b.less(error, np.float32(CLOSE / classes)))
    for t in range(classes):
        row = b.reshape(b.narrow(products, 1, t, 1), (p.shape[0], classes))
        own, rate = b.narrow(row, 1, t, 1), b.narrow(rates, 1, t, 1)
        more = (mean - rate) / own
        whole = more + 1.0
        mean = (mean + more * (more * own + rate * 2.0)) / whole / whole
        rates = (rates + more * row) / whole
        p = (p + more * np.eye(classes, dtype=np.float32)[t : t + 1]) / whole
    return [b.where(going, p, before)]
