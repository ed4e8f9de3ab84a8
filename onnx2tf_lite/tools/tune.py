"""All ONNX tuning tools as one command.

`onnx-tune VERB -h` is the help of a verb; the known name of a tool is accepted as verb too.

examples:
  onnx-tune extract -if model.onnx -ion relu_out -oon add_out -of - | onnx-tune structure -if -
  onnx-tune run recipe.yaml model.onnx -o out.onnx      several verbs in memory
  onnx-tune parts list                                  ready-made components
  eval "$(onnx-tune completion bash)"                   completion in this shell
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from ..commands import Parser, guarded
from ..commands.completion import SHELLS, script
from ..commands.parser import fill, width
from ..errors import nearest
from ._verbs import GROUPS, TOOLS, VERBS

MORE = {
    "run": "run a recipe: several verbs in memory",
    "parts": "list, show, write and attach ready-made components",
    "completion": f"print the completion script of a shell: {', '.join(SHELLS)}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words.pop(0) if words else "-h"
    if verb in ("-h", "--help", "help"):
        return guarded("onnx-tune", lambda: print(usage()))
    if verb == "--version":
        from importlib.metadata import version

        return guarded("onnx-tune", lambda: print(f"onnx-tune {version('onnx2tf_lite')}"))
    verb = TOOLS.get(verb, verb)
    prog = f"onnx-tune {verb}"
    if verb in VERBS:
        row = VERBS[verb]
        return int(row.module().main(words, prog, **row.defaults))
    if verb == "run":
        from .recipe import main as run

        return run(words, prog)
    if verb == "parts":
        from .parts._command import main as parts

        return parts(words, prog)
    if verb == "completion":
        parser = Parser(prog=prog, description="Print the completion script of a shell.")
        parser.add_argument("shell", choices=SHELLS)
        shell = str(parser.parse_args(words).shell)
        return guarded(prog, lambda: print(completion(shell), end=""))
    hints = ", ".join(nearest(verb, [*VERBS, *TOOLS, *MORE]))
    print(f"onnx-tune: there is no {verb!r}; nearest: {hints}", file=sys.stderr)
    return 2


def completion(shell: str) -> str:
    """For `onnx-tune`, and for each tool under its known name."""
    from .recipe import main as run

    fills: dict[str, Callable[[Parser], None]] = {verb: row.module().main.fill for verb, row in VERBS.items()}
    fills |= {"run": run.fill, "parts": _parts, "completion": lambda p: None}
    return script(shell, "onnx-tune", fills, TOOLS)


def _parts(parser: Parser) -> None:
    from .parts import PARTS
    from .parts._command import ACTIONS

    parser.add_argument("action", choices=sorted(ACTIONS))
    parser.add_argument("part", choices=sorted(PARTS))


def usage() -> str:
    """The help text, in the width of the terminal: verbs in groups."""
    head, mark, examples = (__doc__ or "").strip().partition("\n\nexamples:")
    lines = ["usage: onnx-tune VERB ...", "", head]
    groups = {g: {v: f"{row.summary} ({row.tool})" for v, row in rows.items()} for g, rows in GROUPS.items()}
    for title, rows in {**groups, "more": MORE}.items():
        lines += ["", f"{title}:", *(f"  {verb:16}{summary}" for verb, summary in rows.items())]
    return fill("\n".join(lines) + mark + examples, width())
