"""In front of a network: Z001, Z002 normalisation, Z005, Z006, Z008 resizing, Z010 splitting, Z009 picking.

Axis names: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from onnx import ModelProto

from ._sketch import Dim, Sketch

F32, I64 = np.float32, np.int64
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalization_rgb_imagenet(
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    scale: float = 255.0,
    batch: Dim = 1,
    height: Dim = "H",
    width: Dim = "W",
    opset: int = 11,
) -> ModelProto:
    """ImageNet's normalisation of RGB images.

    Pixels f32[B,C,H,W] in 0..scale -> (pixels / scale - mean) / std, one mean and one std per channel.
    """
    return _normalization("normalization_rgb_imagenet", mean, std, scale, (batch, height, width), opset)


def normalization_bgr_imagenet(
    *,
    mean: Sequence[float] = IMAGENET_MEAN[::-1],
    std: Sequence[float] = IMAGENET_STD[::-1],
    scale: float = 255.0,
    batch: Dim = 1,
    height: Dim = "H",
    width: Dim = "W",
    opset: int = 11,
) -> ModelProto:
    """ImageNet's normalisation of BGR images.

    As Z001, for images whose channels are in the order B, G, R.
    """
    return _normalization("normalization_bgr_imagenet", mean, std, scale, (batch, height, width), opset)


def _normalization(
    name: str, mean: Sequence[float], std: Sequence[float], scale: float, size: tuple[Dim, Dim, Dim], opset: int
) -> ModelProto:
    if len(mean) != len(std):
        raise ValueError(f"{len(mean)} means and {len(std)} standard deviations: one of each per channel")
    if not scale or not all(std):
        raise ValueError("scale and std are divisors: not 0")
    s, dims = Sketch(name, opset), (size[0], len(mean), *size[1:])
    x = s.input(f"{name}_input", F32, dims)
    x = s.op("Div", x, s.const(f"{name}_scale", scale, F32))
    x = s.op("Sub", x, s.const(f"{name}_mean", np.reshape(mean, (1, -1, 1, 1)), F32))
    s.op("Div", x, s.const(f"{name}_std", np.reshape(std, (1, -1, 1, 1)), F32), out=f"{name}_output")
    s.output(f"{name}_output", F32, dims)
    return s.model()


#: Of Z005 and Z006, as PyTorch writes them: the cubic and the nearest one have no effect on `linear`.
_LINEAR = {
    "mode": "linear",
    "coordinate_transformation_mode": "half_pixel",
    "cubic_coeff_a": -0.75,
    "nearest_mode": "floor",
}


def resize_by(
    *,
    factor: Sequence[float] = (0.5, 0.5),
    batch: Dim = 1,
    channels: int = 3,
    height: Dim = "height",
    width: Dim = "width",
    opset: int = 11,
) -> ModelProto:
    """Resize by constant factors.

    f32[B,C,H,W] -> f32[B,C,floor(H*f),floor(W*g)], linear, half_pixel, for factor = (f, g).
    """
    s = Sketch("resize", opset)
    x = s.input("resize_input", F32, (batch, channels, height, width))
    roi, scales = s.const("resize_roi", [], F32), s.const("resize_scales", [1, 1, *factor], F32)
    s.op("Resize", x, roi, scales, out="resize_output", **_LINEAR)
    sizes = [_scaled(d, f) for d, f in zip((height, width), factor, strict=True)]
    s.output("resize_output", F32, (batch, channels, *sizes))
    return s.model()


def _scaled(dim: Dim, factor: float) -> Dim:
    return math.floor(dim * factor) if isinstance(dim, int) else f"{dim}_resized"


def resize_to_scales(
    *, batch: Dim = 1, channels: int = 3, height: Dim = "height", width: Dim = "width", opset: int = 11
) -> ModelProto:
    """Resize by factors that are given at run time.

    f32[B,C,H,W] and the factors f32[4] of all four axes (1, 1, f, g) -> the image, resized as in Z005.
    """
    s = Sketch("resize", opset)
    x = s.input("resize_input", F32, (batch, channels, height, width))
    scales = s.input("scales", F32, (4,))
    s.op("Resize", x, s.const("resize_roi", [], F32), scales, out="resize_output", **_LINEAR)
    s.output("resize_output", F32, (batch, channels, "height_resized", "width_resized"))
    return s.model()


def resize_n_batch(
    *, batch: Dim = "batch", channels: int = 256, size: Sequence[int] = (4, 4), factor: int = 2, opset: int = 11
) -> ModelProto:
    """Resize of any number of images, in the form that TensorRT takes.

    f32[B,C,H,W] -> f32[B,C,H*factor,W*factor], linear, pytorch_half_pixel: B and C of the sizes come from the input.
    """
    name = "tensorrt_resize"
    s = Sketch(name, opset)
    x = s.input(f"{name}_input", F32, (batch, channels, *size))
    larger = [d * factor for d in size]
    first = s.op("Slice", s.op("Shape", x), s.i64("starts", [0]), s.i64("ends", [2]), s.i64("axes", [0]))
    sizes = s.op("Concat", first, s.i64("height_width", larger), axis=0)
    none = s.const("roi", [], F32), s.const("scales", [], F32)
    s.op("Resize", x, *none, sizes, out=f"{name}_output", mode="linear",
         coordinate_transformation_mode="pytorch_half_pixel")  # fmt: skip
    s.output(f"{name}_output", F32, (batch, channels, *larger))
    return s.model()


def gather_nd(*, data: Sequence[int] = (1, 48, 64, 2), indices: Sequence[int] = (6, 3), opset: int = 11) -> ModelProto:
    """GatherND made of Gather, for Barracuda.

    data f32[*data], indices i64[..., K] -> f32[..., *data[K:]].  The K coordinates become one row number of the
    data as [rows, rest], by its row-major strides.
    """
    depth = indices[-1]
    if not 0 < depth <= len(data):
        raise ValueError(f"indices {list(indices)} name {depth} axes of data {list(data)}")
    name, rest = "gather_nd", list(data[depth:])
    strides = [math.prod(data[i + 1 : depth]) for i in range(depth)]
    s = Sketch(name, opset)
    x, places = s.input("data", F32, data), s.input("indices", I64, indices)
    rows = s.op("Reshape", x, s.i64(f"{name}_rows", [-1, *rest]))
    row = s.sum(s.op("Mul", places, s.i64(f"{name}_strides", strides)), len(indices) - 1)
    s.op("Gather", rows, row, out="output", axis=0)
    s.output("output", F32, [*indices[:-1], *rest])
    return s.model()


def split(
    *, shape: Sequence[int] = (1, 6, 2), axis: int = 2, parts: Sequence[int] = (1, 1), opset: int = 11
) -> ModelProto:
    """Split made of Slices, for Barracuda.

    f32[*shape] -> one output per part, cut along ``axis``.
    """
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of shape {list(shape)}")
    axis %= len(shape)
    if sum(parts) != shape[axis]:
        raise ValueError(f"the parts {list(parts)} make {sum(parts)}; axis {axis} of {list(shape)} has {shape[axis]}")
    s = Sketch("split", opset)
    x, axes, steps = s.input("split_input", F32, shape), s.i64("axes", [axis]), s.i64("steps", [1])
    for k, (start, end) in enumerate(pairwise(accumulate(parts, initial=0))):
        out = f"split_output_{k}"
        s.op("Slice", x, s.i64(f"starts_{k}", [start]), s.i64(f"ends_{k}", [end]), axes, steps, out=out)
        s.output(out, F32, [*shape[:axis], end - start, *shape[axis + 1 :]])
    return s.model()
