"""Damaged and hostile models: bytes and protobuf fields of good ones, changed at random, the same for a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

#: Where sizes, axes and attributes stop to fit a type, or a memory.
NUMBERS = (0, 1, -1, 2, 3, 7, -2, 64, 255, 1000, 10**5, 10**7, 10**9, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40, 2**62,
           2**63 - 1, -(2**63))  # fmt: skip
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 3e38, -3e38, math.inf, -math.inf, math.nan)
WORDS = ("", "x", "y", "bogus", "linear", "a" * 300, "é\u2028", "/", "../../etc/passwd", "a:0", "SAME_UPPER")
INTEGERS = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_ENUM,
            FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_BOOL}  # fmt: skip
FLOATS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
#: Fields in which a large number is the point of a bomb.
SIZES = {"dim_value", "i", "ints", "dims", "int64_data", "int32_data"}
Random = random.Random
Place = tuple[Message, FieldDescriptor]


def damaged(model: bytes, seed: str) -> bytes:
    """The bytes of a model after one way of damage, which ``seed`` chooses."""
    chance = Random(seed)
    way = chance.choices((_bytes, _protobuf, _bomb), (2, 6, 2))[0]
    return way(model, chance)


def _bytes(model: bytes, chance: Random) -> bytes:
    data = bytearray(model)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 4, 16, 100))
        chance.choice(_CHANGES)(data, at, length, chance)
    return bytes(data)


def _cut(data: bytearray, at: int, length: int, chance: Random) -> None:
    del data[at:]


def _flip(data: bytearray, at: int, length: int, chance: Random) -> None:
    for index in range(at, min(at + length, len(data))):
        data[index] ^= 1 << chance.randrange(8)


def _drop(data: bytearray, at: int, length: int, chance: Random) -> None:
    del data[at : at + length]


def _insert(data: bytearray, at: int, length: int, chance: Random) -> None:
    data[at:at] = chance.randbytes(length)


def _repeat(data: bytearray, at: int, length: int, chance: Random) -> None:
    data[at:at] = data[at : at + length]


_CHANGES = (_cut, _flip, _flip, _flip, _drop, _insert, _repeat)


def _protobuf(model: bytes, chance: Random) -> bytes:
    message = ModelProto.FromString(model)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(message))
        _change(*chance.choice(places), places, chance)
    return message.SerializeToString()


def _bomb(model: bytes, chance: Random) -> bytes:
    """Sizes, axes and attributes of the graph's numbers, and in constants, become very large."""
    message = ModelProto.FromString(model)
    sizes = [place for place in _places(message.graph) if place[1].name in SIZES]
    sizes += [(t, t.DESCRIPTOR.fields_by_name["raw_data"]) for t in _integers(message)]
    for owner, field in chance.sample(sizes, min(len(sizes), chance.choice((1, 1, 2)))):
        if field.name == "raw_data":
            assert isinstance(owner, TensorProto)
            values = np.frombuffer(owner.raw_data, np.int64).copy()
            values[chance.randrange(values.size)] = chance.choice(NUMBERS)
            owner.raw_data = values.tobytes()
        else:
            _number(owner, field, chance)
    return message.SerializeToString()


def _integers(message: ModelProto) -> Iterator[TensorProto]:
    """Constants of int64 that have values, which may be shapes."""
    nodes = (a.t for n in message.graph.node for a in n.attribute if a.HasField("t"))
    for tensor in (*message.graph.initializer, *nodes):
        if tensor.data_type == TensorProto.INT64 and tensor.raw_data and len(tensor.raw_data) % 8 == 0:
            yield tensor


def repeated(field: FieldDescriptor) -> bool:
    """Is a field a list?  Releases of protobuf before 6.31 have a label for it and no name."""
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _places(message: Message) -> Iterator[Place]:
    """Every field that is set, of every message."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if repeated(field) else [value]:
                yield from _places(inner)


def _change(owner: Message, field: FieldDescriptor, places: list[Place], chance: Random) -> None:
    if repeated(field) and chance.random() < 0.4:
        chance.choice((_shorter, _longer, _swapped))(getattr(owner, field.name), chance)
    elif field.message_type is not None:
        _transplant(owner, field, places, chance)
    elif field.cpp_type in INTEGERS:
        _number(owner, field, chance)
    elif field.cpp_type in FLOATS:
        _put(owner, field, chance.choice(REALS), chance)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        _put(owner, field, _damaged_bytes(owner, field, chance), chance)
    else:
        others = [getattr(m, f.name) for m, f in places if f is field and not repeated(f)]
        _put(owner, field, chance.choice([*WORDS, *others[:20]]), chance)


def _shorter(items: Any, chance: Random) -> None:
    if items:
        del items[chance.randrange(len(items))]


def _longer(items: Any, chance: Random) -> None:
    if items:
        items.append(items[chance.randrange(len(items))])


def _swapped(items: Any, chance: Random) -> None:
    copies = list(items)
    chance.shuffle(copies)
    copies = [type(c).FromString(c.SerializeToString()) if isinstance(c, Message) else c for c in copies]
    del items[:]
    items.extend(copies)


def _transplant(owner: Message, field: FieldDescriptor, places: list[Place], chance: Random) -> None:
    """A message is lost, or gets the contents of another one of its kind."""
    donors = [(m, f) for m, f in places if f.message_type is field.message_type and not repeated(f)]
    if repeated(field) or not donors or chance.random() < 0.3:
        owner.ClearField(field.name)
        return
    donor, name = chance.choice(donors)
    content = getattr(donor, name.name).SerializeToString()
    owner.ClearField(field.name)
    getattr(owner, field.name).MergeFromString(content)


def _number(owner: Message, field: FieldDescriptor, chance: Random) -> None:
    number = chance.choice(NUMBERS)
    bits = 31 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM) else 63
    if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        number = abs(number)
    _put(owner, field, max(-(2**bits), min(2**bits - 1, number)), chance)


def _damaged_bytes(owner: Message, field: FieldDescriptor, chance: Random) -> bytes:
    value = getattr(owner, field.name)
    data = bytearray(chance.choice(list(value)) if repeated(field) and value else value or b"")
    change: Callable[..., None] = chance.choice(_CHANGES)
    change(data, chance.randrange(len(data) + 1), chance.choice((1, 4, 8)), chance)
    return bytes(data)


def _put(owner: Message, field: FieldDescriptor, value: Any, chance: Random) -> None:
    try:
        if repeated(field):
            items = getattr(owner, field.name)
            items[chance.randrange(len(items))] = value
        else:
            setattr(owner, field.name, value)
    except ValueError:  # closed enumerations take no unknown number
        owner.ClearField(field.name)
