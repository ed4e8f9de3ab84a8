"""Nodes of graphs and functions, appended one by one.

Operand types, list lengths and result types follow from the signatures in ``operators``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from ...ir.dims import Expr, Shape
from .operators import operator
from .protos import DTYPES, Proto, message


class Ref(NamedTuple):
    """A tensor, as nodes name it, and its ``DataType`` number."""

    name: str
    dtype: int


Operand = Union[Ref, Sequence[Ref]]


def datatype(dtype: np.dtype) -> int:
    """The ``DataType`` of a numpy dtype."""
    return DTYPES[dtype.name]


def identifier(name: str) -> str:
    """A name that TensorFlow allows, made of any."""
    return re.sub("[^A-Za-z0-9_./]", "_", name).lstrip("_/")[-200:] or "node"


class NodeNames:
    """NodeNames that differ in more than case; those that match ``reserved`` are given to nobody."""

    def __init__(self, reserved: str = "(?!)"):
        self.reserved = re.compile(reserved)
        self.taken: set[str] = set()
        self.counts: dict[str, int] = {}

    def new(self, stem: str) -> str:
        """``stem`` where it is free, else with a number behind it."""
        name = stem
        while name.lower() in self.taken or self.reserved.fullmatch(name):
            self.counts[stem] = self.counts.get(stem, 0) + 1
            name = f"{stem}_{self.counts[stem]}"
        self.taken.add(name.lower())
        return name


def partial(shape: Shape) -> list[int | None]:
    """The shape with None for symbolic extents."""
    return [None if isinstance(d, Expr) else int(d) for d in shape]


def tensor_shape(shape: Shape) -> Proto:
    """A ``TensorShapeProto``: -1 is an extent that is not known, and 0 is left out."""
    sizes = [-1 if d is None else d for d in partial(shape)]
    return message("TensorShapeProto")(dim=[{"size": d} if d else {} for d in sizes])


def append(nodes: Proto, kind: str, name: str, operands: Sequence[Operand], **attrs: object) -> Proto:
    """Append to ``nodes`` one of operator ``kind``.  Attributes that operands do not determine are given."""
    signature = operator(kind)
    node = nodes.add(op=kind, name=name)
    for argument, operand in zip(signature.operands, operands, strict=True):
        refs = [operand] if isinstance(operand, Ref) else list(operand)
        node.input.extend(r.name for r in refs)
        if argument.listed:
            attrs[argument.typed] = [r.dtype for r in refs]
        elif argument.typed:
            attrs[argument.typed] = refs[0].dtype
        if argument.number:
            attrs[argument.number] = len(refs)
    for attribute, value in attrs.items():
        _set(node.attr[attribute], signature.attributes[attribute], value)
    return node


def results(node: Proto) -> list[Ref]:
    """The results of a node in a function."""
    return [
        Ref(f"{node.name}:{argument.name}:{i}", dtype)
        for argument in operator(node.op).results
        for i, dtype in enumerate(argument.types(node.attr))
    ]


def inline(nodes: Proto, function: Proto, names: dict[str, str]) -> None:
    """Append the nodes of a function, under their own names.

    ``names``: what its tensors are called among ``nodes``; given for its arguments, it gets those of all results, which
    are counted over all of a node there (``a:2``), and not by argument (``a:values:0``).
    """
    for node in function.node_def:
        names.update({ref.name: f"{node.name}:{place}" for place, ref in enumerate(results(node))})
        copied = nodes.add()
        copied.CopyFrom(node)
        copied.input[:] = [names[n] for n in node.input]


def constant(nodes: Proto, name: str, array: np.ndarray) -> Proto:
    """Append ``array``."""
    node = append(nodes, "Const", name, (), dtype=array.dtype)
    held = {"dtype": datatype(array.dtype), "tensor_shape": tensor_shape(array.shape)}
    node.attr["value"].tensor.CopyFrom(message("TensorProto")(tensor_content=array.tobytes(), **held))
    return node


def strings(nodes: Proto, name: str, texts: Sequence[bytes] | bytes) -> Proto:
    """Append a vector of ``texts``, or one text."""
    node = append(nodes, "Const", name, (), dtype=DTYPES["string"])
    values, shape = ([texts], ()) if isinstance(texts, bytes) else (texts, (len(texts),))
    tensor = message("TensorProto")(dtype=DTYPES["string"], tensor_shape=tensor_shape(shape), string_val=values)
    node.attr["value"].tensor.CopyFrom(tensor)
    return node


def shapes(slot: Proto, found: Sequence[Shape]) -> None:
    """Fill an attribute with a list of shapes."""
    slot.list.SetInParent()
    slot.list.shape.extend(map(tensor_shape, found))


FIELDS = {"type": "type", "int": "i", "float": "f", "bool": "b", "string": "s"}


def _set(slot: Proto, kind: str, value: Any) -> None:
    """Fill an AttrValue whose declared type is ``kind``."""
    if kind == "func":
        slot.func.name = value
    elif kind == "shape":
        slot.shape.CopyFrom(tensor_shape(value))
    elif kind == "shapes":
        shapes(slot, value)
    elif kind in ("ints", "types"):
        slot.list.SetInParent()
        getattr(slot.list, FIELDS[kind[:-1]]).extend(value)
    else:
        value = datatype(value) if isinstance(value, np.dtype) else value
        setattr(slot, FIELDS[kind], value.encode() if kind == "string" else value)
