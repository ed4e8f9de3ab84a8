"""Matrix products: MatMul, Gemm, Einsum.

A constant operand becomes the weights [O, I] of FULLY_CONNECTED, which keeps all leading axes; two run-time operands go
to BATCH_MATMUL; whole numbers are multiplied and summed, because the kernels know float32 only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.graph import Value
from .registry import UnsupportedError, op


def is_weights(y: Value) -> bool:
    """A constant matrix, or one number everywhere that was too large to be written out (see the pass ``tile``)."""
    while y.producer is not None and y.producer.kind.is_view:
        y = y.producer.inputs[0]  # type: ignore[assignment]
    return y.is_constant or (y.producer is not None and y.producer.kind.is_splat)


def product(x: Value, y: Value) -> Value:
    """numpy's matmul of operands of rank >= 2."""
    if x.dtype.kind != "f":
        lifted = b.reshape(x, (*x.shape, 1)) * b.reshape(y, (*y.shape[:-2], 1, *y.shape[-2:]))
        return b.reduce("SUM", lifted, [-2])
    if y.rank == 2 and is_weights(y):
        return b.fully_connected(x, b.transpose(y, (1, 0)))
    return b.matmul(x, y)


@op("MatMul")
def matmul(x: Value, y: Value) -> Value:
    """A vector on the left is a row, on the right a column; its axis is missing in the result."""
    left = b.reshape(x, (1, *x.shape)) if x.rank == 1 else x
    right = b.reshape(y, (*y.shape, 1)) if y.rank == 1 else y
    z = product(left, right)
    kept = list(z.shape)
    if y.rank == 1:
        del kept[-1]
    if x.rank == 1:
        del kept[len(z.shape) - 2]
    return b.reshape(z, kept)


def _vector(bias: Value | None, width: object) -> bool:
    """True for a constant that is one number per output feature."""
    return bias is not None and bias.is_constant and bias.size in (1, width) and bias.shape[-1:] in ((), (1,), (width,))


@op("Gemm")
def gemm(
    x: Value,
    y: Value,
    c: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """alpha x y + beta c; with constant weights alpha and beta are folded into them."""
    x = b.transpose(x, (1, 0)) if transA else x
    y = b.transpose(y, (1, 0)) if transB else y
    y = _scaled(y, alpha)
    bias = None if c is None else _scaled(c, beta)
    width = y.shape[1]
    if x.dtype.kind == "f" and is_weights(y) and bias is not None and _vector(bias, width):
        return b.fully_connected(x, b.transpose(y, (1, 0)), np.broadcast_to(bias.data.ravel(), (width,)))  # type: ignore
    z = product(x, y)
    return z if bias is None else z + bias


def _scaled(x: Value, factor: float) -> Value:
    if factor == 1:
        return x
    if x.dtype.kind != "f" and factor != int(factor):
        raise UnsupportedError(f"whole numbers times {factor}", "compute the product in float32")
    return x * factor


# ------------------------------------------------------------------------------------------------ Einsum

Term = tuple[Value, str]  # a tensor and one letter per axis


def _parse(equation: str, operands: Sequence[Value]) -> tuple[list[str], str]:
    """One string of letters per operand, and the result's; the axes of an ellipsis get digits."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"equation {equation!r} has {len(terms)} operands, the node {len(operands)}")
    hidden = [v.rank - len(t.replace("...", "")) if "..." in t else 0 for t, v in zip(terms, operands, strict=True)]
    names = "0123456789"[: max(hidden)]
    terms = [t.replace("...", names[len(names) - n :]) for t, n in zip(terms, hidden, strict=True)]
    if not arrow:
        letters = "".join(terms)
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and c not in names))
    return terms, right.replace("...", names)


def _without_repeats(x: Value, labels: str) -> Term:
    """Diagonals of repeated letters: every (n + 1)th element of the two axes laid behind each other."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i, j = labels.index(c), labels.rindex(c)
            order = [a for a in range(x.rank) if a not in (i, j)] + [i, j]
            n = x.shape[i]
            if not isinstance(n, int):
                raise UnsupportedError(
                    "the diagonal of an axis of unknown extent", "give the model a fixed input shape"
                )
            x = b.transpose(x, order)
            x = b.gather(b.reshape(x, (*x.shape[:-2], n * n)), np.arange(n, dtype=np.int32) * (n + 1), -1)
            labels = "".join(labels[a] for a in order[:-1])
    return x, labels


def _summed(term: Term, kept: str) -> Term:
    """Axes that nobody else needs are summed out."""
    x, labels = term
    gone = [a for a, c in enumerate(labels) if c not in kept]
    return b.reduce("SUM", x, gone), "".join(c for c in labels if c in kept)


def _ordered(term: Term, labels: str) -> Value:
    """The tensor with axes in the order of ``labels``; missing ones become 1."""
    x, own = term
    present = [c for c in labels if c in own]
    x = b.transpose(x, [own.index(c) for c in present])
    extents = dict(zip(present, x.shape, strict=True))
    return b.reshape(x, [extents.get(c, 1) for c in labels])


def _contract(left: Term, right: Term, kept: str) -> Term:
    """Two terms as one: letters of both that are in ``kept`` are batch axes, the others of both are summed over."""
    both = [c for c in left[1] if c in right[1]]
    batch, over = "".join(c for c in both if c in kept), "".join(c for c in both if c not in kept)
    rows, columns = ("".join(c for c in own if c not in both) for own in (left[1], right[1]))
    if not over or left[0].dtype.kind != "f":
        labels = batch + rows + columns + over
        return _summed((_ordered(left, labels) * _ordered(right, labels), labels), kept)
    x, y = _ordered(left, batch + rows + over), _ordered(right, batch + over + columns)
    n, r, o = len(batch), len(rows), len(over)
    sizes = [x.shape[n : n + r], x.shape[n + r :], y.shape[n + o :]]
    m, k, c = (dims.product(s) for s in sizes)
    z = product(b.reshape(x, (*x.shape[:n], m, k)), b.reshape(y, (*y.shape[:n], k, c)))
    return b.reshape(z, (*z.shape[:n], *sizes[0], *sizes[2])), batch + rows + columns


@op("Einsum")
def einsum(*operands: Value, equation: str) -> Value:
    """Contracted from left to right, a pair at a time."""
    labels, result = _parse(equation, operands)
    terms = [_without_repeats(x, t) for x, t in zip(operands, labels, strict=True)]
    total = terms[0]
    for i, term in enumerate(terms[1:], 2):
        later = result + "".join(t for _, t in terms[i:])
        total = _contract(_summed(total, later + term[1]), _summed(term, later + total[1]), later)
    return _ordered(_summed(total, result), result)
