"""Operators with a sliding window, and the image resizers: channels-last only.

Axis names: N batch, H W D space, C channels, O output channels, K kernel.  Convolutions and pools carry ``padding``
("VALID" or "SAME"), ``strides``, ``dilations`` and, once fused, ``activation``.  Extents: VALID gives
``(in - ((k - 1) * dilation + 1)) // stride + 1``, SAME gives ``ceil(in / stride)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dims, intervals
from ..dims import Dim
from ..graph import Attrs, Op, Value
from ..kind import Fields, Infer, Result, define
from ..orders import CHANNELS_LAST
from ..traits import DOTS, MOVER, PICKER, REALS, TOTALS, Bits, Int8, Traits, Weights, computed, real
from .shapes import same

_FUSED = {"fusedActivationFunction": "activation"}


def window_extent(size: Dim, kernel: Dim, stride: int, dilation: int, padding: str) -> Dim:
    """Output extent of a window along one axis."""
    if padding == "SAME":
        return dims.ceildiv(size, stride)
    return dims.floordiv(size - (kernel - 1) * dilation - 1, stride) + 1


def _space(inputs: Sequence[Value], attrs: Attrs, kernel: Sequence[Dim]) -> tuple[Dim, ...]:
    rank = len(kernel)
    dilations = attrs.get("dilations", (1,) * rank)
    return tuple(
        window_extent(*t, attrs["padding"])
        for t in zip(inputs[0].shape[1 : rank + 1], kernel, attrs["strides"], dilations, strict=True)
    )


def _conv(inputs: Sequence[Value], attrs: Attrs) -> Result:
    o, *kernel, c = inputs[1].shape
    have = inputs[0].shape[-1]
    if isinstance(have, int) and isinstance(c, int) and have % c:
        raise ValueError(f"{have} channels do not fit weights [{dims.show(inputs[1].shape)}]")
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


def _steps(names: str) -> Fields:
    """TFLite option fields for strides alone."""
    return {f"stride{n}": (lambda op, i=i: op.attrs["strides"][i]) for i, n in enumerate(names)}


def _strides(names: str) -> Fields:
    """TFLite option fields for strides and dilations, e.g. "HW"."""
    return {
        f"{what}{n}{tail}": (lambda op, a=attr, i=i: op.attrs[a][i])
        for attr, what, tail in (("strides", "stride", ""), ("dilations", "dilation", "Factor"))
        for i, n in enumerate(names)
    }


def bias(op: Op) -> str:
    """A bias that does not fit the output channels."""
    value = op.inputs[2] if len(op.inputs) > 2 else None
    channels = op.outputs[0].shape[-1]
    return f"the bias {value} is not [{channels}]" if value is not None and value.shape != (channels,) else ""


def hybrid(op: Op) -> bool:
    """int8 weights beside float activations, which the kernel quantises as they come."""
    return op.outputs[0].dtype.kind == "f" and op.inputs[1] is not None and op.inputs[1].dtype == np.int8


def linear(weights: Weights, **differs: Any) -> Traits:
    """A sum of products with constant weights, which whole numbers may take part in as float32 while they are small."""
    exact = {
        "interval": intervals.dot,
        "exact_in_float": True,
        "int8": Int8.LINEAR,
        "int16": True,
        "trap": bias,
        "fuses": True,
    }
    return computed(DOTS, REALS, None, Bits.WRONG, None, weights=weights).but(**{**exact, **differs})


# ------------------------------------------------------------------------------------------------ convolutions


def convolution(name: str, infer: Infer, traits: Traits, **rest: Any) -> None:
    """Define a convolution, whose windows slide over images, or scatter."""
    weights = traits.weights
    assert weights is not None and weights.window is not None
    rank = weights.window.stop - weights.window.start + 2
    form = {"layout": CHANNELS_LAST, "types": "f32", "typed": (0, 1), "max_rank": rank}
    define(name, infer, traits, slides=not weights.scatters, **form, **rest)


# x[N,H,W,C], weights[O,KH,KW,C/groups], bias[O]
convolution(
    "CONV_2D",
    _conv,
    linear(Weights(outputs=0, inputs=3, window=slice(1, 3), biased=True)),
    options=("Conv2DOptions", {"padding": "padding", **_FUSED, **_strides("HW")}),
    versions="3:qi8 4:qi16 5:@hybrid 6:@grouped",
    features={"hybrid": hybrid, "grouped": lambda op: op.inputs[0].shape[-1] != op.inputs[1].shape[-1]},
)


def _depthwise(inputs: Sequence[Value], attrs: Attrs) -> Result:
    _, *kernel, o = inputs[1].shape
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


# x[N,H,W,C], weights[1,KH,KW,C*multiplier], bias[C*multiplier]
convolution(
    "DEPTHWISE_CONV_2D",
    _depthwise,
    linear(Weights(outputs=3, inputs=None, window=slice(1, 3), biased=True)),
    options=(
        "DepthwiseConv2DOptions",
        {"padding": "padding", "depthMultiplier": "multiplier", **_FUSED, **_strides("HW")},
    ),
    versions="2:@dilated 3:qi8 5:qi16 6:@hybrid",
    features={"hybrid": hybrid, "dilated": lambda op: any(d != 1 for d in op.attrs.get("dilations", ()))},
)


def _transposed(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return tuple(attrs["output_shape"]), inputs[0].dtype


_INEXACT = {"interval": None, "exact_in_float": False}
# x[N,H,W,C], weights[O,KH,KW,C], bias[O]; ``output_shape`` decides how much the padding crops.
convolution(
    "TRANSPOSE_CONV",
    _transposed,
    linear(Weights(outputs=0, inputs=3, window=slice(1, 3), scatters=True), trap=None, **_INEXACT),
    operands=("output_shape", 1, 0, 2),
    options=("TransposeConvOptions", {"padding": "padding", **_FUSED, **_steps("HW")}),
    versions="2:qi8 3:inputs>2 4:@activation",
)


def _conv3d(inputs: Sequence[Value], attrs: Attrs) -> Result:
    *kernel, _, o = inputs[1].shape
    return (inputs[0].shape[0], *_space(inputs, attrs, kernel), o), inputs[0].dtype


_CONV_3D = ("Conv3DOptions", {"padding": "padding", **_FUSED, **_strides("DHW")})
# x[N,D,H,W,C], weights[KD,KH,KW,C,O], bias[O]
convolution(
    "CONV_3D",
    _conv3d,
    linear(Weights(outputs=4, inputs=3, window=slice(0, 3)), int8=None, int16=False, **_INEXACT),
    options=_CONV_3D,
)
# x[N,D,H,W,C], weights[KD,KH,KW,O,C], bias[O]
convolution(
    "CONV_3D_TRANSPOSE",
    _transposed,
    linear(
        Weights(outputs=3, inputs=4, window=slice(0, 3), scatters=True),
        trap=None,
        fuses=False,
        int8=None,
        int16=False,
        **_INEXACT,
    ),
    operands=("output_shape", 1, 0, 2),
    options=_CONV_3D,
)


# ------------------------------------------------------------------------------------------------ pools


def _pool(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return (inputs[0].shape[0], *_space(inputs, attrs, attrs["kernel"]), inputs[0].shape[-1]), inputs[0].dtype


def pool(name: str, traits: Traits) -> None:
    """Define a pool; MAX counts padding as -inf, AVERAGE leaves it out of the count."""
    kernel = {"filterHeight": lambda op: op.attrs["kernel"][0], "filterWidth": lambda op: op.attrs["kernel"][1]}
    options = ("Pool2DOptions", {"padding": "padding", **_FUSED, **_steps("HW"), **kernel})
    form = {"layout": CHANNELS_LAST, "types": "f32", "max_rank": 4, "versions": "2:qi8|qu8 3:qi16", "slides": True}
    define(name, _pool, traits, options=options, **form)


pool("MAX_POOL_2D", PICKER.but(bits=Bits.WRONG, int8=Int8.MOVES, exact_in_float=True, fuses=True))
pool("AVERAGE_POOL_2D", computed(TOTALS, REALS, intervals.first, Bits.WRONG, Int8.ONE_SCALE, int16=True, fuses=True))


# ------------------------------------------------------------------------------------------------ images


def _resized(inputs: Sequence[Value], attrs: Attrs) -> Result:
    n, _, _, c = inputs[0].shape
    return (n, *attrs["size"], c), inputs[0].dtype


def _both(op: Op) -> str:
    both = op.attrs["align_corners"] and op.attrs["half_pixel_centers"]
    return "align_corners and half_pixel_centers together" if both else ""


def resize(name: str, traits: Traits, corners: str) -> None:
    """Define a resizer; ``corners``: the attributes that need version 3."""
    camel, flags = name.title().replace("_", ""), ("align_corners", "half_pixel_centers")
    define(
        name,
        _resized,
        traits.but(trap=_both),
        layout=CHANNELS_LAST,
        types="f32",
        max_rank=4,
        operands=(0, "size"),
        options=(f"{camel}Options", {"alignCorners": flags[0], "halfPixelCenters": flags[1]}),
        versions=f"2:qi8|qu8 3:{corners} 4:qi16",
        tensorflow=camel,
        tf_attrs={flag: flag for flag in flags},
    )


_NEAREST = MOVER.but(bits=Bits.WRONG, exact_in_float=True)
resize("RESIZE_BILINEAR", real("+- +n -n n n", REALS, Int8.RESAMPLES, int16=True), "@half_pixel_centers")
resize("RESIZE_NEAREST_NEIGHBOR", _NEAREST, "@half_pixel_centers|@align_corners")
# window 2 * radius + 1 over the last axis; alpha is not divided by the window size
define(
    "LOCAL_RESPONSE_NORMALIZATION",
    same,
    real("+-n n n n n", REALS, None),
    layout=CHANNELS_LAST,
    types="f32",
    max_rank=4,
    options=("LocalResponseNormalizationOptions", {n: n for n in ("radius", "bias", "alpha", "beta")}),
    tensorflow="LRN",
    tf_attrs={"depth_radius": "radius", "bias": "bias", "alpha": "alpha", "beta": "beta"},
)
