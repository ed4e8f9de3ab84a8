"""The yard: ready-made pieces of ONNX to put in front of a network or behind it.

    from onnx2tf_lite.tools import parts

    model = parts.make("Z004", boxes=8400, classes=80, iou=0.7, max_boxes=100)

A part is a function that returns a ModelProto; its keyword arguments are the options of ``onnx-tune parts write``.
All of them convert to TFLite (a symbolic number of images has to be fixed for that, with ``onnx2tf -b``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import field
from typing import Any

from onnx import ModelProto
from onnx.defs import onnx_opset_version

from ...errors import ToolError, unknown
from ...record import record
from . import yard


class OptionError(ToolError, ValueError):
    """Options of a part that make no model."""


#: What the options of the parts say.
OPTIONS = {
    "batch": "images, a number or a name",
    "height": "rows of an image, a number or a name",
    "width": "columns of an image, a number or a name",
    "channels": "channels of an image",
    "mean": "of each channel, such as [0.5,0.5,0.5]",
    "std": "standard deviation of each channel",
    "scale": "the largest value of a pixel",
    "factor": "how many times larger: [rows,columns], or one number in Z008",
    "size": "rows and columns, such as [4,4]",
    "boxes": "boxes of an image",
    "classes": "classes of a box",
    "max_boxes": "boxes that stay at most (of each class)",
    "iou": "overlap above which the box with the lower score goes, 0 to 1",
    "score": "boxes below this score go",
    "box_format": f"how a box is written: {', '.join(yard.FORMATS)}",
    "fixed": "as many rows as there can be, with a count",
    "data": "shape of the data",
    "indices": "shape of the indices",
    "shape": "shape of the input",
    "axis": "the axis that is cut",
    "parts": "extents of the parts",
    "opset": "opset of the part",
}


@record
class Part:
    """A line of the yard: a function of :mod:`yard`, by its number in the article."""

    code: str
    name: str
    function: Callable[..., ModelProto]
    defaults: dict[str, Any] = field(default_factory=dict)
    """Where they are others than the function's."""
    since: int = 11
    """The oldest opset that has its operators; the newest is that of the installed onnx."""

    @property
    def summary(self) -> str:
        """What it computes, in one line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """Name -> default."""
        known = {n: p.default for n, p in inspect.signature(self.function).parameters.items()} | self.defaults
        return {name: default for name, default in known.items() if name != "name"}

    def make(self, **options: Any) -> ModelProto:
        """The model.

        :raises OptionError: for options that there are not, contradict each other or are out of range.
        """
        for name in options:
            if name not in self.options:
                raise unknown(name, f"option of {self.code}", name, self.options)
        opset = options.get("opset", self.options["opset"])
        if not self.since <= opset <= onnx_opset_version():
            raise OptionError(f"opset {opset}: {self.code} exists for {self.since} to {onnx_opset_version()}")
        try:
            return self.function(**self.defaults | options)
        except (ValueError, TypeError) as error:
            raise OptionError(f"{self.code}: {error}", self.code) from error


_BGR = {"name": "normalization_bgr_imagenet", "mean": yard.IMAGENET_MEAN[::-1], "std": yard.IMAGENET_STD[::-1]}
_ROWS = (
    Part("Z001", "normalization_rgb_imagenet", yard.normalization),
    Part("Z002", "normalization_bgr_imagenet", yard.normalization, _BGR),
    Part("Z003", "single_class_nms", yard.single_class_nms),
    Part("Z004", "multi_class_nms", yard.multi_class_nms),
    Part("Z005", "resize_by_factor", yard.resize_by),
    Part("Z006", "resize_to_scales", yard.resize_to_scales),
    Part("Z007", "myriad_nms", yard.myriad_nms),
    Part("Z008", "tensorrt_n_batch_resize", yard.resize_n_batch),
    Part("Z009", "barracuda_gather_nd", yard.gather_nd),
    Part("Z010", "barracuda_split", yard.split),
)
#: Every part by its number.
PARTS: dict[str, Part] = {part.code: part for part in _ROWS}


def make(code: str, **options: Any) -> ModelProto:
    """A part by its number; see :meth:`Part.make`.  ToolError for a number that none has."""
    if code not in PARTS:
        raise unknown("code", "part", code, PARTS)
    return PARTS[code].make(**options)
