"""Convolutions with groups, and products of batches of matrices, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...ir import build as b
from ...ir import dims
from ...ir.graph import Value, constant, static_shape
from ...ir.rules import Match, again, rule

MOST = 256  # groups, or matrices, that are written one by one


@rule("CONV_2D(x, const(w), ...)")
def groups(m: Match) -> Value | None:
    """convolution with groups as one for each

    Integers keep the scales of the whole, so that every number stays the same.
    """
    (_, _, *bias), count = m.root.inputs, _groups(m.x, m.w)
    if not 1 < count <= MOST or (bias and bias[0] is not None and not bias[0].is_constant):
        return None
    parts = b.split(m.x, [m.w.shape[3]] * count, 3)
    results = []
    for i, part in enumerate(parts):
        part.quant = m.x.quant
        results.append(again(m.root, part, _rows(m.w, i, count), *(v and _rows(v, i, count) for v in bias)))
        results[-1].quant = m.root.outputs[0].quant
    return b.concat(results, 3)


def _groups(x: Value, w: Value) -> int:
    channels, read = x.shape[3], w.shape[3]
    return channels // read if isinstance(channels, int) and isinstance(read, int) else 1


def _rows(value: Value, i: int, count: int) -> Value:
    """Of a constant the rows of group ``i``, with their scales."""
    assert value.data is not None
    rows = slice(i * (len(value.data) // count), (i + 1) * (len(value.data) // count))
    quant = value.quant
    if quant is not None and quant.axis == 0:
        quant = replace(quant, scale=quant.scale[rows], zero_point=quant.zero_point[rows])
    return constant(value.data[rows], name=f"{value.name}/{i}", quant=quant)


@rule("BATCH_MATMUL(x, y)")
def unfold(m: Match) -> Value | None:
    """batch of products one by one

    FULLY_CONNECTED is the product with a transposed matrix.
    """
    x, y, result = m.x, m.y, m.root.outputs[0]
    if x.dtype != np.float32 or not all(dims.is_static(v.shape) for v in (x, y, result)):
        return None
    batch = static_shape(result)[:-2]
    count = int(np.prod(batch))
    if not 1 < count <= MOST:
        return None
    left = [_turned(v, m.root.attrs["adj_x"]) for v in _matrices(x, batch)]
    right = [_turned(v, not m.root.attrs["adj_y"]) for v in _matrices(y, batch)]
    return b.reshape(b.concat([b.fully_connected(p, q) for p, q in zip(left, right, strict=True)], 0), result.shape)


def _matrices(x: Value, batch: tuple[int, ...]) -> list[Value]:
    """The matrices of a batch in order, those that are broadcast again and again."""
    own = static_shape(x)[:-2]
    flat = b.reshape(x, (int(np.prod(own)), *x.shape[-2:]))
    single = [b.reshape(b.narrow(flat, 0, i, 1), x.shape[-2:]) for i in range(int(np.prod(own)))]
    places = np.broadcast_to(np.arange(len(single)).reshape(own), batch)
    return [single[i] for i in places.ravel()]


def _turned(x: Value, swap: bool) -> Value:
    return b.transpose(x, (1, 0)) if swap else x
