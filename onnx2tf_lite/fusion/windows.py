"""Layers that a kernel is slow with, in other words.  For files that run in XNNPACK in float32: integers would be
rounded after every part, and have no kernel for a matrix of weights on the left.

XNNPACK has depthwise kernels for up to 25 places; beyond these it takes up to ten times as long for each
(benchmarks/kernels.py).  A window of 7 x 7 is the sum of three of 2, 3 and 2 rows.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..ir import build as b
from ..ir.graph import Value, constant
from ..ir.rules import Match, again, is_splat, rule
from .padding import same_pad

PLACES = 25  # of the largest kernel
PARTS = 8  # more would be slower again


def cut(window: tuple[int, int]) -> tuple[int, list[slice]] | None:
    """The axis along which a window is cut, and the parts, of nearly equal extent; None where nothing is gained."""
    rows, columns = window
    if rows * columns <= PLACES:
        return None
    best: tuple[int, int] | None = None
    for axis, (along, across) in enumerate(((rows, columns), (columns, rows))):
        fits = PLACES // across
        if fits and (best is None or -(-along // fits) < best[0]):
            best = -(-along // fits), axis
    if best is None or best[0] > PARTS:
        return None
    count, axis = best
    ends = np.linspace(0, window[axis], count + 1).round().astype(int).tolist()
    return axis, [slice(a, z) for a, z in pairwise(ends)]


@rule("DEPTHWISE_CONV_2D(x, const(w), const(bias))")
def cut_window(m: Match) -> Value | None:
    """large depthwise window as several small ones

    A convolution is the sum of the convolutions with parts of its window, each of the part of its operand that it sees;
    up to the rounding of float32.
    """
    attrs, w = m.root.attrs, m.w.data
    if w is None or m.x.dtype != np.float32 or m.w.dtype != np.float32 or m.w.quant is not None:
        return None
    plan = cut((w.shape[1], w.shape[2]))
    if plan is None:
        return None
    axis, parts = plan
    padded = _padded(m)
    if padded is None:
        return None
    stride, step = attrs["strides"][axis], attrs["dilations"][axis]
    span = (m.root.outputs[0].shape[1 + axis] - 1) * stride + 1
    total: Value | None = None
    for part in parts:
        window = np.take(w, range(part.start, part.stop), 1 + axis)
        seen = b.narrow(padded, 1 + axis, part.start * step, span + (part.stop - part.start - 1) * step)
        offset = m.bias if total is None else constant(np.zeros_like(m.bias.data), name="zero_bias")
        result = again(m.root, seen, constant(window, name=m.w.name), offset, padding="VALID", activation=None)
        last = part is parts[-1]
        total = result if total is None else b.add(total, result, activation=attrs["activation"] if last else None)
    return total


def _padded(m: Match) -> Value | None:
    """The operand with the zeros that SAME adds; None where they are only known at run time."""
    attrs = m.root.attrs
    if attrs["padding"] == "VALID":
        return m.x
    axes = zip(m.x.shape[1:3], m.w.shape[1:3], attrs["strides"], attrs["dilations"], strict=True)
    pads = [same_pad(*axis) for axis in axes]
    return None if None in pads else b.pad(m.x, ((0, 0), *(p for p in pads if p is not None), (0, 0)))


@rule("TRANSPOSE(made := FULLY_CONNECTED(moved := TRANSPOSE(x), const(w), ..., activation=None))")
def from_the_left(m: Match) -> Value | None:
    """product between two TRANSPOSEs as a product from the left

    transpose(W transpose(x)) is W x, of all matrices of a batch: the heads of attention scores, mixed.
    """
    rank, w = m.x.rank, m.w.data
    swap = (*range(rank - 2), rank - 1, rank - 2)
    biased = any(v is not None and not is_splat(v, 0) for v in m.op("made").inputs[2:])
    if w is None or w.dtype != np.float32 or m.w.quant is not None or biased:
        return None
    if any(op.attrs["perm"] != swap for op in (m.op("moved"), m.root)):
        return None
    return b.matmul(b.reshape(m.w, (*(1,) * (rank - 2), *m.w.shape)), m.x)


RULES = [cut_window, from_the_left]
