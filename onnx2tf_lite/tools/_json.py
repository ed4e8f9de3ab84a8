"""Places in the JSON form of a message: ("graph", "node", 0, "opType") and where it stands in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..model.lazy import onnx

if TYPE_CHECKING:
    from google.protobuf.message import Message

Document = dict[str, Any]
Steps = tuple[str | int, ...]
#: Keys that begin so are for readers: onnx2json writes them, json2onnx leaves them out.
COMMENT = "//"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def tensors(message: Message, steps: Steps = ()) -> Iterator[tuple[Steps, onnx.TensorProto]]:
    """Every TensorProto below a message, with its place."""
    if isinstance(message, onnx.TensorProto):
        yield steps, message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if hasattr(value, "ListFields"):
            yield from tensors(value, (*steps, descriptor.json_name))
        else:
            for index, item in enumerate(value):
                yield from tensors(item, (*steps, descriptor.json_name, index))


def follow(document: Any, steps: Steps) -> Any:
    for step in steps:
        document = document[step]
    return document


def path(steps: Sequence[str | int]) -> str:
    """``graph.node[0].opType``"""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")


def locate(text: str, steps: Sequence[str | int]) -> tuple[int, int] | None:
    """Line and column (from 1) of a key, or of an element of a list; None where there is none."""
    wanted, at = list(steps), list[Any]()  # of each open bracket: the number of the element, or the key, or None
    for token in _TOKEN.finditer(text):
        word = token.group()
        if at and at[-1] is None and word[0] == '"':
            at[-1] = json.loads(word)
        if word not in ("}", "]", ",", ":") and at == wanted:
            return position(text, token.start())
        if word in ("{", "["):
            at.append(None if word == "{" else 0)
        elif word in ("}", "]"):
            at.pop()
        elif word == ",":
            at[-1] = at[-1] + 1 if isinstance(at[-1], int) else None
    return None


def position(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
