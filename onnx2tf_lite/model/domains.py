"""The values that ONNX's text allows for an attribute, which its schemas do not say.

Asked once, when a model is read: passes and handlers then rely on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import Problem
from .lazy import onnx
from .tensors import element_types

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_SUMS = ("none", "mean", "sum")
_UPDATES = ("none", "add", "mul", "max", "min")
_HALVES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn")
_COORDINATES = (*_HALVES, "align_corners", "asymmetric", "tf_crop_and_resize")
#: Words, by "operator.attribute", or by the attribute alone where it means the same everywhere.
WORDS: dict[str, tuple[str, ...]] = {
    "auto_pad": _PADS,
    "approximate": ("none", "tanh"),
    "BitShift.direction": ("LEFT", "RIGHT"),
    "DepthToSpace.mode": ("DCR", "CRD"),
    "GridSample.mode": ("bilinear", "nearest", "bicubic", "linear", "cubic"),
    "GridSample.padding_mode": ("zeros", "border", "reflection"),
    "Pad.mode": ("constant", "reflect", "edge", "wrap"),
    "Resize.mode": ("nearest", "linear", "cubic"),
    "Resize.coordinate_transformation_mode": _COORDINATES,
    "Resize.nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "Resize.keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "RoiAlign.mode": ("avg", "max"),
    "RoiAlign.coordinate_transformation_mode": ("half_pixel", "output_half_pixel"),
    "NegativeLogLikelihoodLoss.reduction": _SUMS,
    "SoftmaxCrossEntropyLoss.reduction": _SUMS,
    "ScatterElements.reduction": _UPDATES,
    "ScatterND.reduction": _UPDATES,
    # "foward" is how GRU-1 and RNN-1 spell their own default
    **{f"{op}.direction": ("forward", "foward", "reverse", "bidirectional") for op in ("RNN", "GRU", "LSTM")},
}
#: Least and greatest integer, each of them where there are several; in the same spelling.
_SIZE, _COUNT, _SWITCH = (1, 2**31 - 1), (0, 2**31 - 1), (0, 1)
NUMBERS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("kernel_shape", "strides", "dilations", "group", "blocksize", "hidden_size", "num_outputs"), _SIZE
    ),
    **dict.fromkeys(("block_size", "output_padding", "max_skip_count", "q_num_heads", "kv_num_heads"), _COUNT),
    **dict.fromkeys(("layout", "storage_order", "allowzero", "ceil_mode", "count_include_pad", "keepdims"), _SWITCH),
    **dict.fromkeys(("align_corners", "exclusive", "antialias"), _SWITCH),
    "axis": (-64, 64),
    "pads": (-(2**31), 2**31 - 1),
}
#: Attributes that name an element type.
TYPES = {"Cast.to", "dtype", "output_dtype", "output_datatype", "stash_type"}


def foreign(node: NodeProto, where: str) -> Iterator[Problem]:
    """Attributes of a node of ONNX's own domain that no version of its operator allows."""
    for a in node.attribute:
        here = f"{node.op_type}.{a.name}"
        words, limits = WORDS.get(here) or WORDS.get(a.name), NUMBERS.get(here) or NUMBERS.get(a.name)
        for what in (_word(a, words) if words else "", _number(a, limits) if limits else ""):
            if what:
                yield Problem(where, f"attribute '{a.name}' is {what}", "mend the model, or export it anew")
        if (a.name in TYPES or here in TYPES) and a.i not in element_types():
            yield Problem(where, f"attribute '{a.name}' is {a.i}, which is no element type", "export the model anew")
        if a.name == "perm" and sorted(a.ints) != list(range(len(a.ints))):
            yield Problem(
                where, f"attribute 'perm' is {list(a.ints)}, no permutation", "name every axis once, from 0 on"
            )


def _word(a: AttributeProto, words: tuple[str, ...]) -> str:
    if a.type != onnx.AttributeProto.STRING or a.s.decode("utf-8", "replace") in words:
        return ""
    return f"{a.s.decode('utf-8', 'replace')!r}, not one of {', '.join(words)}"


def _number(a: AttributeProto, limits: tuple[int, int]) -> str:
    numbers = a.ints if a.type == onnx.AttributeProto.INTS else [a.i] if a.type == onnx.AttributeProto.INT else ()
    least, most = limits
    for number in numbers:
        if not least <= number <= most:
            return f"{number}, not between {least} and {most}"
    return ""
