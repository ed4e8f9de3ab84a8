"""Completion scripts for bash, zsh and fish, generated from the tables of the tools."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ._verbs import VERBS

SHELLS = ("bash", "zsh", "fish")
_BASH = """\
_onnx_tune_words() {{
    case "$1" in
{cases}
    esac
}}
_onnx_tune() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" tool="${{COMP_WORDS[0]##*/}}"
    if [ "$tool" = onnx-tune ]; then
        if [ "$COMP_CWORD" = 1 ]; then
            COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
            return
        fi
        tool="${{COMP_WORDS[1]}}"
    fi
    case "$word" in
        -*) COMPREPLY=($(compgen -W "$(_onnx_tune_words "$tool")" -- "$word")) ;;
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
}}
complete -o filenames -F _onnx_tune onnx-tune {tools}
"""


def flags(verb: str) -> dict[str, str]:
    """Flag -> help, of a verb."""
    if verb == "run":
        from .recipe import main
    else:
        main = VERBS[verb].module().main
    return {f: row.help for row in main.rows for f in row.flags if f.startswith("-")}


def script(shell: str) -> str:
    """The completion script of a shell, for `onnx-tune` and for each tool under its known name."""
    verbs = [*VERBS, "run"]
    if shell == "fish":
        return _fish(verbs)
    names = {v: f"{v}|{VERBS[v].tool}" if v in VERBS else v for v in verbs}
    cases = "\n".join(f'        {names[v]}) echo "{" ".join(flags(v))}" ;;' for v in verbs)
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    tools = " ".join(row.tool for row in VERBS.values())
    return head + _BASH.format(cases=cases, verbs=" ".join([*verbs, "parts", "completion"]), tools=tools)


def _fish(verbs: list[str]) -> str:
    every = " ".join([*verbs, "parts", "completion"])
    lines = [f"complete -c onnx-tune -n 'not __fish_seen_subcommand_from {every}' -f -a '{every}'"]
    for verb in verbs:
        targets = [f"-c onnx-tune -n '__fish_seen_subcommand_from {verb}'"]
        targets += [f"-c {VERBS[verb].tool}"] if verb in VERBS else []
        for option, text in flags(verb).items():
            spelled = f"-l {option[2:]}" if option.startswith("--") else f"-o {option[1:]}"
            quoted = text.replace("\\", "\\\\").replace("'", "\\'")
            lines += [f"complete {target} {spelled} -d '{quoted}'" for target in targets]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    if len(words) != 1 or words[0] not in SHELLS:
        print(f"usage: onnx-tune completion {{{','.join(SHELLS)}}}", file=sys.stderr)
        return 2 if words not in (["-h"], ["--help"]) else 0
    print(script(words[0]), end="")
    return 0
