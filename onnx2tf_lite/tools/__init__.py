"""The tuning toolbox: small tools that each do one thing to an ONNX model.

A tool is a module here, called like its command; its docstring is the help text, its function has the name, parameters
and defaults that scripts know, and `main` is the command line:

    from onnx2tf_lite.tools import ToolError, load, save
    from onnx2tf_lite.tools.sod4onnx import outputs_delete

    model = outputs_delete("model.onnx", output_op_names=["debug"], output_onnx_file_path="small.onnx")

A function takes a path or a model in memory (which it does not change), returns the new model, writes a file only if it
got an output path, and raises ToolError (fields tool, what, name, candidates) for what cannot be done.

How to write a tool (docs/extend/tool.md; `sod4onnx.py` is an example): a function ``(job: Edit, its parameters...)``
under `@edit`, which edits `job.model`, and `main = command(function, INPUT, OUTPUT, option(..), *COMMON)`, whose rows
explain the parameters too.

* `_edit`     `@edit`, and the job: it finds (`find`, `match`, `slot`: names that must exist), knows (`types()`,
              `opset()`), is told what was done (`rewired()`) and what has to hold before anything is written
              (`same_outputs(feed, result)`, `must_run()`, `test(run)`: in ONNX Runtime); `log`
* `_options`  the options that tools share, and how rows of words become dictionaries
* `_values`   values as text, as arrays of a dtype, as bytes
* `_schema`   attributes and nodes, typed by ONNX's definitions
* `_verify`   running a model before and after
* `../model`  reading, writing, walking; `../commands` the command line; `..errors` ToolError, `unknown`, `nearest`

`from ..model.lazy import np, onnx` loads them on first use, so that help is fast.
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
