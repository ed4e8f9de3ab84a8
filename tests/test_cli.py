"""The command line: options, exit codes, what is printed where."""

from __future__ import annotations

import inspect
import os
import pty
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import onnx
import pytest

from onnx2tf_lite import cli, compile, convert, validation
from onnx2tf_lite.aliases import ALIASES, Alias
from onnx2tf_lite.options import Options
from tests.validation.models import cnn

FLAT = ["--outputs", "float32"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "net.onnx")
    return "net.onnx"


def run(*argv: str) -> int:
    """The exit code, wherever it comes from."""
    try:
        return cli.main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_help_is_quick() -> None:
    """Counted, not timed: what takes the time is the import of anything big."""
    code = "import sys; from onnx2tf_lite import cli; cli.main.parser().format_help(); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {
        "numpy",
        "onnx",
        "onnxruntime",
        "tensorflow",
        "rich",
        "ai_edge_litert",
        "onnx2tf_lite.conversion",
    }


def test_help_explains_every_group_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(f"{group}:" in text for group in {row.option.group for row in ALIASES.values() if row.sets})
    assert "exit codes" in text and "examples" in text and "param_replacement_file" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_every_option_is_a_keyword_of_convert() -> None:
    keywords = set(inspect.signature(convert).parameters)
    assert {row.keyword for row in ALIASES.values() if row.sets} <= keywords
    assert {f.name for f in fields(Options)} - {row.sets for row in ALIASES.values()} == {"warnings", "listener"}
    assert all(row.ignored or row.refused or hasattr(Options(), row.sets) for row in ALIASES.values())


@pytest.mark.parametrize(
    "argv, code",
    [
        ([], 2),
        (["-V"], 0),
        (["--list-passes"], 0),
        (["--list_ops"], 0),
        (["-i"], 2),
        (["-i", "net.onnx", "-onwx"], 2),
        (["-i", "net.onnx", "--bath_size", "1"], 2),
        (["-i", "net.onnx", "-b", "0"], 2),
        (["-i", "net.onnx", "-coto", "-cotof"], 2),
        (["-i", "missing.onnx", "-o", "out"], 1),
        (["-i", "net.onnx", *FLAT, "-kat", "typo"], 1),
        (["-i", "net.onnx", *FLAT, "-ois", "typo:1,3,12,10"], 1),
        (["-i", "net.onnx", *FLAT, "-sh", "image:2,3,12,10", "-o", "out"], 0),
        (["-i", "net.onnx", *FLAT, "--batch-size=2", "-nuo", "--disable-pass", "clean", "-n"], 0),
        (["-i", "net.onnx", *FLAT, "--no-check", "--fold-budget", "2MB", "-dms"], 0),
        (["-i", "net.onnx", *FLAT, "-cotof", "-cotor", "1e-9", "-cotoa", "0"], 1),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else str(item),
)
def test_exit_code(path: str, argv: list[str], code: int) -> None:
    assert run(*argv) == code
    assert code == 0 or not Path("out").exists()


def test_the_check_that_could_not_run_is_2(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx2tf_lite.validation.original.reference import NoReferenceError, Reference

    def refuse(*args: object) -> None:
        raise NoReferenceError("no kernel")

    monkeypatch.setattr(Reference, "open", refuse)
    assert run("-i", path, *FLAT) == 2
    assert Path("saved_model/net_float32.tflite").exists()


def test_unknown_option_names_the_nearest(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, "--batch_siz", "1") == 2
    assert "did you mean --batch_size" in capsys.readouterr().err


def values(row: Alias) -> list[str]:
    """Words for the values of an option."""
    return ["value"] * {"?": 1, "*": 2}.get(str(row.option.settings.get("nargs")), 0)


@pytest.mark.parametrize("row", [row for row in ALIASES.values() if row.ignored], ids=lambda row: row.keyword)
def test_obsolete_options_are_accepted_and_said_to_be(row: Alias) -> None:
    for spelling in row.option.flags:
        found = cli.main.parser().parse_args(["-i", "x.onnx", spelling, *values(row)])
        assert found.ignored == [f"{spelling} is ignored: {row.ignored}"]
        assert found.input_onnx_file_path == "x.onnx"


@pytest.mark.parametrize("row", [row for row in ALIASES.values() if row.refused], ids=lambda row: row.keyword)
def test_options_out_of_scope_say_what_to_do_instead(row: Alias, capsys: pytest.CaptureFixture[str]) -> None:
    for spelling in row.option.flags:
        assert run("-i", "x.onnx", spelling, *values(row)) == 2
        assert row.refused in capsys.readouterr().err


CONTRADICTIONS = [
    ["--no-check", "--html", "r.html"],
    ["--no-check", "-coto"],
    ["--no-check", "-cotof"],
    ["--no-check", "-cotor", "0.1"],
    ["--no-check", "-cotoa", "0.1"],
    ["--no-check", "-tdnp", "x.npy"],
    ["--no-check", "-sh", "image:1,3,12,10"],
    ["-coto", "-cotof"],
    ["-coto", "--html", "r.html"],
    ["-nuo", "--simplify", "always"],
    ["-k", "image", "-cl", "image"],
    ["-ois", "image:1,3,12,10", "image:2,3,12,10"],
    ["--disable-pass", "shapes", "-b", "2"],
    ["--disable-pass", "shapes", "-ois", "image:1,3,12,10"],
    ["--disable-pass", "shapes", "-onimc", "pool"],
    ["--disable-pass", "simplify", "--simplify", "always"],
]


@pytest.mark.parametrize("words", CONTRADICTIONS, ids=" ".join)
def test_contradictions_are_errors(path: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onnx2tf: error: ")
    flags = [word for word in words if word.startswith("-")]
    assert all(flag in line or flag.lstrip("-").replace("-", "_") in line for flag in flags)
    assert os.listdir() == ["net.onnx"]


@pytest.mark.parametrize(
    "words", [["-coto", "-coto"], ["-n", "-v", "error"], ["-k", "image", "-kat", "image"]], ids=" ".join
)
def test_options_that_agree_are_none(path: str, words: list[str]) -> None:
    assert run("-i", path, *FLAT, "-dms", *words) == 0


def test_no_words_is_the_last_word(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """onnx2tf's own ``-n`` wins over a verbosity."""
    assert run("-i", path, *FLAT, "-n", "-v", "debug") == 0
    assert capsys.readouterr() == ("", "")


def test_the_package_can_be_run(path: str) -> None:
    command = [sys.executable, "-m", "onnx2tf_lite", "-i", path, *FLAT, "-n"]
    assert subprocess.run(command, check=False).returncode == 0


def test_scripts_of_onnx2tf_go_on_working(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, "-o", "out", "-osd", "-coion", "-prf", "fix.json", *FLAT) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["-osd", "-coion", "-prf"]


def test_quiet_prints_nothing(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, *FLAT, "-n", "-osd") == 0
    assert capfd.readouterr() == ("", "")


def test_plain_lines_in_a_pipe(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, *FLAT) == 0
    out, err = capfd.readouterr()
    assert err == "" and "\x1b" not in out and "\r" not in out
    lines = out.splitlines()
    stages = [name for name, _ in compile.STAGES + compile.BRANCHES["integer"]]
    shown = ["load", "tune", *stages, "float32", "check"]
    assert [line.split()[1] for line in lines if line.startswith("[")] == shown
    assert "input  image: float32[N,3,12,10] stored as [N,12,10,3] = transpose(0,2,3,1)" in lines
    assert lines[-1].startswith("net_float32.tflite: matches: 7 of 7 layers, 100 % of the weights (1 output;")


def test_layer_table(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("-i", path, *FLAT, "-cotof") == 0
    out = capfd.readouterr().out
    (row,) = (line.split() for line in out.splitlines() if " node_r1 " in line)
    assert row[:5] == ["ok", "1", "node_r1", "Relu", "r1"]
    assert row[5:8] in [[f"[{n},8,12,10]", f"[{n},12,10,8]", "[0,2,3,1]"] for n in (1, 2)]  # the worst of two sizes


def test_bar_and_colours_on_a_terminal(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a pseudo terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines: list[bytes] = []
    code = pty.spawn([sys.executable, "-m", "onnx2tf_lite.cli", "-i", path, *FLAT, "-cotof"],
                     lambda fd: lines.append(os.read(fd, 4096)) or b" ")  # fmt: skip
    text = b"".join(lines).decode(errors="replace")
    assert code == 0 and "\x1b[" in text and "node_r1" in text and "[1/" not in text


def test_every_problem_in_its_own_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 17, "mine": 1]>\n'
        "g (float[1,4] x) => (float[1,4] y) { a = mine.Foo(x)\n b = mine.Bar(x)\n y = Add(a, b) }"
    )
    onnx.save(proto, tmp_path / "odd.onnx")
    assert run("-i", str(tmp_path / "odd.onnx"), "-o", str(tmp_path / "out"), *FLAT) == 1
    err = capsys.readouterr().err
    assert "2 problems" in err.splitlines()[0] and "nothing was written" in err.splitlines()[0]
    for name in ("Foo", "Bar"):
        assert re.search(rf"\n  mine\.{name} '.*' \(x: f32\[1,4\]\)\n    \S.*\n    -> \S", err)


def test_what_cannot_be_left_out_says_what_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto, unnamed = cnn(), tmp_path / "unnamed.onnx"
    for node in proto.graph.node:
        node.name = ""
    onnx.save(proto, unnamed)
    for words, told in (
        (["--keep-node", "relu"], "no node of the model has a name\n    -> give them names with sng4onnx"),
        (["--disable-pass", "one_scale"], "--keep-node"),
    ):
        assert run("-i", str(unnamed), "-o", str(tmp_path / "out"), *FLAT, *words) == 1
        assert told in capsys.readouterr().err


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list-passes") == 0
    out = capsys.readouterr().out
    for name in ("batchnorm", "reparameterise", "reduction_before_reshape"):
        assert re.search(rf"^{name}  +\S", out, re.MULTILINE)
    assert run("--list-ops") == 0
    assert {"Conv", "Softmax", "If"} <= set(capsys.readouterr().out.split())


def test_a_reader_that_has_gone_does_not_stop_the_work(path: str) -> None:
    command = [sys.executable, "-m", "onnx2tf_lite", "-i", path, *FLAT]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert (process.communicate()[1], process.returncode) == (b"", 0)
    assert Path("saved_model/net_float32.tflite").exists()


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        (">&-", ""),
        (">&- 2>&- <&-", ""),
        (">/dev/full", "standard output cannot be written: No space left on device\n"),
        (">/dev/full 2>/dev/full", ""),
    ],
)
def test_standard_streams_that_cannot_be_written_do_not_stop_the_work(path: str, redirection: str, said: str) -> None:
    command = f'"{sys.executable}" -m onnx2tf_lite -i "{path}" {" ".join(FLAT)} {redirection}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)
    assert Path("saved_model/net_float32.tflite").exists()


def test_an_error_that_cannot_be_said_is_one_by_its_exit_code(path: str) -> None:
    command = f'"{sys.executable}" -m onnx2tf_lite -i "{path}" -o "{path}/below" >/dev/full 2>/dev/full'
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 1


def test_names_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    proto = cnn()
    for node in proto.graph.node:
        node.output[:] = ["größe" if n == "scores" else n for n in node.output]
    proto.graph.output[0].name = "größe"
    onnx.save(proto, tmp_path / "net.onnx")
    command = [sys.executable, "-m", "onnx2tf_lite", "-i", "net.onnx", *FLAT]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and rb"output gr\xf6\xdfe: float32" in done.stdout


def test_a_file_name_that_is_no_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime cannot be told it; without a check nobody has to be."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.onnx"))
    odd.write_bytes(cnn().SerializeToString())
    assert run("-i", str(odd), "-o", str(tmp_path / "out"), *FLAT) == 1
    assert r"b\xff.onnx': ONNX Runtime opens no file of such a name" in capsys.readouterr().err.replace(
        "'\n    ", "': "
    )
    assert not (tmp_path / "out").exists()
    assert run("-i", str(odd), "-o", str(tmp_path / "out"), *FLAT, "--no-check") == 0


def test_an_interrupt_is_one_line(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validation.beside.Beside, "check", interrupted)
    assert run("-i", path, *FLAT) == 130
    assert capsys.readouterr().err == "onnx2tf: interrupted\n" and os.listdir() == ["net.onnx"]


def test_the_process_ends_at_once_and_in_order(tmp_path: Path) -> None:
    """Nothing is taken apart, but what is registered for the end is done, all is written, and the code is told."""
    code = (
        "import atexit, sys; from onnx2tf_lite.commands import leave\n"
        "class Late:\n"
        "    def __del__(self): print('taken apart')\n"
        "late = Late(); atexit.register(print, 'the end', end='')\n"
        "sys.stdout.write('said, '); leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said, the end", "")
    for words, expected in ((["-i", "missing.onnx"], 1), (["--list-passes"], 0), (["--nothing"], 2)):
        command = [sys.executable, "-m", "onnx2tf_lite", *words]
        assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == expected
