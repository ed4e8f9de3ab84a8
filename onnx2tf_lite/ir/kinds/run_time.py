"""Constants that a kernel reads as an extent which only run time knows, for ``Kind.run_time``."""

from __future__ import annotations

from .. import dims
from ..dims import Dim, Expr
from ..graph import Op, Value

CLAMPED = 2**31 - 1  # a slice bound beyond the extent: the kernel clamps it


def one_unknown(op: Op, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """-1 for a single symbolic extent; not beside a 0, where -1 has no meaning, or another -1."""
    single = sum(isinstance(d, Expr) for d in shape) == 1 and not {0, -1} & set(shape)
    return tuple(-1 if isinstance(d, Expr) else d for d in shape) if single else shape


def to_the_end(op: Op, size: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """-1 where a slice ends with its operand."""
    assert op.inputs[0] is not None
    begin = op.attrs["begin"]
    if isinstance(begin, Value):
        begin = [None] * len(size)
    return tuple(
        -1 if isinstance(s, Expr) and (s == d if b is None else s + b == d) and b is not None else s
        for s, b, d in zip(size, begin, op.inputs[0].shape, strict=True)
    )


def clamped_begin(op: Op, begin: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """A bound that the kernel clamps, where a reversed slice begins with the last element."""
    return tuple(
        CLAMPED if s < 0 and isinstance(b, Expr) and b == d - 1 else b
        for b, s, d in zip(begin, op.attrs["strides"], op.inputs[0].shape, strict=True)  # type: ignore[union-attr]
    )


def clamped_end(op: Op, end: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """A bound that the kernel clamps, where a slice ends with its operand; in a run-time tensor, which has no end mask,
    also where a reversed slice runs through element 0.
    """
    strides = op.attrs["strides"]
    end = tuple(
        CLAMPED if s > 0 and isinstance(e, Expr) and e == d else e
        for e, s, d in zip(end, strides, op.inputs[0].shape, strict=True)  # type: ignore[union-attr]
    )
    if dims.is_static(end):
        return end
    return tuple(-CLAMPED if s < 0 and isinstance(e, int) and e < 0 else e for e, s in zip(end, strides, strict=True))
