"""One TensorProto: its size, and its contents wherever they lie."""

from __future__ import annotations

import errno
import math
import mmap
import os
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Problem, ToolError
from .lazy import np, onnx

if TYPE_CHECKING:
    from onnx import TensorProto


#: The location (no file can be called so) of bytes in the model's own file.
OWN = "\0file"
Bytes = bytes | memoryview | mmap.mmap  # in memory, or where they lie


def nbytes(tensor: TensorProto) -> int:
    """Bytes of the contents, from dtype and dims alone (no data is looked at)."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    return int(math.prod(tensor.dims) * _bits(tensor.data_type) + 7) // 8


@cache
def _bits(elem_type: int) -> int:
    """Of an element of a type that is not text."""
    word = onnx.TensorProto.DataType.Name(elem_type)
    bits = 2 if word.endswith("INT2") else 4 if word.endswith(("INT4", "E2M1")) else 0
    return bits or int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize * 8)


@cache
def element_types() -> frozenset[int]:
    """The codes of all element types that onnx knows."""
    return frozenset(onnx.TensorProto.DataType.values())


def set_base(tensor: TensorProto, folder: str) -> None:
    """Set the folder that a reference is relative to."""
    for index in reversed(range(len(tensor.external_data))):
        if tensor.external_data[index].key == "basepath":
            del tensor.external_data[index]
    tensor.external_data.add(key="basepath", value=folder)


def is_external(tensor: TensorProto) -> bool:
    """Do the contents lie in another file?"""
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


def fetch(tensor: TensorProto) -> Bytes:
    """The raw little-endian bytes of a tensor: of one in a side file a view of the mapped file.

    Raises ToolError where the side file is missing, too short, or outside the model's folder.
    """
    if is_external(tensor):
        return Store(None).view(tensor)
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data


def inline(tensor: TensorProto) -> None:
    """Bring a tensor from its side file into the model."""
    data = bytes(fetch(tensor))
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = data


def to_array(tensor: TensorProto) -> np.ndarray:
    """The values of a tensor wherever they are, as a numpy array."""
    if is_external(tensor):
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        inline(own)
        tensor = own
    return onnx.numpy_helper.to_array(tensor)


def mapped(path: Path) -> Bytes:
    """A file's bytes, mapped into memory.  Raises OSError, also for what may have no end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and no file", str(path))
    with path.open("rb") as file:
        empty = os.fstat(file.fileno()).st_size == 0
        return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class Store:
    """Where contents lie that are not in the message: in the model's own file, in files of its folder."""

    def __init__(self, folder: Path | None, own: Bytes = b""):
        """``folder`` None: references say it themselves, by ``basepath``; ``own``: the bytes of the model's file."""
        self.folder, self.own, self.maps = folder, own, dict[Path, Bytes]()
        self.known = dict[tuple[str, str], Bytes]()  # by location and basepath

    def view(self, tensor: TensorProto) -> memoryview:
        """The bytes of a tensor, where they lie.

        Raises ToolError where the file is missing, too short, or outside the model's folder.
        """
        said = reference(tensor)
        location, need = said.get("location", ""), nbytes(tensor)
        data = self.own if location == OWN else self._map(tensor.name, location, said.get("basepath", ""))
        try:
            start, length = int(said.get("offset", 0)), int(said.get("length", need))
        except ValueError:
            start = length = -1
        if start < 0 or length != need or start + length > len(data):
            what = f"{need} bytes are needed at offset {said.get('offset', 0)} of {location.strip(chr(0))!r}"
            raise _bad(tensor.name, f"{what}, but the file has {len(data)} (length {length})")
        return memoryview(data)[start : start + length]

    def _map(self, name: str, location: str, base: str) -> Bytes:
        if (location, base) not in self.known:
            self.known[location, base] = self._found(name, location, base)
        return self.known[location, base]

    def _found(self, name: str, location: str, base: str) -> Bytes:
        folder = self.folder if self.folder is not None else Path(base) if base else None
        if folder is None:
            raise _bad(name, f"its data is in the file {location!r}", "give the path of the model, not a ModelProto")
        parts, path = location.replace("\\", "/").split("/"), folder / location
        named = not parts[-1] or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]
        try:
            if named or not path.resolve().is_relative_to(folder.resolve()):
                what = f"external data {shown(location)} is outside the model's folder: refused"
                raise _bad(name, what, "put the file itself there: links may lead to files beside the model")
            if not path.exists():
                raise _bad(name, f"external data file {shown(location)} is missing", f"put it into {folder}")
            if path not in self.maps:
                self.maps[path] = mapped(path)
            return self.maps[path]
        except (OSError, RuntimeError) as error:  # RuntimeError: pathlib on links that lead to themselves
            why = (isinstance(error, OSError) and error.strerror) or "links that lead in a circle"
            raise _bad(name, f"external data {shown(location)} cannot be read: {why}") from error


def shown(location: str) -> str:
    """A location for a message: what is hostile may be long."""
    return repr(location if len(location) <= 80 else f"{location[:80]}...")


def _bad(name: str, what: str, remedy: str = "") -> ToolError:
    return ToolError(str(Problem(f"tensor '{name}'", what, remedy)), name)
