"""The options that the tools share."""

from __future__ import annotations

from ..commands import Command, Option, Parser, command, flag, group, guarded
from ..commands import option as arg
from ..commands import repeated as rows

__all__ = [
    "COMMON", "INPUT", "OUTPUT", "QUIET", "Command", "Parser", "arg", "command", "flag", "guarded", "output", "rows",
]  # fmt: skip


def output(default: str | None = None, flags: str = "-of --output_onnx_file_path") -> Option:
    """Where the result goes; required unless there is a default."""
    text = 'the result; "-": standard output'
    if default is None:
        return arg(flags, text, group="input and output", required=True, metavar="FILE")
    return arg(flags, f"{text} (default: {default})", group="input and output", default=default, metavar="FILE")


INPUT = arg(
    "-if --input_onnx_file_path", 'the model; "-": standard input',
    group="input and output", required=True, metavar="FILE",
)  # fmt: skip
OUTPUT = output()
QUIET = flag("-n --non_verbose", "no INFO lines")
COMMON = (
    QUIET,
    flag("--missing-ok", "a name that does not exist is a warning, not an error"),
    flag("--dry-run", "do everything but write"),
    flag("--no-check", "write the result unchecked", action="store_false", dest="check"),
    *group(
        "how the weights are stored (default: as in the input)",
        flag("--external-data", "weights go to a file beside the model"),
        flag("--single-file", "everything in one file", action="store_false", dest="external_data"),
        arg("--size-threshold", "smallest tensor for the file beside (default: 1024)", type=int, metavar="BYTES"),
    ),
)
