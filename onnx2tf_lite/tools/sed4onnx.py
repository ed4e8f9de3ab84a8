"""Encode constants as ONNX's JSON form has them, and decode them: Base64 of little-endian bytes.

Decimals are rounded to the nearest value that the dtype has; whole numbers that do not fit exactly, and values out of
range, are errors.  Without --mode, text that reads as a number or list is encoded, anything else decoded.  The dtype
"string" is the text itself, in UTF-8.

examples:
  sed4onnx --constant_string [1,2] --dtype int64 --mode encode
  sed4onnx --constant_string AQAAAAAAAAACAAAAAAAAAA== --dtype int64 --mode decode
  sed4onnx -cs AACAPwAAAEAAAEBAAACAQA== -d float32 --shape [2,2]
  sed4onnx -cs @weight.npy -d bfloat16
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Sequence

from ..commands import command, option
from ..errors import ToolError, naming
from ..model import types
from ..model.lazy import np, onnx
from . import _values

LITERAL = re.compile(r"[-+.\d\[(]|inf|nan|true|false", re.IGNORECASE)


@naming("sed4onnx")
def encode(constant_string: str, dtype: str) -> str:
    """``[1,2]`` or ``@file.npy`` as Base64.  Raises ToolError for values that the dtype cannot hold."""
    elem = types.dtype(dtype)
    if elem == onnx.TensorProto.STRING:
        return base64.b64encode(constant_string.encode()).decode()
    return base64.b64encode(_values.pack(_values.array(dtype, constant_string))).decode()


@naming("sed4onnx")
def decode(constant_string: str, dtype: str, *, shape: Sequence[int] | None = None) -> np.ndarray | str:
    """The values in Base64 text, of one axis unless a ``shape`` is given; a str for the dtype ``string``.  Raises
    ToolError for what is not Base64, and for a number of bytes that does not fit."""
    elem = types.dtype(dtype)
    try:
        data = base64.b64decode("".join(constant_string.split()), validate=True)
        if elem == onnx.TensorProto.STRING:
            return data.decode()
    except binascii.Error as error:
        raise ToolError(f"{_short(constant_string)} is not Base64: {error}") from error
    except UnicodeDecodeError as error:
        raise ToolError(f"{_short(constant_string)} does not hold UTF-8 text: {error.reason}") from error
    return _values.unpack(data, elem, shape)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def convert(constant_string: str, dtype: str = "", mode: str = "", *, shape: Sequence[int] | None = None) -> str:
    """What the command prints; ToolError for what has no such form."""
    text = sys.stdin.read().strip() if constant_string == "-" else constant_string
    if not mode:
        if dtype == "string":
            raise ToolError("any text can be a string: say --mode encode or --mode decode")
        mode = "encode" if text.startswith("@") or (LITERAL.match(text) and _reads(text)) else "decode"
    if not dtype and text.startswith("@"):
        dtype = _values.read_array(text[1:]).dtype.name
    if not dtype:
        raise ToolError("which dtype? -d float32, for example")
    if mode == "encode":
        if shape is not None:
            raise ToolError("--shape is for decoding: the bytes of a constant do not say its shape")
        return encode(text, dtype)
    found = decode(text, dtype, shape=shape)
    return found if isinstance(found, str) else _values.show(found)


def _reads(text: str) -> bool:
    try:
        return not isinstance(_values.literal(text), str)
    except ToolError:
        return False


main = command(
    convert,
    option("-cs --constant_string TEXT", 'numbers, Base64, @file.npy, or "-": standard input', required=True),
    option(
        "-d --dtype DTYPE",
        "float16 float32 float64 bfloat16 int4 ... int64 uint4 ... uint64 bool float8e4m3fn string ...",
    ),
    option("-m --mode", "what to do (default: what suits the text)", choices=("encode", "decode")),
    option("--shape SHAPE", "print decoded values in this shape, such as [2,3]", convert=_values.integers),
    show=print,
    explains=[encode, decode],
)
