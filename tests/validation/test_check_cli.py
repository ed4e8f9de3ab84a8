"""`onnx2tf-check`: exit codes, what is printed where, JSON, inputs."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import check_cli as cli
from onnx2tf_lite import convert

from .editor import Editor
from .models import cnn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, its file, a bent one, a broken one."""
    made = tmp_path_factory.mktemp("cli")
    onnx.save(cnn(), made / "net.onnx")
    convert(made / "net.onnx", made, outputs=["float32"], check="none", non_verbose=True)
    edit = Editor(made / "net_float32.tflite")
    op = edit.indices("CONV_2D")[1]
    edit.put(op, 1, edit.data(edit.graph.operators[op].inputs[1]) * np.float32(1.01))
    edit.save(made / "bent.tflite")
    (made / "broken.tflite").write_bytes((made / "net_float32.tflite").read_bytes()[:300])
    np.savez(made / "inputs.npz", image=np.ones((2, 3, 12, 10), np.float32))
    return made


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(*argv: str) -> int:
    try:
        return cli.main(["-i", "net.onnx", *argv])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize(
    "argv, code",
    [
        (["-t", "net_float32.tflite"], 0),
        (["-t", "net_float32.tflite", "--outputs-only", "--seed", "3"], 0),
        (["-t", "net_float32.tflite", "--shape", "image:4,3,12,10", "--samples", "2"], 0),
        (["-t", "net_float32.tflite", "--inputs", "inputs.npz", "--budget", "2KB"], 0),
        (["-t", "bent.tflite"], 1),
        (["-t", "net_float32.tflite", "bent.tflite"], 1),
        (["-t", "bent.tflite", "--rtol", "0.1"], 0),
        (["-t", "net_float32.tflite", "--rtol", "1e-12", "--atol", "0"], 1),
        (["-t", "broken.tflite"], 2),
        (["-t", "missing.tflite"], 2),
        (["-t", "net_float32.tflite", "--inputs", "missing.npz"], 2),
        (["-t", "net_float32.tflite", "--shape", "typo:1,3,12,10"], 2),
        (["-t", "net_float32.tflite", "--shape", "image:1,3"], 2),
        (["-t", "net_float32.tflite", "--metric", "psnr"], 2),
        (["-i", "missing.onnx", "-t", "net_float32.tflite"], 2),
        ([], 2),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else str(item),
)
def test_exit_code(argv: list[str], code: int) -> None:
    assert run(*argv) == code


def test_plain_text_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    run("-t", "bent.tflite")
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["ok", "introduces", *["carries"] * 4]
    assert "layer 2 node_c2 introduces" in lines[-1] and "the 6 failing layers after it only carry it" in lines[-1]


def test_rows_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    run("-t", "bent.tflite", "--worst", "1")
    table = capsys.readouterr().out.splitlines()[1:-1]
    assert len(table) == 1 and " node_c2 " in table[0]
    run("-t", "bent.tflite", "--rows", "failed")
    assert len(capsys.readouterr().out.splitlines()[1:-1]) == 7


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-t", "bent.tflite", "--json", "-") == 1
    report = json.loads(capsys.readouterr().out)
    (file,) = report["files"]
    row = next(r for r in file["layers"] if r["tensor"] == "c2")
    assert row["role"] == "introduces" and row["perm"] == [0, 2, 3, 1] and row["source"] == "default"
    assert {"max_abs", "max_rel", "rmse", "cosine", "sqnr", "within"} <= set(row["difference"])
    assert report["exit_code"] == 1 and file["blame"].startswith("layer 2 node_c2 introduces")
    assert report["settings"]["command"] == "onnx2tf-check -i net.onnx -t bent.tflite"
    assert run("-t", "net_float32.tflite", "--json", "report.json") == 0
    assert json.loads(Path("report.json").read_text())["ok"] is True


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines: list[bytes] = []
    command = [sys.executable, "-m", "onnx2tf_lite.check_cli", "-i", "net.onnx", "-t", "bent.tflite"]
    code = os.waitstatus_to_exitcode(pty.spawn(command, lambda fd: lines.append(os.read(fd, 4096)) or b" "))
    text = b"".join(lines).decode(errors="replace")
    assert code == 1 and "\x1b[" in text and "introduces" in text


def test_images_need_pillow(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "photos").mkdir(exist_ok=True)
    if importlib.util.find_spec("PIL") is None:
        assert run("-t", "net_float32.tflite", "--inputs", "photos") == 2
        assert "pip install pillow" in capsys.readouterr().err
        return
    assert run("-t", "net_float32.tflite", "--inputs", "photos") == 2
    assert "has no images" in capsys.readouterr().err
    from PIL import Image

    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.png")
    shape = ["--shape", "image:1,3,12,10"]
    argv = ["-t", "net_float32.tflite", "--inputs", "photos", "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", *shape]
    assert run(*argv) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--mean", "0.5,0.5,0.5"],
        ["--std", "0.5,0.5,0.5"],
        ["--inputs", "inputs.npz", "--seed", "3"],
        ["--inputs", "inputs.npz", "--samples", "3"],
        ["--inputs", "inputs.npz", "--shape", "image:1,3,12,10"],
        ["--rows", "all", "--worst", "3"],
        ["--json", "-", "--worst", "3"],
    ],
    ids=" ".join,
)
def test_options_without_effect_are_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-t", "net_float32.tflite", *words) == 2
    out, err = capsys.readouterr()
    assert out == "" and "no effect" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("file", "code"), [("net_float32.tflite", 0), ("bent.tflite", 1)])
def test_a_reader_that_has_gone_does_not_change_the_verdict(file: str, code: int) -> None:
    command = [sys.executable, "-m", "onnx2tf_lite.check_cli", "-i", "net.onnx", "-t", file]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert (process.communicate()[1], process.returncode) == (b"", code)


def test_help_explains_tolerances_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for words in ("exit codes", "tolerances", "--metric", "--budget", "assumed"):
        assert words in text
