"""What no TFLite file can hold: operators without a handler, and graph inputs and outputs that are no tensors."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto, TypeProto

from ..errors import Problem
from ..ir.kinds import KINDS
from ._structures import Choice, Item, told
from .registry import UnsupportedError

_TEXT = (
    "it works on text, and the tensors of TFLite's kernels hold numbers",
    "map the text to numbers before the model",
)
#: Axes of a tensor that any kernel can read: what has more could be reshaped by none.
RANK = KINDS["RESHAPE"].max_rank
#: Domain or operator -> why it has no handler, and what to do.
REASONS = {
    "ai.onnx.preview.training": ("it trains, and a converted model only infers", "cut the model in front of it"),
    "ImageDecoder": ("TFLite's kernels read no image files", "decode before the model, and cut it behind this node"),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"), _TEXT),
}


def no_handler(node: gs.Node) -> UnsupportedError:
    """The refusal of an operator that nobody has written."""
    why, remedy = REASONS.get(node.domain or node.op, ("", "replace or remove the node before the conversion"))
    return UnsupportedError(": ".join(filter(None, ["no lowering is known for this operator", why])), remedy)


def too_deep(which: str, name: str, rank: int) -> Problem:
    """An input or output with more axes than any kernel takes."""
    what = f"has {rank} axes, and TFLite's kernels take at most {RANK}"
    return Problem(f"{which} '{name}'", what, f"let the model's {which} have fewer: squeeze or flatten some")


def edge_problem(which: str, tensor: gs.Variable, found: Item | None = None) -> Problem:
    """Why ``tensor``, an "input" or "output", stays out; ``found`` is what an output was lowered to."""
    cut = f"cut the model there ({which}_names_to_interrupt_model_conversion)"
    kind = tensor.type_proto if getattr(tensor, "type", "tensor_type") != "tensor_type" else None
    alone = f"and a TFLite {which} is one tensor"
    if kind is not None:
        what, remedy = f"is {spelled(kind)}, {alone}", f"make {which}s of its parts, or {cut}"
    elif isinstance(found, Choice):
        what, remedy = found.why, "fix the input shapes so that the condition is known before run time"
    elif found is not None:
        what, remedy = f"is {told(found)}, {alone}", f"make {which}s of its parts, or {cut}"
    elif tensor.dtype is None or tensor.shape is None:
        what, remedy = "has no tensor type of a known rank", "declare its element type and shape in the model"
    else:
        what, remedy = "holds text, and the tensors of TFLite's kernels hold numbers", cut
    return Problem(f"{which} '{tensor.name}'", what, remedy)


def spelled(kind: TypeProto) -> str:
    """An ONNX type as ONNX's text form writes it: ``optional(seq(float[N,4]))``."""
    which = kind.WhichOneof("value") or "no type"
    inner: Any = getattr(kind, which, None)
    if which in ("sequence_type", "optional_type"):
        return f"{'seq' if which == 'sequence_type' else 'optional'}({spelled(inner.elem_type)})"
    if which not in ("tensor_type", "sparse_tensor_type"):
        return which.replace("_type", "")
    dims = ",".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in inner.shape.dim)
    text = TensorProto.DataType.Name(inner.elem_type).lower() + (f"[{dims}]" if inner.HasField("shape") else "")
    return text if which == "tensor_type" else f"sparse_tensor({text})"
