"""What ONNX says about an operator: does it exist, which attributes has it, of which type; nodes made accordingly."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ToolError, nearest
from ..model.lazy import np, onnx
from ..model.schema import schema
from ._values import Value, Values, array, literal


def attribute(op: str, name: str, value: Value, opset: int, domain: str = "", word: str = "") -> onnx.AttributeProto:
    """An attribute of the type that the operator's definition asks for; ``word``, a dtype, says the type of an operator
    that ONNX does not define, and the dtype of a tensor.

    ``value`` is text as :mod:`._values` reads it, or a Python or numpy value.  Raises ToolError for an attribute the
    operator does not have, and for a value that is not of its type.
    """
    found = schema(op, opset, domain)
    if found is not None and name not in found.attributes:
        what = f"{op} (opset {opset}) has no attribute {name!r}"
        raise ToolError(what, name, nearest(name, found.attributes))
    if word:
        array(word, value)  # what is said to be of a dtype has to fit into it
    kind = str(found.attributes[name].type).rpartition(".")[2] if found is not None else ""
    if isinstance(value, (onnx.AttributeProto, onnx.TensorProto, onnx.GraphProto)):
        return onnx.helper.make_attribute(name, value)
    if kind == "TENSOR" or (not kind and isinstance(value, np.ndarray) and value.ndim > 1):
        return onnx.helper.make_attribute(name, _tensor(value, word))
    said = literal(value) if isinstance(value, str) and kind not in ("STRING",) and not _text(word) else value
    if isinstance(said, np.ndarray):
        said = said.tolist()
    if not kind:
        said = _typed(said, word)
        empty = onnx.AttributeProto.INTS if said == [] else None
        return onnx.helper.make_attribute(name, said, attr_type=empty)
    return _as(kind, op, name, said)


def _text(word: str) -> bool:
    return word in ("str", "string")


def _tensor(value: Value, word: str) -> onnx.TensorProto:
    if isinstance(value, np.ndarray) and not word:
        return onnx.numpy_helper.from_array(value)
    if not word:
        guess = np.asarray(literal(value) if isinstance(value, str) else value)
        word = "float32" if guess.dtype.kind == "f" else "string" if guess.dtype.kind in "US" else str(guess.dtype)
    from ._values import tensor

    return tensor("", word, value)


def _typed(said: Value, word: str) -> Value:
    if not word or isinstance(said, str):
        return said
    return array(word, said).tolist()


def _as(kind: str, op: str, name: str, said: Value) -> onnx.AttributeProto:
    """A value in the type of the definition: 1 is a fine float, 1.0 a fine int, True too; 1.5 is no int."""
    many = kind.endswith("S")
    items = list(said) if isinstance(said, (list, tuple)) else [said]
    convert: dict[str, Callable[[Value], object]] = {"FLOAT": float, "INT": _int, "STRING": str}
    base = kind.removesuffix("S")
    if base not in convert:
        raise ToolError(f"attribute {name!r} of {op} is a {kind.lower()}: it cannot be written here", name)
    try:
        if isinstance(said, (list, tuple)) and not many:
            [one] = items
            items = [one]
        made = [convert[base](i) for i in items]
    except (TypeError, ValueError) as error:
        what = {"FLOAT": "a number", "INT": "a whole number", "STRING": "a text"}[base]
        raise ToolError(f"attribute {name!r} of {op} is {'a list of: ' if many else ''}{what}, not {said!r}") from error
    kinds = onnx.AttributeProto.AttributeType
    return onnx.helper.make_attribute(name, made if many else made[0], attr_type=kinds.Value(kind))


def _int(value: Value) -> int:
    if isinstance(value, str) or int(value) != value:
        raise ValueError(value)
    return int(value)


def make_node(
    op: str, inputs: list[str], outputs: list[str], name: str, attributes: Values, opset: int, domain: str = ""
) -> onnx.NodeProto:
    """A node whose operator exists, with attributes typed by its definition and as many inputs and outputs as it takes.

    ``attributes``: name -> value, or (value, dtype word).  Raises ToolError.
    """
    found = schema(op, opset, domain)
    node = onnx.helper.make_node(op, inputs, outputs, name or None, domain=domain or None)
    for key, value in attributes.items():
        value, word = value if isinstance(value, tuple) and len(value) == 2 else (value, "")
        node.attribute.append(attribute(op, key, value, opset, domain, word))
    if found is None:
        return node
    missing = [k for k, a in found.attributes.items() if a.required and k not in attributes]
    if missing:
        raise ToolError(f"{op} needs the attribute(s) {', '.join(missing)}", missing[0])
    for what, names, low, high in (
        ("input", inputs, found.min_input, found.max_input),
        ("output", outputs, found.min_output, found.max_output),
    ):
        if not low <= len(names) <= high:
            wanted = str(low) if low == high else f"at least {low}" if high > 1 << 30 else f"{low} to {high}"
            raise ToolError(f"{op} (opset {opset}) takes {wanted} {what}(s), not {len(names)}")
    return node
