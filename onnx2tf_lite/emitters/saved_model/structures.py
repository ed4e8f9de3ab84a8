"""Values of Python as a SavedModel describes them (``StructuredValue``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.graph import Value
from .nodes import datatype, tensor_shape
from .protos import Proto, message


def none() -> Proto:
    """None."""
    return message("StructuredValue")(none_value={})


def text(value: str) -> Proto:
    """A str."""
    return message("StructuredValue")(string_value=value)


def listing(values: Sequence[Proto]) -> Proto:
    """A list of structures."""
    return message("StructuredValue")(list_value={"values": values})


def tuple_(values: Sequence[Proto]) -> Proto:
    """A tuple of structures."""
    return message("StructuredValue")(tuple_value={"values": values})


def dictionary(fields: Mapping[str, Proto]) -> Proto:
    """A dict of structures."""
    return message("StructuredValue")(dict_value={"fields": fields})


def named(name: str, fields: Mapping[str, Proto]) -> Proto:
    """A named tuple of structures."""
    values = [{"key": key, "value": value} for key, value in fields.items()]
    return message("StructuredValue")(named_tuple_value={"name": name, "values": values})


def spec(name: str, value: Value) -> Proto:
    """A ``tf.TensorSpec``."""
    held = {"name": name, "shape": tensor_shape(value.shape), "dtype": datatype(value.dtype)}
    return message("StructuredValue")(tensor_spec_value=held)
