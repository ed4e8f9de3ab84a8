"""The temporary folder is as it was after every conversion, however it ends; and so is the place of the files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from onnx2tf_lite import child

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {
    c = Conv(x, w)
    y = Softmax<axis = 1>(c)
}
"""
#: What onnxruntime itself keeps there: one small file, the same for every process.
THEIRS = {".ses"}


def start(place: Path, *more: str, text: str = MODEL, kinds: str = "float32") -> subprocess.Popen[str]:
    """The command line with a temporary folder of its own."""
    (place / "tmp").mkdir()
    (place / "m.onnx").write_bytes(parser.parse_model(text).SerializeToString())
    words = ["-i", str(place / "m.onnx"), "-o", str(place / "out"), "--outputs", kinds, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "onnx2tf_lite", *words],
        env={**os.environ, "TMPDIR": str(place / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left(place: Path) -> set[str]:
    found = {p.name for p in place.iterdir()} | {p.name for p in (place / "tmp").iterdir()}
    return found - {"tmp", "m.onnx", "out"} - THEIRS


def test_one_that_succeeds(tmp_path: Path) -> None:
    """Quantised files too, whose calibration runs a file that is written for that alone."""
    process = start(tmp_path, "--random-calibration", kinds="float32,full_integer_quant")
    said = process.communicate()
    assert process.returncode == 0, said
    assert not left(tmp_path)


def test_a_saved_model(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    process = start(tmp_path, kinds="saved_model")
    said = process.communicate()
    assert process.returncode == 0, said
    assert not left(tmp_path)


def test_one_that_fails(tmp_path: Path) -> None:
    process = start(tmp_path, text=MODEL.replace("Softmax<axis = 1>", "Softmax<axis = 7>"))
    said = process.communicate()
    assert process.returncode == 1, said
    assert not left(tmp_path) and not (tmp_path / "out").exists()


@pytest.mark.usefixtures("interruptible")
def test_one_that_is_interrupted_while_a_child_runs(tmp_path: Path) -> None:
    """The loop does not end by itself, and the check runs it in a child."""
    loop = """<ir_version: 8, opset_import: ["" : 17]>
    g (float x) => (float y) <int64 n = {1000000000}, bool c = {1}> {
        y = Loop<body = b (int64 i, bool c, float p) => (bool d, float r) { d = Identity(c) r = Add(p, p) }>(n, c, x)
    }
    """
    process = start(tmp_path, text=loop)
    end = time.monotonic() + 120
    while not any(p.name.startswith("onnx2tf-") for p in (tmp_path / "tmp").iterdir()):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in out + err, (process.returncode, out, err)
    assert not left(tmp_path) and not (tmp_path / "out").exists()


@pytest.mark.skipif(not child.can_fork(), reason="children are forks")
@pytest.mark.parametrize("hook", ["before", "after_in_parent"])
def test_an_interrupt_in_the_middle_of_a_fork(hook: str) -> None:
    """What Python calls there cannot raise: the interrupt would only be printed."""
    code = f"""
import os, signal
from onnx2tf_lite import child
signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork({hook}=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    child.call(lambda: 7)
except KeyboardInterrupt:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("interrupted, and no child is left")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("interrupted, and no child is left\n", "")


@pytest.mark.skipif(not child.can_fork(), reason="children are forks")
def test_a_child_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libraries leave to the end of their process does not stay where that end never comes."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"left")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(child.DiedError):
        child.call(work)
    assert not list(tmp_path.iterdir())
    assert child.call(lambda: np.arange(3)).sum() == 3


def test_without_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert child.call(lambda: 7) == 7
