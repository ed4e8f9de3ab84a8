"""Explicit pads: merged with each other, and expressed as SAME where that means exactly the same pads.

TensorFlow's SAME pads ``max((ceil(size / stride) - 1) * stride + reach - size, 0)`` elements, the odd one at the end.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Op, Value
from .pattern import Match, again, any_, const, op, rule, uniform

NONNEGATIVE = frozenset(["RELU", "RELU6", "LOGISTIC", "SOFTMAX", "ABS", "SQUARE", "EXP"])
SPACE = {"CONV_2D": slice(1, 3), "DEPTHWISE_CONV_2D": slice(1, 3), "CONV_3D": slice(0, 3)}  # kernel in weights.shape


def kernel_of(operation: Op) -> tuple[Dim, ...]:
    """Extents of the window."""
    space = SPACE.get(operation.kind.name)
    return operation.attrs["kernel"] if space is None else operation.inputs[1].shape[space]  # type: ignore[union-attr]


def same_pad(size: Dim, kernel: Dim, stride: int, dilation: int) -> tuple[Dim, Dim] | None:
    """What SAME adds on both sides of an axis; None where that depends on an extent that is not known."""
    total = (dims.ceildiv(size, stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
    if not isinstance(total, int):
        return None
    total = max(total, 0)
    return total // 2, total - total // 2


def as_same(m: Match) -> Value | str:
    """The windowed root on the unpadded operand, or why SAME would be something else."""
    kernel, strides = kernel_of(m.root), m.root.attrs["strides"]
    dilations = m.root.attrs.get("dilations", (1,) * len(kernel))
    axes = zip(m.x.shape[1:-1], kernel, strides, dilations, strict=True)
    same = ((0, 0), *(same_pad(*axis) for axis in axes), (0, 0))
    pads = m.pad.attrs["pads"]
    if None in same:
        return "SAME is not decided for extents that are only known at run time"
    if tuple(pads) != same:
        return f"pads {_show(pads)} are not SAME's {_show(same)}"
    return again(m.root, m.x, *m.root.inputs[1:], padding="SAME")


def _show(pads: object) -> str:
    return str(pads).replace(" ", "")


@rule(op("CONV_2D|DEPTHWISE_CONV_2D|CONV_3D", op("PAD", any_("x"), name="pad", shared=True), padding="VALID"))
def pad_convolution(m: Match) -> Value | str | None:
    """pads into a convolution as SAME"""
    return as_same(m)


def _lowest(fill: Value) -> bool:
    return fill.dtype.kind == "f" and bool(np.all(fill.data <= np.finfo(fill.dtype).min))  # type: ignore[operator]


@rule(op("MAX_POOL_2D", op("PADV2", any_("x"), const("fill"), name="pad", shared=True), padding="VALID"))
def pad_max_pool(m: Match) -> Value | str | None:
    """pads of the lowest number into a maximum as SAME"""
    return as_same(m) if _lowest(m.fill) else "the pads are not the lowest number"


@rule(op("MAX_POOL_2D", op("PAD", any_("x"), name="pad", shared=True), padding="VALID"))
def pad_positive_max_pool(m: Match) -> Value | str | None:
    """zero pads into a maximum of non-negative numbers as SAME"""
    source = m.x.producer
    if source is None or not NONNEGATIVE & {source.kind.name, source.attrs.get("activation")}:
        return "zeros count in the maximum, SAME leaves them out"
    return as_same(m)


@rule(op("PAD", op("PAD", any_("x"), name="inner", shared=True)))
def merge_pads(m: Match) -> Value | str | None:
    """two PADs in one"""
    return again(m.root, m.x, pads=_sum(m))


@rule(op("PADV2", op("PADV2", any_("x"), const("fill"), name="inner", shared=True), const("outer")))
def merge_fills(m: Match) -> Value | str | None:
    """two PADs with one filling in one"""
    if m.fill.data.item() != m.outer.data.item():
        return None
    return again(m.root, m.x, m.outer, pads=_sum(m))


def _sum(m: Match) -> tuple[tuple[Dim, Dim], ...]:
    both = zip(m.inner.attrs["pads"], m.root.attrs["pads"], strict=True)
    return tuple((a + c, z + y) for (a, z), (c, y) in both)


@rule(op("PADV2", any_("x"), const("fill")))
def fill_zero(m: Match) -> Value | str | None:
    """filling with zero as PAD"""
    return b.emit("PAD", m.x, pads=m.root.attrs["pads"]) if uniform(m.fill, 0) else None


RULES = [pad_convolution, pad_max_pool, pad_positive_max_pool, merge_pads, merge_fills, fill_zero]
