"""Convolutions.  Axis names: N batch, C input channels, O output channels, G groups, K kernel, then space.

A 1-D convolution is a 2-D one of height 1.  Explicit pads are written as PAD + VALID; fusion makes SAME of them where
that is equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value, constant
from ._loops import zeros
from ._windows import Window, dilate, padded, window
from .registry import Unsupported, op

Ints = Sequence[int] | None


def _two_dimensional(x: Value) -> Value:
    """[N, C, W] as [N, C, 1, W]."""
    return b.reshape(x, (*x.shape[:2], 1, x.shape[2]))


def _flat_pads(pads: Ints) -> Ints:
    return None if pads is None else (0, pads[0], 0, pads[1])


def _with_unit(values: Ints) -> Ints:
    return None if values is None else (1, *values)


def _check(x: Value, w: Value) -> None:
    if x.rank != w.rank or not 3 <= x.rank <= 5:
        raise Unsupported(
            f"a convolution over {x.rank - 2} axes has no TFLite form", "1 to 3 spatial axes are possible"
        )


def _bias(bias: Value | None, channels: Dim) -> Value:
    if bias is None:
        return (
            zeros((channels,))
            if isinstance(channels, dims.Expr)
            else constant(np.zeros(channels, np.float32), name="zero_bias")
        )
    return b.reshape(bias, (channels,))


@op("Conv")
def conv(x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: Ints = None,
         group: int = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None) -> Value:  # fmt: skip
    """x[N,C,*space], w[O,C/G,*K], bias[O] -> [N,O,*out]."""
    _check(x, w)
    if x.rank == 3:
        y = conv(_two_dimensional(x), _two_dimensional(w), bias, auto_pad=auto_pad, dilations=_with_unit(dilations),
                 group=group, pads=_flat_pads(pads), strides=_with_unit(strides))  # fmt: skip
        return b.reshape(y, (*y.shape[:2], y.shape[3]))
    w = b.pinned(w, (w.shape[0], dims.floordiv(x.shape[1], group), *(kernel_shape or w.shape[2:])))
    win = window(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    x = x if win.same else padded(x, win.pads)
    return (_conv_2d if x.rank == 4 else _conv_3d)(x, w, _bias(bias, w.shape[0]), win, group)


def _conv_2d(x: Value, w: Value, bias: Value, win: Window, group: int) -> Value:
    common = {"padding": "SAME" if win.same else "VALID", "strides": win.strides, "dilations": win.dilations,
              "activation": None}  # fmt: skip
    if group > 1 and group == x.shape[1] and isinstance(w.shape[0], int):
        multiplier = w.shape[0] // group
        y = b.emit("DEPTHWISE_CONV_2D", b.channels_last(x), b.transpose(w, (1, 2, 3, 0)), bias,
                   multiplier=multiplier, dilated=win.dilated, **common)  # fmt: skip
    else:
        y = b.emit("CONV_2D", b.channels_last(x), b.transpose(w, (0, 2, 3, 1)), bias,
                   groups=group if group > 1 else None, **common)  # fmt: skip
    return b.channels_first(y)


def _conv_3d(x: Value, w: Value, bias: Value, win: Window, group: int) -> Value:
    """TensorFlow's kernel knows neither groups nor dilation: one convolution per group, zeros inside the kernel."""
    w = dilate(w, win.dilations)
    parts = [
        b.emit("CONV_3D", b.channels_last(xs), b.transpose(ws, (2, 3, 4, 1, 0)), bs, activation=None,
               padding="SAME" if win.same else "VALID", strides=win.strides, dilations=(1, 1, 1))
        for xs, ws, bs in zip(_parts(x, group, 1), _parts(w, group, 0), _parts(bias, group, 0), strict=True)
    ]  # fmt: skip
    return b.channels_first(b.concat(parts, -1))


def _parts(x: Value, count: int, axis: int) -> list[Value]:
    return b.split(x, [dims.floordiv(x.shape[axis], count)] * count, axis)


# ------------------------------------------------------------------------------------------------ transposed


@dataclass(frozen=True)
class Crop:
    """A transposed convolution along one axis: of ``full`` results, ``out`` from ``begin`` on are kept.

    Without cropping, position i writes to [i*stride, i*stride + reach): full = (size - 1) * stride + reach.
    """

    size: Dim
    stride: int
    reach: Dim
    begin: Dim
    out: Dim

    @property
    def full(self) -> Dim:
        return (self.size - 1) * self.stride + self.reach

    @property
    def fits_valid(self) -> bool:
        """VALID may add up to stride - 1 rows at the end, and keeps the first one."""
        return self.begin == 0 and self.out - self.full in range(self.stride)

    @property
    def fits_same(self) -> bool:
        """SAME crops (full - out) // 2 at the beginning; TensorFlow wants ceil(out / stride) == size."""
        cut, last = self.full - self.out, self.out - (self.size - 1) * self.stride
        return isinstance(cut, int) and self.begin == max(cut, 0) // 2 and last in range(1, self.stride + 1)


def _crops(x: Value, w: Value, attrs: dict[str, Ints], auto_pad: str) -> list[Crop]:
    """ONNX ConvTranspose-22: out = stride * (in - 1) + output_padding + reach - pads, or pads from ``output_shape``."""
    win = window(x.shape[2:], w.shape[2:], attrs["strides"], attrs["dilations"], attrs["pads"], "NOTSET")
    more = attrs["output_padding"] or (0,) * len(win.kernel)
    wanted: Sequence[Dim] = list(attrs["output_shape"] or ())[-len(win.kernel) :]
    if not wanted and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(win.size, win.strides, strict=True)]
    crops = []
    for i, (n, s, reach) in enumerate(zip(win.size, win.strides, win.reach, strict=True)):
        total = (n - 1) * s + reach + more[i]
        begin, end = (0, 0) if auto_pad == "VALID" else win.pads[i]
        if wanted:
            pads = dims.maximum(total - wanted[i], 0)
            begin = dims.floordiv(pads, 2) if auto_pad == "SAME_UPPER" else dims.ceildiv(pads, 2)
            crops.append(Crop(n, s, reach, begin, wanted[i]))
        else:
            crops.append(Crop(n, s, reach, begin, total - begin - end))
    return crops


@op("ConvTranspose")
def conv_transpose(x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: Ints = None,
                   group: int = 1, kernel_shape: Ints = None, output_padding: Ints = None, output_shape: Ints = None,
                   pads: Ints = None, strides: Ints = None) -> Value:  # fmt: skip
    """x[N,C,*space], w[C,O/G,*K], bias[O] -> [N,O,*out]."""
    _check(x, w)
    if x.rank == 3:
        y = conv_transpose(_two_dimensional(x), _two_dimensional(w), bias, auto_pad=auto_pad, group=group,
                           dilations=_with_unit(dilations), strides=_with_unit(strides), pads=_flat_pads(pads),
                           output_padding=None if output_padding is None else (0, *output_padding),
                           output_shape=None if output_shape is None else (1, output_shape[-1]))  # fmt: skip
        return b.reshape(y, (*y.shape[:2], y.shape[3]))
    attrs = {"strides": strides, "dilations": dilations, "pads": pads, "output_padding": output_padding,
             "output_shape": output_shape}  # fmt: skip
    w = b.pinned(w, (x.shape[1], w.shape[1], *(kernel_shape or w.shape[2:])))
    crops = _crops(x, w, attrs, auto_pad)
    w = dilate(w, dilations or ())
    bias = _bias(bias, w.shape[1] * group)
    if x.rank == 4 and group > 1 and group == x.shape[1]:
        return _depthwise_transpose(x, w, bias, crops)
    parts = zip(_parts(x, group, 1), _parts(w, group, 0), _parts(bias, group, 0), strict=True)
    return b.channels_first(b.concat([_transpose_conv(*part, crops) for part in parts], -1))


def _transpose_conv(x: Value, w: Value, bias: Value, crops: Sequence[Crop]) -> Value:
    """Channels-last result.  Written with SAME or VALID where that crops exactly, else VALID and a SLICE."""
    exact = "VALID" if all(c.fits_valid for c in crops) else "SAME" if all(c.fits_same for c in crops) else None
    space = tuple(c.out if exact else dims.maximum(c.full, c.begin + c.out) for c in crops)
    if exact is None:  # rows beyond full + stride - 1 come from zeros behind the input
        short = [
            dims.maximum(dims.ceildiv(n - c.full - c.stride + 1, c.stride), 0)
            for n, c in zip(space, crops, strict=True)
        ]
        x = padded(x, tuple((0, rows) for rows in short))
    kind, perm = ("TRANSPOSE_CONV", (1, 2, 3, 0)) if x.rank == 4 else ("CONV_3D_TRANSPOSE", (2, 3, 4, 1, 0))
    dilations = {} if x.rank == 4 else {"dilations": (1, 1, 1)}
    y = b.emit(kind, b.channels_last(x), b.transpose(w, perm), bias, padding=exact or "VALID", activation=None,
               output_shape=(x.shape[0], *space, w.shape[1]),
               strides=tuple(c.stride for c in crops), **dilations)  # fmt: skip
    if exact:
        return y
    return b.slice_(y, (0, *(c.begin for c in crops), 0), (x.shape[0], *(c.out for c in crops), w.shape[1]))


def _depthwise_transpose(x: Value, w: Value, bias: Value, crops: Sequence[Crop]) -> Value:
    """One depthwise convolution of the input with zeros between its elements, by the flipped kernel."""
    c, m, *kernel = w.shape
    spread = dilate(x, [crop.stride for crop in crops])
    sizes = spread.shape[2:]
    pads = tuple((k.reach - 1 - k.begin, k.begin + k.out - n) for k, n in zip(crops, sizes, strict=True))
    win = window(sizes, kernel, None, None, None, "VALID")
    flipped = b.reshape(b.reverse(w, (2, 3)), (c * m, 1, *kernel))
    return _conv_2d(padded(spread, pads), flipped, bias, win, int(c))  # type: ignore[arg-type]
