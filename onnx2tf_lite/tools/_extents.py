"""Other extents of inputs than the model declares, where the rest of the model can follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConversionError, Problem, ToolError
from ..model.lazy import onnx
from .sio4onnx import io_change

Extents = dict[str, list[int | str]]
REMEDY = "export the model with this size, or with free extents"


def contradicting(
    declared: Mapping[str, Sequence[int | str | None] | None], asked: Mapping[str, Sequence[int]]
) -> Extents:
    """The shapes of ``asked`` (-1: as declared) that say another number where the model says one."""
    found: Extents = {}
    for name, wanted in asked.items():
        shape = declared.get(name) or ()
        pairs = [*zip(shape, wanted, strict=False)]
        if len(shape) == len(wanted) and any(isinstance(a, int) and b >= 0 and a != b for a, b in pairs):
            found[name] = [(f"free_{i}" if a is None else a) if b < 0 else b for i, (a, b) in enumerate(pairs)]
    return found


def carried(source: Path | onnx.ModelProto, extents: Extents) -> onnx.ModelProto:
    """The model with these inputs; constants that hold an old extent are rewritten where they provably mean it.

    :raises ConversionError: where something in the model contradicts them, which is named.
    """
    given = {"input_onnx_file_path": str(source)} if isinstance(source, Path) else {"onnx_graph": source}
    names, shapes = [*extents], [*extents.values()]
    try:
        model: onnx.ModelProto = io_change(**given, input_names=names, input_shapes=shapes, non_verbose=True)
    except ToolError as error:
        what = f"declares other extents, and cannot have these: {error.what}"
        raise ConversionError(Problem(f"input {', '.join(map(repr, names))}", what, REMEDY)) from error
    return model
