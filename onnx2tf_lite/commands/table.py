"""Options of a command line, as rows of a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import field, replace
from typing import Any

from ..record import record

#: What the help of an option says that may be given several times; its function takes all at once.
REPEATED = "; may be repeated"
Settings = dict[str, Any]
Convert = Callable[[Any], Any]


@record
class Option:
    """A row.  ``settings`` are argparse's.  ``convert`` makes the function's value of what argparse collected,
    ``fallback`` a value from those of the other rows where the flag is left out; ``form`` is what the function's value
    looks like where it is not that of the command line."""

    flags: tuple[str, ...]
    help: str
    settings: Settings = field(default_factory=dict)
    group: str = "options"
    convert: Convert | None = None
    fallback: Convert | None = None
    form: str = ""

    @property
    def dest(self) -> str:
        """The keyword of the function."""
        if "dest" in self.settings:
            return str(self.settings["dest"])
        long = next((f for f in self.flags if f.startswith("--")), self.flags[0])
        return long.lstrip("-").replace("-", "_")

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Declare it to argparse; a value that was not given stays out of the namespace."""
        if self.flags:
            parser.add_argument(*self.flags, **{"help": self.help, "default": argparse.SUPPRESS, **self.settings})


def option(
    flags: str,
    help: str,
    *,
    group: str = "options",
    convert: Convert | None = None,
    fallback: Convert | None = None,
    form: str = "",
    **settings: Any,
) -> Option:
    """``flags`` is what the help shows: ``-on --output_op_names NAME...``, the flags (or the name of a positional) and
    the words behind them: ``NAME`` one, ``OLD NEW`` two, ``NAME...`` one or more, ``[NAME]`` and ``[NAME...]`` none,
    too.  ``settings`` are argparse's (action, required, type, choices, dest)."""
    words = flags.split()
    values = [word for word in words if word.upper() == word and not word.startswith("-")]
    names = tuple(word for word in words if word not in values)
    return Option(names, help, {**_values(values), **settings}, group, convert, fallback, form)


def _values(words: list[str]) -> Settings:
    if not words:
        return {}
    last = words[-1]
    count = "*" if last.endswith("...]") else "?" if last.endswith("]") else "+" if last.endswith("...") else None
    plain = tuple(word.strip("[].") for word in words)
    if count is not None or len(plain) == 1:
        return {"metavar": " ".join(plain), **({"nargs": count} if count else {})}
    return {"metavar": plain, "nargs": len(plain)}


def flag(flags: str, help: str, **settings: Any) -> Option:
    """An option without a value."""
    return option(flags, help, **{"action": "store_true", **settings})


def repeated(flags: str, help: str, **settings: Any) -> Option:
    """An option that may be repeated, each time with the words of ``flags``."""
    return option(flags, help + REPEATED, action="append", **settings)


def parameter(name: str, help: str) -> Option:
    """A parameter of the function that the command line does not have."""
    return Option((), help, {"dest": name})


def group(title: str, *rows: Option) -> tuple[Option, ...]:
    """The rows under a title of their own."""
    return tuple(replace(row, group=title) for row in rows)


# --- options of another program that scripts still give --------------------------------------------------------------


class _Ignored(argparse.Action):
    """Accepted, and collected in ``ignored`` to be said to be without effect."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *others: object) -> None:
        *_, flag = others
        namespace.ignored = [*getattr(namespace, "ignored", ()), f"{flag} is ignored: {self.const}"]


class _Refused(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *others: object) -> None:
        *_, flag = others
        parser.error(f"{flag} is not supported: {self.const}")


def ignored(flags: Iterable[str], why: str, nargs: int | str = 0) -> Option:
    """An option that the help leaves out and that does nothing; ``nargs`` values belong to it."""
    return _hidden(flags, why, nargs, _Ignored)


def refused(flags: Iterable[str], why: str, nargs: int | str = 0) -> Option:
    """An option that the help leaves out and that is an error, with what to do instead."""
    return _hidden(flags, why, nargs, _Refused)


def _hidden(flags: Iterable[str], why: str, nargs: int | str, action: type[argparse.Action]) -> Option:
    count = nargs if nargs in (0, "*") else "?"
    settings = {"action": action, "nargs": count, "const": why, "dest": "ignored"}
    return Option(tuple(flags), argparse.SUPPRESS, settings)
