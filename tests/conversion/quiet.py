"""Quiet conversions of a small network, and what they leave: for the tests of files and of options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from ai_edge_litert.interpreter import Interpreter

import onnx2tf_lite
from onnx2tf_lite import convert


def quiet(source: Any, out: Path | str = "unused", **options: Any) -> onnx2tf_lite.ConversionResult:
    """A conversion without output; nothing is written unless there is a folder."""
    given = {"onnx_graph": source} if isinstance(source, onnx.ModelProto) else {"input_onnx_file_path": source}
    options = {"outputs": ("float32",), "disable_model_save": out == "unused", "non_verbose": True} | options
    return convert(**given, output_folder_path=out, **options)


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def signature(path: Path) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Shapes of the inputs and outputs of a file, by name."""
    runner = Interpreter(str(path)).get_signature_runner()
    details = runner.get_input_details(), runner.get_output_details()
    return tuple({n: d["shape_signature"].tolist() for n, d in part.items()} for part in details)  # type: ignore[return-value]
