"""The tuning toolbox: small tools that each do one thing to an ONNX model.

A tool is a module here, called like its command; its docstring is the help text, its function has the name, parameters
and defaults that scripts know, and `main` is the command line:

    from onnx2tf_lite.tools import ToolError, load, save
    from onnx2tf_lite.tools.sod4onnx import outputs_delete

    model = outputs_delete("model.onnx", output_op_names=["debug"], output_onnx_file_path="small.onnx")

A function takes a path or a model in memory (which it does not change), returns the new model, writes a file only if it
got an output path, and raises ToolError (fields tool, what, name, candidates) for what cannot be done.

How to write a tool (all of `sod4onnx.py` is an example):

* `_lazy`     `from ._lazy import np, onnx`: loaded on first use, so that help is fast.  Names of onnx in annotations
              are imported under TYPE_CHECKING; no `from onnx import ..` at module level.
* `_edit`     `with Edit(__name__, path, graph, output, non_verbose, **common) as job:` loads or copies into
              `job.model`; after the block the result is checked and written.  `common` are the keywords of
              `Common`; the signature ends with `**common: Unpack[Common]`.  `job.find(kind, name, flag)`,
              `job.match(kind, globs, flag)`, `job.types()`, `job.opset()`, `job.same_outputs(feed, result)` (compare
              in ONNX Runtime at the end), `job.log.info/warning/pair/plain`, `job.before`.
* `_names`    `ToolError(what, name, candidates)`, `unknown(flag, kind, name, known)`, `nearest(name, known)`.
* `_graphs`   protobuf walking: `scopes(model)`, `find`, `match` (kinds "node", "tensor", "initializer", "constant",
              "graph input", "graph output"; they give (Scope, name)), `producers`, `consumers`, `reads`, `captures`,
              `replace_uses` (into bodies), `constants`, `tensors`, `types`, `type_text`, `dims`, `nbytes`, `live`,
              `dead`, `sweep`, `sort`, `fresh`, `names_in`, `remove`.
* `_files`    `load`, `save`, `atomic` (any other file), `to_array(tensor)`, `fetch(tensor)` (bytes, wherever they
              are), `inline`, `light` (a copy without weights).
* `_literals` `literal`, `shape`, `integers`, `array(dtype, value)`, `tensor(name, dtype, value)`, `dtype`,
              `dtype_word`.
* `_schema`   `operators(domain)`, `schema(op, opset, domain)`, `attribute(op, name, value, opset, domain, dtype)` and
              `make_node(op, inputs, outputs, name, attributes, opset, domain)`, typed by ONNX's definitions.
* `_verify`   `infer(model, strict)`, `problem(model)`, `run(model, feeds, tensors)`, `random_feeds(model)`, `NotRun`.
* `_command`  `main = command(function, INPUT, OUTPUT, arg(..), flag(..), *COMMON, show=print)`; reports that are no
              edits take `INPUT`, `QUIET` and use `Log(quiet, output)`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError

if TYPE_CHECKING:
    from onnx import ModelProto

    from ..commands import Log

__all__ = ["ToolError", "load", "save"]


def load(path: str | os.PathLike[str]) -> ModelProto:
    """The model in a file, or on standard input for "-"; tensors in side files stay there.

    Raises ToolError for what is not there or is not an ONNX model.
    """
    from ..model.read import read_model

    return read_model(path)


def save(
    model: ModelProto,
    path: str | os.PathLike[str],
    *,
    external_data: bool | None = None,
    size_threshold: int = 1024,
    log: Log | None = None,
) -> list[Path]:
    """Write a model, on standard output for "-"; returns the files written (the model first).

    See :func:`onnx2tf_lite.model.write.write_model`; ``log`` hears where the weights went.
    """
    from ..model.write import write_model

    note = log.info if log is not None else lambda text: None
    return write_model(model, path, external_data=external_data, size_threshold=size_threshold, note=note)
