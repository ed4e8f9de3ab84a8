"""Reading a model: a file or standard input, whole or without its weights; what is in side files stays there.

Without its weights: the file is mapped into memory and its wire format walked once; every big tensor's bytes stay where
they are, and protobuf parses what is left, a few KB.  In memory a reference to a side file carries the folder it is
relative to, under onnx's own key ``basepath``; in files this key is never written nor believed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError
from .lazy import onnx
from .tensors import OWN, Store, inline, is_external, mapped, refer, reference, set_base
from .walk import DEPTH, tensors

if TYPE_CHECKING:
    from onnx import ModelProto

    from .tensors import Bytes

DEEP = "bodies are nested too deeply: flatten them"


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model in a file, or on standard input for "-"; tensors in side files stay there (see :func:`.tensors.fetch`).

    Raises ToolError for what is not there or is not an ONNX model.
    """
    name = "standard input" if str(path) == "-" else str(path)
    data, folder = (
        (sys.stdin.buffer.read(), Path.cwd()) if str(path) == "-" else (bytes(_opened(path)[:]), Path(path).parent)
    )
    model = _parse(data, name)
    for tensor in tensors(model):
        if is_external(tensor):
            set_base(tensor, str(folder.resolve()))
    return model


def read_whole(path: str | os.PathLike[str]) -> ModelProto:
    """The model in a file, with what lies in side files."""
    model = read_model(path)
    for tensor in filter(is_external, tensors(model)):
        inline(tensor)
    return model


def map_model(path: str | os.PathLike[str]) -> tuple[ModelProto, Store]:
    """The model in a file without its weights, and where these are.

    Raises ToolError for what is not there or is not an ONNX model.
    """
    from .wire import without_weights

    data = _opened(path)
    try:
        rest = without_weights(data)
    except RecursionError as error:
        raise ToolError(f"{path}: {DEEP}", str(path)) from error
    except (ValueError, IndexError):
        rest = bytes(data[:])  # protobuf has the last word
    return _parse(rest, str(path)), Store(Path(path).parent, data)


def view_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model in a file, of which large weights stay there as if it were its own side file: to look at and to run,
    not to be written.

    Raises ToolError for what is not there or is not an ONNX model.
    """
    model, _ = map_model(path)
    own, folder = Path(path).resolve(), str(Path(path).parent.resolve())
    for tensor in tensors(model):
        said = reference(tensor)
        if said.get("location") == OWN:
            refer(tensor, own.name, said)
        if is_external(tensor):
            set_base(tensor, str(own.parent) if said.get("location") == OWN else folder)
    return model


def _opened(path: str | os.PathLike[str]) -> Bytes:
    try:
        return mapped(Path(path))
    except OSError as error:
        usual = {FileNotFoundError: "no such file", IsADirectoryError: "is a folder, not an ONNX file"}
        what = usual.get(type(error)) or error.strerror or str(error)
        raise ToolError(f"{path}: cannot be read: {what}", str(path)) from error


def _parse(data: bytes, name: str) -> ModelProto:
    from google.protobuf.message import DecodeError

    from .wire import nested

    try:
        model: ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        what = "not an ONNX file but a pointer of Git LFS" if data[:7] == b"version" else "not an ONNX file, or cut off"
        raise ToolError(f"{name}: {DEEP if nested(data, DEPTH) else what}", name) from error
    if not model.HasField("graph"):
        raise ToolError(f"{name}: not an ONNX file (no graph in it)", name)
    return model
