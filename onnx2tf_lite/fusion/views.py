"""Arithmetic rises through views: what is computed of every element can be computed before it is renamed or moved.

There it meets the operation that makes the numbers: an activation or a constant goes into a convolution, and RESHAPEs
that stood on both sides of it become neighbours, of which nothing remains.  All of it is exact: the same numbers are
computed of the same elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir.dims import Dim, Shape, is_static, product
from ..ir.graph import Op, Value, constant
from ..ir.orders import Elementwise
from ..ir.rules import Match, again, has_one_reader, rule
from .splits import Part

GROWTH = 1 << 16  # bytes that a constant may have once it is written out for each element of a merged axis
MAX_RANK = 6  # of XNNPACK
LARGE = 1 << 10  # elements of which a RESHAPE, which copies them, is worth another one of few elements


def groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Axes of two shapes of one tensor that hold the same elements, in runs as short as possible; None where that
    cannot be told."""
    found: list[tuple[list[int], list[int]]] = []
    left, right = list(range(len(before)))[::-1], list(range(len(after)))[::-1]
    while left or right:
        mine: list[int] = [left.pop()] if left else []
        theirs: list[int] = [right.pop()] if right else []
        while (a := product([before[i] for i in mine])) != (c := product([after[i] for i in theirs])):
            if not (isinstance(a, int) and isinstance(c, int)):
                return None
            short, rest = (mine, left) if a < c else (theirs, right)
            if not rest:
                return None
            short.append(rest.pop())
        found.append((mine, theirs))
    return found


def seen_before(c: np.ndarray, before: Shape, after: Shape) -> np.ndarray | None:
    """The constant that does to a tensor of shape ``before`` what ``c`` does to it reshaped to ``after``; None where
    ``c`` makes the result larger, or would become large itself."""
    runs = groups(before, after)
    if runs is None or c.ndim > len(after):
        return None
    dims = (1,) * (len(after) - c.ndim) + c.shape
    if any(d not in (1, e) for d, e in zip(dims, after, strict=True)):
        return None
    wide: list[Dim] = list(dims)
    shape: list[Dim] = [1] * len(before)
    for mine, theirs in runs:
        if any(dims[i] != 1 for i in theirs):
            for i in theirs:
                wide[i] = after[i]
            for i in mine:
                shape[i] = before[i]
    if not is_static((*wide, *shape)):
        return None
    extents = [int(d) for d in wide if isinstance(d, int)]
    if math.prod(extents) != c.size and math.prod(extents) * c.itemsize > GROWTH:
        return None
    return np.broadcast_to(c.reshape(dims), extents).reshape([int(d) for d in shape if isinstance(d, int)])


def broadcast_before(small: Shape, before: Shape, after: Shape) -> Shape | None:
    """The shape of a tensor that is broadcast to ``before`` as one of shape ``small`` is to ``after``: along the same
    elements; None where there is none."""
    runs = groups(before, after)
    if runs is None or len(small) > len(after):
        return None
    dims = (*(1,) * (len(after) - len(small)), *small)
    shape: list[Dim] = [1] * len(before)
    for mine, theirs in runs:
        if any(dims[i] != 1 for i in theirs):
            if any(dims[i] != after[i] for i in theirs):
                return None
            for i in mine:
                shape[i] = before[i]
    return tuple(shape)


def axes_before(axes: Sequence[int], before: Shape, after: Shape) -> list[int] | None:
    """The axes of ``before`` that hold the same elements as ``axes`` of ``after``; None where they hold others too.
    Axes of one element do not count."""
    found = list[int]()
    for mine, theirs in groups(before, after) or ():
        inside = {i in axes for i in theirs if after[i] != 1}
        if len(inside) > 1:
            return None
        found += [i for i in mine if True in inside and before[i] != 1]
    return found or None


def part_before(view: Op, axis: int, begin: int, size: int) -> Part | None:
    """The part of a view's operand that a part of its result is; None where it is more than one."""
    if view.kind.permutes:
        return view.attrs["perm"][axis], begin, size
    before, after = view.uses()[0].shape, view.outputs[0].shape
    run = next(((mine, theirs) for mine, theirs in groups(before, after) or () if axis in theirs), None)
    if run is None:
        return None
    mine, theirs = [i for i in run[0] if before[i] != 1], [i for i in run[1] if after[i] != 1]
    inner = product([after[i] for i in theirs[1:]])
    if len(mine) != 1 or theirs[:1] != [axis] or not isinstance(inner, int):
        return None
    return mine[0], begin * inner, size * inner


def computed(root: Op, x: Value, c: Value | None = None) -> Value | None:
    """What ``root`` computes, of ``x`` instead of its only operand that is not constant, and of ``c``."""
    if x.rank > min(root.kind.max_rank, MAX_RANK) or x.is_constant:
        return None
    operands = [x if v is not None and not v.is_constant else c for v in root.inputs]
    return again(root, *operands)


@rule(
    "elementwise(renamed := RESHAPE(x))",
    "elementwise(renamed := RESHAPE(x), const(c))",
    "elementwise(const(c), renamed := RESHAPE(x))",
)
def before_reshape(m: Match) -> Value | None:
    """arithmetic before a RESHAPE

    f(reshape(x)) = reshape(f(x)), where a constant operand is reshaped back.
    """
    c = m.get("c")
    if c is not None:
        data = None if c.data is None or c.quant is not None else seen_before(c.data, m.x.shape, m.renamed.shape)
        if data is None:
            return None
        c = constant(data, name=c.name)
    result = computed(m.root, m.x, c)
    return None if result is None else b.reshape(result, m.root.outputs[0].shape)


@rule("elementwise(left := RESHAPE(x), right := RESHAPE(y))")
def before_reshapes(m: Match) -> Value | None:
    """arithmetic before two equal RESHAPEs

    f(reshape(x), reshape(y)) = reshape(f(x, y)) where both have the same shape before, and after.
    """
    if m.x.shape != m.y.shape or m.left.shape != m.right.shape or m.x.rank > min(m.root.kind.max_rank, MAX_RANK):
        return None
    return b.reshape(again(m.root, m.x, m.y), m.root.outputs[0].shape)


def moves(m: Match) -> bool:
    """True where ``renamed`` is large, and all that reads it can be before the RESHAPE, means and arithmetic with
    something smaller: otherwise one more would be needed behind it."""
    large = m.renamed

    def alone(reader: Op | None) -> bool:
        return reader is not None and (
            "axes" in reader.attrs
            or (
                isinstance(reader.kind.layout, Elementwise)
                and not any(v is not large and v.shape == large.shape for v in reader.uses())
            )
        )

    return isinstance(large.size, int) and large.size >= LARGE and all(map(alone, m.view.readers(large)))


@rule("elementwise(renamed := shared(RESHAPE(x)), y)", "elementwise(y, renamed := shared(RESHAPE(x)))")
def before_broadcast(m: Match) -> Value | None:
    """arithmetic with a smaller tensor before a RESHAPE

    f(reshape(x), y) = reshape(f(x, y')), where y' is broadcast along the same elements: factor and summand of a
    normalisation over a line, which convolutions see as an image of one row.
    """
    shape = None if m.y.is_constant else broadcast_before(m.y.shape, m.x.shape, m.renamed.shape)
    rank = m.x.rank <= min(m.root.kind.max_rank, MAX_RANK)
    if shape is None or m.y.shape == m.renamed.shape or m.x.is_constant or not rank or not moves(m):
        return None
    new = {m.renamed: m.x, m.y: b.reshape(m.y, shape)}
    return b.reshape(again(m.root, *(v and new[v] for v in m.root.inputs)), m.root.outputs[0].shape)


@rule("MEAN|SUM(renamed := shared(RESHAPE(x)))")
def reduction_before_reshape(m: Match) -> Value | None:
    """mean before a RESHAPE

    Over axes that hold the same elements.
    """
    axes = axes_before(m.root.attrs["axes"], m.x.shape, m.renamed.shape)
    if axes is None or not moves(m) or m.x.rank > MAX_RANK or m.x.is_constant:
        return None
    return b.reshape(b.reduce(m.root.kind.name, m.x, axes, keepdims=True), m.root.outputs[0].shape)


def comes_of_weights(m: Match, value: Value) -> bool:
    """True for the result of a linear operation, seen through views, that nobody else reads."""
    while has_one_reader(m, value) and value.producer is not None:
        if value.producer.kind.weights is not None:
            return True
        if not value.producer.kind.is_view:
            return False
        (value,) = value.producer.uses()
    return False


@rule("arithmetic(moved := TRANSPOSE(x), const(c))", "arithmetic(const(c), moved := TRANSPOSE(x))", above=2)
def before_transpose(m: Match) -> Value | None:
    """arithmetic with a constant before a TRANSPOSE

    f(transpose(x)) = transpose(f(x)), where the constant is transposed back.  Only where weights are in front of it,
    which take the constant: otherwise nothing is won.
    """
    perm, data = m.op("moved").attrs["perm"], m.c.data
    if data is None or m.c.quant is not None or data.ndim > len(perm) or not comes_of_weights(m, m.x):
        return None
    if any(d not in (1, e) for d, e in zip(data.shape[::-1], m.moved.shape[::-1], strict=False)):
        return None
    wide = data.reshape((1,) * (len(perm) - data.ndim) + data.shape)
    c = constant(data if data.size == 1 else wide.transpose(np.argsort(perm)), name=m.c.name)
    result = computed(m.root, m.x, c)
    return None if result is None else b.transpose(result, perm)


@rule("RESHAPE(moved := TRANSPOSE(renamed := RESHAPE(x)))")
def without_unit_axes(m: Match) -> Value | None:
    """TRANSPOSE between RESHAPEs without axes of one element

    Where they stand in between makes no difference to the order of the elements.
    """
    shape, perm = m.renamed.shape, m.op("moved").attrs["perm"]
    wide = [i for i, d in enumerate(shape) if d != 1]
    if len(wide) == len(shape):
        return None
    seen = b.reshape(m.x, [shape[i] for i in wide])
    return b.reshape(b.transpose(seen, [wide.index(a) for a in perm if a in wide]), m.root.outputs[0].shape)


@rule("CONV_2D|FULLY_CONNECTED(moved := TRANSPOSE(x), const(w), ...)")
def after_layer(m: Match) -> Value | None:
    """TRANSPOSE behind a layer that looks at one place

    Such a layer does the same at every place; fewer numbers are moved where it makes fewer than it reads.
    """
    perm, attrs, rank = m.op("moved").attrs["perm"], m.root.attrs, m.x.rank
    once = math.prod(m.w.data.shape[1:-1]) == 1 and set(attrs.get("strides", (1,))) == {1}  # type: ignore[union-attr]
    fewer = isinstance(m.x.shape[-1], int) and m.w.data.shape[0] < m.x.shape[-1]  # type: ignore[union-attr]
    if perm[-1] != rank - 1 or not once or not fewer:
        return None
    return b.transpose(again(m.root, m.x, *m.root.inputs[1:]), perm)


RULES = [
    before_reshape,
    before_reshapes,
    before_broadcast,
    reduction_before_reshape,
    before_transpose,
    without_unit_axes,
    after_layer,
]
