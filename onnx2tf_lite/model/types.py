"""Types of tensors: declared, compared, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ToolError, nearest
from .lazy import onnx
from .walk import GraphLike, initializers, is_function

if TYPE_CHECKING:
    from onnx import TypeProto


#: The words that are not ONNX's own (which are accepted in lower case: float16, int64, bool, bfloat16, uint4, ...).
WORDS = {"float32": "FLOAT", "float64": "DOUBLE", "str": "STRING", "half": "FLOAT16", "boolean": "BOOL"}


def dtype(word: str) -> int:
    """The TensorProto type that a word means: numpy's names and ONNX's own.  ToolError for other words."""
    name, own = WORDS.get(word.lower(), word.upper()), list(onnx.TensorProto.DataType.keys())[1:]  # after UNDEFINED
    if name not in own:
        known = [*WORDS, *(k.lower() for k in own)]
        raise ToolError(f"no dtype {word!r}", word, nearest(word, known))
    return int(onnx.TensorProto.DataType.Value(name))


def dtype_word(elem_type: int) -> str:
    """numpy's name of a TensorProto type: float32, int64, bool, string, bfloat16, ..."""
    word = str(onnx.TensorProto.DataType.Name(elem_type)).lower()
    return {"float": "float32", "double": "float64"}.get(word, word)


def types(graph: GraphLike) -> dict[str, TypeProto]:
    """The declared types: of inputs, outputs, value_info and initializers."""
    found: dict[str, TypeProto] = {}
    if is_function(graph):
        return {v.name: v.type for v in graph.value_info}
    for name, tensor in initializers(graph).items():
        found[name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for info in (*graph.value_info, *graph.output, *graph.input):
        if info.type.WhichOneof("value"):
            found[info.name] = info.type
    return found


def dims(kind: TypeProto | None) -> list[int | str | None] | None:
    """The shape a type declares: numbers, names, None where nothing is said; None without a rank."""
    if kind is None or kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.tensor_type.shape.dim]


def type_word(kind: TypeProto | None) -> str:
    """A type without its shape: ``float32``, ``sequence(float32)``, ``map(int64,string)``; ``unknown``."""
    which = kind.WhichOneof("value") if kind is not None else None
    if kind is None or which is None:
        return "unknown"
    if which in ("sequence_type", "optional_type"):
        return f"{which.removesuffix('_type')}({type_word(getattr(kind, which).elem_type)})"
    if which == "map_type":
        return f"map({dtype_word(kind.map_type.key_type)},{type_word(kind.map_type.value_type)})"
    elem = getattr(kind, which).elem_type if which in ("tensor_type", "sparse_tensor_type") else 0
    return dtype_word(elem) if elem else "unknown"


def type_text(kind: TypeProto | None) -> str:
    """``float32[1,3,H,W]``, ``float32[...]`` without a rank; what is no tensor as :func:`type_word` says it."""
    if kind is None or kind.WhichOneof("value") != "tensor_type":
        return type_word(kind)
    shape = dims(kind)
    inner = "..." if shape is None else ",".join("?" if d is None else str(d) for d in shape)
    return f"{type_word(kind)}[{inner}]"


def contradict(a: TypeProto | None, b: TypeProto | None) -> str:
    """Why a tensor cannot have both types; empty where it can (what is unknown contradicts nothing)."""
    first, second = (k.WhichOneof("value") if k is not None else None for k in (a, b))
    if a is None or b is None or first is None or second is None:
        return ""
    if first != second:
        return f"{type_text(a)} and {type_text(b)}"
    if first != "tensor_type":
        return ""
    x, y = a.tensor_type.elem_type, b.tensor_type.elem_type
    if x and y and x != y:
        return f"dtypes {dtype_word(x)} and {dtype_word(y)}"
    p, q = dims(a), dims(b)
    if p is not None and q is not None:
        bad = [
            i
            for i, (m, n) in enumerate(zip(p, q, strict=False))
            if isinstance(m, int) and isinstance(n, int) and m != n
        ]
        if len(p) != len(q) or bad:
            return f"shapes {type_text(a)} and {type_text(b)}"
    return ""
