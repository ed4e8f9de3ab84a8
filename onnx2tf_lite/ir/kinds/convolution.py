"""Operators with a sliding window, and the image resizers: channels-last only.

Axis names: N batch, H W D space, C channels, O output channels, K kernel.  Convolutions and pools carry ``padding``
("VALID" or "SAME"), ``strides``, ``dilations`` and, once fused, ``activation``.  Extents: VALID gives
``(in - ((k - 1) * dilation + 1)) // stride + 1``, SAME gives ``ceil(in / stride)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import dims
from ..dims import Dim
from ..graph import Value
from ..kind import Result, define
from ..orders import CHANNELS_LAST

F32 = np.dtype(np.float32)
_FUSED = {"fusedActivationFunction": "activation"}


def window_extent(size: Dim, kernel: Dim, stride: int, dilation: int, padding: str) -> Dim:
    """Output extent of a window along one axis."""
    if padding == "SAME":
        return dims.ceildiv(size, stride)
    return dims.floordiv(size - (kernel - 1) * dilation - 1, stride) + 1


def _space(inputs: Sequence[Value], attrs: Mapping[str, Any], kernel: Sequence[Dim]) -> tuple[Dim, ...]:
    rank = len(kernel)
    dilations = attrs.get("dilations", (1,) * rank)
    return tuple(
        window_extent(*t, attrs["padding"])
        for t in zip(inputs[0].shape[1 : rank + 1], kernel, attrs["strides"], dilations, strict=True)
    )


def _conv(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    o, *kernel, c = inputs[1].shape
    have = inputs[0].shape[-1]
    if isinstance(have, int) and isinstance(c, int) and have % c:
        raise ValueError(f"{have} channels do not fit weights [{dims.show(inputs[1].shape)}]")
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


def _strides(names: str) -> dict[str, Any]:
    """TFLite option fields for strides and dilations, e.g. "HW"."""
    return {
        f"{what}{n}{tail}": (lambda op, a=attr, i=i: op.attrs[a][i])
        for attr, what, tail in (("strides", "stride", ""), ("dilations", "dilation", "Factor"))
        for i, n in enumerate(names)
    }


define(
    "CONV_2D",
    _conv,
    layout=CHANNELS_LAST,
    types="f32",
    typed=(0, 1),
    max_rank=4,
    options=("Conv2DOptions", {"padding": "padding", **_FUSED, **_strides("HW")}),
    versions="3:qi8 4:qi16 6:@grouped",
    features={"grouped": lambda op: op.inputs[0].shape[-1] != op.inputs[1].shape[-1]},
)  # x[N,H,W,C], weights[O,KH,KW,C/groups], bias[O]; fmt: skip


def _depthwise(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    _, *kernel, o = inputs[1].shape
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


define(
    "DEPTHWISE_CONV_2D",
    _depthwise,
    layout=CHANNELS_LAST,
    types="f32",
    typed=(0, 1),
    max_rank=4,
    options=(
        "DepthwiseConv2DOptions",
        {"padding": "padding", "depthMultiplier": "multiplier", **_FUSED, **_strides("HW")},
    ),
    versions="2:@dilated 3:qi8 5:qi16",
    features={"dilated": lambda op: any(d != 1 for d in op.attrs.get("dilations", ()))},
)  # x[N,H,W,C], weights[1,KH,KW,C*multiplier], bias; fmt: skip


def _transposed(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return tuple(attrs["output_shape"]), inputs[0].dtype


# x[N,H,W,C], weights[O,KH,KW,C], bias[O]; ``output_shape`` decides how much the padding crops.
define("TRANSPOSE_CONV", _transposed, layout=CHANNELS_LAST, types="f32", typed=(0, 1), max_rank=4,
       operands=("output_shape", 1, 0, 2), versions="2:qi8 3:inputs>2 4:@activation",
       options=("TransposeConvOptions", {"padding": "padding", **_FUSED,
                "strideH": lambda op: op.attrs["strides"][0], "strideW": lambda op: op.attrs["strides"][1]}))  # fmt: skip


def _conv3d(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    *kernel, _, o = inputs[1].shape
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


_CONV_3D = ("Conv3DOptions", {"padding": "padding", **_FUSED, **_strides("DHW")})
# x[N,D,H,W,C], weights[KD,KH,KW,C,O], bias[O]
define("CONV_3D", _conv3d, layout=CHANNELS_LAST, types="f32", typed=(0, 1), max_rank=5, options=_CONV_3D)
# x[N,D,H,W,C], weights[KD,KH,KW,O,C], bias[O]
define("CONV_3D_TRANSPOSE", _transposed, layout=CHANNELS_LAST, types="f32", typed=(0, 1), max_rank=5, options=_CONV_3D,
       operands=("output_shape", 1, 0, 2))  # fmt: skip


def _pool(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return (inputs[0].shape[0], *_space(inputs, attrs, attrs["kernel"]), inputs[0].shape[-1]), inputs[0].dtype


_POOL = ("Pool2DOptions", {
    "padding": "padding", **_FUSED, "strideH": lambda op: op.attrs["strides"][0], "strideW": lambda op: op.attrs["strides"][1],
    "filterHeight": lambda op: op.attrs["kernel"][0], "filterWidth": lambda op: op.attrs["kernel"][1]})  # fmt: skip
# MAX counts padding as -inf, AVERAGE leaves it out of the count.
for _name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
    define(_name, _pool, layout=CHANNELS_LAST, types="f32", max_rank=4, options=_POOL, versions="2:qi8|qu8 3:qi16")


def _resized(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    n, _, _, c = inputs[0].shape
    return (n, *attrs["size"], c), inputs[0].dtype


_FLAGS = {"alignCorners": "align_corners", "halfPixelCenters": "half_pixel_centers"}
_TF_FLAGS = {"align_corners": "align_corners", "half_pixel_centers": "half_pixel_centers"}
define("RESIZE_BILINEAR", _resized, layout=CHANNELS_LAST, types="f32", max_rank=4, operands=(0, "size"),
       options=("ResizeBilinearOptions", _FLAGS), versions="2:qi8|qu8 3:@half_pixel_centers 4:qi16",
       tensorflow="ResizeBilinear", tf_attrs=_TF_FLAGS)  # fmt: skip
define("RESIZE_NEAREST_NEIGHBOR", _resized, layout=CHANNELS_LAST, types="f32", max_rank=4, operands=(0, "size"),
       options=("ResizeNearestNeighborOptions", _FLAGS), versions="2:qi8|qu8 3:@half_pixel_centers|@align_corners 4:qi16",
       tensorflow="ResizeNearestNeighbor", tf_attrs=_TF_FLAGS)  # fmt: skip

# window 2 * radius + 1 over the last axis; alpha is not divided by the window size
define("LOCAL_RESPONSE_NORMALIZATION", lambda inputs, attrs: (inputs[0].shape, inputs[0].dtype), layout=CHANNELS_LAST,
       types="f32", max_rank=4, tensorflow="LRN",
       options=("LocalResponseNormalizationOptions", {n: n for n in ("radius", "bias", "alpha", "beta")}),
       tf_attrs={"depth_radius": "radius", "bias": "bias", "alpha": "alpha", "beta": "beta"})  # fmt: skip
