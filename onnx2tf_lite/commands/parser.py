"""argparse with a help that fits the terminal, and flags in either spelling."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

#: Help is never wider than this, and never narrower than that.
WIDEST, NARROWEST = 110, 50
#: An example is broken between its words only.
_WHOLE: Any = {"break_long_words": False, "break_on_hyphens": False}
_NUMBER = re.compile(r"-(?:\d[\w.+-]*|\.\d+\S*|inf|infinity)$", re.IGNORECASE)


def width() -> int:
    """Columns for help: those of the terminal, within reason."""
    return max(NARROWEST, min(shutil.get_terminal_size().columns - 2, WIDEST))


def fill(text: str, columns: int) -> str:
    """Paragraphs in the given width; indented lines stay lines, and those below ``examples:`` commands."""
    return "\n\n".join(_paragraph(part, columns) for part in text.strip("\n").split("\n\n"))


def _paragraph(text: str, columns: int) -> str:
    lines = re.sub(r"\\\n +", "", text).splitlines()  # an example that is broken already
    count = next((i for i, line in enumerate(lines) if line.startswith(" ")), len(lines))
    head, rest = " ".join(lines[:count]), lines[count:]
    broken = _example if head == "examples:" else _entry
    return "\n".join([textwrap.fill(head, columns), *(part for line in rest for part in broken(line, columns))])


def _example(line: str, columns: int) -> list[str]:
    """A command and what it does, which stands below where one line is too short for both."""
    if len(line) <= columns:
        return [line]
    words, *note = re.split(r" {2,}", line.strip(), maxsplit=1)
    *most, last = textwrap.wrap(words, columns - 2, initial_indent="  ", subsequent_indent="    ", **_WHOLE)
    said = [part for text in note for part in _entry(f"      {text}", columns)]
    return [*(f"{part} \\" for part in most), last, *said]


def _entry(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line.strip(), columns, initial_indent=indent, subsequent_indent=indent + "   ")


class Formatter(argparse.HelpFormatter):
    """One line of spellings, one of explanation; text as :func:`fill` makes it."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=8, width=width())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        line = f"{', '.join(action.option_strings)} {self.value(action)}".strip()
        room = self._width - self._current_indent
        return line if len(line) <= room else line.replace(", ", f",\n{'':{self._current_indent + 2}}")

    def value(self, action: argparse.Action) -> str:
        """``NAME``, ``NAME ...``, ``{shrink,npy}``; choices that are too long for the line are left to the help."""
        word = action.dest.rpartition("_")[2].upper()
        if action.choices is not None and not self._long(action):
            word = "{" + ",".join(action.choices) + "}"
        words = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or word,)
        if isinstance(action.nargs, int) and action.nargs != len(words):
            words *= action.nargs
        form = {"?": "[{}]", "*": "[{} ...]", "+": "{} ..."}.get(str(action.nargs), "{}")
        return form.format(" ".join(words))

    def _long(self, action: argparse.Action) -> bool:
        return sum(map(len, (*action.option_strings, *map(str, action.choices or ())))) > 48

    def _expand_help(self, action: argparse.Action) -> str:
        text = super()._expand_help(action)
        more = action.choices if action.choices is not None and action.metavar is None and self._long(action) else ()
        return f"{text} ({', '.join(more)})" if more else text

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill(text, width)


class Version(argparse.Action):
    """Asks for the version when it is wanted: that takes longer than all the rest of the help.  ``const``: what is said
    besides."""

    def __call__(self, parser: argparse.ArgumentParser, *others: object) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('onnx2tf_lite')}", *([f"({self.const})"] if self.const else ()))
        parser.exit()


def usage(parser: argparse.ArgumentParser) -> str:
    """The program with what it has to be given."""
    formatter = Formatter(parser.prog)
    shown = [
        " ".join([*action.option_strings[:1], formatter.value(action)])
        for action in parser._actions
        if action.required or not action.option_strings
    ]
    return " ".join([parser.prog, *shown, "[options]"])


class Parser(argparse.ArgumentParser):
    """Long flags with hyphens or underscores and abbreviated; ``-inf`` and ``-1`` are values.  ``exact``: unknown flags
    are errors that name the nearest, and so is ``-onwx`` for ``-o nwx``."""

    def __init__(self, *, exact: bool = False, **settings: Any):
        super().__init__(formatter_class=Formatter, allow_abbrev=not exact, **settings)
        self.exact = exact
        self._negative_number_matcher = _NUMBER

    def add_version(self, flags: str = "--version", note: str = "") -> None:
        """A flag that prints the version of the package, and a note, and ends."""
        what, unset = "print the version", argparse.SUPPRESS
        self.add_argument(*flags.split(), action=Version, nargs=0, const=note, default=unset, help=what)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, of words in which long flags are written as in the table."""
        words = [self._spelled(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(words, namespace)

    def _spelled(self, word: str) -> str:
        """A long flag as the table spells it; other words as they are."""
        head, equals, value = word.partition("=")
        known = self._option_string_actions
        if not head.startswith("-") or head in ("-", "--") or head in known or _NUMBER.match(word):
            return word
        wanted = head.replace("-", "_")
        plain = {f: f.replace("-", "_") for f in known if f.startswith("--")}
        found = [f for f, name in plain.items() if name == wanted and head.startswith("--")]
        if not found and not self.exact and head.startswith("--"):
            found = [f for f, name in plain.items() if name.startswith(wanted)]
        if not found and self.exact:
            self.error(_unknown(head, known))
        return found[0] + equals + value if len(found) == 1 else word


def _unknown(flag: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(flag, known, n=3)
    return f"unknown option {flag}" + (f": did you mean {', '.join(close)}?" if close else "")
