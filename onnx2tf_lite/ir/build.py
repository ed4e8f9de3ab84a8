"""Functions that append operations to the graph being built (``with building(graph):``).

Each folds constants, follows shape arithmetic symbolically, and returns existing values for no-ops.  Arguments may be
values, numpy arrays or numbers; a number takes the dtype of the other operand.  Axes may be negative, shapes are tuples
of dims.  All functions raise ValueError for operands that do not fit; lowering adds the node to the message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
from numpy.typing import DTypeLike

from . import dims
from .dims import Dim, Expr, Shape
from .emit import Operand as Operand
from .emit import emit as emit
from .emit import emit_all as emit_all
from .emit import lift as lift
from .emit import parts as parts
from .emit import places as places
from .graph import ARITHMETIC, SMALL, Quant, Value, constant, content_of, current_graph
from .kinds import KINDS
from .kinds.shapes import broadcast


def axis_of(axis: int, rank: int) -> int:
    """A non-negative axis; ValueError outside ``-rank <= axis < rank``."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside rank {rank}")
    return axis % rank if rank else 0


# ------------------------------------------------------------------------------------------------ shapes


def shape_of(x: Value) -> Value:
    """The shape of ``x`` as an i32 vector, a constant where it is static."""
    return dims_value(x.shape)


def dims_value(shape: Sequence[Dim]) -> Value:
    """An i32 vector with these elements."""
    shape = tuple(shape)
    if dims.is_static(shape):
        return constant(np.array(shape, np.int32))
    value = emit("DIMS", dims=shape)
    value.content = np.array([*shape, None], object)[:-1]
    return value


def dims_of(x: Operand) -> Shape:
    """The elements of a 1-D (or scalar) integer tensor as dims; new symbols stand for what only run time knows.

    :raises ValueError: nobody knows how many there are.
    """
    x = lift(x)
    content = content_of(x)
    if content is None:
        if x.rank > 1 or not isinstance(x.size, int) or x.size > SMALL:
            raise ValueError(f"{x} gives a shape, but its own length is only known at run time, or beyond {SMALL}")
        graph = current_graph()
        symbols, source = [graph.fresh_symbol(x.name) for _ in range(x.size)], x
        while source.producer and source.producer.kind.is_view and source.producer.inputs[0].rank < 2:
            source = source.producer.inputs[0]  # views vanish
        graph.definitions.update({str(s): (source, i) for i, s in enumerate(symbols)})
        content = x.content = np.array([*symbols, None], object)[:-1].reshape(x.shape)
    return tuple(content.ravel().tolist())


def reshape(x: Operand, shape: Sequence[Dim]) -> Value:
    """``x`` with another shape; one entry may be -1."""
    source, shape = lift(x), tuple(shape)
    if shape.count(-1) == 1:
        rest = dims.product([d for d in shape if d != -1])
        shape = tuple(dims.floordiv(source.size, rest) if isinstance(d, int) and d == -1 else d for d in shape)
    if shape == source.shape:
        return source
    value = emit("RESHAPE", source, shape=shape)
    if source.quant is not None and value.data is not None:
        value.quant = _reshaped_quant(source.quant, source.shape, shape)
    return value


def pinned(x: Operand, shape: Sequence[Dim]) -> Value:
    """``x`` with the extents that its own shape leaves open as ``shape`` says; the others are not looked at."""
    x = lift(x)
    return reshape(x, [want if isinstance(have, Expr) else have for have, want in zip(x.shape, shape, strict=True)])


def _reshaped_quant(quant: Quant, old: Shape, new: Shape) -> Quant | None:
    if quant.axis is None:
        return quant
    before = dims.product(old[: quant.axis])
    matches = [i for i, d in enumerate(new) if d == old[quant.axis] and dims.product(new[:i]) == before]
    return quant.along(matches[0]) if matches else None


def transpose(x: Operand, perm: Sequence[int]) -> Value:
    """``x`` with axis ``perm[i]`` as axis ``i``."""
    source, perm = lift(x), tuple(int(p) for p in perm)
    if perm == tuple(range(source.rank)):
        return source
    value = emit("TRANSPOSE", source, perm=perm)
    if source.quant is not None and value.data is not None:
        value.quant = source.quant.along(None if source.quant.axis is None else perm.index(source.quant.axis))
    return value


def move_axis(x: Value, source: int, target: int) -> Value:
    """``numpy.moveaxis`` for one axis."""
    perm = list(range(x.rank))
    perm.insert(axis_of(target, x.rank), perm.pop(axis_of(source, x.rank)))
    return transpose(x, perm)


def channels_last(x: Value) -> Value:
    """[N, C, ...] as [N, ..., C]."""
    return move_axis(x, 1, -1) if x.rank > 2 else x


def channels_first(x: Value) -> Value:
    """[N, ..., C] as [N, C, ...]."""
    return move_axis(x, -1, 1) if x.rank > 2 else x


def expand_rank(x: Value, rank: int) -> Value:
    """``x`` with leading unit axes up to ``rank``."""
    return reshape(x, (1,) * (rank - x.rank) + x.shape) if x.rank < rank else x


# ------------------------------------------------------------------------------------------------ elementwise


def _align(operands: Sequence[Operand]) -> list[Value]:
    """Operands as values of one dtype and, but for scalars, of one rank (what the layout rule wants)."""
    dtype = next((v.dtype for v in operands if isinstance(v, Value)), None)
    if dtype is None:
        dtype = next((np.asarray(v).dtype for v in operands if isinstance(v, np.ndarray)), None)
    values = [lift(v, dtype) for v in operands]
    rank = len(broadcast(*(v.shape for v in values)))
    full = [v for v in values if not (v.is_constant and v.size == 1)]
    if full and max(v.rank for v in full) == rank:
        values = [reshape(v, ()) if v.is_constant and v.size == 1 else v for v in values]
    return [expand_rank(v, rank) if v.rank else v for v in values]


def _nary(kind: str, **defaults: object) -> Callable[..., Value]:
    def function(*operands: Operand, **attrs: object) -> Value:
        return emit(kind, *_align(operands), **{**defaults, **attrs})

    function.__name__ = kind.lower()
    function.__doc__ = f"{kind} of broadcasting operands of one dtype."
    return function


def _unary(kind: str) -> Callable[..., Value]:
    def function(x: Operand, **attrs: object) -> Value:
        return emit(kind, lift(x), **attrs)

    function.__name__ = kind.lower()
    function.__doc__ = f"{kind} of each element."
    return function


maximum = _nary("MAXIMUM")
minimum = _nary("MINIMUM")
power = _nary("POW")
squared_difference = _nary("SQUARED_DIFFERENCE")
floor_div = _nary("FLOOR_DIV")
floor_mod = _nary("FLOOR_MOD")
equal = _nary("EQUAL")
not_equal = _nary("NOT_EQUAL")
less = _nary("LESS")
less_equal = _nary("LESS_EQUAL")
greater = _nary("GREATER")
greater_equal = _nary("GREATER_EQUAL")
logical_and = _nary("LOGICAL_AND")
logical_or = _nary("LOGICAL_OR")
bitwise_xor = _nary("BITWISE_XOR")
right_shift = _nary("RIGHT_SHIFT")

neg = _unary("NEG")
abs_ = _unary("ABS")
exp = _unary("EXP")
log = _unary("LOG")
sqrt = _unary("SQRT")
rsqrt = _unary("RSQRT")
sin = _unary("SIN")
cos = _unary("COS")
floor = _unary("FLOOR")
ceil = _unary("CEIL")
round_ = _unary("ROUND")
square = _unary("SQUARE")
sign = _unary("SIGN")
relu = _unary("RELU")
relu6 = _unary("RELU6")
tanh = _unary("TANH")
logistic = _unary("LOGISTIC")
hard_swish = _unary("HARD_SWISH")
elu = _unary("ELU")
logical_not = _unary("LOGICAL_NOT")


# ``activation``: the name of one that the kernel is to apply to the result
add = _nary("ADD", activation=None)
sub = _nary("SUB", activation=None)
mul = _nary("MUL", activation=None)
div = _nary("DIV", activation=None)
ARITHMETIC |= {"add": add, "sub": sub, "mul": mul, "div": div, "neg": neg}


def leaky_relu(x: Value, alpha: float) -> Value:
    """x where x >= 0, else alpha * x."""
    return emit("LEAKY_RELU", x, alpha=float(alpha))


def gelu(x: Value, approximate: bool = False) -> Value:
    """x * Phi(x), by erf or by the tanh approximation."""
    return emit("GELU", x, approximate=approximate)


def cast(x: Operand, dtype: DTypeLike) -> Value:
    """``x`` in another dtype; float to integer truncates and saturates."""
    x = lift(x)
    return x if x.dtype == np.dtype(dtype) else emit("CAST", x, to=np.dtype(dtype))


def _number(x: Operand | None) -> Operand | float | None:
    """A constant as a plain number; anything else as it is."""
    return x.data.item() if isinstance(x, Value) and x.data is not None and x.data.size == 1 else x


def clip(x: Value, low: Operand | None, high: Operand | None) -> Value:
    """``x`` limited to [low, high]; the forms that TFLite has as activations use them."""
    limits = (-inf if low is None else _number(low), inf if high is None else _number(high))
    kind = next((k for k in KINDS.values() if k.clamps and k.limits == limits), None)
    if kind and x.dtype == np.float32:
        return emit(kind.name, x)
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


def where(condition: Operand, x: Operand, y: Operand) -> Value:
    """x where condition, else y; all three broadcast."""
    dtype = next((v.dtype for v in (x, y) if isinstance(v, Value)), None)
    values = [lift(condition, bool), lift(x, dtype), lift(y, dtype)]
    rank = len(broadcast(*(v.shape for v in values)))
    return emit("SELECT_V2", *(expand_rank(v, rank) if v.rank else v for v in values))


# ------------------------------------------------------------------------------------------------ reductions


def reduce(kind: str, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """MEAN, SUM, REDUCE_MAX/MIN/PROD/ANY/ALL over ``axes``; no axes is a no-op."""
    axes = tuple(sorted({axis_of(a, x.rank) for a in axes}))
    return emit(kind, x, axes=axes, keepdims=bool(keepdims)) if axes else x


def arg(kind: str, x: Value, axis: int, dtype: DTypeLike = np.int32) -> Value:
    """ARG_MAX or ARG_MIN along ``axis``, which vanishes; the first of equal elements."""
    return emit(kind, x, axis=axis_of(axis, x.rank), to=np.dtype(dtype))


def softmax(x: Value, axis: int = -1, log: bool = False) -> Value:
    """Softmax or log-softmax along any axis (the kernel knows the last)."""
    moved = move_axis(x, axis, -1)
    return move_axis(emit("LOG_SOFTMAX" if log else "SOFTMAX", moved), -1, axis)


def cumsum(x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    """Running sum along ``axis``."""
    return emit("CUMSUM", x, axis=axis_of(axis, x.rank), exclusive=bool(exclusive), reverse=bool(reverse))


def topk(x: Value, k: Dim) -> tuple[Value, Value]:
    """The k largest along the last axis, largest first, and their i32 indices (lowest index first on ties)."""
    values, indices = emit_all("TOPK_V2", [x], k=k)
    return values, indices


# ------------------------------------------------------------------------------------------------ movement


def concat(values: Sequence[Operand], axis: int) -> Value:
    """Operands joined along ``axis``; empty ones are dropped."""
    lifted = [lift(v) for v in values]
    kept = [v for v in lifted if v.shape[axis] != 0] or lifted[:1]
    return (
        kept[0] if len(kept) == 1 else emit("CONCATENATION", *kept, axis=axis_of(axis, kept[0].rank), activation=None)
    )


def split(x: Value, sizes: Sequence[Dim], axis: int) -> list[Value]:
    """Parts of the given sizes along ``axis``."""
    sizes, axis = tuple(sizes), axis_of(axis, x.rank)
    kind = "SPLIT" if len(set(sizes)) == 1 else "SPLIT_V"
    return [x] if len(sizes) == 1 else emit_all(kind, [x], sizes=sizes, axis=axis)


def slice_(x: Value, begin: Sequence[Dim], size: Sequence[Dim]) -> Value:
    """The window that starts at ``begin`` and has ``size``."""
    begin, size = tuple(begin), tuple(size)
    if size == x.shape and not any(begin):
        return x
    return emit("SLICE", x, begin=begin, size=size)


def narrow(x: Value, axis: int, start: Dim, count: Dim) -> Value:
    """``count`` elements from ``start`` along one axis."""
    axis = axis_of(axis, x.rank)
    begin = tuple(start if i == axis else 0 for i in range(x.rank))
    return slice_(x, begin, tuple(count if i == axis else d for i, d in enumerate(x.shape)))


def strided_slice(x: Value, begin: Sequence[Dim], end: Sequence[Dim], strides: Sequence[int]) -> Value:
    """numpy's ``x[begin:end:stride]``, bounds already clipped; end -1 with a negative stride includes element 0."""
    if all(s == 1 for s in strides):
        return slice_(x, begin, [e - b for b, e in zip(begin, end, strict=True)])
    return emit("STRIDED_SLICE", x, begin=tuple(begin), end=tuple(end), strides=tuple(strides))


def pad(x: Value, pads: Sequence[tuple[Dim, Dim]], value: Operand = 0) -> Value:
    """``x`` with ``(before, after)`` elements of ``value`` added per axis."""
    pads = tuple((low, high) for low, high in pads)
    if all(p == (0, 0) for p in pads):
        return x
    fill = lift(value, x.dtype)
    if fill.data is not None and fill.data.item() == 0:
        return emit("PAD", x, pads=pads)
    return emit("PADV2", x, reshape(fill, ()), pads=pads)


def mirror_pad(x: Value, pads: Sequence[tuple[Dim, Dim]], symmetric: bool = False) -> Value:
    """Reflection without (REFLECT) or with (SYMMETRIC) the edge element."""
    return emit("MIRROR_PAD", x, pads=tuple(pads), symmetric=symmetric)


def tile(x: Value, multiples: Sequence[Dim]) -> Value:
    """``x`` repeated ``multiples`` times per axis."""
    multiples = tuple(multiples)
    return x if all(m == 1 for m in multiples) else emit("TILE", x, multiples=multiples)


def broadcast_to(x: Operand, shape: Sequence[Dim]) -> Value:
    """``x`` repeated along unit axes up to ``shape``."""
    x, shape = lift(x), tuple(shape)
    return x if x.shape == shape else emit("BROADCAST_TO", expand_rank(x, len(shape)), shape=shape)


def fill(shape: Sequence[Dim], value: Operand, dtype: DTypeLike | None = None) -> Value:
    """A tensor of one value."""
    return emit("FILL", reshape(lift(value, dtype), ()), shape=tuple(shape))


def iota(count: Dim, dtype: DTypeLike = np.int32) -> Value:
    """0, 1, ..., count - 1."""
    dtype = np.dtype(dtype)
    limit = cast(reshape(dims_value([count]), ()), dtype)
    return emit("RANGE", constant(dtype.type(0)), limit, constant(dtype.type(1)), count=count)


def reverse(x: Value, axes: Sequence[int]) -> Value:
    """Elements in opposite order along ``axes``, one operation per run of neighbouring axes (the kernel's limit)."""
    axes = sorted({axis_of(a, x.rank) for a in axes})
    while axes:
        run = [axes.pop(0)]
        while axes and axes[0] == run[-1] + 1:
            run.append(axes.pop(0))
        x = emit("REVERSE_V2", x, axes=tuple(run))
    return x


def pack(values: Sequence[Operand], axis: int = 0) -> Value:
    """Operands joined along a new axis."""
    lifted = [lift(v) for v in values]
    axis = axis_of(axis, lifted[0].rank + 1)
    return concat([reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in lifted], axis)


# ------------------------------------------------------------------------------------------------ indexing


def gather(x: Operand, index: Operand, axis: int = 0, batch_dims: int = 0) -> Value:
    """Slices of ``x`` along ``axis`` at ``index`` (0 <= index < extent)."""
    x = lift(x)
    return emit("GATHER", x, lift(index, np.int32), axis=axis_of(axis, x.rank), batch_dims=batch_dims)


def gather_nd(x: Operand, index: Operand) -> Value:
    """Slices of ``x`` at index vectors in the last axis of ``index``."""
    return emit("GATHER_ND", lift(x), lift(index, np.int32))


def scatter_nd(index: Operand, updates: Operand, shape: Sequence[Dim]) -> Value:
    """Zeros of ``shape`` with ``updates`` added at i32 index vectors."""
    return emit("SCATTER_ND", cast(index, np.int32), lift(updates), shape=tuple(shape))


def one_hot(index: Value, depth: Dim, on: Operand, off: Operand, axis: int = -1) -> Value:
    """``on`` at the index along a new axis of ``depth``, ``off`` elsewhere."""
    return emit("ONE_HOT", index, lift(on), lift(off), depth=depth, axis=axis_of(axis, index.rank + 1))


# ------------------------------------------------------------------------------------------------ linear algebra


def fully_connected(x: Value, weights: Operand, bias: Operand | None = None, activation: str | None = None) -> Value:
    """``x[..., I] @ weights[O, I].T + bias[O]``; leading axes are kept."""
    return emit("FULLY_CONNECTED", x, lift(weights), None if bias is None else lift(bias), activation=activation)


def matmul(x: Operand, y: Operand, adj_x: bool = False, adj_y: bool = False) -> Value:
    """Batched matrix product; operands of rank >= 2, batch axes broadcast; ranks above 5 are folded."""
    x, y = lift(x), lift(y)
    rank = max(x.rank, y.rank)
    if rank > 5:
        batch = broadcast(x.shape[:-2], y.shape[:-2])
        x, y = (reshape(broadcast_to(v, batch + v.shape[-2:]), (-1, *v.shape[-2:])) for v in (x, y))
        return (lambda z: reshape(z, batch + z.shape[-2:]))(matmul(x, y, adj_x, adj_y))
    return emit("BATCH_MATMUL", expand_rank(x, rank), expand_rank(y, rank), adj_x=adj_x, adj_y=adj_y)


def quantize(x: Operand, quant: Quant) -> Value:
    """Stored integers of real numbers; the result carries ``quant``."""
    value = emit("QUANTIZE", lift(x), quant=quant)
    value.quant = quant
    return value


def dequantize(x: Value, quant: Quant) -> Value:
    """Real numbers of stored integers.  A constant keeps the parameters, so that an int8 kernel can take it exactly.

    It is folded whatever its size: layout and fusion know what to do with constant weights only.  A tensor carries one
    set of parameters, and so does what it is a copy of; where it has others already, the result is arithmetic.
    """
    if x.data is not None:
        return constant(quant.real(x.data), name=x.name, quant=quant)
    views = [x]
    while (op := views[-1].producer) is not None and op.kind.copies(views[-1].dtype):
        views.append(op.inputs[0])  # type: ignore[arg-type]
    if any(v.quant is not None and not v.quant.same(quant) for v in views):
        zero, scale = (p.astype(np.float32).reshape(()) for p in (quant.zero_point, quant.scale))
        return mul(sub(cast(x, np.float32), zero), scale)
    for v in views:
        v.quant = quant
    return emit("DEQUANTIZE", x, quant=quant)
