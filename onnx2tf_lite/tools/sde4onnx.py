"""Erase doc strings: exporters leave whole stack traces in them, with the paths of the machine that exported.

All kinds are erased: of the model, graphs, nodes, attributes, tensors and functions, in bodies too.

examples:
  sde4onnx -if model.onnx -of clean.onnx
  sde4onnx -if model.onnx -of clean.onnx --keep model graph       the author's own texts stay
  sde4onnx -if model.onnx -of clean.onnx --metadata               metadata of nodes and tensors goes too
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..commands import command, flag, option
from ..errors import ToolError, nearest
from ..model.lazy import onnx
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOCUMENTED = {
    "ModelProto": "model",
    "GraphProto": "graph",
    "NodeProto": "node",
    "AttributeProto": "attribute",
    "ValueInfoProto": "tensor",
    "TensorProto": "constant",
    "FunctionProto": "function",
}
#: An absolute path: POSIX with at least two parts, or with a drive letter.
PATH = re.compile(r"(?<![\w./])/(?:[\w.@+-]+/)+[\w.@+-]+|\b[A-Za-z]:\\[^\s\"']+")


@edit("MODEL GRAPH OUTPUT QUIET")
def erase(job: Edit, *, keep: Sequence[str] = (), metadata: bool = False) -> onnx.ModelProto:
    """Empty doc strings; returns the new model."""
    for kind in keep:
        if kind not in DOCUMENTED.values():
            raise ToolError(f"--keep: no kind {kind!r}", kind, nearest(kind, DOCUMENTED.values()))
    size, erased, paths = job.model.ByteSize(), Counter[str](), set[str]()
    for message in _documented(job.model):
        kind = DOCUMENTED[message.DESCRIPTOR.name]
        if message.doc_string and kind not in keep:
            paths.update(PATH.findall(message.doc_string))
            erased[kind] += 1
            message.ClearField("doc_string")
        if metadata and kind != "model" and len(getattr(message, "metadata_props", ())):
            erased["metadata"] += len(message.metadata_props)
            del message.metadata_props[:]
    found = ", ".join(f"{n} of {kind}" if kind != "metadata" else f"{n} metadata entries" for kind, n in erased.items())
    job.log.info(f"erased {found or 'nothing'}: {size - job.model.ByteSize()} bytes")
    if paths:
        job.log.info(f"{len(paths)} absolute paths were in them, such as {min(paths)}")
    job.same_outputs()
    return job.model


def _documented(message: Message) -> Iterator[Message]:
    """Every message that can have a doc string; the contents of constants are not touched."""
    if message.DESCRIPTOR.name in DOCUMENTED:
        yield message
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, held in message.ListFields():
        if field.message_type is not None:
            for inner in held if hasattr(held, "append") or hasattr(held, "add") else [held]:
                yield from _documented(inner)


main = command(
    erase,
    INPUT,
    OUTPUT,
    option("--keep KIND...", f"kinds that stay: {', '.join(DOCUMENTED.values())}"),
    flag("--metadata", "drop metadata of nodes, tensors, graphs and functions too"),
    *COMMON,
)
