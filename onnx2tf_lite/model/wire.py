"""protobuf's wire format, as far as it takes to leave the weights out of an ONNX file without reading them."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from .tensors import OWN, Bytes, refer

#: Tensors from this many bytes on stay outside the parsed message.
LARGE = 4096
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


def without_weights(data: Bytes) -> bytes:
    """A ModelProto's bytes with references to these in the place of its big tensors' contents.

    Raises ValueError or IndexError where the message ends too early or is none.
    """
    return _strip(data, 0, len(data), "model")


def nested(data: Bytes, most: int) -> bool:
    """Are there more than ``most`` bodies within each other, in bytes that are a ModelProto as far as they go?"""

    def deeper(start: int, end: int, kind: str, left: int) -> bool:
        if left < 0:
            return True
        for field, wire, _, pos, stop in _fields(data, start, end):
            inner = _BELOW[kind].get(field, "tensor") if wire == 2 else "tensor"
            if inner != "tensor" and deeper(pos, stop, inner, left - (inner == "graph")):
                return True
        return False

    try:
        return deeper(0, len(data), "model", most)
    except (ValueError, IndexError):
        return False


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
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


def _varint(data: Bytes, pos: int) -> tuple[int, int]:
    result, shift = 0, 0
    while shift < 70:
        byte = data[pos]
        pos += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, pos
        shift += 7
    raise ValueError("a number without an end")


def _strip(data: Bytes, start: int, end: int, kind: str) -> bytes:
    """The message data[start:end] with the contents of its big tensors replaced by references."""
    parts, kept = [], start
    for field, wire, at, pos, stop in _fields(data, start, end):
        child = _BELOW[kind].get(field) if wire == 2 and stop - pos >= LARGE else None
        if child:
            body = _refer(data, pos, stop) if child == "tensor" else _strip(data, pos, stop, child)
            parts += [data[kept:at], _number(field << 3 | 2), _number(len(body)), body]
            kept = stop
    return b"".join([*parts, data[kept:end]])


def _refer(data: Bytes, start: int, end: int) -> bytes:
    """A TensorProto whose contents, if they are one run of numpy's own bytes, became (location, offset, length)."""
    fields = list(_fields(data, start, end))
    full = [f for f in fields if f[0] in _CONTENTS and f[1] == 2]
    if len(full) != 1 or sum(f[0] == full[0][0] for f in fields) != 1:
        return bytes(data[start:end])
    [(number, _, _, pos, stop)] = full
    tensor = TensorProto.FromString(b"".join(data[at:after] for n, _, at, _, after in fields if n != number))
    if _CONTENTS[number] not in (None, tensor.data_type):
        return bytes(data[start:end])
    refer(tensor, OWN, {"offset": str(pos), "length": str(stop - pos)})
    return bytes(tensor.SerializeToString())


def _number(n: int) -> bytes:
    head = bytearray()
    while n > 127:
        head.append(n & 127 | 128)
        n >>= 7
    return bytes([*head, n])
