"""Command lines: the notation of options, spellings, help in every width, words, exit codes."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from onnx2tf_lite.commands import Parser, command, flag, guarded, ignored, log, option, refused, repeated, words
from onnx2tf_lite.errors import ToolError
from onnx2tf_lite.tools import tune
from onnx2tf_lite.tools._options import COMMON, INPUT, OUTPUT
from onnx2tf_lite.tools._verbs import TOOLS

ROOT = Path(__file__).resolve().parents[2]

# --- options ---------------------------------------------------------------------------------------------------------

NOTATION = [
    ("-a --all NAME", {"metavar": "NAME"}),
    ("--all NAME...", {"metavar": "NAME", "nargs": "+"}),
    ("--all [NAME]", {"metavar": "NAME", "nargs": "?"}),
    ("--all [NAME...]", {"metavar": "NAME", "nargs": "*"}),
    ("--all OLD NEW", {"metavar": ("OLD", "NEW"), "nargs": 2}),
    ("--all NAME DTYPE SHAPE...", {"metavar": "NAME DTYPE SHAPE", "nargs": "+"}),
    ("--all NAME=VALUE...", {"metavar": "NAME=VALUE", "nargs": "+"}),
    ("path [FILE]", {"metavar": "FILE", "nargs": "?"}),
]


@pytest.mark.parametrize(("text", "settings"), NOTATION, ids=[text for text, _ in NOTATION])
def test_notation(text: str, settings: dict[str, Any]) -> None:
    row = option(text, "help")
    assert row.settings == settings
    assert row.dest == ("path" if text.startswith("path") else "all")
    assert repeated(text, "help").settings == {"action": "append", **settings}


def test_help_shows_the_notation() -> None:
    parser = Parser(prog="p")
    for text, _ in NOTATION[1:7]:
        option(text.replace("--all", f"--{len(parser._actions)}x"), "help").add_to(parser)
    shown = parser.format_help()
    written = [text.partition(" ")[2].replace("...", " ...") for text, _ in NOTATION[1:7]]
    assert written == re.findall(r"--\dx (.*)", shown.partition("options:")[2])


def test_ignored_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="p")
    for row in (ignored(["-o", "--old"], "always done", 1), refused(["-k", "--keras"], "use the other")):
        row.add_to(parser)
    assert parser.parse_args(["-o", "x", "--old", "y"]).ignored == [
        "-o is ignored: always done",
        "--old is ignored: always done",
    ]
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["-k"])
    assert stop.value.code == 2 and "-k is not supported: use the other" in capsys.readouterr().err
    assert "always done" not in parser.format_help()


@pytest.mark.parametrize(("word", "near"), [("--lonng", "--long"), ("-onwx", "-o"), ("--lon", "--long")])
def test_exact_parsers_name_the_nearest(word: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="p", exact=True)
    option("-o --long_flag VALUE", "").add_to(parser)
    option("--long VALUE", "").add_to(parser)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([word, "1"])
    assert stop.value.code == 2
    assert f"unknown option {word}" in (said := capsys.readouterr().err) and near in said


# --- help ------------------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    return [*sorted(TOOLS), "recipe"]


def shown(tool: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return str(import_module(f"onnx2tf_lite.tools.{tool}").main.parser().format_help())


def subcommands() -> list[str]:
    """The words before ``--help`` of what is no tool by itself."""
    yard = [f"parts {action} {part}" for action in ("write", "attach") for part in ("Z001", "Z003", "Z004")]
    return ["", "parts", *yard, "completion"]


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("tool", commands())
def test_help_fits_the_terminal(tool: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, shown(tool, columns, monkeypatch).splitlines())) <= min(columns, 110)


@pytest.mark.parametrize("words", subcommands())
def test_help_of_what_is_no_tool_fits_the_terminal(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        tune.main([*words.split(), "--help"])
    said = capsys.readouterr().out
    assert "usage:" in said and max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("tool", commands())
def test_examples_that_are_broken_are_the_same_commands(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was too long is one command for a shell, and the words of the wide one."""

    def first_words(columns: int) -> list[list[str]]:
        text = shown(tool, columns, monkeypatch).partition("\nexamples:\n")[2]
        text = re.sub(r" \\\n +", " ", text)
        lines = [line for line in text.splitlines() if line.startswith("  ") and not line.startswith("    ")]
        return [shlex.split(re.split(r" {2,}(?=\S)", line.strip())[0].replace("'", "")) for line in lines]

    narrow, wide = first_words(60), first_words(200)
    assert [n[: len(w)] for n, w in zip(narrow, wide, strict=True)] == wide


@pytest.mark.parametrize("tool", [*commands(), "tune"])
def test_help_is_quick(tool: str) -> None:
    """Counted, not timed: what takes the time is the import of anything big."""
    code = f"""if True:
        import sys
        from onnx2tf_lite.tools.{tool} import main
        try:
            main(["--help"])
        except SystemExit:
            pass
        print(*sys.modules)
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert not set(done.stdout.splitlines()[-1].split()) & {
        "numpy",
        "onnx",
        "onnxruntime",
        "onnxsim",
        "rich",
        "yaml",
        "shtab",
    }


# --- words -----------------------------------------------------------------------------------------------------------

WORDS = [
    (words.size, "1MB", 1 << 20), (words.size, "2gib", 2 << 30), (words.size, "17", 17),
    (words.positive, "3", 3), (words.limit, "1e-3", 1e-3), (words.share, "1", 1.0),
    (words.numbers, "0.5,1", (0.5, 1.0)),
    (words.names, "a,b,", ["a", "b"]), (words.dim, "3", 3), (words.dim, "-1", "-1"),
    (words.shapes, ["a:b:1,-1", "s:"], {"a:b": (1, -1), "s": ()}),
    (words.assignments, ["N=1", "H=h"], {"N": 1, "H": "h"}),
]  # fmt: skip
WRONG = [
    (words.size, "1TB"), (words.positive, "0"), (words.positive, "x"), (words.limit, "-1"), (words.limit, "nan"),
    (words.share, "0"), (words.share, "1.5"), (words.share, "nan"),
    (words.numbers, "a,1"), (words.shapes, ["x"]), (words.shapes, [":1"]), (words.shapes, ["x:a"]),
    (words.assignments, ["N="]),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "value"), WORDS, ids=[f"{r.__name__}-{t}" for r, t, _ in WORDS])
def test_words(read: Any, text: Any, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text"), WRONG, ids=[f"{r.__name__}-{t}" for r, t in WRONG])
def test_wrong_words(read: Any, text: Any) -> None:
    with pytest.raises(words.WordError, match=re.escape(repr(text if isinstance(text, str) else text[0]))):
        read(text)


# --- exit codes ------------------------------------------------------------------------------------------------------


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ToolError("no node 'x'", "x", ["y"])

    assert guarded("tool", lambda: None) == 0
    assert guarded("tool", lambda: 3) == 3
    assert guarded("tool", fail) == 1
    assert capsys.readouterr().err == "ERROR: tool: no node 'x'; nearest: 'y'\n"


def test_a_reader_that_has_seen_enough() -> None:
    code = "from onnx2tf_lite.tools.tune import main; import sys; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_parameters_are_explained_once() -> None:
    def made(first: int = 3, second: str = "") -> None:
        """Do it."""

    made.__module__ = __name__
    command(made, option("-f --first N", "how many", form="a number"), flag("--second", "the other"))
    assert inspect.getdoc(made) == (
        "Do it.\n\nParameters\n----------\nfirst: int = 3\n    how many.  a number.\nsecond: str = ''\n    the other."
    )


# --- spellings ------------------------------------------------------------------------------------------------------


def collect(**values: object) -> dict:
    """A function to make a command of.

    examples:
      none
    """
    return values


def parsed(*words: str) -> dict:
    made = command(
        collect, INPUT, OUTPUT, option("-sv --some_value X...", "x"), option("--other N", "x", type=int), *COMMON
    )
    parser = made.parser()
    return made.keywords(parser, parser.parse_args(list(words)))


@pytest.mark.parametrize("spelling", ["-sv", "--some_value", "--some-value", "--some", "--some_v"])
def test_spellings_of_a_flag(spelling: str) -> None:
    assert parsed("-if", "a", "-of", "b", spelling, "1", "2") == {
        "input_onnx_file_path": "a", "output_onnx_file_path": "b", "some_value": ["1", "2"],
    }  # fmt: skip


@pytest.mark.parametrize("value", ["-inf", "-1", "-1e5", "-.5", "-", "[-1,2]"])
def test_values_that_look_like_flags(value: str) -> None:
    assert parsed("-if", "a", "-of", "b", "-sv", value)["some_value"] == [value]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--single-file"], {"external_data": False}),
        (["--external_data"], {"external_data": True}),
        (["--no-check", "--missing-ok"], {"check": False, "missing_ok": True}),
    ],
)
def test_common_flags(words: list[str], expected: dict) -> None:
    found = parsed("-if", "a", "-of", "b", *words)
    assert {k: v for k, v in found.items() if not k.endswith("path")} == expected


def test_ambiguous_abbreviation_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="p")
    parser.add_argument("--some_value")
    parser.add_argument("--some_other")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--some", "1"])
    assert stop.value.code == 2 and "ambiguous" in capsys.readouterr().err


@pytest.mark.parametrize(("terminal", "no_color"), [(True, False), (True, True), (False, False)])
def test_colours_in_a_terminal_only(terminal: bool, no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    log.Log().info("text")
    assert stream.getvalue() == ("\033[32mINFO:\033[0m text\n" if terminal and not no_color else "INFO: text\n")
