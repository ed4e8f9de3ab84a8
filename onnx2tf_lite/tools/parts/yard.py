"""The parts: their options, and what the graphs of ``graphs/`` are filled with.

Axis names: B images, C channels or classes, H rows, W columns, S boxes, M results.  NonMaxSuppression-11 takes the
corners in the order y, x; overlaps do not change when x and y are exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from onnx import ModelProto

from ._template import Dim, fill, reduce_sum

F32, I64 = np.float32, np.int64
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Ways to write a box -> NonMaxSuppression's center_point_box.
FORMATS = {"xyxy": 0, "yxyx": 0, "cxcywh": 1}


def normalization(
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    scale: float = 255.0,
    batch: Dim = 1,
    height: Dim = "H",
    width: Dim = "W",
    opset: int = 11,
    name: str = "normalization_rgb_imagenet",
) -> ModelProto:
    """ImageNet's normalisation: of RGB images in Z001, of BGR images in Z002.

    Pixels f32[B,C,H,W] in 0..scale -> (pixels / scale - mean) / std, one of each per channel.  ValueError for others.
    """
    if len(mean) != len(std):
        raise ValueError(f"{len(mean)} means and {len(std)} standard deviations: one of each per channel")
    if not scale or not all(std):
        raise ValueError("scale and std are divisors: not 0")
    constants = {
        "scale": np.array(scale, F32),
        **{n: np.reshape(v, (1, -1, 1, 1)).astype(F32) for n, v in (("mean", mean), ("std", std))},
    }
    dims: dict[str, Dim] = {"batch": batch, "channels": len(mean), "height": height, "width": width}
    return fill("Z001", opset, constants, dims, name=name)


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
    constants = {"resize_scales": np.array([1, 1, *factor], F32)}
    dims: dict[str, Dim] = {"batch": batch, "channels": channels, "height": height, "width": width}
    for axis, by in zip(("height", "width"), factor, strict=True):
        size = dims[axis]
        dims[f"out_{axis}"] = math.floor(size * by) if isinstance(size, int) else f"{size}_resized"
    return fill("Z005", opset, constants, dims)


def resize_to_scales(
    *, batch: Dim = 1, channels: int = 3, height: Dim = "height", width: Dim = "width", opset: int = 11
) -> ModelProto:
    """Resize by factors that are given at run time.

    f32[B,C,H,W] and the factors f32[4] of all four axes (1, 1, f, g) -> the image, resized as in Z005.
    """
    return fill("Z006", opset, {}, {"batch": batch, "channels": channels, "height": height, "width": width})


def resize_n_batch(
    *, batch: Dim = "batch", channels: int = 256, size: Sequence[int] = (4, 4), factor: int = 2, opset: int = 11
) -> ModelProto:
    """Resize of any number of images, in the form that TensorRT takes.

    f32[B,C,H,W] -> f32[B,C,H*factor,W*factor], linear, pytorch_half_pixel: B and C of the sizes come from the input.
    """
    height, width = size
    dims: dict[str, Dim] = {"batch": batch, "channels": channels, "height": height, "width": width}
    return fill("Z008", opset, {}, dims | {"out_height": height * factor, "out_width": width * factor})


def gather_nd(*, data: Sequence[int] = (1, 48, 64, 2), indices: Sequence[int] = (6, 3), opset: int = 11) -> ModelProto:
    """GatherND made of Gather, for Barracuda.

    data f32[*data], indices i64[..., K] -> f32[..., *data[K:]].  The K coordinates become one row number of the
    data as [rows, rest], by its row-major strides.  ValueError for coordinates of no axis.
    """
    depth, last = indices[-1], len(indices) - 1
    if not 0 < depth <= len(data):
        raise ValueError(f"indices {list(indices)} name {depth} axes of data {list(data)}")
    rest = list(data[depth:])
    strides = [math.prod(data[i + 1 : depth]) for i in range(depth)]
    constants = {"shape": np.array([-1, *rest], I64), "strides": np.array(strides, I64)} | _axis(last, opset)
    text = {"sum": reduce_sum("weighted", last, opset), "result": str([*indices[:-1], *rest])}
    return fill("Z009", opset, constants, {}, data=str(list(data)), indices=str(list(indices)), **text)


def _axis(axis: int, opset: int) -> dict[str, np.ndarray]:
    return {"sum_axis": np.array([axis], I64)} if opset >= 13 else {}


def split(
    *, shape: Sequence[int] = (1, 6, 2), axis: int = 2, parts: Sequence[int] = (1, 1), opset: int = 11
) -> ModelProto:
    """Split made of Slices, for Barracuda.

    f32[*shape] -> one output per part, cut along ``axis``.  ValueError for parts that are not all of it.
    """
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of shape {list(shape)}")
    axis %= len(shape)
    if sum(parts) != shape[axis]:
        raise ValueError(f"the parts {list(parts)} make {sum(parts)}; axis {axis} of {list(shape)} has {shape[axis]}")
    outputs = [f"float{[*shape[:axis], part, *shape[axis + 1 :]]} split_output_{k}" for k, part in enumerate(parts)]
    slices = [f"split_output_{k} = Slice (split_input, starts_{k}, ends_{k}, axes, steps)" for k in range(len(parts))]
    bounds = enumerate(pairwise(accumulate(parts, initial=0)))
    constants = {
        f"{n}_{k}": np.array([v], I64) for k, pair in bounds for n, v in zip(("starts", "ends"), pair, strict=True)
    }
    text = {"shape": str(list(shape)), "outputs": ", ".join(outputs), "slices": "\n".join(slices)}
    return fill("Z010", opset, constants, {"axis": axis}, **text)


# --- behind a detector -----------------------------------------------------------------------------------------------


def _limits(iou: float, max_boxes: int, box_format: str, score: float) -> dict[str, np.ndarray]:
    """The inputs of NonMaxSuppression behind boxes and scores."""
    if not 0 <= iou <= 1:
        raise ValueError(f"iou={iou}: an overlap is in 0..1")
    if max_boxes < 1:
        raise ValueError(f"max={max_boxes}: with no box at most there is no result")
    if box_format not in FORMATS:
        raise ValueError(f"format {box_format!r}: there are {', '.join(FORMATS)}")
    return {
        "max_output_boxes_per_class": np.array([max_boxes], I64),
        "iou_threshold": np.array([iou], F32),
        "score_threshold": np.array([score], F32),
    }


def single_class_nms(
    *,
    boxes: int = 18900,
    max_boxes: int = 100,
    iou: float = 0.5,
    score: float = -math.inf,
    batch: Dim = 1,
    box_format: str = "xyxy",
    opset: int = 11,
) -> ModelProto:
    """Non-maximum suppression of one class: boxes with their scores.

    boxes f32[B,S,4], scores f32[B,S] -> detections f32[M,5]: the best boxes, as given, each with its score.  Where
    fewer than M boxes are left, box 0 fills the rows.  For any other batch than 1 the result is [B,M,5], each image
    with its own M rows.
    """
    constants = _limits(iou, max_boxes, box_format, score)
    dims: dict[str, Dim] = {"batch": batch, "boxes": boxes, "max_boxes": max_boxes, "center": FORMATS[box_format]}
    turn = "Gather <axis = 2> (boxes, yxyx)" if box_format == "xyxy" else "Identity (boxes)"
    if batch == 1:
        return fill("Z003", opset, constants, dims, corners=turn)
    text = {"corners": turn, "sum": reduce_sum("counted", 1, opset)}
    return fill("Z003_batch", opset, constants | _axis(1, opset), dims, **text)


def multi_class_nms(
    *,
    boxes: int = 19248,
    classes: int = 80,
    max_boxes: int = 20,
    iou: float = 0.5,
    score: float = -math.inf,
    batch: Dim = 1,
    box_format: str = "yxyx",
    fixed: bool = False,
    opset: int = 16,
) -> ModelProto:
    """Non-maximum suppression of many classes: numbers of boxes.

    boxes f32[B,S,4], scores f32[B,C,S] -> selected_indices i64[N,3]: image, class, box.  ``max_boxes`` of each
    class at most.  With ``fixed`` the result has B*C*max_boxes rows, unused ones -1, and a second output
    selected_count i64[1] says how many are used.  ValueError for limits that are none.
    """
    constants = _limits(iou, max_boxes, box_format, score)
    dims: dict[str, Dim] = {"batch": batch, "boxes": boxes, "classes": classes, "center": FORMATS[box_format]}
    if not fixed:
        return fill("Z004", opset, constants, dims)
    if not isinstance(batch, int):
        raise ValueError("a fixed number of rows needs a fixed batch")
    rows = batch * classes * max_boxes
    return fill("Z004_fixed", opset, constants, dims | {"rows": rows, "size": 3 * rows})


def myriad_nms(
    *, boxes: int = 896, max_boxes: int | None = None, iou: float = 0.3, batch: Dim = 1, opset: int = 11
) -> ModelProto:
    """Non-maximum suppression for Myriad devices.

    boxes f32[B,S,4], scores f32[B,1,S] -> selected_indices i64[N,3], times one.  The multiplication changes
    nothing, on purpose: Myriad devices abort when NonMaxSuppression itself makes an output. When optimising, keep
    it: ``--keep-node nms_mul``.
    """
    constants = _limits(iou, boxes if max_boxes is None else max_boxes, "yxyx", 0)
    del constants["score_threshold"]
    return fill("Z007", opset, constants, {"batch": batch, "boxes": boxes})
