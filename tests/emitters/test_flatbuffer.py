"""What is packed here is read back equal by LiteRT's own classes, lies as FlatBuffers asks, and is no larger."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as litert
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.emitters.tflite import schema
from onnx2tf_lite.emitters.tflite.flatbuffer import FlatTable, Later, pack
from onnx2tf_lite.emitters.tflite.schema import FIELDS, OPTIONS, Field, fields
from onnx2tf_lite.ir.kinds import KINDS

#: Tables in tables; those of a list are called as the list.
INNER = {
    "operatorCodes": "OperatorCode", "subgraphs": "SubGraph", "buffers": "Buffer", "metadata": "Metadata",
    "signatureDefs": "SignatureDef", "tensors": "Tensor", "operators": "Operator", "inputs": "TensorMap",
    "outputs": "TensorMap", "quantization": "QuantizationParameters",
}  # fmt: skip
ENDS = {"b": (-128, 127), "B": (0, 255), "i": (-(2**31), 2**31 - 1), "I": (0, 2**32 - 1),
        "q": (-(2**63), 2**63 - 1), "Q": (0, 2**64 - 1), "?": (0, 1), "f": (-1.5, 2.0**100)}  # fmt: skip


def read(data: bytes, kind: str) -> Any:
    return getattr(litert, f"{kind}T").InitFromPackedBuf(bytearray(data), 0)


def equal(content: Any, found: Any, field: Field) -> bool:
    """Is what was read what was written?"""
    if content is None:
        return found is None if not field.is_number else found == field.default
    if isinstance(content, FlatTable):
        return all(equal(content.fields.get(name), getattr(found, name), f) for name, f in fields(content.kind).items())
    if isinstance(content, str):
        return content.encode() == found
    if isinstance(content, list) and content and isinstance(content[0], FlatTable):
        return len(content) == len(found) and all(equal(a, b, field) for a, b in zip(content, found, strict=True))
    return np.array_equal(np.asarray(content, field.item), np.asarray(found))


WHOLE = Field(0, "I", 4, False, 0, None)


# ------------------------------------------------------------------------------------------------ the schema


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_has_the_number_type_and_default_of_the_schema(kind):
    empty = read(pack(FlatTable(kind), b"TFL3"), kind)
    for name, field in fields(kind).items():
        assert equal(None, getattr(empty, name), field), name
        if field.is_number or field.item is not None:
            for end in ENDS[field.code if field.is_number else field.item.char]:
                content = end if field.is_number else [end, end]
                found = read(pack(FlatTable(kind, **{name: content}), b"TFL3"), kind)
                assert equal(content, getattr(found, name), field), name


def enumeration(kind: type) -> dict[str, int]:
    return {name: number for name, number in vars(kind).items() if not name.startswith("_")}


def test_enumerations_are_those_of_the_schema():
    assert enumeration(litert.BuiltinOperator) == schema.BUILTIN_OPERATORS
    for union in ("builtinOptions", "builtinOptions2"):
        members = {name: number for name, (found, number) in OPTIONS.items() if found == union}
        assert members | {"NONE": 0} == enumeration(getattr(litert, f"B{union[1:]}"))
    for dtype, number in schema.TENSOR_TYPES.items():
        assert getattr(litert.TensorType, dtype.name.upper()) == number
    assert schema.NARROW == {4: litert.TensorType.INT4}
    for option, kind in (("padding", litert.Padding), ("fusedActivationFunction", litert.ActivationFunctionType)):
        assert schema.ENUMS[option].items() <= enumeration(kind).items()


def test_every_option_of_a_kind_is_in_the_schema_and_no_other():
    used: dict[str, set[str]] = {}
    for name, names in (kind.options for kind in KINDS.values() if kind.options):
        used.setdefault(name, set()).update(names)
    assert {name: set(fields(name)) for name in used} == used
    assert {name for name in FIELDS if name in OPTIONS} <= set(used)
    assert {kind.operator for kind in KINDS.values() if kind.operator} <= set(schema.BUILTIN_OPERATORS)


# ------------------------------------------------------------------------------------------------ any content


def numbers(code: str) -> st.SearchStrategy[Any]:
    if code == "f":
        return st.floats(width=32, allow_nan=False)
    return st.booleans() if code == "?" else st.integers(*map(int, ENDS[code]))


@st.composite
def tables(draw: st.DrawFn, kind: str) -> FlatTable:
    """A table with some of its fields, and all that is in it."""
    table = FlatTable(kind)
    for name, field in draw(st.permutations(list(fields(kind).items()))):
        if (name.endswith("Type") and kind == "Operator") or not draw(st.booleans()):
            continue
        if field.is_number:
            table.fields[name] = draw(numbers(field.code))
        elif field.item is not None:
            table.fields[name] = draw(st.lists(numbers(field.item.char), max_size=5))
        elif name in ("name", "description", "signatureKey"):
            table.fields[name] = draw(st.text(max_size=6))
        elif name in ("builtinOptions", "builtinOptions2"):
            chosen = draw(st.sampled_from([option for option, (union, _) in OPTIONS.items() if union == name]))
            table.fields |= {name: draw(tables(chosen)), f"{name}Type": OPTIONS[chosen][1]}
        elif name == "quantization":
            table.fields[name] = draw(tables(INNER[name]))
        else:
            table.fields[name] = draw(st.lists(tables(INNER[name]), max_size=3))
    return table


@settings(max_examples=150, deadline=None)
@given(tables("Model"))
def test_any_model_is_read_back_equal(model):
    data = pack(model, b"TFL3")
    assert data == pack(model, b"TFL3") and data[4:8] == b"TFL3"
    assert equal(model, read(data, "Model"), WHOLE)
    for place, alignment in numbers_of(data, struct.unpack_from("<I", data)[0], model):
        assert place % alignment == 0


@pytest.mark.parametrize("options", [name for name in FIELDS if name in OPTIONS])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_options_are_read_back_equal(options, data):
    table = data.draw(tables(options))
    assert equal(table, read(pack(table, b"TFL3"), options), WHOLE)


def numbers_of(data: bytes, table: int, content: FlatTable) -> Iterator[tuple[int, int]]:
    """(place, size) of every number and reference of a table and of all below."""
    yield table, 4
    vtable = table - struct.unpack_from("<i", data, table)[0]
    yield vtable, 2
    end, size = struct.unpack_from("<HH", data, vtable)
    for name, field in fields(content.kind).items():
        slot = 4 + 2 * field.slot
        distance = struct.unpack_from("<H", data, vtable + slot)[0] if slot < end else 0
        if distance:
            yield table + distance, field.size
            assert distance + field.size <= size
        if distance and not field.is_number:
            target = table + distance + struct.unpack_from("<I", data, table + distance)[0]
            yield from below(data, target, field, content.fields[name])


def below(data: bytes, target: int, field: Field, content: Any) -> Iterator[tuple[int, int]]:
    yield target, 4
    if isinstance(content, FlatTable):
        yield from numbers_of(data, target, content)
    elif isinstance(content, str):
        assert data[target + 4 + len(content.encode())] == 0
    elif field.item is not None:
        yield target + 4, field.item.itemsize
    else:
        for place, inner in zip(range(target + 4, len(data), 4), content, strict=False):
            yield from numbers_of(data, place + struct.unpack_from("<I", data, place)[0], inner)


# ------------------------------------------------------------------------------------------------ what is shared


def test_what_is_equal_is_written_once():
    def size(*names: str) -> int:
        tensors = [FlatTable("Tensor", name=name, shape=[1, 2, 3]) for name in names]
        return len(pack(FlatTable("SubGraph", tensors=tensors), b"TFL3"))

    growth = [size("name", *["name"] * count) - size("name") for count in range(4)]
    assert growth == [0, 16, 32, 48]  # a reference to each, and its references to the vtable, the name and the shape
    assert size("name", "a name of its own") > size("name", "name") + len("a name of its own")


def test_equal_bytes_of_tables_of_other_kinds_are_apart():
    """A float and an integer, equal as numbers, are not."""
    data = pack(FlatTable("Operator", builtinOptions=FlatTable("OneHotOptions", axis=1), builtinOptionsType=61,
                      builtinOptions2=FlatTable("LeakyReluOptions", alpha=1.0)), b"TFL3")  # fmt: skip
    operator = litert.Operator.GetRootAs(bytearray(data), 0)
    option = litert.LeakyReluOptions()
    option.Init(operator.BuiltinOptions2().Bytes, operator.BuiltinOptions2().Pos)
    assert option.Alpha() == 1 and read(data, "Operator").builtinOptions.axis == 1


def test_what_comes_later_has_its_own_place():
    later = [Later(), Later()]
    data = pack(FlatTable("Model", buffers=[FlatTable("Buffer", offset=one) for one in later]), b"TFL3")
    for i, one in enumerate(later):
        struct.pack_into("<Q", data, len(data) - one.place, 7 + i)
    found = litert.Model.GetRootAs(data, 0)
    assert [found.Buffers(i).Offset() for i in range(2)] == [7, 8]


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(struct.error):
        pack(FlatTable("OperatorCode", deprecatedBuiltinCode=128), b"TFL3")


def test_no_larger_than_the_library_writes_it():
    tensors = [FlatTable("Tensor", name=f"t{i}", shape=[1, i], type=i % 3, buffer=i, hasRank=True) for i in range(40)]
    model = pack(FlatTable("Model", subgraphs=[FlatTable("SubGraph", tensors=tensors)], version=3), b"TFL3")
    builder = flatbuffers.Builder(0)
    builder.Finish(read(model, "Model").Pack(builder), b"TFL3")
    assert len(model) <= len(builder.Output())
