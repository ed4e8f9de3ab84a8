"""Between which whole numbers the result of an operator lies, from the intervals of its operands.

An interval is a pair (low, high), both included.  A transfer function takes the operation and the intervals of the
operands that are present; it gives that of the exact first result, before any wrapping, or a list for all results.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from . import dims
from .dims import Dim, Expr

if TYPE_CHECKING:
    from .graph import Op

Interval = tuple[int, int]
Transfer = Callable[..., "Interval | list[Interval]"]
EXTENT: Interval = (0, 2**31 - 1)  # LiteRT counts elements in an int


def dtype_range(dtype: np.dtype) -> Interval:
    """All values of an integer dtype, or of bool."""
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def fits(interval: Interval, dtype: np.dtype) -> bool:
    """True where ``dtype`` represents every value of ``interval`` exactly; float32 is exact to 2**24."""
    low, high = (-(2**24), 2**24) if dtype.kind == "f" else dtype_range(dtype)
    return low <= interval[0] and interval[1] <= high


def corners(function: Callable[[int, int], int]) -> Transfer:
    """A function of two numbers that is monotone in each, in either direction."""

    def transfer(op: Op, a: Interval, b: Interval) -> Interval:
        values = [function(x, y) for x, y in product(a, b)]
        return min(values), max(values)

    return transfer


def monotone(function: Callable[..., int]) -> Transfer:
    """A function that grows with every operand."""
    return lambda op, *operands: (function(*(a for a, _ in operands)), function(*(b for _, b in operands)))


def first(op: Op, a: Interval, *rest: Interval) -> Interval:
    """Elements of the first operand, or numbers between them."""
    return a


def every(op: Op, a: Interval, *rest: Interval) -> list[Interval]:
    """All results are elements of the first operand."""
    return [a] * len(op.outputs)


def hull(op: Op, *intervals: Interval) -> Interval:
    """Elements of any operand."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def later(op: Op, ignored: Interval, *intervals: Interval) -> Interval:
    """Elements of any operand but the first, which says where."""
    return hull(op, *intervals)


def zero_or(op: Op, a: Interval, *rest: Interval) -> Interval:
    """Zeros, or elements of the first operand."""
    return hull(op, (0, 0), a)


def extent(op: Op, *ignored: Interval) -> Interval:
    """An extent of a tensor, or an index."""
    return EXTENT


def divided(op: Op, a: Interval, b: Interval) -> Interval:
    """Any rounding of a quotient by a whole number, which is not 0."""
    if b[0] > 0:
        floors = [x // y for x, y in product(a, b)]
        return min(floors), max(floors) + (max(floors) < 0)  # toward zero is one more where it is negative
    largest = max(abs(a[0]), abs(a[1]))
    return -largest, largest


def modulo(op: Op, a: Interval, b: Interval) -> Interval:
    """The remainder of rounding down: it has the sign of the divisor."""
    return min(0, b[0] + 1), max(0, b[1] - 1)


def absolute(op: Op, a: Interval) -> Interval:
    """The distance from zero."""
    return (0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))), max(abs(a[0]), abs(a[1]))


def squared(op: Op, a: Interval) -> Interval:
    """The product with itself."""
    low, high = absolute(op, a)
    return low * low, high * high


def negated(op: Op, a: Interval) -> Interval:
    """The opposite number."""
    return -a[1], -a[0]


def signed(op: Op, a: Interval) -> Interval:
    """-1, 0 or 1."""
    return -1 if a[0] < 0 else 0, 1 if a[1] > 0 else 0


def shifted_right(op: Op, a: Interval, b: Interval) -> Interval:
    """Towards zero or -1."""
    return min(0, a[0]), max(0, a[1])


def converted(op: Op, a: Interval) -> Interval:
    """A cast, which wraps what the dtype cannot hold."""
    to = op.attrs["to"]
    return a if to.kind not in "iub" or fits(a, to) else dtype_range(to)


def times(count: Dim, a: Interval) -> Interval:
    """A sum of up to ``count`` numbers."""
    number = EXTENT[1] if isinstance(count, Expr) else count
    return min(a[0], a[0] * number, 0), max(a[1], a[1] * number, 0)


def summed(op: Op, a: Interval) -> Interval:
    """A sum over ``axes``."""
    assert op.inputs[0] is not None
    return times(dims.product([op.inputs[0].shape[i] for i in op.attrs["axes"]]), a)


def running(op: Op, a: Interval) -> Interval:
    """Sums of up to all elements along ``axis``."""
    assert op.inputs[0] is not None
    return times(op.inputs[0].shape[op.attrs["axis"]], a)


def dot(op: Op, a: Interval, b: Interval, *bias: Interval) -> Interval:
    """Sums of products over the contracted axes of the second operand, for every order of the additions."""
    operand, weights = op.inputs[1], op.kind.weights
    assert operand is not None
    if weights is None:
        depth = operand.shape[-1 if op.attrs["adj_y"] else -2]
    else:
        depth = dims.product([d for axis, d in enumerate(operand.shape) if axis != weights.outputs])
    products = [x * y for x, y in product(a, b)]
    low, high = times(depth, (min(products), max(products)))
    return (low + min(0, bias[0][0]), high + max(0, bias[0][1])) if bias else (low, high)
