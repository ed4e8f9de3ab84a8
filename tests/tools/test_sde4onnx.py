"""sde4onnx: doc strings of every kind go, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import Message
from onnx import ModelProto, helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sde4onnx import erase

from . import models
from .cli import Cli, cli
from .models import info, node

__all__ = ["cli"]

KINDS = {
    "ModelProto": "model", "GraphProto": "graph", "NodeProto": "node", "AttributeProto": "attribute",
    "ValueInfoProto": "tensor", "TensorProto": "constant", "FunctionProto": "function",
}  # fmt: skip
TRACE = '  File "/home/somebody/models/net.py", line 7, in forward'


def messages(message: Any) -> list[Any]:
    """Every message inside a message, and itself."""
    found = [message]
    for field, held in message.ListFields():
        if field.message_type is not None:
            for inner in [held] if isinstance(held, Message) else held:
                found += messages(inner)
    return found


def documented(model: ModelProto) -> list[Any]:
    return [m for m in messages(model) if m.DESCRIPTOR.name in KINDS]


def talkative(name: str) -> tuple[ModelProto, bytes]:
    """A model with a doc string wherever one can be, and its bytes without."""
    model = models.build(name)
    for message in documented(model):
        message.ClearField("doc_string")
    bare = model.SerializeToString(deterministic=True)
    for message in documented(model):
        message.doc_string = TRACE
    return model, bare


@pytest.mark.parametrize("name", [n for n in models.NAMES if n != "many"])
def test_erases_all_doc_strings_and_nothing_else(name: str) -> None:
    before, bare = talkative(name)
    after = erase(onnx_graph=before, non_verbose=True, check=False)
    assert after.SerializeToString(deterministic=True) == bare


REAL = models.real("mnist_8", "yunet_n_dynamic", "silero_vad_16k_op15", "bert.ts13", "gpt.dynamo")


@pytest.mark.parametrize("path", REAL)
def test_real_models(path: Path, tmp_path: Path) -> None:
    erase(str(path), output_onnx_file_path=str(tmp_path / "o.onnx"), non_verbose=True)
    expected = onnx.load(path)
    for message in documented(expected):
        if message.doc_string:  # an empty one may be there: a file without texts stays as it is
            message.ClearField("doc_string")
    assert onnx.load(tmp_path / "o.onnx") == expected


def test_every_kind_is_tried() -> None:
    kinds = {m.DESCRIPTOR.name for n in ("func", "ifm", "flatc") for m in documented(models.build(n))}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_kinds_can_stay(kind: str) -> None:
    before, _ = talkative("func" if kind in ("function", "model", "graph", "tensor") else "flatc")
    after = erase(onnx_graph=before, non_verbose=True, keep=[kind])
    left = {KINDS[m.DESCRIPTOR.name] for m in documented(after) if m.doc_string}
    assert left == {kind}


def test_what_was_erased_is_said(cli: Cli, tmp_path: Path) -> None:
    model = models.build("branch")
    model.graph.node[0].doc_string, model.graph.node[1].doc_string = TRACE, "C:\\work\\net.py, a line"
    onnx.save(model, tmp_path / "m.onnx")
    result = cli("sde4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx")
    saved = (tmp_path / "m.onnx").stat().st_size - (tmp_path / "o.onnx").stat().st_size
    assert f"erased 2 of node: {saved} bytes" in result.text
    assert "2 absolute paths were in them, such as /home/somebody/models/net.py" in result.text


@pytest.mark.parametrize(
    "text", ["1/2 of 3/4", "torch/nn/functional.py", "https://example.org/a/b", "and/or"], ids=lambda t: t.split()[0]
)
def test_what_is_no_absolute_path(text: str, cli: Cli, tmp_path: Path) -> None:
    model = models.build("ma")
    model.doc_string = text
    onnx.save(model, tmp_path / "m.onnx")
    assert "absolute" not in cli("sde4onnx", "-if", tmp_path / "m.onnx", "-of", tmp_path / "o.onnx").text


def test_metadata_of_nodes_goes_when_asked() -> None:
    before = models.build("cnn")
    before.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=TRACE)
    before.graph.initializer[0].metadata_props.add(key="k", value="v")
    assert len(erase(onnx_graph=before, non_verbose=True).graph.node[0].metadata_props) == 1
    after = erase(onnx_graph=before, non_verbose=True, metadata=True)
    assert not after.graph.node[0].metadata_props and not after.graph.initializer[0].metadata_props
    assert [p.key for p in after.metadata_props] == ["author", "licence"]


def test_texts_in_constants_stay() -> None:
    text = helper.make_tensor("t", onnx.TensorProto.STRING, [1], [TRACE.encode()])
    before = models.model([node("Identity", ["t"], ["y"], "i", doc_string=TRACE)], [], [info("y", 8, [1])], [text])
    after = erase(onnx_graph=before, non_verbose=True)
    assert after.graph.initializer[0].string_data == [TRACE.encode()] and not after.graph.node[0].doc_string


def test_unknown_kind() -> None:
    with pytest.raises(ToolError, match="--keep: no kind 'modell'; nearest: 'model'"):
        erase(onnx_graph=models.build("ma"), keep=["modell"])
