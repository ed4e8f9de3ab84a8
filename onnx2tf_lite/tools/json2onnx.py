"""Make a model of its JSON form (see onnx2json).

Errors say line, column and place.  Keys that begin with // are comments.  The contents of a tensor may be readable:
"values": [[1, 2], [3, 4]] or "values": "[1,2]" instead of "rawData".

examples:
  json2onnx -ij model.json -of model.onnx
  onnx2json -if model.onnx -oj - | sed 's/"Relu"/"Sigmoid"/' | json2onnx -ij - -of edited.onnx
"""

from __future__ import annotations

import base64
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..commands import command, group, option, parameter
from ..errors import ToolError, nearest
from ..model.lazy import onnx
from ..model.tensors import is_external, nbytes
from . import _json
from ._edit import Edit, edit
from ._options import COMMON, OUTPUT
from ._values import exact, literal, pack

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Typed contents whose number is that of the elements (of a complex type: twice).
_TYPED = ("float_data", "string_data", "int64_data", "double_data", "uint64_data")


@edit("* OUTPUT")
def convert(job: Edit, input_json_path: str = "", json_dict: _json.Document | None = None) -> onnx.ModelProto:
    """The model that the JSON of one describes."""
    text = ""
    if json_dict is None:
        if not input_json_path:
            raise ToolError("no model: give input_json_path or json_dict")
        text = _read(input_json_path)
        json_dict = _parse(text, input_json_path)
    job.model = _model(json_dict, text, input_json_path)
    folder = Path.cwd() if input_json_path in ("", "-") else Path(input_json_path).resolve().parent
    for steps, tensor in _json.tensors(job.model):
        if is_external(tensor):
            tensor.external_data.add(key="basepath", value=str(folder))
        else:
            _measure(tensor, steps, json_dict, text, input_json_path)
    return job.model


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}", path) from error


def _parse(text: str, name: str) -> _json.Document:
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ToolError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}", name) from error
    except _TwiceError as error:
        raise ToolError(f"{name}: the key {error.args[0]!r} stands twice in one object", error.args[0]) from error
    if not isinstance(found, dict):
        raise ToolError(f"{name}: not a model: the JSON of a model is an object")
    return found


class _TwiceError(Exception):
    pass


def _once(pairs: list[tuple[str, object]]) -> _json.Document:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return found


def _model(document: _json.Document, text: str, name: str) -> onnx.ModelProto:
    from google.protobuf.json_format import ParseDict, ParseError

    plain = _clean(document, (), text, name)
    try:
        model: onnx.ModelProto = ParseDict(plain, onnx.ModelProto())
    except ParseError as error:
        found = _culprit(plain, onnx.ModelProto(), ())
        if found is None:
            raise _error(str(error).splitlines()[0], (), text, name) from error
        what, steps, field, known = found
        raise _error(what, steps, text, name, field, nearest(field, known) if known else []) from error
    if not model.HasField("graph"):
        raise ToolError(f"{name}: not a model: no graph in it", name)
    return model


def _culprit(
    document: _json.Document, message: Message, steps: _json.Steps
) -> tuple[str, _json.Steps, str, list[str]] | None:
    """What protobuf does not take, and where: by parsing field after field.  The names are those it may have been."""
    from google.protobuf.json_format import ParseDict, ParseError

    fields = {f.json_name: f for f in message.DESCRIPTOR.fields}
    for key, value in document.items():
        field, here = fields.get(key), (*steps, key)
        if field is None:
            return f"{message.DESCRIPTOR.name} has no field {key!r}", here, key, list(fields)
        part = getattr(message, field.name)
        inner = [(value, here)] if isinstance(value, dict) else []
        if isinstance(value, list):
            inner = [(item, (*here, k)) for k, item in enumerate(value) if isinstance(item, dict)]
        for item, place in inner if field.message_type is not None else ():
            found = _culprit(item, part.add() if isinstance(value, list) and hasattr(part, "add") else part, place)
            if found:
                return found
        try:
            ParseDict({key: value}, type(message)())
        except ParseError as error:
            why = str(error).splitlines()[0].removeprefix(f"Failed to parse {key} field: ").rstrip(".")
            return f"{key}: {why}", here, "", []
    return None


def _error(
    what: str, steps: _json.Steps, text: str, name: str, wrong: str = "", candidates: list[str] | None = None
) -> ToolError:
    """What is wrong, with the place in the file and in the document."""
    at = _json.locate(text, steps) if text else None
    where = ":".join(map(str, [*([name] if name else []), *(at or ())]))
    inside = _json.path(steps)
    return ToolError(f"{where}: {what}" + (f" (at {inside})" if inside else ""), wrong, candidates or [])


def _clean(item: object, steps: _json.Steps, text: str, name: str) -> Any:
    """Without comments; readable contents as Base64."""
    if isinstance(item, list):
        return [_clean(e, (*steps, k), text, name) for k, e in enumerate(item)]
    if not isinstance(item, dict):
        return item
    plain = {k: _clean(e, (*steps, k), text, name) for k, e in item.items() if not k.startswith(_json.COMMENT)}
    values = plain.get("values")
    if isinstance(values, list | str):  # (of a sparse tensor it is a tensor)
        if "rawData" in plain:
            raise _error("a tensor with values and rawData: which?", (*steps, "values"), text, name)
        try:
            array = exact(literal(values) if isinstance(values, str) else values, int(plain.get("dataType", 0)))
        except (ToolError, KeyError, ValueError) as error:
            why = error.what if isinstance(error, ToolError) else "it needs a dataType"
            raise _error(f"values: {why}", (*steps, "values"), text, name) from error
        dims = [int(d) for d in plain.setdefault("dims", list(array.shape))]
        if list(array.shape) not in (dims, [math.prod(dims)]):
            raise _error(f"values of shape {list(array.shape)}; dims are {dims}", (*steps, "values"), text, name)
        del plain["values"]
        plain["rawData"] = base64.b64encode(pack(array)).decode()
    return plain


def _measure(tensor: onnx.TensorProto, steps: _json.Steps, document: _json.Document, text: str, name: str) -> None:
    """Does the tensor hold as much as its dims and dtype say?"""
    try:
        need, count = nbytes(tensor), math.prod(tensor.dims)
    except (KeyError, ValueError) as error:
        raise _error(f"dataType {tensor.data_type} is none of a tensor", steps, text, name) from error
    label = f"tensor {tensor.name!r}"
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != need:
            what = f"{label}: rawData has {len(tensor.raw_data)} bytes, its dims and dataType need {need}"
            raise _error(what, (*steps, "rawData"), text, name)
        return
    held = next((len(getattr(tensor, f)) for f in _TYPED if len(getattr(tensor, f))), 0)
    if len(tensor.int32_data) or held in (count, 2 * count):
        return
    comment = f"{_json.COMMENT}weights" in _json.follow(document, steps)
    why = "; this JSON was written without weights (onnx2json --weights)" if comment else ""
    raise _error(f"{label}: {held} of {count} elements{why}", steps, text, name)


main = command(
    convert,
    *group("input and output", option("-ij --input_json_path FILE", 'the JSON; "-": standard input', required=True)),
    parameter("json_dict", "the JSON in memory; the path is then not looked at"),
    OUTPUT,
    *COMMON,
)
