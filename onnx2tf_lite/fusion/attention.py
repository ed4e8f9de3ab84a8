"""What attention and normalisation leave between their products: factors, summands and guards.

Factors move from the scores, of which there are as many as pairs of positions, to an operand, and from there into the
weights (:mod:`.views`, :mod:`.weights`).
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from ..ir.rules import Match, NearMissError, again, rule
from .views import comes_of_weights
from .weights import axes_of, finite, per_channel, scaled


def smaller(x: Value, y: Value) -> bool:
    """True where ``x`` is known to have fewer elements than ``y``."""
    return isinstance(x.size, int) and isinstance(y.size, int) and x.size < y.size


def one_number(value: Value) -> float | None:
    """The finite float32 number that a constant consists of."""
    data = value.data
    single = data is not None and data.size == 1 and data.dtype == np.float32 and bool(np.isfinite(data).all())
    return float(data.flat[0]) if single and data is not None else None


@rule(
    "MUL(product := BATCH_MATMUL(x, y), const(factor), activation=None)",
    "DIV(product := BATCH_MATMUL(x, y), const(divisor), activation=None)",
    above=3,
)
def scale_operand(m: Match) -> Value | None:
    """factor of a product on an operand

    (x y) c = (x c) y = x (y c), up to the rounding of float32: on an operand that weights make, which take it, or else
    on one that has fewer elements than the product.
    """
    divisor = m.get("divisor")
    c = one_number(m.factor if divisor is None else divisor)
    if not c:
        return None
    factor = finite(np.asarray(c if divisor is None else 1 / c))
    weighed = [v for v in (m.x, m.y) if comes_of_weights(m, v)]
    target = weighed[0] if weighed else m.x if not smaller(m.y, m.x) else m.y
    if target.is_constant or not (weighed or smaller(target, m.product)):
        return None
    scaled_operand = b.mul(target, factor)
    x, y = (scaled_operand, m.y) if target is m.x else (m.x, scaled_operand)
    return again(m.op("product"), x, y)


_ONE = "MUL(x, const(a), activation=None)"
_OTHER = "MUL(y, const(c), activation=None)"


@rule(
    *(
        f"BATCH_MATMUL({one}, {other})"
        for one in (_ONE, f"left := RESHAPE({_ONE})")
        for other in (_OTHER, f"right := RESHAPE({_OTHER})")
    )
)
def one_scale(m: Match) -> Value | None:
    """factors of both operands on one

    (x a) (y c) = (x a c) y, up to the rounding of float32.
    """
    a, c = one_number(m.a), one_number(m.c)
    if a is None or c is None:
        return None
    factor = finite(np.asarray(a * c))
    x, y = (b.mul(m.x, factor), m.y) if not smaller(m.y, m.x) else (m.x, b.mul(m.y, factor))
    left, right = m.get("left"), m.get("right")
    x = x if left is None else b.reshape(x, left.shape)
    return again(m.root, x, y if right is None else b.reshape(y, right.shape))


@rule(
    "BATCH_MATMUL(scale := MUL(x, const(factor), activation=None), y)",
    "BATCH_MATMUL(y, scale := MUL(x, const(factor), activation=None))",
    above=3,
)
def scale_of_other(m: Match) -> Value | None:
    """factor of an operand into the weights of the other

    (x c) y = x (y c), up to the rounding of float32.
    """
    c = one_number(m.factor)
    if c is None or m.x.shape != m.scale.shape or comes_of_weights(m, m.x) or not comes_of_weights(m, m.y):
        return None
    new = {m.scale: m.x, m.y: b.mul(m.y, finite(np.asarray(c)))}
    return again(m.root, *(new[v] for v in m.root.uses()))


@rule("linear(gated := MUL(x, MUL(gate, const(factor), activation=None), activation=None), ...)", above=1)
def scale_of_gate(m: Match) -> Value | None:
    """factor of a gate into the weights behind it

    W (x (g c)) = (c W) (x g), up to the rounding of float32.
    """
    c = one_number(m.factor)
    if c is None:
        return None
    _, _, *rest = m.root.inputs
    return again(m.root, b.mul(m.x, m.gate), scaled(m, m.root, np.asarray(c), None), *rest)


@rule("SELECT_V2(NOT_EQUAL(s, s), y, s)", above=1)
def guard_rows(m: Match) -> Value | None:
    """guard of a softmax row by row

    If one element of a row of a softmax is NaN, all are (their common sum is): it is enough to ask the first.
    """
    width = m.s.shape[-1] if m.s.rank else 1
    if m.s.made_by("SOFTMAX") is None or width == 1:
        return None
    first = b.narrow(m.s, -1, 0, 1)
    return b.where(b.not_equal(first, first), m.y, m.s)


def normalised(value: Value) -> bool:
    """True for numbers times the reciprocal root of what is derived from them: of the order of 1."""
    product = value.made_by("MUL")
    return product is not None and any(v is not None and v.made_by("RSQRT") is not None for v in product.inputs)


_SCALED = "MUL(x, const(factor), activation=None)"


@rule(
    f"FULLY_CONNECTED(last := shared(ADD({_SCALED}, const(summand), activation=None)), ...)",
    f"FULLY_CONNECTED(last := shared({_SCALED}), ...)",
    above=2,
)
def after_normalisation(m: Match) -> Value | None:
    """factor and summand of a normalisation into the weights behind it

    W (n f + s) + b = (W f) n + (W s + b).  What is normalised is of the order of 1: no digits of it are lost beside the
    summand, as they could be elsewhere.  Only where all readers are such weights: else nothing is saved.
    """
    _, weights, *rest = m.root.inputs
    bias, summand, width = (rest[0] if rest else None), m.get("summand"), m.x.shape[-1]
    readers = [*m.view.readers(m.last)]
    if not normalised(m.x) or not all(r is not None and r.is_a("FULLY_CONNECTED") for r in readers):
        return None
    factor = per_channel(m.factor, width)
    offset = np.zeros(1) if summand is None else per_channel(summand, width)
    if factor is None or offset is None or m.x.shape != m.last.shape:
        return None
    if weights is None or weights.data is None or (bias is not None and (bias.data is None or bias.quant is not None)):
        raise NearMissError("weights or bias are only known at run time, or quantised")
    columns = axes_of(m.root).inputs
    scaled_weights = scaled(m, m.root, factor, columns)
    raised = np.zeros(len(weights.data)) if bias is None or bias.data is None else bias.data.astype(np.float64)
    raised = raised + in_float64(weights.data, np.broadcast_to(offset, weights.data.shape[1]))
    return again(m.root, m.x, scaled_weights, finite(raised))


def in_float64(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """``matrix @ vector``, without a float64 copy of the matrix."""
    rows = max(1, (1 << 20) // max(matrix.shape[1], 1))
    parts = [matrix[i : i + rows].astype(np.float64) @ vector for i in range(0, len(matrix), rows)]
    return np.concatenate(parts)


RULES = [scale_operand, one_scale, scale_of_other, scale_of_gate, guard_rows, after_normalisation]
