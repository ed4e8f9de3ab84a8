"""Convert ONNX to TensorFlow Lite and SavedModel.

examples:
  onnx2tf -i model.onnx                                   everything, into ./saved_model, checked
  onnx2tf -i model.onnx -o out --outputs float32,float16  the .tflite files only
  onnx2tf -i model.onnx -b 1 -ois "x:1,3,224,224"         fixed shapes
  onnx2tf -i model.onnx -kat x                            input x stays in ONNX order
  onnx2tf -i model.onnx -cotof -tdnp inputs.npz           compare every layer on your own inputs
  onnx2tf -i model.onnx -onimc /head/Conv_output_0        convert the part up to a tensor

exit codes:
  0  converted, and every file gives what ONNX Runtime gives
  1  not converted (nothing is written), or a file differs, does not run or misses its goal
     (--min-sqnr, --min-agreement); it stays there, to be looked at
  2  wrong command line, or the model itself could not be run, so that nothing could be compared,
     or TensorFlow is not there to run the SavedModel
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from .aliases import ALIASES
from .commands import Command, Option, command, group, leave, option
from .commands.terminal import tell
from .errors import ConversionError

if TYPE_CHECKING:
    from .conversion import ConversionResult
    from .options import Options


class _Answer(argparse.Action):
    """Prints something that needs no model."""

    def __call__(self, parser: argparse.ArgumentParser, *others: object) -> None:
        self.const()
        parser.exit()


def _passes() -> None:
    from .fusion import RULES, windows
    from .passes import PASSES
    from .targets.forms import windows as rows

    passes = {entry.name: entry.summary for entry in PASSES.values()}
    rules = {rule.rewrite.__name__: rule.what for rule in [*RULES, *windows.RULES, rows.in_pairs]}
    width = max(map(len, (*passes, *rules))) + 2
    print("\n".join(f"{name:<{width}}{what}" for name, what in passes.items()))
    print("\nRules of the program that was laid out; --keep-node leaves alone what is made of a node:")
    print("\n".join(f"{name:<{width}}{what}" for name, what in rules.items()))


def _operators() -> None:
    from .op_handlers.catalogue import catalogue

    for row in catalogue():
        print(f"{row.name:<40}{','.join(map(str, row.versions)) or '-':<28}{row.support}")


def _answer(flags: str, help: str, say: Callable[[], None]) -> Option:
    return option(flags, help, action=_Answer, nargs=0, const=say)


ENDS = group(
    "input and output",
    option("-i --input_onnx_file_path FILE", "the model", required=True),
    option("-o --output_folder_path FOLDER", "default: saved_model"),
)
INFORMATION = group(
    "information",
    _answer("--list-passes", "the passes that tune the model, in order", _passes),
    _answer("--list-ops", "the ONNX operators: versions, support", _operators),
)


def run(
    input_onnx_file_path: str,
    output_folder_path: str = "saved_model",
    ignored: tuple[str, ...] = (),
    **keywords: object,
) -> int:
    """Convert; the exit code.  ``ignored``: what is to be said of options that do nothing."""
    resolve, convert = _imported()
    try:
        options = resolve(keywords)
        options = replace(options, warnings=(*ignored, *options.warnings))
    except ConversionError as error:
        for problem in error.problems:
            tell(f"onnx2tf: error: {problem}")
        return 2
    try:
        return convert(input_onnx_file_path, output_folder_path, options=options).exit_code
    except ConversionError as error:
        count = len(error.problems)
        tell(f"onnx2tf: not converted, nothing was written: {count} problem{'s' * (count != 1)}")
        for problem in error.problems:
            tell(f"\n  {problem.where}\n    {problem.what}")
            if problem.remedy:
                tell(f"    -> {problem.remedy}")
        return 1


def _imported() -> tuple[Callable[..., Options], Callable[..., ConversionResult]]:
    """Imported without garbage collection: what imports make lives to the end, and visiting it takes 50 ms."""
    gc.disable()
    try:
        from . import convert
        from .options import resolve
    finally:
        gc.freeze()
        gc.enable()
    return resolve, convert


def make(note: str = "") -> Command:
    """The command line of the table as it is now."""
    rows = [row.option for row in ALIASES.values()]
    usage, version = "onnx2tf -i FILE [-o FOLDER] [options]", "-V --version"
    parts = [*ENDS, *rows, *INFORMATION]
    return command(run, *parts, name="onnx2tf", usage=usage, exact=True, version=version, note=note)


main = make()


def installed(argv: Sequence[str] | None = None) -> int:
    """The command as it is installed: with the distribution ``compat/`` beside it, whose callers rely on the defaults
    of onnx2tf, it has these, and says so."""
    if find_spec("onnx2tf_lite_compat") is None:
        return main(argv)
    from onnx2tf_lite_compat import DEFAULTS, NOTE  # type: ignore[import-not-found, unused-ignore]

    return make(NOTE)(argv, **DEFAULTS)


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """The command as a process of its own, which ends with it."""
    leave(installed(argv))


if __name__ == "__main__":
    program()
