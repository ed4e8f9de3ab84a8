"""Non-maximum suppression.  Axis names: B images, N boxes, C classes."""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from ._loops import Seen, iterate, put, scalar
from .registry import op

KERNEL = "NON_MAX_SUPPRESSION_V4"
TINY = np.finfo(np.float32).tiny
FAR = np.float32(1e18)  # farther than any box; its square is a number still


@op("NonMaxSuppression")
def non_max_suppression(
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    iou: Value | None = None,
    threshold: Value | None = None,
    *,
    center_point_box: int = 0,
) -> Value:
    """boxes[B,N,4], scores[B,C,N] -> i64 [selected,3]: image, class, box.

    The kernel does one class of one image and pads its list; WHERE keeps what counts.
    """
    images, classes, count = scores.shape
    boxes = b.pinned(boxes, (images, count, 4))
    room = dims.minimum(count, b.dims_of(b.reshape(most, (1,)))[0]) if most is not None else 0
    boxes = _apart(_corners(boxes) if center_point_box else boxes)
    limits = [_above(iou), b.reshape(threshold if threshold is not None else b.lift(np.float32(-np.inf)), ())]
    if isinstance(images, int) and isinstance(classes, int):
        found = [
            b.emit_all(KERNEL, [_entry(boxes, i), _entry(_entry(scores, i), k), *limits], count=room)
            for i in range(images)
            for k in range(classes)
        ]
        chosen, valid = (b.pack(results) for results in zip(*found, strict=True))
    else:
        chosen, valid = _one_by_one(boxes, b.reshape(scores, (images * classes, count)), limits, classes, room)
    chosen, valid = b.reshape(chosen, (images, classes, room)), b.reshape(valid, (images, classes, 1))
    places = b.emit("WHERE", b.less(b.reshape(b.iota(room), (1, 1, room)), valid))
    box = b.gather_nd(chosen, b.cast(places, np.int32))
    return b.concat([b.narrow(places, 1, 0, 2), b.reshape(b.cast(box, np.int64), (-1, 1))], 1)


def _one_by_one(boxes: Value, scores: Value, limits: list[Value], classes: Dim, room: Dim) -> list[Value]:
    """Indices [images*classes, room] and how many of them count, by a loop over an unknown number of classes."""
    rounds = scores.shape[0]

    def step(i: Value, state: list[Value], seen: Seen) -> list[Value]:
        places, one, *rest = seen
        operands = [b.gather(places, b.floor_div(i, scalar(classes))), b.gather(one, i), *rest]
        found = b.emit_all(KERNEL, operands, count=room)
        return [put(buffer, i, row) for buffer, row in zip(state, found, strict=True)]

    start = [b.fill((rounds, room), np.int32(0)), b.fill((rounds,), np.int32(0))]
    return iterate(rounds, start, [boxes, scores, *limits], step)


def _entry(x: Value, index: int) -> Value:
    return b.reshape(b.narrow(x, 0, index, 1), x.shape[1:])


def _above(iou: Value | None) -> Value:
    """ONNX suppresses what overlaps more than the threshold, the kernel what reaches it: a float just above.

    Not above 1, as far as any box overlaps with itself: the kernel would choose the same box for ever."""
    if iou is None:
        return b.lift(TINY)
    return b.minimum(b.maximum(b.reshape(iou, ()) * np.float32(1 + 2**-23), TINY), np.float32(1))


def _apart(boxes: Value) -> Value:
    """Boxes without an area, each moved to a place of its own and given one.

    ONNX lets them overlap with nothing; the kernel drops what it has chosen since it overlaps with itself, and so would
    choose such a box for ever."""
    y1, x1, y2, x2 = b.split(boxes, [1] * 4, -1)
    count = boxes.shape[1]
    place = (b.reshape(b.iota(count, np.float32), (1, count, 1)) + np.float32(1)) * FAR
    zero = b.fill((1, count, 1), np.float32(0))
    moved = b.concat([place, zero, place + FAR / 2, zero + np.float32(1)], -1)
    return b.where(b.equal((y2 - y1) * (x2 - x1), np.float32(0)), moved, boxes)


def _corners(boxes: Value) -> Value:
    """Centre x, centre y, width, height as corners y1 x1 y2 x2."""
    x, y, w, h = b.split(boxes, [1] * 4, -1)
    return b.concat([y - h * 0.5, x - w * 0.5, y + h * 0.5, x + w * 0.5], -1)
