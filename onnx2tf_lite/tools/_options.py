"""The options that the tools share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..commands import Option, flag, group, option, parameter
from ._values import shape

_ENDS = "input and output"


def named(read: Callable[..., Any]) -> Callable[[Sequence[Sequence[str]]], dict[str, Any]]:
    """Of the rows of a repeated option, (name, words...), a dictionary: name -> ``read(*words)``."""
    return lambda rows: {name: read(*words) for name, *words in rows}


#: NAME DTYPE SHAPE, NAME DTYPE VALUE of an attribute, NAME DTYPE VALUE of a constant: as the functions take them.
VARIABLES = named(lambda word, text: [word, shape(text)])
ATTRIBUTES = named(lambda word, value: (value, word))
CONSTANTS = named(lambda word, value: (word, value))
VARIABLE_FORM, ATTRIBUTE_FORM = "{name: [dtype, shape]}", "{name: value} or {name: (value, dtype)}"
CONSTANT_FORM = "{name: array} or {name: (dtype, value)}"


def output(default: str = "", form: str = "", **settings: Any) -> Option:
    """Where the result goes; required unless there is a default (``form``: in words)."""
    text, shown = 'the result; "-": standard output', default or form
    given: dict[str, object] = {"default": default} if default else {"required": not shown}
    words = f"{text} (default: {shown})" if shown else text
    return option("-of --output_onnx_file_path FILE", words, group=_ENDS, **{**given, **settings})


INPUT = option("-if --input_onnx_file_path FILE", 'the model; "-": standard input', group=_ENDS, required=True)
OUTPUT = output()
QUIET = flag("-n --non_verbose", "no INFO lines")
GRAPH = parameter("onnx_graph", "the model in memory, which stays as it is; the path is then not looked at")
#: Of every tool that edits.
COMMON = (
    GRAPH,
    QUIET,
    flag("--missing-ok", "a name that does not exist is a warning, not an error"),
    flag("--dry-run", "do everything but write"),
    flag("--no-check", "write the result unchecked", action="store_false", dest="check"),
    *group(
        "how the weights are stored (default: as in the input)",
        flag("--external-data", "weights go to a file beside the model"),
        flag("--single-file", "everything in one file", action="store_false", dest="external_data"),
        option("--size-threshold BYTES", "smallest tensor for the file beside (default: 1024)", type=int),
    ),
)
