"""Values: as they are written (``[1,3,'H','W']``, ``inf``, ``@file.npy``), as arrays of a dtype, as ONNX's bytes."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ..errors import ToolError
from ..model.lazy import np, onnx
from ..model.types import dtype, dtype_word

#: What users give: text, a number, nested lists of them, an array; in a tuple with the word of a dtype.
Value = Any
Values = Mapping[str, Value]

# --- text ------------------------------------------------------------------------------------------------------------


def literal(text: str) -> Value:
    """A Python literal in which ``inf``, ``-inf``, ``nan`` are numbers too and bare words are text; ``@file.npy``, an
    array."""
    if text.startswith("@"):
        return read_array(text[1:])
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        if not re.search(r"[\[\](){},'\"]", text):
            return text  # a word
        raise ToolError(f"cannot read {text!r}: {error.args[0]}", text) from error


def _value(node: ast.expr) -> Value:
    if isinstance(node, ast.Name) and node.id.lower() in ("inf", "infinity", "nan"):
        return float(node.id)
    if isinstance(node, ast.Name) and node.id not in ("True", "False", "None"):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = _value(node.operand)
        if isinstance(inner, (int, float, complex)):
            return -inner if isinstance(node.op, ast.USub) else inner
        raise ValueError("a sign stands before something that is no number")
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(e) for e in node.elts]
    return ast.literal_eval(node)


def shape(text: str) -> list[int | str]:
    """Dimensions: ``[1,3,'H','W']``, ``[]`` for a scalar, ``[batch,3]`` with a bare word."""
    found = literal(text)
    if not isinstance(found, list) or not all(isinstance(d, (int, str)) and not isinstance(d, bool) for d in found):
        raise ToolError(f"{text!r} is not a shape such as [1,3,224,224] or [1,3,'H','W']", text)
    return found


def integers(text: str) -> list[int]:
    found = literal(text)
    if not isinstance(found, list) or not all(isinstance(d, int) and not isinstance(d, bool) for d in found):
        raise ToolError(f"{text!r} is not a list of whole numbers such as [0,2,3,1]", text)
    return found


def read_array(path: str) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: cannot be read as .npy: {error}", path) from error
    if not isinstance(found, np.ndarray):
        raise ToolError(f"{path}: an .npz holds several arrays; give an .npy", path)
    return found


def show(array: np.ndarray) -> str:
    """On one line without blanks, in numpy's way: ``[1,2]``, ``[1.,0.5]``; every digit that tells values apart."""
    plain = array
    if array.dtype.isbuiltin != 1:
        plain = array.astype(np.int64 if "int" in array.dtype.name else np.float32)
    text = np.array2string(plain, separator=",", threshold=plain.size + 1, max_line_width=2**31 - 1, floatmode="unique")
    return "".join(text.split())


# --- arrays ----------------------------------------------------------------------------------------------------------


def numpy_dtype(elem_type: int) -> np.dtype:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def array(word: str, value: Value) -> np.ndarray:
    """``value`` (text, list, number or array) as an array of the dtype ``word``; what it cannot hold is an error."""
    elem, said = dtype(word), literal(value) if isinstance(value, str) else value
    if elem == onnx.TensorProto.STRING:
        return np.asarray(value if isinstance(said, (int, float)) else said, object)
    if isinstance(said, np.ndarray):
        wanted = numpy_dtype(elem)
        if said.dtype == wanted or wanted.kind == said.dtype.kind == "f":
            return said.astype(wanted)  # another precision rounds
    return exact(said.tolist() if isinstance(said, np.ndarray) else said, elem)


def exact(held: Value, elem_type: int) -> np.ndarray:
    """Numbers, or nested lists of them, as an array of an ONNX type.

    Decimals are rounded to the nearest value of a float type; whole numbers have to fit exactly, everywhere.  Raises
    ToolError for what the type cannot hold.
    """
    try:
        given = np.array(held, object)
    except ValueError as error:
        raise ToolError("the rows of a list have to be of equal length") from error
    made = [_element(x, elem_type) for x in given.flat]
    return np.array(made, numpy_dtype(elem_type)).reshape(given.shape)


def _element(x: Value, elem_type: int) -> Value:
    """One value, as the type holds it."""
    kind, name = numpy_dtype(elem_type), dtype_word(elem_type)
    if isinstance(x, list):
        raise ToolError("the rows of a list have to be of equal length")
    if isinstance(x, str) and re.fullmatch(r"[-+]?(inf(inity)?|nan)", x, re.IGNORECASE):
        x = float(x)
    if not isinstance(x, int | float | complex):
        raise ToolError(f"{x!r} is not a number", str(x))
    if kind.kind == "b":
        if x not in (0, 1):
            raise ToolError(f"{x} is not a bool: true, false, 0 or 1")
        return bool(x)
    if isinstance(x, complex):
        if kind.kind != "c":
            raise ToolError(f"{x} is complex; {name} is not")
        return x
    return _whole(x, kind, name) if "int" in name else _decimal(x, kind, name)


def _whole(x: float, kind: np.dtype, name: str) -> int:
    import ml_dtypes

    info = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    if not math.isfinite(x) or int(x) != x:
        raise ToolError(f"{x} is not a whole number; {name} holds nothing else")
    if not info.min <= x <= info.max:
        raise ToolError(f"{int(x)} does not fit {name} ({info.min} to {info.max})")
    return int(x)


def _decimal(x: float, kind: np.dtype, name: str) -> Value:
    import ml_dtypes

    with np.errstate(all="ignore"):
        made = np.asarray(float(x)).astype(kind)
    back, largest = float(made.real), float(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]
    same_kind = math.isnan(back) == math.isnan(x) and math.isinf(back) == math.isinf(x)
    tiny = kind.isbuiltin != 1  # types that numpy does not know: some of them saturate, and lack small values
    if not same_kind or (tiny and back != x and (abs(x) > largest or not back)):
        raise ToolError(f"{x} does not fit {name} (largest: {largest:.9g})")
    if isinstance(x, int) and back != x:
        raise ToolError(f"{x} is not exact in {name}: it would be {back:.17g}; write {x}. for the nearest value")
    return made[()]


# --- tensors and bytes -----------------------------------------------------------------------------------------------


def given_tensor(name: str, value: Value) -> onnx.TensorProto:
    """A named TensorProto from an array or (dtype word, value)."""
    return tensor(name, *value) if isinstance(value, tuple) else onnx.numpy_helper.from_array(value, name)


def tensor(name: str, word: str, value: Value) -> onnx.TensorProto:
    """A named TensorProto from a dtype word and a value as :func:`array` reads it."""
    made = array(word, value)
    if dtype(word) == onnx.TensorProto.STRING:
        made = np.asarray([str(s).encode() for s in made.reshape(-1)], object).reshape(made.shape)
    return onnx.numpy_helper.from_array(made, name)


def value_info(name: str, said: Value) -> onnx.ValueInfoProto:
    """A tensor from [dtype, shape]; ``sequence(float32)`` is a dtype word too."""
    word, extents = said
    word = word if isinstance(word, str) else str(np.dtype(word))
    inner = word[len("sequence(") : -1] if word.startswith("sequence(") else word
    made = onnx.helper.make_tensor_type_proto(dtype(inner), None if extents is None else list(extents))
    kind = onnx.helper.make_sequence_type_proto(made) if inner != word else made
    return onnx.ValueInfoProto(name=name, type=kind)


def pack(array: np.ndarray) -> bytes:
    """The bytes of TensorProto.raw_data: little-endian, row-major, small types packed."""
    return bytes(onnx.numpy_helper.from_array(np.ascontiguousarray(array)).raw_data)


@cache
def bits(elem_type: int) -> int:
    """How many one element takes in a file; several of the smallest types share a byte."""
    return len(pack(np.zeros(8, numpy_dtype(elem_type))))


def unpack(data: bytes, elem_type: int, shape: Sequence[int] | None = None) -> np.ndarray:
    """The array in ``data``, of one axis where no shape is given; ToolError where the bytes do not fit."""
    per, name = bits(elem_type), dtype_word(elem_type)
    if shape is None:
        if per >= 8 and len(data) % (per // 8):
            raise ToolError(f"{len(data)} bytes are not a whole number of {name} ({per // 8} bytes each)")
        shape = (len(data) * 8 // per,)
    need = (math.prod(shape) * per + 7) // 8
    if need != len(data):
        raise ToolError(f"{len(data)} bytes; {name}[{','.join(map(str, shape))}] has {need}")
    return onnx.numpy_helper.to_array(onnx.TensorProto(data_type=elem_type, dims=shape, raw_data=data))
