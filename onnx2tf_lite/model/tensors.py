"""One TensorProto: its size, and its contents wherever they lie."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError, ToolError
from .lazy import onnx

if TYPE_CHECKING:
    from onnx import TensorProto


def nbytes(tensor: TensorProto) -> int:
    """Bytes of the contents, from dtype and dims alone (no data is looked at)."""
    word = onnx.TensorProto.DataType.Name(tensor.data_type)
    if word == "STRING":
        return sum(map(len, tensor.string_data))
    bits = 2 if word.endswith("INT2") else 4 if word.endswith(("INT4", "E2M1")) else 0
    bits = bits or onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return (math.prod(tensor.dims) * bits + 7) // 8


def _base(tensor: TensorProto, folder: str | None) -> None:
    """Set, or with None remove, the folder that a reference is relative to."""
    for index in reversed(range(len(tensor.external_data))):
        if tensor.external_data[index].key == "basepath":
            del tensor.external_data[index]
    if folder is not None:
        tensor.external_data.add(key="basepath", value=folder)


def is_external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def reference(tensor: TensorProto) -> dict[str, str]:
    """location, offset, length, basepath of a tensor in a side file."""
    return {e.key: e.value for e in tensor.external_data}


def refer(tensor: TensorProto, location: str, said: dict[str, str]) -> None:
    """Let a tensor refer to a range of a side file, without a folder."""
    del tensor.external_data[:]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key in ("location", "offset", "length", "checksum"):
        if key == "location" or key in said:
            tensor.external_data.add(key=key, value=location if key == "location" else said[key])


def fetch(tensor: TensorProto) -> Any:
    """The raw little-endian bytes of a tensor: of one in a side file a view of the mapped file.

    Raises ToolError where the side file is missing, too short, or outside the model's folder.
    """
    if is_external(tensor):
        from .load import Store

        folder = reference(tensor).get("basepath")
        try:
            found = Store(Path(folder) if folder else None).lazy(tensor).read
        except ConversionError as error:
            raise ToolError(str(error), tensor.name) from error
        assert found is not None
        return found()
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data


def inline(tensor: TensorProto) -> None:
    """Bring a tensor from its side file into the model."""
    data = bytes(fetch(tensor))
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = data


def to_array(tensor: TensorProto) -> Any:
    """The values of a tensor wherever they are, as a numpy array."""
    if is_external(tensor):
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        inline(own)
        tensor = own
    return onnx.numpy_helper.to_array(tensor)
