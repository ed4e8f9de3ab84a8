"""A command line from a function and a table: no tool parses its own arguments.

    main = command(
        outputs_delete,
        INPUT, OUTPUT,
        arg("-on --output_op_names", "graph outputs to delete", nargs="+", required=True, metavar="NAME"),
        flag("--prune-inputs", "delete inputs that nothing reads any more"),
        *COMMON,
    )

The long flag, with underscores, is the keyword of the function (or ``dest=`` says it).  Long flags are accepted with
hyphens or underscores and abbreviated.  What is left out on the command line is left to the function's default.  The
docstring of the function's module is the help text: what stands before ``examples:`` comes first, the rest last.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._log import line
from ._names import ToolError


@dataclass(frozen=True)
class Arg:
    """A row of the table.  ``convert`` makes the function's value of what argparse collected, ``fallback`` a value from
    the others where the flag is left out."""

    flags: tuple[str, ...]
    help: str
    settings: dict[str, Any] = field(default_factory=dict)
    group: str = "options"
    convert: Callable[[Any], Any] | None = None
    fallback: Callable[[dict[str, Any]], Any] | None = None

    @property
    def dest(self) -> str:
        long = next((f for f in self.flags if f.startswith("--")), self.flags[0])
        return str(self.settings.get("dest", long.lstrip("-").replace("-", "_")))


def arg(
    flags: str,
    help: str,
    *,
    group: str = "options",
    convert: Callable[[Any], Any] | None = None,
    fallback: Callable[[dict[str, Any]], Any] | None = None,
    **settings: Any,
) -> Arg:
    """``flags`` in one string, "-on --output_op_names"; ``settings`` are argparse's (nargs, action, required, type,
    choices, metavar, dest); a name without dashes is positional."""
    return Arg(tuple(flags.split()), help, settings, group, convert, fallback)


def flag(flags: str, help: str, **settings: Any) -> Arg:
    return arg(flags, help, **{"action": "store_true", **settings})


def rows(flags: str, help: str, metavar: str | tuple[str, ...], convert: Callable[[Any], Any] | None = None) -> Arg:
    """An option that may be repeated, each time with a word for every part of ``metavar`` (one text: any number)."""
    count: int | str = "+" if isinstance(metavar, str) else len(metavar)
    return arg(flags, f"{help}; may be repeated", nargs=count, action="append", metavar=metavar, convert=convert)


def output(default: str | None = None, flags: str = "-of --output_onnx_file_path") -> Arg:
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
_STORAGE = "how the weights are stored (default: as in the input)"
COMMON = (
    QUIET,
    flag("--missing-ok", "a name that does not exist is a warning, not an error"),
    flag("--dry-run", "do everything but write"),
    flag("--no-check", "write the result unchecked", action="store_false", dest="check"),
    flag("--external-data", "weights go to a file beside the model", group=_STORAGE),
    flag("--single-file", "everything in one file", group=_STORAGE, action="store_false", dest="external_data"),
    arg("--size-threshold", "smallest tensor for the file beside (default: 1024)", group=_STORAGE, type=int,
        metavar="BYTES"),
)  # fmt: skip


class _Version(argparse.Action):
    """Asks for the version when it is wanted: that takes longer than all the rest of the help."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('onnx2tf_lite')}")
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """One line of spellings, one line of explanation."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=8, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        value = "" if action.nargs == 0 else self._format_args(action, action.dest.upper())
        return f"{', '.join(action.option_strings)} {value}".strip()


class Parser(argparse.ArgumentParser):
    """Long flags in either spelling; ``-inf`` and ``-1`` are values."""

    def __init__(self, **settings: Any):
        super().__init__(formatter_class=_Formatter, **settings)
        self._negative_number_matcher = re.compile(r"-(?:\d[\w.+-]*|\.\d+\S*|inf|infinity)$", re.IGNORECASE)  # type: ignore[assignment]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args([self._spelled(a) for a in (sys.argv[1:] if args is None else args)], namespace)

    def _spelled(self, word: str) -> str:
        head, equals, value = word.partition("=")
        if not head.startswith("--") or head == "--" or head in self._option_string_actions:
            return word
        wanted = head[2:].replace("-", "_")
        known = {f: f[2:].replace("-", "_") for f in self._option_string_actions if f.startswith("--")}
        found = [f for f, n in known.items() if n == wanted] or [f for f, n in known.items() if n.startswith(wanted)]
        return found[0] + equals + value if len(found) == 1 else word


class Command:
    """A tool as a command line: call it with the arguments (default: those of the process), get the exit code."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Arg], show: Callable[[Any], None] | None):
        self.function, self.args, self.show = function, args, show
        self.name = function.__module__.rpartition(".")[2]
        doc = (sys.modules[function.__module__].__doc__ or "").strip()
        start = doc.find("\nexamples:")
        self.description, self.epilog = (doc, "") if start < 0 else (doc[:start].rstrip(), doc[start:].strip())

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return self.description.split("\n\n")[0].replace("\n", " ")

    def parser(self, prog: str = "") -> Parser:
        parser = Parser(prog=prog or self.name, description=self.description, epilog=self.epilog)
        self.fill(parser)
        return parser

    def fill(self, parser: argparse.ArgumentParser) -> None:
        groups: dict[str, Any] = {"options": parser}
        for row in self.args:
            if row.group not in groups:
                groups[row.group] = parser.add_argument_group(row.group)
            settings = {"help": row.help, "default": argparse.SUPPRESS, **row.settings}
            groups[row.group].add_argument(*row.flags, **settings)
        parser.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version")

    def keywords(self, parser: argparse.ArgumentParser, found: argparse.Namespace) -> dict[str, Any]:
        """The function's keyword arguments; a value that cannot be read ends the process as argparse does."""
        values = {k: v for k, v in vars(found).items() if v is not argparse.SUPPRESS}
        for row in self.args:
            if row.fallback is not None and row.dest not in values:
                values[row.dest] = row.fallback(values)
            elif row.convert is not None and row.dest in values:
                try:
                    values[row.dest] = row.convert(values[row.dest])
                except (ToolError, ValueError) as error:
                    parser.error(f"{row.flags[0]}: {error}")
        return values

    def __call__(self, argv: Sequence[str] | None = None, prog: str = "", **defaults: Any) -> int:
        """``defaults``: values of what the command line leaves out, instead of the function's own."""
        parser = self.parser(prog)
        values = {**defaults, **self.keywords(parser, parser.parse_args(argv))}
        return guarded(prog or self.name, lambda: self._run(values))

    def _run(self, values: dict[str, Any]) -> None:
        result = self.function(**values)
        if self.show is not None:
            self.show(result)


def command(function: Callable[..., Any], *args: Arg, show: Callable[[Any], None] | None = None) -> Command:
    """The command line of ``function``; ``show`` prints what it returns."""
    return Command(function, args, show)


def guarded(name: str, work: Callable[[], Any]) -> int:
    """0, or 1 and one line on standard error for a ToolError."""
    try:
        work()
        sys.stdout.flush()
    except ToolError as error:
        print(line("ERROR", f"{name}: {error}", sys.stderr), file=sys.stderr)
        return 1
    except BrokenPipeError:  # who read the output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
