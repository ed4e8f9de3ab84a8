"""Explicit pads: merged with each other, and expressed as SAME where that means exactly the same pads.

TensorFlow's SAME pads ``max((ceil(size / stride) - 1) * stride + reach - size, 0)`` elements, the odd one at the end.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Op, Value
from ..ir.rules import Match, NearMissError, again, is_splat, rule
from .activations import fused_limits
from .splits import part
from .views import part_before


def kernel_of(operation: Op) -> tuple[Dim, ...]:
    """Extents of the window."""
    traits = operation.kind.weights
    if traits is None or traits.window is None:
        return tuple(operation.attrs["kernel"])
    weights = operation.inputs[1]
    assert weights is not None
    return weights.shape[traits.window]


def same_pad(size: Dim, kernel: Dim, stride: int, dilation: int) -> tuple[Dim, Dim] | None:
    """What SAME adds on both sides of an axis; None where that depends on an extent that is not known."""
    total = (dims.ceildiv(size, stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
    if not isinstance(total, int):
        return None
    total = max(total, 0)
    return total // 2, total - total // 2


def as_same(m: Match) -> Value:
    """The windowed root on the unpadded operand; NearMissError where SAME would be something else."""
    kernel, strides = kernel_of(m.root), m.root.attrs["strides"]
    dilations = m.root.attrs.get("dilations", (1,) * len(kernel))
    axes = zip(m.x.shape[1:-1], kernel, strides, dilations, strict=True)
    same = ((0, 0), *(same_pad(*axis) for axis in axes), (0, 0))
    pads = m.op("pad").attrs["pads"]
    if None in same:
        raise NearMissError("SAME is not decided for extents that are only known at run time")
    if tuple(pads) != same:
        raise NearMissError(f"pads {_show(pads)} are not SAME's {_show(same)}")
    return again(m.root, m.x, *m.root.inputs[1:], padding="SAME")


def _show(pads: object) -> str:
    return str(pads).replace(" ", "")


@rule("CONV_2D|DEPTHWISE_CONV_2D|CONV_3D(pad := shared(PAD(x)), ..., padding=VALID)")
def pad_convolution(m: Match) -> Value | None:
    """pads into a convolution as SAME

    A convolution reads zeros outside its operand: conv(pad(x), VALID) = conv(x, SAME) where SAME pads the same.
    """
    return as_same(m)


_WINDOWED = "CONV_2D|DEPTHWISE_CONV_2D|CONV_3D|MAX_POOL_2D(renamed := RESHAPE(pad := {}), ...)"


@rule(_WINDOWED.format("PAD(x)"), _WINDOWED.format("PADV2(x, const(fill))"))
def pad_behind_reshape(m: Match) -> Value | None:
    """pads behind a RESHAPE, next to the window

    Axes of one element come and go, and pads of the others stay with them: reshape(pad(x)) = pad(reshape(x)).
    """
    pad, padded, shape = m.op("pad"), m.op("pad").outputs[0].shape, m.renamed.shape
    here, there = ([i for i, d in enumerate(dims) if d != 1] for dims in (padded, shape))
    outside = any(tuple(p) != (0, 0) for i, p in enumerate(pad.attrs["pads"]) if i not in here)
    if outside or [padded[i] for i in here] != [shape[i] for i in there] or len(shape) > pad.kind.max_rank:
        return None
    sizes, pads = list[Dim]([1] * len(shape)), [(0, 0)] * len(shape)
    for source, target in zip(here, there, strict=True):
        sizes[target], pads[target] = m.x.shape[source], pad.attrs["pads"][source]
    moved = again(pad, b.reshape(m.x, sizes), *pad.inputs[1:], pads=tuple(pads))
    return again(m.root, moved, *m.root.inputs[1:])


def _is_lowest(fill: Value) -> bool:
    data = fill.data
    return data is not None and data.dtype.kind == "f" and bool(np.all(data <= np.finfo(data.dtype).min))


@rule("MAX_POOL_2D(pad := shared(PADV2(x, const(fill))), padding=VALID)")
def pad_max_pool(m: Match) -> Value | None:
    """pads of the lowest number into a maximum as SAME

    SAME leaves pads out of the maximum, and max(x, lowest) = x.
    """
    if not _is_lowest(m.fill):
        raise NearMissError("the pads are not the lowest number")
    return as_same(m)


@rule("MAX_POOL_2D(pad := shared(PAD(x)), padding=VALID)", above=1)
def pad_positive_max_pool(m: Match) -> Value | None:
    """zero pads into a maximum of non-negative numbers as SAME

    max(x, 0) = x for x >= 0, so the zeros may as well be left out.
    """
    source = m.x.producer
    if source is None or max(source.kind.limits[0], fused_limits(source)[0]) < 0:
        raise NearMissError("zeros count in the maximum, SAME leaves them out")
    return as_same(m)


_PADDED = "result := CONV_2D|DEPTHWISE_CONV_2D|CONV_3D(pad := PAD(x), ..., padding=VALID)"


@rule(f"SLICE({_PADDED})", f"SLICE(renamed := RESHAPE({_PADDED}))", origin="result")
def cut_pads(m: Match) -> Value | None:
    """SLICE behind a padded convolution as fewer pads

    Result i of an axis looks at the places from i * stride on: those that nothing looks at need not be padded.  So does
    a causal convolution that pads both sides and cuts what lies behind the end.
    """
    convolution, place, renamed = m.op("result"), part(m.root), m.get("renamed")
    if place is not None and renamed is not None:
        place = part_before(m.op("renamed"), *place)
    if place is None or not 0 < place[0] < m.result.rank - 1:
        return None
    axis, begin, size = place
    attrs, pads = convolution.attrs, list(m.op("pad").attrs["pads"])
    stride = attrs["strides"][axis - 1]
    unseen = m.result.shape[axis] - begin - size
    low, high = pads[axis][0] - begin * stride, pads[axis][1] - unseen * stride
    if not (isinstance(low, int) and isinstance(high, int) and low >= 0 and high >= 0):
        return None
    pads[axis] = (low, high)
    fewer = again(convolution, b.pad(m.x, pads), *convolution.inputs[1:])
    return b.reshape(fewer, m.root.outputs[0].shape)


@rule("PAD(inner := shared(PAD(x)))")
def merge_pads(m: Match) -> Value | None:
    """two PADs in one

    The pads of an axis add up.
    """
    return again(m.root, m.x, pads=_sum(m))


@rule("PADV2(inner := shared(PADV2(x, const(fill))), const(outer))")
def merge_fills(m: Match) -> Value | None:
    """two PADs with one filling in one

    The pads of an axis add up where both are filled with the same number.
    """
    if m.fill.data != m.outer.data:
        return None
    return again(m.root, m.x, m.outer, pads=_sum(m))


def _sum(m: Match) -> tuple[tuple[Dim, Dim], ...]:
    both = zip(m.op("inner").attrs["pads"], m.root.attrs["pads"], strict=True)
    return tuple((a + c, z + y) for (a, z), (c, y) in both)


@rule("PADV2(x, const(fill))")
def fill_zero(m: Match) -> Value | None:
    """filling with zero as PAD

    PAD fills with zero.
    """
    return b.emit("PAD", m.x, pads=m.root.attrs["pads"]) if is_splat(m.fill, 0) else None


RULES = [cut_pads, pad_behind_reshape, pad_convolution, pad_max_pool, pad_positive_max_pool]
RULES += [merge_pads, merge_fills, fill_zero]
