"""From a file to a graph: any opset, any IR version, external data, and no weight is read before somebody asks for it.

The file is mapped into memory and its protobuf wire format walked once: every big tensor's bytes stay where they are,
and protobuf parses what is left, a few KB.
"""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from ..errors import ConversionError, Problem
from .proto import NEWEST, Importer, LazyTensor

#: Tensors from this many bytes on stay outside the parsed message.
LARGE = 4096
#: Locations (no file can be called so) of bytes in the model's file, and of tensors in a caller's ModelProto.
_SELF, _PROTO = "\0file", "\0proto"

# onnx.proto, field number -> kind of message, as far as a tensor can lie below it
_BELOW: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
#: TensorProto: field number of little-endian contents -> the data type it needs (None: any).
_CONTENTS = {9: None, 4: TensorProto.FLOAT, 10: TensorProto.DOUBLE}


def load(source: str | os.PathLike | ModelProto) -> gs.Graph:
    """Read a model of any opset and IR version; weights stay by reference (:class:`~.proto.LazyTensor`)."""
    where = "model" if isinstance(source, ModelProto) else str(source)
    if isinstance(source, ModelProto):
        model, store = _light(source)
    else:
        model, store = _open(Path(source))
    opset = _opsets(model, where)
    _check(model, where)
    for tensor in _external(model):
        store.locate(tensor)
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    graph = Importer(store.lazy).model(model, opset)
    return graph


class Store:
    """Where the bytes of the big tensors lie: in the model's file, in files beside it, or in the caller's message."""

    def __init__(self, folder: Path | None, own: Any = None, protos: list[TensorProto] | None = None):
        self.folder, self.maps, self.protos = folder, {_SELF: own}, protos or []

    def lazy(self, tensor: TensorProto) -> LazyTensor:
        if tensor.data_location != TensorProto.EXTERNAL:
            return LazyTensor(tensor)
        entry = {e.key: e.value for e in tensor.external_data}
        if entry["location"] == _PROTO:
            return LazyTensor(self.protos[int(entry["offset"])])
        data, start, length = self.locate(tensor)
        return LazyTensor(tensor, lambda: memoryview(data)[start : start + length])

    def locate(self, tensor: TensorProto) -> tuple[Any, int, int]:
        """The map that holds a tensor, its offset and length there; an error for whatever is not as it should be."""
        entry = {e.key: e.value for e in tensor.external_data}
        location = entry.get("location", "")
        if location == _PROTO:
            return None, 0, 0
        if location not in self.maps:
            self.maps[location] = self._map(tensor.name, location)
        data, bits = self.maps[location], _bits(tensor.data_type)
        need = (math.prod(tensor.dims) * bits + 7) // 8
        try:
            start, length = int(entry.get("offset", 0)), int(entry.get("length", need))
        except ValueError:
            start, length = -1, -1
        if start < 0 or length != need or start + length > len(data):
            what = f"{need} bytes are needed at offset {entry.get('offset', 0)} of {location.strip(chr(0))!r}"
            raise _bad(f"tensor '{tensor.name}'", f"{what}, but the file has {len(data)} (length {length})")
        return data, start, length

    def _map(self, name: str, location: str) -> Any:
        where = f"tensor '{name}'"
        if self.folder is None:
            raise _bad(where, f"its data is in the file {location!r}", "give the path of the model, not a ModelProto")
        parts = location.replace("\\", "/").split("/")
        path = self.folder / location
        # what the name says, then what the file system says: a link may lead out as well
        if not location or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]:
            raise _bad(where, f"external data {location!r} is outside the model's folder: refused")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise _bad(where, f"external data {location!r} leads outside the model's folder: refused")
        if not path.is_file():
            raise _bad(where, f"external data file {location!r} is missing", f"put it into {self.folder}")
        return _mapped(path)


def _bad(where: str, what: str, remedy: str = "") -> ConversionError:
    return ConversionError(Problem(where, what, remedy))


def _bits(data_type: int) -> int:
    name = TensorProto.DataType.Name(data_type)
    if name.endswith("INT2"):
        return 2
    return 4 if name.endswith(("INT4", "E2M1")) else helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8


def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        empty = os.fstat(file.fileno()).st_size == 0
        return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _open(path: Path) -> tuple[ModelProto, Store]:
    if not path.is_file():
        raise _bad(str(path), "no such file" if not path.is_dir() else "is a folder, not an ONNX file")
    data = _mapped(path)
    try:
        model = ModelProto.FromString(_strip(data, 0, len(data), "model"))
    except (DecodeError, ValueError, IndexError) as e:
        raise _bad(str(path), f"not an ONNX file ({e})", "is it complete, and not an LFS pointer?") from e
    if not model.HasField("graph"):
        raise _bad(str(path), "not an ONNX file (no graph in it)", "is it complete, and not an LFS pointer?")
    return model, Store(path.parent, own=data)


def _strip(data: Any, start: int, end: int, kind: str) -> bytes:
    """The message data[start:end] with the contents of its big tensors replaced by references."""
    below = _BELOW[kind]
    parts, pos, kept = [], start, start
    while pos < end:
        at, (key, pos) = pos, _varint(data, pos)
        pos, stop = _extent(data, pos, key & 7)
        if stop > end:
            raise ValueError("it ends too early")
        child = below.get(key >> 3) if key & 7 == 2 and stop - pos >= LARGE else None
        if child:
            body = _refer(data, pos, stop) if child == "tensor" else _strip(data, pos, stop, child)
            parts += [data[kept:at], _field(key >> 3, body)]
            kept = stop
        pos = stop
    return b"".join([*parts, data[kept:end]])


def _refer(data: Any, start: int, end: int) -> bytes:
    """A TensorProto whose contents, if they are one run of numpy's own bytes, became (location, offset, length)."""
    spans, data_type, pos = [], 0, start
    while pos < end:
        at, (key, pos) = pos, _varint(data, pos)
        pos, stop = _extent(data, pos, key & 7)
        if key >> 3 == 2:
            data_type = _varint(data, pos)[0]
        spans.append((key >> 3, key & 7, at, pos, stop))
        pos = stop
    full = [s for s in spans if s[0] in _CONTENTS and s[1] == 2 and s[4] - s[3] >= LARGE]
    if len(full) != 1 or sum(s[0] == full[0][0] for s in spans) != 1 or _CONTENTS[full[0][0]] not in (None, data_type):
        return data[start:end]
    rest = b"".join(data[at:stop] for field, _, at, _, stop in spans if field != full[0][0])
    said = {"location": _SELF, "offset": str(full[0][3]), "length": str(full[0][4] - full[0][3])}
    entries = (_field(13, _field(1, k.encode()) + _field(2, v.encode())) for k, v in said.items())
    return b"".join([rest, *entries, b"\x70\x01"])  # 14: data_location = EXTERNAL


def _extent(data: Any, pos: int, wire: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire == 2:
        length, pos = _varint(data, pos)
        return pos, pos + length
    if wire == 0:
        return pos, _varint(data, pos)[1]
    if wire in (1, 5):
        return pos, pos + (8 if wire == 1 else 4)
    raise ValueError(f"wire type {wire}")


def _varint(data: Any, pos: int) -> tuple[int, int]:
    byte = data[pos]
    if byte < 128:
        return byte, pos + 1
    result, shift = byte & 127, 7
    while byte >= 128:
        pos += 1
        byte = data[pos]
        result |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number without an end")
    return result, pos + 1


def _field(number: int, body: bytes) -> bytes:
    head = bytearray()
    for n in (number << 3 | 2, len(body)):
        while n > 127:
            head.append(n & 127 | 128)
            n >>= 7
        head.append(n)
    return bytes(head) + body


def _light(model: ModelProto) -> tuple[ModelProto, Store]:
    """A copy of the caller's message without its big initialisers, which are referred to by number."""
    light = ModelProto()
    protos: list[TensorProto] = []
    for field, content in model.ListFields():
        if field.name != "graph":
            _copy(light, field.name, content)
    for field, content in model.graph.ListFields():
        if field.name != "initializer":
            _copy(light.graph, field.name, content)
    for tensor in model.graph.initializer:
        small = math.prod(tensor.dims) * _bits(tensor.data_type) < 8 * LARGE  # (ByteSize would encode it)
        if small or tensor.data_location == TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
            continue
        entry = light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        entry.data_location = TensorProto.EXTERNAL
        entry.external_data.add(key="location", value=_PROTO)
        entry.external_data.add(key="offset", value=str(len(protos)))
        protos.append(tensor)
    if not model.HasField("graph"):
        raise _bad("model", "not an ONNX model (no graph in it)")
    return light, Store(None, protos=protos)


def _copy(target: Any, name: str, content: Any) -> None:
    if isinstance(content, int | str | bytes):
        setattr(target, name, content)
    elif hasattr(content, "MergeFrom") and not hasattr(content, "append"):
        getattr(target, name).CopyFrom(content)
    else:
        getattr(target, name).extend(content)


def _opsets(model: ModelProto, where: str) -> int:
    """The opset of the default domain, in one spelling (IR 1 and 2 had none: it is 1), and no later than ours."""
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""
    ours = [entry for entry in model.opset_import if entry.domain == ""]
    if not ours:
        if model.ir_version < 3:
            return 1
        ours = [model.opset_import.add(domain="", version=NEWEST)]
    if ours[0].version < 1:
        raise _bad(where, f"opset {ours[0].version}: there is no such opset")
    ours[0].version = min(ours[0].version, NEWEST)
    return ours[0].version


def _external(message: Any) -> list[TensorProto]:
    """Every tensor with data elsewhere, in initialisers, Constant nodes, bodies and functions."""
    if isinstance(message, ModelProto):
        inner = [message.graph, *message.functions]
        return [t for part in inner for t in _external(part)]
    found = [t for t in getattr(message, "initializer", ()) if t.data_location == TensorProto.EXTERNAL]
    for node in message.node:
        for a in node.attribute:
            if a.HasField("t") and a.t.data_location == TensorProto.EXTERNAL:
                found.append(a.t)
            for body in [a.g] if a.HasField("g") else a.graphs:
                found += _external(body)
    return found


def _excuse(copy: ModelProto) -> None:
    """What exporters wrote for years although the standard deprecates it; the pass `upgrade` reads it."""
    for node in copy.graph.node:
        if node.op_type in ("GroupNormalization", "Scatter", "Upsample") and not node.domain:
            opset = next(e.version for e in copy.opset_import if e.domain == "")
            if onnx.defs.has(node.op_type) and onnx.defs.get_schema(node.op_type, opset).deprecated:
                node.domain = "deprecated"
                if all(e.domain != "deprecated" for e in copy.opset_import):
                    copy.opset_import.add(domain="deprecated", version=1)


def _check(model: ModelProto, where: str) -> None:
    """onnx's checker on a copy that says nothing of where the big tensors lie (that is ours to judge)."""
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(model.ir_version, onnx.IR_VERSION)
    for tensor in _external(copy):
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.ClearField("dims")
        tensor.dims.append(0)
    _excuse(copy)
    try:
        onnx.checker.check_model(copy)
    except onnx.checker.ValidationError as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        raise _bad(where, f"not a valid ONNX model: {' '.join(lines[:3])}") from e
