"""Values as they are written on a command line: ``[1,3,'H','W']``, ``inf``, ``nan``, ``@file.npy``, dtype words."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from ..errors import ToolError
from ..model.lazy import np, onnx
from ..model.types import dtype, dtype_word

if TYPE_CHECKING:
    from numpy import ndarray


def literal(text: str) -> Any:
    """A Python literal in which ``inf``, ``-inf``, ``nan`` are numbers too and bare words are text; ``@file.npy``, an
    array."""
    if text.startswith("@"):
        return read_array(text[1:])
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        if not re.search(r"[\[\](){},'\"]", text):
            return text  # a word
        raise ToolError(f"cannot read {text!r}: {error.args[0]}", text) from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id.lower() in ("inf", "infinity", "nan"):
        return float(node.id)
    if isinstance(node, ast.Name) and node.id not in ("True", "False", "None"):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = _value(node.operand)
        if isinstance(inner, (int, float, complex)):
            return -inner if isinstance(node.op, ast.USub) else inner
        raise ValueError("a sign stands before something that is no number")
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(e) for e in node.elts]
    return ast.literal_eval(node)


def shape(text: str) -> list[int | str]:
    """Dimensions: ``[1,3,'H','W']``, ``[]`` for a scalar, ``[batch,3]`` with a bare word."""
    found = literal(text)
    if not isinstance(found, list) or not all(isinstance(d, (int, str)) and not isinstance(d, bool) for d in found):
        raise ToolError(f"{text!r} is not a shape such as [1,3,224,224] or [1,3,'H','W']", text)
    return found


def integers(text: str) -> list[int]:
    found = literal(text)
    if not isinstance(found, list) or not all(isinstance(d, int) and not isinstance(d, bool) for d in found):
        raise ToolError(f"{text!r} is not a list of whole numbers such as [0,2,3,1]", text)
    return found


def array(word: str, value: Any) -> ndarray:
    """``value`` (text, list, number or array) as an array of the dtype ``word``; what does not fit is an error."""
    elem, said = dtype(word), literal(value) if isinstance(value, str) else value
    if elem == onnx.TensorProto.STRING:
        return np.asarray(value if isinstance(said, (int, float)) else said, object)
    try:
        given = said if isinstance(said, np.ndarray) else np.asarray(said, None if _filled(said) else np.float64)
        target = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))
        with np.errstate(all="ignore"):
            made = given.astype(target)
            whole = target.kind in "iub" or "int" in dtype_word(elem)
            exact = not whole or bool(np.all(np.asarray(made.astype(object) == given.astype(object))))
    except (TypeError, ValueError, OverflowError) as error:
        raise ToolError(f"{value!r} is not {word}: {error}", str(value)) from error
    if not exact:
        raise ToolError(f"{value!r} does not fit into {word}", str(value))
    return made


def _filled(said: Any) -> bool:
    return not isinstance(said, list) or bool(np.asarray(said, object).size)


def read_array(path: str) -> ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: cannot be read as .npy: {error}", path) from error
    if not isinstance(found, np.ndarray):
        raise ToolError(f"{path}: an .npz holds several arrays; give an .npy", path)
    return found


def given_tensor(name: str, value: Any) -> onnx.TensorProto:
    """A named TensorProto from an array or (dtype word, value)."""
    return tensor(name, *value) if isinstance(value, tuple) else onnx.numpy_helper.from_array(value, name)


def tensor(name: str, word: str, value: Any) -> onnx.TensorProto:
    """A named TensorProto from a dtype word and a value as :func:`array` reads it."""
    made = array(word, value)
    if dtype(word) == onnx.TensorProto.STRING:
        made = np.asarray([str(s).encode() for s in made.reshape(-1)], object).reshape(made.shape)
    return onnx.numpy_helper.from_array(made, name)
