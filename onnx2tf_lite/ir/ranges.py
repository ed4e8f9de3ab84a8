"""Which whole numbers a tensor can hold: interval analysis, the proof behind every int64 -> int32 narrowing.

An interval is a pair (low, high), both included.  Extents of tensors are below 2**31 (LiteRT counts elements in an
int), so what is known to be shape arithmetic (``Value.content``) fits 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from . import dims
from .dims import Expr
from .graph import Graph, Op, Value

Interval = tuple[int, int]
EXTENT = (0, 2**31 - 1)


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


def _corners(function: Callable[[int, int], int]) -> Callable[..., Interval]:
    def transfer(op: Op, a: Interval, b: Interval) -> Interval:
        values = [function(x, y) for x, y in product(a, b)]
        return min(values), max(values)

    return transfer


def _divided(op: Op, a: Interval, b: Interval) -> Interval:
    """Any rounding of a quotient by a whole number, which is not 0."""
    if b[0] > 0:
        floors = [x // y for x, y in product(a, b)]
        return min(floors), max(floors) + (max(floors) < 0)  # toward zero is one more where it is negative
    largest = max(abs(a[0]), abs(a[1]))
    return -largest, largest


def _modulo(op: Op, a: Interval, b: Interval) -> Interval:
    return min(0, b[0] + 1), max(0, b[1] - 1)


def _absolute(op: Op, a: Interval) -> Interval:
    return (0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))), max(abs(a[0]), abs(a[1]))


def _squared(op: Op, a: Interval) -> Interval:
    low, high = _absolute(op, a)
    return low * low, high * high


def _hull(op: Op, *intervals: Interval) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _zero_or(op: Op, a: Interval, *rest: Interval) -> Interval:
    return _hull(op, (0, 0), a)


def _times(count: dims.Dim, a: Interval) -> Interval:
    number = EXTENT[1] if isinstance(count, Expr) else count
    return min(a[0], a[0] * number, 0), max(a[1], a[1] * number, 0)


def _summed(op: Op, a: Interval) -> Interval:
    shape = op.inputs[0].shape  # type: ignore[union-attr]
    return _times(dims.product([shape[i] for i in op.attrs["axes"]]), a)


def _dot(op: Op, a: Interval, b: Interval, *bias: Interval) -> Interval:
    """Sums of products over the contracted axes, for every order of the additions."""
    weights = op.inputs[1]
    assert weights is not None
    if op.kind.name == "BATCH_MATMUL":
        depth = weights.shape[-1 if op.attrs["adj_y"] else -2]
    elif op.kind.name == "DEPTHWISE_CONV_2D":
        depth = dims.product(weights.shape[:-1])
    else:
        depth = dims.product(weights.shape[1:])
    products = _corners(lambda x, y: x * y)(op, a, b)
    low, high = _times(depth, products)
    return (low + min(0, bias[0][0]), high + max(0, bias[0][1])) if bias else (low, high)


def _cast(op: Op, a: Interval) -> Interval:
    to = op.attrs["to"]
    return a if to.kind not in "iub" or fits(a, to) else dtype_range(to)


def _first(op: Op, a: Interval, *rest: Interval) -> Interval:
    return a


# The interval of the exact result from those of the operands; the caller checks whether the dtype can hold it.
TRANSFER: dict[str, Callable[..., Interval]] = {
    **dict.fromkeys(
        ["RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "TILE", "BROADCAST_TO", "REVERSE_V2",
         "REVERSE_SEQUENCE", "GATHER", "GATHER_ND", "IDENTITY", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "FILL",
         "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "MEAN", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR"],
        _first,
    ),
    **dict.fromkeys(["CONCATENATION", "PACK", "DYNAMIC_UPDATE_SLICE"], _hull),
    "PADV2": _hull,
    "PAD": _zero_or,
    "SELECT_V2": lambda op, condition, a, b: _hull(op, a, b),
    "ONE_HOT": lambda op, index, on, off: _hull(op, on, off),
    "RANGE": lambda op, start, limit, delta: _hull(op, start, limit),
    "CAST": _cast,
    "ADD": lambda op, a, b: (a[0] + b[0], a[1] + b[1]),
    "SUB": lambda op, a, b: (a[0] - b[1], a[1] - b[0]),
    "MUL": _corners(lambda x, y: x * y),
    "NEG": lambda op, a: (-a[1], -a[0]),
    "ABS": _absolute,
    "SQUARE": _squared,
    "SIGN": lambda op, a: (-1 if a[0] < 0 else 0, 1 if a[1] > 0 else 0),
    "MAXIMUM": lambda op, a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "MINIMUM": lambda op, a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "DIV": _divided,
    "FLOOR_DIV": _divided,
    "FLOOR_MOD": _modulo,
    "SUM": _summed,
    "CUMSUM": lambda op, a: _times(op.inputs[0].shape[op.attrs["axis"]], a),
    **dict.fromkeys(["BATCH_MATMUL", "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"], _dot),
    **dict.fromkeys(["SHAPE", "DIMS", "WHERE", "ARG_MAX", "ARG_MIN"], lambda op, *inputs: EXTENT),
    "RIGHT_SHIFT": lambda op, a, b: (min(0, a[0]), max(0, a[1])),
}  # fmt: skip


class Ranges:
    """Intervals of the values of one graph; ask in program order, :meth:`learn` after every operation."""

    def __init__(self, graph: Graph):
        self.known: dict[Value, Interval] = {}
        for value in graph.inputs:
            if value.dtype.kind in "iub":
                self.known[value] = self._refined(value, dtype_range(value.dtype))

    def of(self, value: Value) -> Interval:
        """The interval of an integer value (of anything else: that of int64, which proves nothing)."""
        if value not in self.known:
            if value.dtype.kind not in "iub":
                return dtype_range(np.dtype(np.int64))
            data = value.data
            if data is None:
                self.known[value] = self._refined(value, dtype_range(value.dtype))
            else:
                self.known[value] = (int(data.min()), int(data.max())) if data.size else (0, 0)
        return self.known[value]

    def exact(self, op: Op, inputs: Sequence[Value | None]) -> Interval | None:
        """The interval of the first result as whole numbers, before any wrapping; None where nothing is known."""
        transfer = TRANSFER.get(op.kind.name)
        return transfer(op, *(self.of(v) for v in inputs if v is not None)) if transfer else None

    def learn(self, op: Op) -> None:
        """Record the results of ``op``."""
        exact = self.exact(op, op.inputs) if op.outputs and op.outputs[0].dtype.kind in "iub" else None
        for i, value in enumerate(op.outputs):
            if value.dtype.kind not in "iub":
                continue
            interval = dtype_range(value.dtype)
            same = i == 0 or op.kind.name in ("SPLIT", "SPLIT_V")
            if exact is not None and same and fits(exact, value.dtype):
                interval = exact
            elif op.kind.name == "TOPK_V2":
                interval = self.of(op.inputs[0]) if i == 0 else EXTENT  # type: ignore[arg-type]
            self.known[value] = self._refined(value, interval)

    def _refined(self, value: Value, interval: Interval) -> Interval:
        """``interval`` with what else is known of ``value``."""
        others = [value.bounds] if value.bounds else []
        if value.content is not None and value.content.size:
            low, high = -EXTENT[1], EXTENT[1]
            entries = [
                (d, d) if dims.is_static([d]) else (low if isinstance(d, Expr) and not dims.nonnegative(d) else 0, high)
                for d in value.content.ravel().tolist()
            ]
            others.append((min(int(a) for a, _ in entries), max(int(b) for _, b in entries)))
        for low, high in others:
            interval = max(interval[0], low), min(interval[1], high)
        return interval
