"""From a file to a graph: any opset, any IR version, external data, and no weight is read before somebody asks for it.

The file is mapped into memory and its protobuf wire format walked once: every big tensor's bytes stay where they are,
and protobuf parses what is left, a few KB.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, helper

from ..errors import ConversionError, Problem, ToolError
from .surgeon import Importer, LazyTensor, own_extents
from .walk import scopes, sort

NEWEST = onnx.defs.onnx_opset_version()
#: Tensors from this many bytes on stay outside the parsed message.
LARGE = 4096
#: Locations (no file can be called so) of bytes in the model's file, and of tensors in a caller's ModelProto.
_SELF, _PROTO = "\0file", "\0proto"
_INCOMPLETE = "is it complete, and not an LFS pointer?"
#: Refused by the checker, and written by exporters for years; the pass `upgrade` reads them.
_DEPRECATED = ("GroupNormalization", "Scatter", "Upsample")
#: ONNX Runtime's optimiser writes these into ONNX's domain at any opset.
_RUNTIMES = ("LayerNormalization", "SimplifiedLayerNormalization")

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


def load(source: str | os.PathLike | ModelProto, note: Callable[[str], object] = lambda text: None) -> gs.Graph:
    """Read a model of any opset and IR version; weights stay by reference (:class:`~.surgeon.LazyTensor`).

    ``note`` is told what was put in order: converters to float16 write their Casts at the end of the list of nodes.
    """
    if isinstance(source, ModelProto):
        model, store = _light(source)
    else:
        model, store = _open(Path(source))
    where = "model" if isinstance(source, ModelProto) else str(source)
    opset = _opset(model, where)
    _sort(model, where, note)
    _check(model, where)
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    graph = Importer(store.lazy).model(model, opset)
    for tensor in graph.inputs:
        own_extents(tensor)
    return graph


def _sort(model: ModelProto, where: str, note: Callable[[str], object]) -> None:
    """Nodes behind those that they read, as ONNX asks for and ONNX Runtime does by itself."""
    try:
        unsorted = [sort(scope.graph) for scope in scopes(model)]
    except ToolError as error:
        raise _bad(where, f"not a valid ONNX model: {error}") from error
    if any(unsorted):
        note("the nodes of the model are not in the order in which they need each other: sorted")


class Store:
    """Where the bytes of the big tensors lie: in the model's file, in files beside it, or in the caller's message."""

    def __init__(self, folder: Path | None, own: Any = None, protos: list[TensorProto] | None = None):
        self.folder, self.maps, self.protos = folder, {_SELF: own}, protos or []

    def lazy(self, tensor: TensorProto) -> LazyTensor:
        """The tensor by reference; an error for whatever is not as it should be."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return LazyTensor(tensor)
        entry = {e.key: e.value for e in tensor.external_data}
        location, name = entry.get("location", ""), f"tensor '{tensor.name}'"
        if location == _PROTO and self.protos:
            return LazyTensor(self.protos[int(entry["offset"])])
        if location not in self.maps:
            self.maps[location] = self._map(name, location)
        data, need = self.maps[location], (math.prod(tensor.dims) * _bits(tensor.data_type) + 7) // 8
        try:
            start, length = int(entry.get("offset", 0)), int(entry.get("length", need))
        except ValueError:
            start = length = -1
        if start < 0 or length != need or start + length > len(data):
            what = f"{need} bytes are needed at offset {entry.get('offset', 0)} of {location.strip(chr(0))!r}"
            raise _bad(name, f"{what}, but the file has {len(data)} (length {length})")
        return LazyTensor(tensor, lambda: memoryview(data)[start : start + length])

    def _map(self, name: str, location: str) -> Any:
        if self.folder is None:
            raise _bad(name, f"its data is in the file {location!r}", "give the path of the model, not a ModelProto")
        parts, path = location.replace("\\", "/").split("/"), self.folder / location
        named = not location or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]
        if named or not path.resolve().is_relative_to(self.folder.resolve()):
            raise _bad(name, f"external data {location!r} is outside the model's folder: refused")
        if not path.is_file():
            raise _bad(name, f"external data file {location!r} is missing", f"put it into {self.folder}")
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
        raise _bad(str(path), f"not an ONNX file ({e})", _INCOMPLETE) from e
    if not model.HasField("graph"):
        raise _bad(str(path), "not an ONNX file (no graph in it)", _INCOMPLETE)
    return model, Store(path.parent, own=data)


def _fields(data: Any, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, wire type, and where the key, the value and the next field begin, of each field of data[start:end]."""
    while start < end:
        key, pos = _varint(data, start)
        if key & 7 == 2:
            length, pos = _varint(data, pos)
            stop = pos + length
        elif key & 7 == 0:
            stop = _varint(data, pos)[1]
        elif key & 7 in (1, 5):
            stop = pos + (8 if key & 7 == 1 else 4)
        else:
            raise ValueError(f"wire type {key & 7}")
        if stop > end:
            raise ValueError("it ends too early")
        yield key >> 3, key & 7, start, pos, stop
        start = stop


def _varint(data: Any, pos: int) -> tuple[int, int]:
    result, shift = 0, 0
    while shift < 70:
        byte = data[pos]
        pos += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, pos
        shift += 7
    raise ValueError("a number without an end")


def _strip(data: Any, start: int, end: int, kind: str) -> bytes:
    """The message data[start:end] with the contents of its big tensors replaced by references."""
    parts, kept = [], start
    for field, wire, at, pos, stop in _fields(data, start, end):
        child = _BELOW[kind].get(field) if wire == 2 and stop - pos >= LARGE else None
        if child:
            body = _refer(data, pos, stop) if child == "tensor" else _strip(data, pos, stop, child)
            parts += [data[kept:at], _number(field << 3 | 2), _number(len(body)), body]
            kept = stop
    return b"".join([*parts, data[kept:end]])


def _refer(data: Any, start: int, end: int) -> bytes:
    """A TensorProto whose contents, if they are one run of numpy's own bytes, became (location, offset, length)."""
    fields = list(_fields(data, start, end))
    full = [f for f in fields if f[0] in _CONTENTS and f[1] == 2]
    if len(full) != 1 or sum(f[0] == full[0][0] for f in fields) != 1:
        return data[start:end]
    [(number, _, _, pos, stop)] = full
    tensor = TensorProto.FromString(b"".join(data[at:after] for n, _, at, _, after in fields if n != number))
    if _CONTENTS[number] not in (None, tensor.data_type):
        return data[start:end]
    tensor.data_location = TensorProto.EXTERNAL
    for key, said in (("location", _SELF), ("offset", pos), ("length", stop - pos)):
        tensor.external_data.add(key=key, value=str(said))
    return tensor.SerializeToString()


def _number(n: int) -> bytes:
    head = bytearray()
    while n > 127:
        head.append(n & 127 | 128)
        n >>= 7
    return bytes([*head, n])


def _light(model: ModelProto) -> tuple[ModelProto, Store]:
    """A copy of the caller's message without its big initialisers, which are referred to by number."""
    if not model.HasField("graph"):
        raise _bad("model", "not an ONNX model (no graph in it)")
    graph = GraphProto(**{f.name: value for f, value in model.graph.ListFields() if f.name != "initializer"})
    light = ModelProto(**{f.name: value for f, value in model.ListFields() if f.name != "graph"})
    protos: list[TensorProto] = []
    for tensor in model.graph.initializer:
        small = math.prod(tensor.dims) * _bits(tensor.data_type) < 8 * LARGE  # (ByteSize would encode it)
        if small or tensor.data_location == TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
            continue
        entry = graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        entry.data_location = TensorProto.EXTERNAL
        entry.external_data.add(key="location", value=_PROTO)
        entry.external_data.add(key="offset", value=str(len(protos)))
        protos.append(tensor)
    light.graph.CopyFrom(graph)
    return light, Store(None, protos=protos)


def _opset(model: ModelProto, where: str) -> int:
    """The opset of the default domain, in one spelling (IR 1 and 2 had none: it is 1), and no later than ours."""
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    if model.ir_version < 3 and not model.opset_import:
        return 1
    ours = next((e for e in model.opset_import if not e.domain), None) or model.opset_import.add(version=NEWEST)
    if ours.version < 1:
        raise _bad(where, f"opset {ours.version}: there is no such opset")
    ours.version = min(ours.version, NEWEST)
    return ours.version


def _external(part: Any) -> Iterator[TensorProto]:
    """Every tensor of a graph or function with its data elsewhere, in initialisers, attributes and bodies."""
    yield from (t for t in getattr(part, "initializer", ()) if t.data_location == TensorProto.EXTERNAL)
    for attribute in (a for n in part.node for a in n.attribute):
        if attribute.t.data_location == TensorProto.EXTERNAL:
            yield attribute.t
        for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from _external(body)


def _check(model: ModelProto, where: str) -> None:
    """onnx's checker on a copy that says nothing of where the big tensors lie (that is ours to judge)."""
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(model.ir_version, onnx.IR_VERSION)
    if copy.ir_version == 3:  # ONNX Runtime's optimiser adds initialisers that are no inputs, which 4 allows
        copy.ir_version = 4
    for part in (copy.graph, *copy.functions):
        for tensor in _external(part):
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    opset = next(e.version for e in copy.opset_import if not e.domain) if copy.opset_import else 1
    early = {op for op in _RUNTIMES if not onnx.defs.has(op, opset, "")}
    old = [n for n in copy.graph.node if not n.domain and (n.op_type in _DEPRECATED or n.op_type in early)]
    for node in old:
        node.domain = "deprecated"
    if old:
        copy.opset_import.add(domain="deprecated", version=1)
    try:
        onnx.checker.check_model(copy)
    except onnx.checker.ValidationError as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        raise _bad(where, f"not a valid ONNX model: {' '.join(lines[:3])}") from e
