"""Constants, exactly: values that a type can hold, the bytes that ONNX stores, and text that tells values apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import ToolError
from ..model.lazy import np, onnx
from ..model.types import dtype_word

if TYPE_CHECKING:
    from numpy import ndarray


def numpy_dtype(elem_type: int) -> Any:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


@cache
def bits(elem_type: int) -> int:
    """How many one element takes in a file; several of the smallest types share a byte."""
    return len(pack(np.zeros(8, numpy_dtype(elem_type))))


def exact(held: Any, elem_type: int) -> ndarray:
    """Numbers, or nested lists of them, as an array of an ONNX type.

    Decimals are rounded to the nearest value of a float type; whole numbers have to fit exactly, everywhere.  Raises
    ToolError for what the type cannot hold.
    """
    shape = _shape(held)
    flat = [_element(x, elem_type) for x in _flatten(held)]
    return np.array(flat, numpy_dtype(elem_type)).reshape(shape)


def _shape(held: Any) -> tuple[int, ...]:
    if not isinstance(held, list):
        return ()
    inner = {_shape(e) for e in held}
    if len(inner) > 1:
        raise ToolError("the rows of a list have to be of equal length")
    return (len(held), *(inner.pop() if inner else ()))


def _flatten(held: Any) -> Iterator[Any]:
    if isinstance(held, list):
        for e in held:
            yield from _flatten(e)
    else:
        yield held


def _element(x: Any, elem_type: int) -> Any:
    """One value, as the type holds it."""
    import ml_dtypes

    dtype, name = numpy_dtype(elem_type), dtype_word(elem_type)
    if not isinstance(x, int | float | complex):
        raise ToolError(f"{x!r} is not a number", str(x))
    if dtype.kind == "b":
        if x not in (0, 1):
            raise ToolError(f"{x} is not a bool: true, false, 0 or 1")
        return bool(x)
    if isinstance(x, complex):
        if dtype.kind != "c":
            raise ToolError(f"{x} is complex; {name} is not")
        return x
    if "int" in name:
        info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
        if not math.isfinite(x) or int(x) != x:
            raise ToolError(f"{x} is not a whole number; {name} holds nothing else")
        if not info.min <= x <= info.max:
            raise ToolError(f"{int(x)} does not fit {name} ({info.min} to {info.max})")
        return int(x)
    with np.errstate(all="ignore"):
        made = np.asarray(float(x)).astype(dtype)
    back, largest = float(made.real), float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    same_kind = math.isnan(back) == math.isnan(x) and math.isinf(back) == math.isinf(x)
    tiny = dtype.isbuiltin != 1  # types that numpy does not know: some of them saturate, and lack small values
    if not same_kind or (tiny and back != x and (abs(x) > largest or not back)):
        raise ToolError(f"{x} does not fit {name} (largest: {largest:.9g})")
    if isinstance(x, int) and back != x:
        raise ToolError(f"{x} is not exact in {name}: it would be {back:.17g}; write {x}. for the nearest value")
    return made[()]


def pack(array: ndarray) -> bytes:
    """The bytes of TensorProto.raw_data: little-endian, row-major, small types packed."""
    return bytes(onnx.numpy_helper.from_array(np.ascontiguousarray(array)).raw_data)


def unpack(data: bytes, elem_type: int, shape: Sequence[int] | None = None) -> ndarray:
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


def show(array: ndarray) -> str:
    """On one line without blanks, in numpy's way: ``[1,2]``, ``[1.,0.5]``; every digit that tells values apart."""
    plain = array
    if array.dtype.isbuiltin != 1:
        plain = array.astype(np.int64 if "int" in array.dtype.name else np.float32)
    text = np.array2string(plain, separator=",", threshold=plain.size + 1, max_line_width=2**31 - 1, floatmode="unique")
    return "".join(text.split())
