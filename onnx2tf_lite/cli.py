"""The command line: the keywords of `onnx2tf_lite.convert`, under the names that users of onnx2tf know."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

from .emitters import EMITTERS
from .options import OBSOLETE, REFUSED

EPILOG = """\
examples:
  onnx2tf -i model.onnx                                   everything, into ./saved_model, checked
  onnx2tf -i model.onnx -o out --outputs float32,float16  the .tflite files only (no TensorFlow needed)
  onnx2tf -i model.onnx -b 1 -ois "x:1,3,224,224"         fixed shapes
  onnx2tf -i model.onnx -kat x                            input x stays in ONNX order
  onnx2tf -i model.onnx -cotof -tdnp inputs.npz           compare every layer on your own inputs
  onnx2tf -i model.onnx -onimc /head/Conv_output_0        convert the part up to a tensor

exit codes:
  0  converted, and every file gives what ONNX Runtime gives
  1  not converted (nothing is written), or a file differs or does not run (it stays there, to be looked at)
  2  wrong command line, or the model itself could not be run, so that nothing could be compared
"""


DASHES = (str.maketrans("-", "_"), str.maketrans("_", "-"))  # long options are found in either spelling


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """One line of spellings, one line of explanation."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=8, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        more = " ..." if action.nargs == "+" else ""
        value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else "")
        return f"{', '.join(action.option_strings)} {value}{more}".rstrip()


class _Ignored(argparse.Action):
    """Accepted, and said to be without effect."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.ignored.append(f"{option_string} is ignored: {self.const}")


class _Refused(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.error(f"{option_string} is not supported: {self.const}")


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1048576 or 1MB")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


#: Group -> rows of (short, long, settings of argparse); the long name is the keyword of convert().
FLAG = {"action": "store_true"}
MANY = {"nargs": "+", "metavar": "NAME"}
SHAPES = {"nargs": "+", "metavar": "NAME:DIMS"}
GROUPS: dict[str, list[tuple[str | None, str, dict[str, Any]]]] = {
    "input and output": [
        ("-i", "input_onnx_file_path", {"metavar": "FILE", "help": "the model"}),
        ("-o", "output_folder_path", {"metavar": "FOLDER", "default": "saved_model", "help": "default: saved_model"}),
        (None, "outputs", {"type": _names, "metavar": "KINDS", "help": f"of {','.join(EMITTERS)}; default: all"}),
        ("-dms", "disable_model_save", {**FLAG, "help": "convert and check, write nothing"}),
    ],
    "shapes": [
        ("-b", "batch_size", {"type": _positive, "metavar": "N", "help": "size of every free first dimension"}),
        ("-ois", "overwrite_input_shape", {**SHAPES, "help": "fix the shape of inputs, in ONNX order: x:1,3,224,224"}),
        ("-sh", "shape_hints", {**SHAPES, "help": "shapes for the check only; the model stays dynamic"}),
    ],
    "layout": [
        ("-k", "keep_ncw_or_nchw_or_ncdhw_input_names", {**MANY, "help": "inputs that stay channels-first"}),
        ("-kt", "keep_nwc_or_nhwc_or_ndhwc_input_names", {**MANY, "help": "inputs that are channels-last already"}),
        ("-kat", "keep_shape_absolutely_input_names", {**MANY, "help": "inputs that stay as in ONNX"}),
        ("-ko", "keep_ncw_or_nchw_or_ncdhw_output_names", {**MANY, "help": "outputs that stay channels-first"}),
        ("-kato", "keep_shape_absolutely_output_names", {**MANY, "help": "outputs that stay as in ONNX"}),
        ("-cl", "channels_last_names", {**MANY, "help": "inputs and outputs that become channels-last"}),
    ],
    "part of the model": [
        ("-inimc", "input_names_to_interrupt_model_conversion", {**MANY, "help": "tensors at which to begin"}),
        ("-onimc", "output_names_to_interrupt_model_conversion", {**MANY, "help": "tensors at which to end"}),
    ],
    "tuning": [
        (None, "simplify", {"choices": ("auto", "always", "never"), "default": "auto",
                            "help": "onnxsim where it can still find something (auto), always, never"}),
        ("-nuo", "not_use_onnxsim", {**FLAG, "help": "the same as --simplify never"}),
        (None, "fold_budget", {"type": _size, "metavar": "BYTES", "default": argparse.SUPPRESS,
                               "help": "growth of the constants that folding may cause (1MB)"}),
        (None, "disable_pass", {"action": "append", "metavar": "NAME", "dest": "disable_passes",
                                "help": "leave a pass out; repeatable; see --list-passes"}),
        (None, "keep_node", {"action": "append", "metavar": "NAME", "dest": "keep_nodes",
                             "help": "a node that tuning neither folds, fuses nor removes; repeatable"}),
    ],
    "check against ONNX Runtime": [
        ("-coto", "check_onnx_tf_outputs_elementwise_close", {**FLAG, "help": "compare the outputs (the default)"}),
        ("-cotof", "check_onnx_tf_outputs_elementwise_close_full", {**FLAG, "help": "compare and list every layer"}),
        ("-cotor", "check_onnx_tf_outputs_elementwise_close_rtol",
         {"type": float, "metavar": "R", "help": "limit: R * max|reference| + A (1e-4 float32, 1e-2 float16)"}),
        ("-cotoa", "check_onnx_tf_outputs_elementwise_close_atol", {"type": float, "metavar": "A", "help": "1e-6"}),
        ("-tdnp", "test_data_nhwc_path", {"metavar": "FILE", "help": "inputs: .npz by name, or .npy; either layout"}),
        (None, "html", {"metavar": "FILE", "help": "every layer as a page with charts (implies -cotof)"}),
        (None, "no_check", {**FLAG, "help": "do not run anything"}),
    ],
    "output on the terminal": [
        ("-n", "non_verbose", {**FLAG, "help": "errors only"}),
        ("-v", "verbosity", {"choices": ("debug", "info", "warn", "error"), "default": "info", "help": ""}),
    ],
    "information": [
        ("-V", "version", {**FLAG, "help": "the version"}),
        (None, "list_passes", {**FLAG, "help": "the passes that tune the model, in order"}),
        (None, "list_ops", {**FLAG, "help": "the ONNX operators: versions, support"}),
    ],
}  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Every option in its group, and those of onnx2tf that are ignored or refused, which the help leaves out."""
    parser = argparse.ArgumentParser(
        prog="onnx2tf", usage="onnx2tf -i FILE [-o FOLDER] [options]",
        description="Convert ONNX to TensorFlow Lite and SavedModel.", epilog=EPILOG,
        formatter_class=_Formatter, allow_abbrev=False,
    )  # fmt: skip
    for title, rows in GROUPS.items():
        group = parser.add_argument_group(title)
        for short, long, settings in rows:
            spellings = [short, f"--{long}"] if short else [f"--{long.replace('_', '-')}"]
            group.add_argument(*spellings, **{"dest": long, **settings})
    for table, action in ((OBSOLETE, _Ignored), (REFUSED, _Refused)):
        for (short, long, count), why in table.items():
            nargs: Any = count if count in (0, "*") else "?"
            parser.add_argument(short, f"--{long}", action=action, nargs=nargs, const=why, help=argparse.SUPPRESS)
    parser.set_defaults(ignored=[])
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; unknown ones are errors even where argparse would take ``-onwx`` for ``-o nwx``."""
    parser, argv = make_parser(), list(argv)
    known = parser._option_string_actions
    for i, word in enumerate(argv):
        head, *value = word.split("=", 1)
        spelling = next(
            (s for s in (head, f"--{head[2:].replace('-', '_')}", f"--{head[2:].replace('_', '-')}") if s in known), ""
        )
        if head.startswith("--") and spelling:
            argv[i] = "=".join([spelling, *value])
        elif head.startswith("-") and not spelling and not re.match(r"-?$|-[\d.]", head):
            close = difflib.get_close_matches(head, known, n=3)
            parser.error(f"unknown option {head}" + (f": did you mean {', '.join(close)}?" if close else ""))
    options = parser.parse_args(argv)
    if not (options.input_onnx_file_path or options.version or options.list_passes or options.list_ops):
        parser.error("which model? -i model.onnx")
    if options.check_onnx_tf_outputs_elementwise_close and options.check_onnx_tf_outputs_elementwise_close_full:
        parser.error("-coto and -cotof exclude each other")
    return options


def inform(options: argparse.Namespace) -> bool:
    """Answer what needs no model; True where that was asked for."""
    if options.version:
        from . import __version__

        print(__version__)
    elif options.list_passes:
        from .passes import PASSES

        for entry in PASSES.values():
            print(f"{entry.name:<14}{entry.summary}")
    elif options.list_ops:
        from .op_handlers.catalogue import catalogue

        for row in catalogue():
            print(f"{row.name:<40}{','.join(map(str, row.versions)) or '-':<28}{row.support}")
    else:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if inform(options):
        return 0
    from . import ConversionError, convert

    if options.verbosity in ("debug", "info", "warn") and not options.non_verbose:
        for line in options.ignored:
            print(f"warning: {line}", file=sys.stderr)
    given = vars(options)
    for name in ("ignored", "version", "list_passes", "list_ops"):
        del given[name]
    if given.pop("no_check"):
        given["check"] = "none"
    given["disable_passes"] = given["disable_passes"] or ()
    given["keep_nodes"] = given["keep_nodes"] or ()
    if given["outputs"] is None:  # the default set may leave the SavedModel out
        del given["outputs"]
    try:
        return convert(**given).exit_code
    except ConversionError as error:
        print(f"onnx2tf: not converted, nothing was written: {len(error.problems)} problem"
              + "s" * (len(error.problems) != 1), file=sys.stderr)  # fmt: skip
        for problem in error.problems:
            print(f"\n  {problem.where}\n    {problem.what}", file=sys.stderr)
            if problem.remedy:
                print(f"    -> {problem.remedy}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
