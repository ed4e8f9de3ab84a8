"""Parts of a tensor as layers.

Keras crops the axes between the first and the last one, so a tensor whose other axes are cut is given as one that has
them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...ir.dims import Dim, Expr
from ...ir.graph import Op, Value
from .steps import KerasLayer, Node, Several, Step

Cut = tuple[int, int]


def reshaped(x: Node, have: Sequence[Dim], want: Sequence[Dim]) -> Node | None:
    """``x``, whose shape is ``have``, with another one of equal first extent; None where Keras cannot say it."""
    if tuple(have) == tuple(want):
        return x
    target = [-1 if isinstance(d, Expr) else int(d) for d in want[1:]]
    if have[0] != want[0] or target.count(-1) > 1 or 0 in target:
        return None
    return KerasLayer("Reshape", [x], {"target_shape": tuple(target)})


def cropped(x: Value, cuts: Sequence[Cut], result: Sequence[Dim]) -> Step | None:
    """``x`` without (low, high) extents at the borders of each axis, as a tensor of the shape ``result``."""
    kept, within = [i for i, cut in enumerate(cuts) if cut == (0, 0)], list(x.shape)
    if len(kept) == len(cuts) or 0 not in kept:
        return None
    borders = list(cuts)
    if len(cuts) - 1 not in kept:
        within, borders = [*within, 1], [*borders, (0, 0)]
    within, borders = _merged(within, borders)
    if len(within) > 5:
        return None
    part = [d - low - high for d, (low, high) in zip(within, borders, strict=True)]
    whole = reshaped(x, x.shape, within)
    if whole is None:
        return None
    middle = borders[1:-1]
    config = {"cropping": tuple(middle) if len(middle) > 1 else middle[0]}
    return reshaped(KerasLayer(f"Cropping{len(middle)}D", [whole], config), part, result)  # type: ignore[return-value]


def _merged(shape: list[Dim], cuts: list[Cut]) -> tuple[list[Dim], list[Cut]]:
    """Axes that are not cut and lie beside each other, behind the first one and before the last, as one."""
    if len(shape) <= 5:
        return shape, cuts
    extents, borders = shape[:1], cuts[:1]
    for extent, cut in zip(shape[1:-1], cuts[1:-1], strict=True):
        if len(borders) > 1 and cut == borders[-1] == (0, 0):
            extents[-1] = extents[-1] * extent
        else:
            extents, borders = [*extents, extent], [*borders, cut]
    return [*extents, shape[-1]], [*borders, cuts[-1]]


def sliced(op: Op) -> Step | None:
    """SLICE."""
    x, y, begin = op.inputs[0], op.outputs[0], op.attrs["begin"]
    if x is None or isinstance(begin, Value):
        return None
    cuts = []
    for extent, low, size in zip(x.shape, begin, y.shape, strict=True):
        high = extent - low - size
        if isinstance(high, Expr) or isinstance(low, Expr) or high < 0:
            return None
        cuts.append((int(low), int(high)))
    return cropped(x, cuts, y.shape)


def split(op: Op) -> Step | None:
    """SPLIT and SPLIT_V: a layer for each part."""
    x, axis = op.inputs[0], int(op.attrs["axis"])
    if x is None or isinstance(x.shape[axis], Expr):
        return None
    parts, low = [], 0
    for y in op.outputs:
        cuts = [(0, 0)] * x.rank
        cuts[axis] = low, int(x.shape[axis]) - low - int(y.shape[axis])  # type: ignore[arg-type]
        low += int(y.shape[axis])  # type: ignore[arg-type]
        parts.append(cropped(x, cuts, y.shape))
    made = [part for part in parts if part is not None]
    return Several(made) if len(made) == len(parts) else None


def through_reshapes(op: Op) -> Step | None:
    """A RESHAPE of a part of a RESHAPE, whose first axis is the same before and after: attention's heads."""
    part, y = op.inputs[0], op.outputs[0]
    maker = part.producer if part is not None else None
    if maker is None or part is None or not (maker.is_a("SPLIT") or maker.is_a("SPLIT_V")):
        return None
    whole, axis = maker.inputs[0], int(maker.attrs["axis"])
    before = whole.made_by("RESHAPE") if whole is not None else None
    x = before.inputs[0] if before is not None else None
    if x is None or whole is None or any(isinstance(d, Expr) for v in (x, whole, y) for d in v.shape) or not y.rank:
        return None
    sizes = [int(v.shape[axis]) for v in maker.outputs]  # type: ignore[arg-type]
    low = sum(sizes[: maker.outputs.index(part)])
    batch, outer = int(x.shape[0]), prod(map(int, whole.shape[:axis]))  # type: ignore[arg-type]
    if batch != y.shape[0] or outer % batch:
        return None
    inner = prod(map(int, whole.shape[axis + 1 :]))  # type: ignore[arg-type]
    seen = [batch, outer // batch, sum(sizes), inner]
    size = int(part.shape[axis])  # type: ignore[arg-type]
    heads = reshaped(x, x.shape, seen)
    if heads is None:
        return None
    middle = ((0, 0), (low, sum(sizes) - low - size))
    taken = KerasLayer("Cropping2D", [heads], {"cropping": middle})
    return reshaped(taken, [*seen[:2], size, inner], y.shape)  # type: ignore[return-value]
