"""Is it a model, and of which types are its tensors: onnx's checker and shape inference, without the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError
from .inference import infer_shapes, said
from .lazy import onnx
from .light import light, skeleton
from .types import contradict, type_text, types
from .walk import is_function, scopes

if TYPE_CHECKING:
    from onnx import ModelProto


def infer(model: ModelProto, strict: bool = False) -> ModelProto:
    """A copy without large constants in which value_info holds every type that shape inference finds."""
    copy = skeleton(model)
    found = infer_shapes(copy, check_type=strict, strict=strict)
    for scope in scopes(found):
        for kind in types(scope.graph).values():
            for dim in kind.tensor_type.shape.dim:
                if dim.dim_param.startswith("unk__"):  # a name that inference made up
                    dim.ClearField("value")
    return found


def problem(model: ModelProto) -> str:
    """Why onnx does not accept the model, in one line; empty where it does."""
    copy = skeleton(model)
    copy.ir_version = min(copy.ir_version, onnx.IR_VERSION)
    try:
        if len(copy.graph.initializer) or any(a.HasField("g") for n in copy.graph.node for a in n.attribute):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.onnx")
                Path(folder, "none").touch()
                path.write_bytes(copy.SerializeToString())
                onnx.checker.check_model(str(path))
        else:
            onnx.checker.check_model(copy)
    except onnx.checker.ValidationError as error:
        return f"onnx.checker: {said(error)}"
    try:
        infer(model, strict=True)
    except ToolError as error:
        return error.what
    return ""


def check(model: ModelProto, before: Callable[[], ModelProto | None], warn: Callable[[str], None]) -> None:
    """Raise ToolError for an invalid model; only warn where it was just as invalid ``before``."""
    found = problem(model)
    if not found:
        return
    old = before()
    if old is None or not problem(old):
        raise ToolError(f"the result is not a valid model: {found}")
    warn(f"the model was not valid before, and is not now: {found}")


def retype(model: ModelProto) -> list[str]:
    """After a rewiring: replace declared types that contradict what is inferred now; says which outputs changed."""
    bare = light(model, lambda t: False)[0]
    for scope in scopes(bare):
        if not is_function(scope.graph):
            del scope.graph.value_info[:]
            for info in scope.graph.output:
                if info.type.HasField("tensor_type"):  # asking a sequence for it would make it a tensor
                    info.type.tensor_type.ClearField("shape")
    notes = []
    for scope, inferred in zip(scopes(model), scopes(infer(bare)), strict=True):
        known = types(inferred.graph)
        for info in scope.graph.value_info:
            if info.name in known and contradict(info.type, known[info.name]):
                info.type.CopyFrom(known[info.name])
        for info in () if is_function(scope.graph) else scope.graph.output:
            if info.name in known and contradict(info.type, known[info.name]):
                was = type_text(info.type)
                info.type.CopyFrom(known[info.name])
                notes.append(f"output {scope.address(info.name)} was {was} and is now {type_text(info.type)}")
    return notes
