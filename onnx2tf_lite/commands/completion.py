"""Completion scripts for the shells, made by shtab from the parsers themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .parser import Parser

SHELLS = ("bash", "zsh", "fish")


def script(shell: str, prog: str, verbs: Mapping[str, Callable[[Parser], None]], alone: Mapping[str, str]) -> str:
    """For a program with verbs, each of which fills its parser, and for the commands (``alone``: command -> verb) that
    are verbs too."""
    import shtab

    parser = Parser(prog=prog)
    subparsers, aliases = parser.add_subparsers(), {verb: name for name, verb in alone.items()}
    for verb, fill in verbs.items():
        _filled(subparsers.add_parser(verb, help=verb, aliases=[aliases[verb]] if verb in aliases else []), fill)
    made = [shtab.complete(parser, shell)]
    made += [shtab.complete(_filled(Parser(prog=name), verbs[verb]), shell) for name, verb in alone.items()]
    return "\n".join(map(str, made))


def _filled(parser: Parser, fill: Callable[[Parser], None]) -> Parser:
    import shtab

    fill(parser)
    for action in parser._actions:
        if action.choices is None and action.nargs != 0:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser
