"""Convolutions.  Axis names: N batch, C input channels, O output channels, G groups, K kernel, then space.

A 1-D convolution is a 2-D one of height 1.  Explicit pads are written as PAD + VALID; fusion makes SAME of them where
that is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dilation import dilate
from ..ir.dims import Dim
from ..ir.graph import Value, constant
from ..record import record
from ._loops import zeros
from ._windows import Window, padded, window
from .registry import UnsupportedError, op

Ints = Sequence[int] | None


def _two_dimensional(x: Value) -> Value:
    """[N, C, W] as [N, C, 1, W]."""
    return b.reshape(x, (*x.shape[:2], 1, x.shape[2]))


#: What an attribute of a 1-D window is with an axis of one element in front.
WITH_UNIT_AXIS: dict[str, Callable[[Sequence[int]], Ints]] = {
    "dilations": lambda values: (1, *values),
    "strides": lambda values: (1, *values),
    "pads": lambda values: (0, values[0], 0, values[1]),
    "output_padding": lambda values: (0, *values),
    "output_shape": lambda values: (1, values[-1]),
}


def _one_dimensional(
    handler: Callable[..., Value], x: Value, w: Value, bias: Value | None, auto_pad: str, group: int, **window: Ints
) -> Value:
    """A 1-D convolution as a 2-D one of height 1."""
    wide = {name: None if values is None else WITH_UNIT_AXIS[name](values) for name, values in window.items()}
    y = handler(_two_dimensional(x), _two_dimensional(w), bias, auto_pad=auto_pad, group=group, **wide)
    return b.reshape(y, (*y.shape[:2], y.shape[3]))


def _check(x: Value, w: Value) -> None:
    if x.rank != w.rank or not 3 <= x.rank <= 5:
        raise UnsupportedError(
            f"a convolution over {x.rank - 2} axes has no TFLite form", "1 to 3 spatial axes are possible"
        )


def _bias(bias: Value | None, channels: Dim) -> Value:
    if bias is None:
        if isinstance(channels, dims.Expr):
            return zeros((channels,))
        return constant(np.zeros(channels, np.float32), name="zero_bias")
    return b.reshape(bias, (channels,))


@op("Conv")
def conv(x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: Ints = None,
         group: int = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None) -> Value:  # fmt: skip
    """x[N,C,*space], w[O,C/G,*K], bias[O] -> [N,O,*out]."""
    _check(x, w)
    if x.rank == 3:
        return _one_dimensional(conv, x, w, bias, auto_pad, group, dilations=dilations, pads=pads, strides=strides)
    w = b.pinned(w, (w.shape[0], dims.floordiv(x.shape[1], group), *(kernel_shape or w.shape[2:])))
    win = window(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    x = x if win.same else padded(x, win.pads)
    return (_conv_2d if x.rank == 4 else _conv_3d)(x, w, _bias(bias, w.shape[0]), win, group)


def _conv_2d(x: Value, w: Value, bias: Value, win: Window, group: int) -> Value:
    image, padding = b.channels_last(x), "SAME" if win.same else "VALID"
    common = {"padding": padding, "strides": win.strides, "dilations": win.dilations, "activation": None}
    if group > 1 and group == x.shape[1] and isinstance(w.shape[0], int):
        filters, multiplier = b.transpose(w, (1, 2, 3, 0)), w.shape[0] // group
        y = b.emit("DEPTHWISE_CONV_2D", image, filters, bias, multiplier=multiplier, dilated=win.dilated, **common)
    else:
        filters, groups = b.transpose(w, (0, 2, 3, 1)), group if group > 1 else None
        y = b.emit("CONV_2D", image, filters, bias, groups=groups, **common)
    return b.channels_first(y)


def _conv_3d(x: Value, w: Value, bias: Value, win: Window, group: int) -> Value:
    """The kernel knows no groups: one convolution for each."""
    padding = "SAME" if win.same else "VALID"
    common = {"padding": padding, "strides": win.strides, "dilations": win.dilations, "activation": None}
    parts = [
        b.emit("CONV_3D", b.channels_last(xs), b.transpose(ws, (2, 3, 4, 1, 0)), bs, **common)
        for xs, ws, bs in zip(_parts(x, group, 1), _parts(w, group, 0), _parts(bias, group, 0), strict=True)
    ]
    return b.channels_first(b.concat(parts, -1))


def _parts(x: Value, count: int, axis: int) -> list[Value]:
    return b.split(x, [dims.floordiv(x.shape[axis], count)] * len(b.parts(count)), axis)


# ------------------------------------------------------------------------------------------------ transposed


@record
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
        """Extent before cropping."""
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
    attrs = {"strides": strides, "dilations": dilations, "pads": pads}
    attrs |= {"output_padding": output_padding, "output_shape": output_shape}
    if x.rank == 3:
        return _one_dimensional(conv_transpose, x, w, bias, auto_pad, group, **attrs)
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
    attrs = {"strides": tuple(c.stride for c in crops), "output_shape": (x.shape[0], *space, w.shape[1])}
    attrs |= {} if x.rank == 4 else {"dilations": (1, 1, 1)}
    image, filters = b.channels_last(x), b.transpose(w, perm)
    y = b.emit(kind, image, filters, bias, padding=exact or "VALID", activation=None, **attrs)
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
