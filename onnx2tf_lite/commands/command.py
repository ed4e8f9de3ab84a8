"""A function as a command line; exit codes: 0 done, 1 not done, 2 a wrong command line."""

from __future__ import annotations

import argparse
import atexit
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from ..errors import ToolError
from .log import line
from .parser import Parser, usage
from .table import REPEATED, Option, Settings
from .terminal import complete, silence, tell

Function = Callable[..., Any]
#: The environment variable with which an internal error is a traceback.
DEBUG = "ONNX2TF_LITE_DEBUG"


class Command:
    """Call it with the words (default: those of the process) and get the exit code."""

    def __init__(self, function: Function, rows: Sequence[Option], show: Function | None, **settings: Any):
        self.function, self.rows, self.show = function, rows, show
        self.name = settings.pop("name", "") or function.__module__.rpartition(".")[2]
        self.version, self.note = settings.pop("version", "--version"), settings.pop("note", "")
        self.settings = settings
        doc = inspect.cleandoc(settings.pop("doc", None) or sys.modules[function.__module__].__doc__ or "")
        start = doc.find("\nexamples:")
        self.description, self.epilog = (doc, "") if start < 0 else (doc[:start].rstrip(), doc[start:].strip())
        self.description += f"\n\n{self.note}" if self.note else ""

    def parser(self, prog: str = "") -> Parser:
        """The argparse parser of the rows, for the command or for a subcommand of that ``prog``."""
        parser = Parser(prog=prog or self.name, description=self.description, epilog=self.epilog, **self.settings)
        self.fill(parser)
        parser.usage = parser.usage or usage(parser)
        return parser

    def fill(self, parser: Parser) -> None:
        """Every row, in its group; the groups in the order in which they first appear."""
        groups: dict[str, argparse._ActionsContainer] = {"options": parser}
        for row in self.rows:
            if row.group not in groups:
                groups[row.group] = parser.add_argument_group(row.group)
            row.add_to(groups[row.group])
        parser.add_version(self.version, self.note)

    def keywords(self, parser: argparse.ArgumentParser, found: argparse.Namespace) -> Settings:
        """The function's keyword arguments; a value that cannot be read ends the process as argparse does."""
        values = dict(vars(found))
        for row in self.rows:
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

    def _run(self, values: Settings) -> object:
        result = self.function(**values)
        return result if self.show is None else self.show(result)


def command(
    function: Function, *rows: Option, show: Function | None = None, explains: Sequence[Function] = (), **settings: Any
) -> Command:
    """The command line of ``function``; ``show`` prints what it returns (a whole number is the exit code).

    The docstring of the function (or of those that the command ``explains``) gets what the rows say of its parameters.

    ``settings``: ``name`` (default: that of the module), ``doc`` (its docstring), ``usage``, ``exact`` (see
    :class:`Parser`), ``version``, the flags that ask for it, ``note``, a sentence that goes with it and with the help.
    """
    for known in explains or [function]:
        text = "\n".join(_explained(known, rows))
        known.__doc__ = f"{inspect.cleandoc(known.__doc__ or '')}\n\nParameters\n----------\n{text}"
    return Command(function, rows, show, **settings)


def _explained(function: Function, rows: Sequence[Option]) -> Iterator[str]:
    """A line for every parameter that a row explains: name, type, default, what it is."""
    known = {row.dest: row for row in reversed(rows) if row.help is not argparse.SUPPRESS}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in known:
            continue
        row = known[name]
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        form = f"  {row.form}." if row.form else ""
        negated = row.settings.get("action") == "store_false"
        text = ("not: " if negated else "") + row.help.removesuffix(REPEATED)
        yield f"{name}: {parameter.annotation}{default}\n    {text}.{form}"


def guarded(name: str, work: Callable[[], object]) -> int:
    """0 (or the number that ``work`` returns); one line on standard error and 1 for an error, 130 if interrupted.

    What is no ToolError is a fault of the package: the line says so, and with DEBUG in the environment it is raised.
    """
    complete()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    try:
        code = work()
        sys.stdout.flush()
    except ToolError as error:
        tell(line("ERROR", f"{name}: {error}", sys.stderr))
        return 1
    except KeyboardInterrupt:
        tell(f"{name}: interrupted")
        return 130
    except BrokenPipeError:  # who read the output has seen enough (`| head`)
        silence(sys.stdout)
        return 1
    except OSError as error:  # a full disk, say
        tell(line("ERROR", f"{name}: {error}", sys.stderr))
        silence(sys.stdout)  # what is left cannot be written there either
        return 1
    except Exception as error:
        if DEBUG in os.environ:
            raise
        what = f"{type(error).__name__}: {error} (a fault of this package; {DEBUG}=1 shows where)"
        tell(line("ERROR", f"{name}: internal error: {what}", sys.stderr))
        return 1
    return code if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """End this process with ``code``: what is registered for its end is done, and what is said is written.

    Python would take apart all that the libraries have made, which is a tenth of the time of a small conversion.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
