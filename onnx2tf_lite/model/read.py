"""Reading a model: a file or standard input; tensors in side files stay there.

In memory their reference carries the folder it is relative to, under onnx's own key ``basepath``; in files this key is
never written nor believed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError
from .lazy import onnx
from .tensors import _base
from .walk import tensors

if TYPE_CHECKING:
    from onnx import ModelProto


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model in a file, or on standard input for "-"; tensors in side files stay there (see :func:`fetch`).

    Raises ToolError for what is not there or is not an ONNX model.
    """
    name = str(path)
    if name == "-":
        data, folder = sys.stdin.buffer.read(), Path.cwd()
    else:
        try:
            data, folder = Path(path).read_bytes(), Path(path).parent.resolve()
        except OSError as error:
            raise ToolError(f"{name}: cannot be read: {error.strerror}", name) from error
    return parse(data, folder, "standard input" if name == "-" else name)


def parse(data: bytes, folder: Path, name: str) -> ModelProto:
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        what = "is a pointer of Git LFS" if data[:7] == b"version" else "is not an ONNX model, or is cut off"
        raise ToolError(f"{name}: {what}", name) from error
    if not model.HasField("graph"):
        raise ToolError(f"{name}: is not an ONNX model (no graph in it)", name)
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _base(tensor, str(folder))
    return model
