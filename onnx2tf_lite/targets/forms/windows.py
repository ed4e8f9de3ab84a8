"""Windows of three rows with a third fewer multiplications, for a processor that is short of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ...fusion.weights import finite
from ...ir import build as b
from ...ir.dims import is_static
from ...ir.graph import Value, constant
from ...ir.rules import Match, again, rule

Term = TypeVar("Term", Value, np.ndarray)
ROWS = 3  # of the window
LEAST = 6  # rows of the result: with fewer, those that are made to fill up the last pair are too many
CHANNELS = 32  # of operand and result; with fewer the sums take as long as what they save (benchmarks/kernels.py)


def spread(d: Sequence[Term]) -> list[Term]:
    """The four sums of four neighbouring rows that are multiplied."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def filters(w: np.ndarray) -> list[np.ndarray]:
    """What each of them is multiplied with, for weights of three rows: along the first axis."""
    return [w[0], (w[0] + w[1] + w[2]) / 2, (w[0] - w[1] + w[2]) / 2, -w[2]]


def gathered(p: Sequence[Term]) -> list[tuple[Term, Term]]:
    """Of the four products two neighbouring rows of the result, each as two summands."""
    return [(p[0] + p[1], p[2]), (p[1] - p[2], p[3])]


def rows(x: Value, before: int, pairs: int) -> list[Value]:
    """For each of ``pairs`` pairs of rows of the result the four of ``x`` that it depends on: [N, pairs, W, C] each;
    ``before``: rows of zeros above the first."""
    n, height, width, channels = x.shape
    even = 2 * (pairs + 1)
    filled = b.pad(x, ((0, 0), (before, even - before - height), (0, 0), (0, 0)))
    sides = b.split(b.reshape(filled, (n, pairs + 1, 2 * width, channels)), [width, width], 2)
    return [b.narrow(side, 1, at, pairs) for at in (0, 1) for side in sides]


@rule("CONV_2D(x, const(w), const(bias))")
def in_pairs(m: Match) -> Value | None:
    """window of three rows as four of one row that give two rows of the result

    With v = w0 + w2: of w0 (d0 - d2), (v + w1)/2 (d1 + d2), (v - w1)/2 (d2 - d1) and -w2 (d1 - d3) the first three add
    up to w0 d0 + w1 d1 + w2 d2; the second less the third plus the fourth is w0 d1 + w1 d2 + w2 d3.  Four
    multiplications by a row of the window instead of six (Winograd, Arithmetic Complexity of Computations, 1980: F(2,
    3)); up to the rounding of float32, of three sums more.  The weights become a third larger.
    """
    attrs, w, bias = m.root.attrs, m.w.data, m.bias.data
    if m.x.dtype != np.float32 or w is None or bias is None or w.dtype != np.float32 or m.w.quant is not None:
        return None
    (out, window, _, read), (n, height, width, _) = w.shape, m.root.outputs[0].shape
    once = attrs["strides"] == (1, 1) and attrs["dilations"][0] == 1
    if window != ROWS or not once or read != m.x.shape[3] or min(read, out) < CHANNELS:
        return None
    if not is_static(m.x.shape) or not isinstance(height, int) or height < LEAST:  # XNNPACK takes no other SLICE
        return None
    pairs, none = -(-height // 2), np.zeros_like(bias)
    sums = spread(rows(m.x, 1 if attrs["padding"] == "SAME" else 0, pairs))
    parts = filters(np.moveaxis(w.astype(np.float64), 1, 0))
    products = [
        again(m.root, x, finite(part[:, None]), constant(offset), activation=None)
        for x, part, offset in zip(sums, parts, (none, bias, none, none), strict=True)
    ]
    two = [b.add(*terms, activation=attrs["activation"]) for terms in gathered(products)]
    joined = b.reshape(b.concat(two, 2), (n, 2 * pairs, width, out))
    return b.narrow(joined, 1, 0, height)
