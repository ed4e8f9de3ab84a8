"""What convolutions and pools share: extents and pads of a sliding window, in ONNX axis order [N, C, *space]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from ..record import record

Pads = tuple[tuple[Dim, Dim], ...]


@record
class Window:
    """A window over the spatial axes; ``pads`` are (begin, end) per axis and count as part of the input.

    ``extra`` is what ``ceil_mode`` needs behind the end pad: never part of a mean.  ``same`` says that the pads are
    those of TFLite's SAME by definition (auto_pad SAME_UPPER).
    """

    size: tuple[Dim, ...]
    kernel: tuple[Any, ...]  # numbers for a pool, dims for a convolution
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads
    extra: tuple[Dim, ...] = ()
    same: bool = False

    @property
    def reach(self) -> tuple[Any, ...]:
        """Extents that the dilated kernel covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def dilated(self) -> bool:
        return any(d != 1 for d in self.dilations)

    @property
    def all_pads(self) -> Pads:
        extra = self.extra or (0,) * len(self.pads)
        return tuple((low, high + more) for (low, high), more in zip(self.pads, extra, strict=True))

    def outputs(self) -> tuple[Dim, ...]:
        """Number of window positions per axis."""
        return tuple(
            dims.floordiv(n + low + high - reach, s) + 1
            for n, (low, high), reach, s in zip(self.size, self.all_pads, self.reach, self.strides, strict=True)
        )


def window(
    size: Sequence[Dim],
    kernel: Sequence[Dim],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    ceil_mode: int = 0,
) -> Window:
    """The window that these ONNX attributes describe."""
    rank = len(kernel)
    strides, dilations = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    explicit = tuple(pads or (0,) * 2 * rank)
    around = tuple(zip(explicit[:rank], explicit[rank:], strict=True))
    result = Window(tuple(size), tuple(kernel), strides, dilations, around)
    if auto_pad == "VALID":
        result = replace(result, pads=((0, 0),) * rank)
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return replace(result, pads=same_pads(result, upper=auto_pad == "SAME_UPPER"), same=auto_pad == "SAME_UPPER")
    return replace(result, extra=_ceil_extra(result)) if ceil_mode else result


def same_pads(w: Window, upper: bool = True) -> Pads:
    """Pads that give ceil(size / stride) positions; an odd one goes to the end (``upper``) or the beginning."""
    totals = [
        dims.maximum((dims.ceildiv(n, s) - 1) * s + reach - n, 0) if s > 1 else reach - 1
        for n, reach, s in zip(w.size, w.reach, w.strides, strict=True)
    ]
    halves = [(dims.floordiv(t, 2), dims.ceildiv(t, 2)) for t in totals]
    return tuple(halves) if upper else tuple((high, low) for low, high in halves)


def _ceil_extra(w: Window) -> tuple[Dim, ...]:
    """ceil_mode: the last window may hang over the end, but must begin inside the input or the begin pad."""

    def extra(n: Dim, low: Dim, high: Dim, reach: Dim, stride: int) -> Dim:
        last = dims.minimum(dims.ceildiv(n + low + high - reach, stride), dims.floordiv(n + low - 1, stride))
        return dims.maximum(last * stride + reach - (n + low + high), 0)

    axes = zip(w.size, w.pads, w.reach, w.strides, strict=True)
    return tuple(extra(n, low, high, reach, s) for n, (low, high), reach, s in axes)


def padded(x: Value, pads: Pads, value: object = 0) -> Value:
    """``x`` with its trailing spatial axes padded; a negative pad crops."""
    full = ((0, 0),) * (x.rank - len(pads)) + tuple(pads)
    grow = tuple((_positive(low), _positive(high)) for low, high in full)
    x = b.pad(x, grow, value)
    cut = [(g - p, gh - ph) for (p, ph), (g, gh) in zip(full, grow, strict=True)]
    return b.slice_(x, [low for low, _ in cut], [d - low - high for d, (low, high) in zip(x.shape, cut, strict=True)])


def _positive(pad: Dim) -> Dim:
    return max(pad, 0) if isinstance(pad, int) else pad
