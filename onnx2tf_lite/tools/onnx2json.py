"""Write a model as JSON, in protobuf's own mapping: json2onnx makes the same bytes of it again.

Keys are in lowerCamelCase, 64-bit numbers and Base64 bytes are strings.  Tensors in side files stay references to them,
unless --weights inline brings them in.  With none, hash or summary the JSON is for reading and comparing only: contents
of more than 64 bytes are left out, and json2onnx says so.  Keys that begin with // are comments.

examples:
  onnx2json -if LayerNormalization2D_17.onnx -oj LayerNormalization2D_17.json
  onnx2json -if model.onnx -oj model.json --decode              a readable copy beside each small tensor
  onnx2json -if model.onnx -oj - --weights hash | diff old.json -
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Any

from ..commands import Log, command, flag, option
from ..errors import ToolError, naming
from ..model.lazy import np, onnx
from ..model.light import light
from ..model.read import read_model
from ..model.tensors import fetch, inline, is_external, nbytes, reference, to_array
from ..model.write import atomic
from . import _json
from ._options import GRAPH, INPUT, QUIET
from ._values import show

WEIGHTS = ("none", "hash", "summary", "inline")
#: Contents up to this many bytes are never left out; tensors up to this many elements get a readable copy.
SMALL = 64
#: Contents from this many bytes on are written piece by piece.
STREAMED = 1 << 16
PIECE = 3 << 20  # a multiple of 3, of which Base64 makes 4 characters
_PLAIN = {"name", "dims", "data_type", "raw_data", "doc_string", "metadata_props"}
_CONTENTS = ("rawData", "floatData", "int32Data", "stringData", "int64Data", "doubleData", "uint64Data", "externalData")


@naming("onnx2json")
def convert(
    input_onnx_file_path: str = "",
    onnx_graph: onnx.ModelProto | None = None,
    output_json_path: str = "",
    json_indent: int = 2,
    *,
    weights: str = "",
    decode: bool = False,
    non_verbose: bool = False,
) -> _json.Document:
    """The model as a dictionary; also written if there is an output path."""
    model = _model(input_onnx_file_path, onnx_graph, weights)
    document = _document(model, weights, decode)
    if output_json_path:
        _write(model, output_json_path, [json.dumps(document, indent=json_indent)], Log(non_verbose, output_json_path))
    return document


def write(input_onnx_file_path: str, output_json_path: str, json_indent: int = 2, **options: Any) -> None:
    """The command: as :func:`convert`, without the dictionary, which takes a lot of memory."""
    weights, decode = options.get("weights", ""), options.get("decode", False)
    model = _model(input_onnx_file_path, None, weights)
    log = Log(options.get("non_verbose", False), output_json_path)
    _write(model, output_json_path, _text(model, json_indent, weights, decode), log)


def _model(path: str, graph: onnx.ModelProto | None, weights: str) -> onnx.ModelProto:
    if weights not in ("", *WEIGHTS):
        raise ToolError(f"weights {weights!r}: there are {', '.join(WEIGHTS)}", weights, WEIGHTS)
    if graph is None and not path:
        raise ToolError("no model: give input_onnx_file_path or onnx_graph")
    model = onnx.ModelProto()
    model.CopyFrom(graph if graph is not None else read_model(path))
    if weights == "inline":
        for _, tensor in _json.tensors(model):
            if is_external(tensor):
                inline(tensor)
    return model


def _write(model: onnx.ModelProto, path: str, pieces: Iterable[str], log: Log) -> None:
    size = 0
    if path == "-":
        for piece in pieces:
            size += sys.stdout.write(piece)
        sys.stdout.write("\n")
    else:
        with atomic(path) as file:
            for piece in pieces:
                size += file.write(piece.encode())
    beside = [t for _, t in _json.tensors(model) if is_external(t)]
    if (
        beside
        and path != "-"
        and Path(reference(beside[0]).get("basepath", "")).resolve() != Path(path).resolve().parent
    ):
        log.warning(f"the weights of {len(beside)} tensor(s) stay in the model's side file, not beside the JSON")
    log.info(f"{len(model.graph.node)} nodes, {len(model.graph.initializer)} initializers: {size} bytes of JSON")
    log.info("Finish!")


def _text(model: onnx.ModelProto, indent: int, weights: str, decode: bool) -> Iterator[str]:
    """The JSON in pieces: large contents are Base64 of their bytes where they lie, never copied as a whole."""
    streamed = weights in ("", "inline")
    copy, pairs = light(model, lambda t: streamed and nbytes(t) >= STREAMED and _is_plain(t))
    held = [(own, tensor) for own, tensor in pairs if not is_external(own)]
    prefix = token_bytes(12)  # of 16 letters in Base64, as the number has 12
    for k, (own, _) in enumerate(held):
        own.raw_data = prefix + b"%09d" % k
    mark = re.escape(base64.b64encode(prefix).decode()) + "([A-Za-z0-9+/]{12})"
    pieces = re.split(mark, json.dumps(_document(copy, weights, decode), indent=indent))
    for k, piece in enumerate(pieces):
        if k % 2 == 0:
            yield piece
            continue
        data = memoryview(fetch(held[int(base64.b64decode(piece))][1]))
        for start in range(0, len(data), PIECE):
            yield base64.b64encode(data[start : start + PIECE]).decode()


def _is_plain(tensor: onnx.TensorProto) -> bool:
    """Does the copy without contents say everything else?"""
    return tensor.HasField("raw_data") and {d.name for d, _ in tensor.ListFields()} <= _PLAIN


def _document(model: onnx.ModelProto, weights: str, decode: bool) -> _json.Document:
    from google.protobuf.json_format import MessageToDict

    document: _json.Document = MessageToDict(model)
    for steps, tensor in _json.tensors(model):
        entry = _json.follow(document, steps)
        if is_external(tensor):  # the folder is known in memory only
            entry["externalData"] = [e for e in entry["externalData"] if e["key"] != "basepath"]
        if weights in WEIGHTS[:3] and nbytes(tensor) > SMALL:
            for key in _CONTENTS:
                entry.pop(key, None)
            entry.pop("dataLocation", None)
            entry[f"{_json.COMMENT}weights"] = _summary(tensor, weights)
        elif decode and _elements(tensor) <= SMALL and not is_external(tensor):
            entry[f"{_json.COMMENT}values"] = show(to_array(tensor))
    return document


def _elements(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _summary(tensor: onnx.TensorProto, weights: str) -> _json.Document:
    said: _json.Document = {"bytes": nbytes(tensor)}
    if is_external(tensor):
        said["file"] = reference(tensor).get("location", "")
    if weights == "none" or tensor.data_type == onnx.TensorProto.STRING:
        return said
    said["sha256"] = sha256(fetch(tensor)).hexdigest()
    if weights == "summary":
        values = to_array(tensor).reshape(-1)
        number = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
        if number.dtype.kind == "f":
            said |= {"min": f"{number.min():.9g}", "max": f"{number.max():.9g}"}
        said |= {"mean": f"{number.mean():.9g}", "std": f"{number.std():.9g}", "first": show(values[:8])}
    return said


main = command(
    write,
    GRAPH,
    INPUT,
    option("-oj --output_json_path FILE", 'the JSON; "-": standard output', group="input and output", required=True),
    option("-i --json_indent N", "blanks per level (default: 2)", type=int),
    option("--weights", "what stands for contents of more than 64 bytes (default: as in the model)", choices=WEIGHTS),
    flag("--decode", f"a readable copy beside each tensor of up to {SMALL} elements"),
    QUIET,
    explains=[convert],
)
