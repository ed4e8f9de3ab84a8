"""The yard: ready-made pieces of ONNX to put in front of a network or behind it.

    from onnx2tf_lite.tools import parts

    model = parts.make("Z004", boxes=8400, classes=80, iou=0.7, max_boxes=100)

A part is a function that returns a ModelProto; its keyword arguments are the options of ``onnx-tune parts write``.
All of them convert to TFLite (a symbolic number of images has to be fixed for that, with ``onnx2tf -b``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto
from onnx.defs import onnx_opset_version

from ...errors import unknown
from . import preparation, suppression


@dataclass(frozen=True)
class Part:
    """A line of the yard: ``make(**options)``,."""

    code: str
    name: str
    function: Callable[..., ModelProto]
    since: int = 11
    """The oldest opset that has its operators; the newest is that of the installed onnx."""

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """Name -> default."""
        return {name: p.default for name, p in inspect.signature(self.function).parameters.items()}

    def make(self, **options: Any) -> ModelProto:
        """The model.

        :raises ValueError: for options that contradict each other or are out of range.
        """
        for name in options:
            if name not in self.options:
                raise unknown(name, f"option of {self.code}", name, self.options)
        opset = options.get("opset", self.options["opset"])
        if not self.since <= opset <= onnx_opset_version():
            raise ValueError(f"opset {opset}: {self.code} exists for {self.since} to {onnx_opset_version()}")
        return self.function(**options)


_ROWS = (
    Part("Z001", "normalization_rgb_imagenet", preparation.normalization_rgb_imagenet),
    Part("Z002", "normalization_bgr_imagenet", preparation.normalization_bgr_imagenet),
    Part("Z003", "single_class_nms", suppression.single_class),
    Part("Z004", "multi_class_nms", suppression.multi_class),
    Part("Z005", "resize_by_factor", preparation.resize_by),
    Part("Z006", "resize_to_scales", preparation.resize_to_scales),
    Part("Z007", "myriad_nms", suppression.myriad),
    Part("Z008", "tensorrt_n_batch_resize", preparation.resize_n_batch),
    Part("Z009", "barracuda_gather_nd", preparation.gather_nd),
    Part("Z010", "barracuda_split", preparation.split),
)
#: Every part by its number.
PARTS: dict[str, Part] = {part.code: part for part in _ROWS}


def make(code: str, **options: Any) -> ModelProto:
    """A part by its number; see :meth:`Part.make`."""
    if code not in PARTS:
        raise unknown("code", "part", code, PARTS)
    return PARTS[code].make(**options)
