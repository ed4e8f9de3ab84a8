"""Behind a detector: Z003, Z004, Z007 non-maximum suppression.  Axis names: B images, S boxes, C classes, M results.

NonMaxSuppression-11 takes the corners in the order y, x; overlaps do not change when x and y are exchanged.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import ModelProto, TensorProto

from ._sketch import Dim, Sketch

F32, I64 = np.float32, np.int64
#: Ways to write a box -> NonMaxSuppression's center_point_box.
FORMATS = {"xyxy": 0, "yxyx": 0, "cxcywh": 1}


def _limits(iou: float, max_boxes: int, box_format: str) -> None:
    if not 0 <= iou <= 1:
        raise ValueError(f"iou={iou}: an overlap is in 0..1")
    if max_boxes < 1:
        raise ValueError(f"max={max_boxes}: with no box at most there is no result")
    if box_format not in FORMATS:
        raise ValueError(f"format {box_format!r}: there are {', '.join(FORMATS)}")


def single_class(
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
    _limits(iou, max_boxes, box_format)
    s = Sketch("nms", opset)
    x, y = s.input("boxes", F32, (batch, boxes, 4)), s.input("scores", F32, (batch, boxes))
    corners = s.op("Gather", x, s.i64("yxyx", [1, 0, 3, 2]), axis=2) if box_format == "xyxy" else x
    limits = (
        s.i64("max_output_boxes_per_class", [max_boxes]),
        s.const("iou_threshold", [iou], F32),
        s.const("score_threshold", [score], F32),
    )
    of_one_class = s.op("Reshape", y, s.i64("one_class", [0, 1, boxes]))
    found = s.op("NonMaxSuppression", corners, of_one_class, *limits, center_point_box=FORMATS[box_format])
    if batch == 1:
        box = _padded(s, s.op("Gather", found, s.i64("two", 2), axis=1), max_boxes)
        columns = [s.op("Gather", s.op("Reshape", t, s.i64(f"rows_{n}", [boxes, n])), box, axis=0)
                   for t, n in ((x, 4), (y, 1))]  # fmt: skip
        s.op("Concat", *columns, axis=1, out="detections")
        s.output("detections", F32, (max_boxes, 5))
        return s.model()
    box = s.op("Reshape", _table(s, found, _images(s, x, batch), max_boxes), s.i64("column", [-1, max_boxes, 1]))
    score_of = s.op("Reshape", y, s.i64("score_column", [-1, boxes, 1]))
    four = s.op("Expand", box, s.i64("coordinates", [1, 1, 4]))
    columns = [s.op("GatherElements", x, four, axis=1), s.op("GatherElements", score_of, box, axis=1)]
    s.op("Concat", *columns, axis=2, out="detections")
    s.output("detections", F32, (batch, max_boxes, 5))
    return s.model()


def _padded(s: Sketch, vector: str, size: int, fill: int = 0) -> str:
    """i64[n] filled up to i64[size]."""
    missing = s.op("Sub", s.i64("size", [size]), s.op("Shape", vector))
    pads = s.op("Concat", s.i64("none", [0]), missing, axis=0)
    return s.op("Reshape", s.op("Pad", vector, pads, s.i64("fill", fill)), s.i64("size", [size]))


def _images(s: Sketch, boxes: str, batch: Dim) -> tuple[str, str]:
    """The number of images as i64[1], and their numbers 0.. as i64[B]."""
    if isinstance(batch, int):
        return s.i64("batch", [batch]), s.i64("images", np.arange(batch))
    count = s.op("Slice", s.op("Shape", boxes), s.i64("none", [0]), s.i64("one", [1]))
    scalar = s.op("Reshape", count, s.i64("scalar", []))
    return count, s.op("Range", s.i64("zero", 0), scalar, s.i64("step", 1))


def _table(s: Sketch, found: str, images: tuple[str, str], size: int) -> str:
    """Rows (image, class, box) in order of images -> i64[B,size] of boxes, 0 where there is none.

    The place of a row is how many of its image stand before it: a running count over [n,B].
    """
    count, numbers = images
    image, box = (s.op("Gather", found, s.i64(n, k), axis=1) for n, k in (("zero", 0), ("two", 2)))
    upright = s.op("Reshape", image, s.i64("upright", [-1, 1]))
    mine = s.op("Cast", s.op("Equal", upright, numbers), to=TensorProto.INT64)
    counted = s.op("Mul", s.op("CumSum", mine, s.i64("zero", 0)), mine)
    place = s.op("Sub", s.sum(counted, 1), s.i64("one", [1]))
    slots = s.op("Concat", upright, s.op("Reshape", place, s.i64("upright", [-1, 1])), axis=1)
    empty = s.op("Expand", s.i64("nothing", [[0]]), s.op("Concat", count, s.i64("size", [size]), axis=0))
    return s.op("ScatterND", empty, slots, box)


def multi_class(
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
    selected_count i64[1] says how many are used.
    """
    _limits(iou, max_boxes, box_format)
    s = Sketch("nms", opset)
    tensors = s.input("boxes", F32, (batch, boxes, 4)), s.input("scores", F32, (batch, classes, boxes))
    limits = (
        s.i64("max_output_boxes_per_class", [max_boxes]),
        s.const("iou_threshold", [iou], F32),
        s.const("score_threshold", [score], F32),
    )
    out = "" if fixed else "selected_indices"
    found = s.op("NonMaxSuppression", *tensors, *limits, out=out, center_point_box=FORMATS[box_format])
    if not fixed:
        s.output("selected_indices", I64, ("N", 3))
        return s.model()
    if not isinstance(batch, int):
        raise ValueError("a fixed number of rows needs a fixed batch")
    size = 3 * batch * classes * max_boxes
    flat = _padded(s, s.op("Reshape", found, s.i64("flat", [-1])), size, fill=-1)
    s.op("Reshape", flat, s.i64("rows", [-1, 3]), out="selected_indices")
    s.op("Slice", s.op("Shape", found), s.i64("none", [0]), s.i64("one", [1]), out="selected_count")
    s.output("selected_indices", I64, (size // 3, 3))
    s.output("selected_count", I64, (1,))
    return s.model()


def myriad(
    *, boxes: int = 896, max_boxes: int | None = None, iou: float = 0.3, batch: Dim = 1, opset: int = 11
) -> ModelProto:
    """Non-maximum suppression for Myriad devices.

    boxes f32[B,S,4], scores f32[B,1,S] -> selected_indices i64[N,3], times one.  The multiplication changes
    nothing, on purpose: Myriad devices abort when NonMaxSuppression itself makes an output. When optimising, keep
    it: ``--keep-node nms_mul``.
    """
    most = boxes if max_boxes is None else max_boxes
    _limits(iou, most, "yxyx")
    s = Sketch("nms", opset)
    tensors = s.input("boxes", F32, (batch, boxes, 4)), s.input("scores", F32, (batch, 1, boxes))
    limits = s.i64("max_output_boxes_per_class", [most]), s.const("iou_threshold", [iou], F32)
    s.op("Mul", s.op("NonMaxSuppression", *tensors, *limits), s.i64("one", [1]), out="selected_indices")
    s.output("selected_indices", I64, ("N", 3))
    return s.model()
