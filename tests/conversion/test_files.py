"""`onnx2tf_lite.convert`: what it writes, what it returns, and that nothing is left behind where it fails."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnx2tf_lite import ConversionError, compile, convert, validation
from onnx2tf_lite.delivery import PREFIX
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.validation.files import tensorflow_file
from tests.validation.models import cnn

from .quiet import listing, quiet, signature

FLAT = ("float32", "float16")


# ------------------------------------------------------------------------------------------------ files


def test_exactly_these_files_and_the_rest_untouched(path: Path, tmp_path: Path) -> None:
    out, digest = tmp_path / "deep" / "out", hashlib.sha256(path.read_bytes()).hexdigest()
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "net_float32.tflite").write_text("an older one")
    result = quiet(path, out, outputs=FLAT)
    assert listing(out) == ["net_float16.tflite", "net_float32.tflite", "net_report.json", "notes.txt"]
    assert listing(tmp_path) == ["deep", "net.onnx"] and listing(tmp_path / "deep") == ["out"]
    assert (out / "notes.txt").read_text() == "mine"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert result.files == {k: out / f"net_{k}.tflite" for k in FLAT} and result.exit_code == 0
    assert signature(result.files["float32"]) == ({"image": [-1, 12, 10, 3]}, {"scores": [-1, 5]})


def test_default_set_with_the_saved_model(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the second time over the first
        result = convert(path, out, non_verbose=True)
        assert {"saved_model.pb", "variables", "net_float32.tflite", "net_float16.tflite"} <= set(listing(out))
        assert listing(tmp_path) == ["net.onnx", "out"]
    assert result.files["saved_model"] == out and result.check is not None
    assert [f.kind for f in result.check.files] == ["saved_model", "float32", "float16"] and result.check.ok


def test_report(path: Path, tmp_path: Path) -> None:
    quiet(path, tmp_path / "out", check="layers")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    (image,) = report["inputs"]
    assert image == {"name": "image", "dtype": "float32", "onnx_shape": ["N", 3, 12, 10], "shape": ["N", 12, 10, 3],
                     "perm": [0, 2, 3, 1]}  # fmt: skip
    stages = [name for name, _ in compile.STAGES + compile.BRANCHES["integer"]]
    assert set(report["stages"]) == {"load", "tune", *stages, "float32", "check"}
    assert report["check"]["ok"] and report["check"]["files"][0]["layers"]
    assert report["files"] == {"net_float32.tflite": (tmp_path / "out" / "net_float32.tflite").stat().st_size}


def test_model_without_a_path(tmp_path: Path) -> None:
    quiet(cnn(), tmp_path / "out")
    assert listing(tmp_path / "out") == ["model_float32.tflite", "model_report.json"]


def test_dry_run_writes_nothing(path: Path, tmp_path: Path) -> None:
    result = quiet(path, tmp_path / "out", disable_model_save=True)
    assert listing(tmp_path) == ["net.onnx"]
    assert result.files == {} and result.check is not None and result.check.ok


UNKNOWN = "g (float[1,4] x) => (float[1,4] y) { a = Foo(x)\n b = Relu(a)\n c = Bar(x)\n y = Add(b, c) }"


def test_all_unsupported_nodes_at_once_and_no_file(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 17, "mine": 1]>\n'
                                    + UNKNOWN.replace("Foo", "mine.Foo").replace("Bar", "mine.Bar"))  # fmt: skip
    with pytest.raises(ConversionError) as error:
        quiet(proto, tmp_path / "new" / "out")
    text = str(error.value)
    assert "mine.Foo" in text and "mine.Bar" in text and "Relu" not in text
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "content", [None, b"", b"version https://git-lfs", b"\x08\x07"], ids=["missing", "empty", "text", "torn"]
)
def test_not_a_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    before = listing(tmp_path)
    with pytest.raises(ConversionError, match=r"bad\.onnx"):
        quiet(tmp_path / "bad.onnx", tmp_path / "out")
    assert listing(tmp_path) == before


def test_output_folder_is_a_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is a file"):
        quiet(path, path)
    assert listing(tmp_path) == ["net.onnx"]


def test_nothing_is_left_after_an_interruption(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validation.beside.Beside, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(path, tmp_path / "out")
    assert listing(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("place", ["net.onnx/out", "link", "link/out"])
def test_a_folder_that_cannot_be_is_said_before_the_work(
    path: Path, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (path.parent / "link").symlink_to("nowhere")
    with pytest.raises(ConversionError, match=r"is a file|is a link to nothing"):
        convert(path, path.parent / place)
    assert capfd.readouterr().out == ""
    assert listing(path.parent) == ["link", "net.onnx"]


def test_rests_of_a_killed_conversion_go(path: Path, tmp_path: Path) -> None:
    for name in ("dead", "held", "new"):
        (tmp_path / f"{PREFIX}{name}").mkdir()
        os.utime(tmp_path / f"{PREFIX}{name}", (0, 0) if name != "new" else None)
    held = os.open(tmp_path / f"{PREFIX}held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    quiet(path, tmp_path / "out")
    os.close(held)
    assert listing(tmp_path) == [f"{PREFIX}held", f"{PREFIX}new", "net.onnx", "out"]


def test_an_older_page_stays_where_a_new_one_cannot_be_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("the older one")
    monkeypatch.setattr(validation.page, "require", lambda: None)
    monkeypatch.setattr(validation.page, "render", lambda report: "a new one")
    quiet(path, html=page)
    assert page.read_text() == "a new one"

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConversionError, match="No space left"):
        quiet(path, html=page)
    assert page.read_text() == "a new one" and listing(tmp_path) == ["net.onnx", "page.html"]


def test_names_are_kept_as_onnx_has_them(tmp_path: Path) -> None:
    proto = cnn()
    for node in proto.graph.node:
        node.input[:] = ["/in:0" if n == "image" else n for n in node.input]
        node.output[:] = ["größe/scores:0" if n == "scores" else n for n in node.output]
    proto.graph.input[0].name, proto.graph.output[0].name = "/in:0", "größe/scores:0"
    result = quiet(proto, tmp_path / "out")
    assert [list(part) for part in signature(result.files["float32"])] == [["/in:0"], ["größe/scores:0"]]
    assert result.exit_code == 0


def test_names_that_a_signature_cannot_have_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = '"" (float[2] "s.x", float[2] s_x, float[2] plain) => (float[2] "40") { "40" = Sum("s.x", s_x, plain) }'
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    names = {"s.x": "s_x_1", "s_x": "s_x", "plain": "plain", "40": "tensor_40"}
    result = quiet(source, outputs=("saved_model",), non_verbose=False)
    assert result.exit_code == 0 and result.report["signature"] == names
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "signature" in line]
    assert told.endswith(": s.x is s_x_1, 40 is tensor_40")
    assert quiet(source, outputs=("float32",), non_verbose=False).report["signature"] == {}
    assert "signature" not in capsys.readouterr().out


def test_an_input_that_is_an_output_is_no_layer() -> None:
    text = "g (float[2] x, float[2] z) => (float[2] x, float[2] y) { y = Relu(z) }"
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    (file,) = quiet(source).check.files  # type: ignore[union-attr]
    assert "1 of 1 layers" in file.verdict and "not reached" not in file.verdict


# ------------------------------------------------------------------------------------------------ TensorFlow

BLOCKED = """
import sys

import onnx2tf_lite.conversion
assert "onnx.reference" not in sys.modules, "20 ms that a conversion seldom needs"

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "keras", "torch"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
from onnx2tf_lite import convert
result = convert(sys.argv[1], sys.argv[2], outputs=("float32", "float16"), non_verbose=True)
assert result.exit_code == 0 and set(result.files) == {"float32", "float16"}
result = convert(sys.argv[1], sys.argv[2], check="none", non_verbose=True)
assert result.exit_code == 0 and set(result.files) == {"saved_model", "float32", "float16"}
assert "tensorflow" not in sys.modules
"""


def test_writing_needs_no_tensorflow(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED, path, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_tensorflow_the_saved_model_is_written_and_not_checked(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorflow_file, "find_spec", lambda name: None)
    result = convert(path, tmp_path / "out", verbosity="warn")
    assert (tmp_path / "out" / "saved_model.pb").exists() and result.exit_code == 2 and result.check
    (line,) = capsys.readouterr().err.splitlines()
    assert "saved_model: not checked: TensorFlow is not installed (pip install" in line
    assert [f.ok for f in result.check.files] == [False, True, True] and not result.check.wrong
    assert quiet(path, tmp_path / "unchecked", check="none").exit_code == 0


# ------------------------------------------------------------------------------------------------ a wrong file


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every .tflite gets one wrong weight in its second convolution."""
    write = tflite.write
    weights = next(onnx.numpy_helper.to_array(t) for t in cnn().graph.initializer if t.name == "w2").transpose(
        0, 2, 3, 1
    )
    bent = weights.copy()
    bent[3, 1, 1, 2] += 1

    def wrong(graph: Any, path: Path, **options: Any) -> None:
        write(graph, path, **options)
        path.write_bytes(path.read_bytes().replace(weights.tobytes(), bent.tobytes()))

    monkeypatch.setattr(tflite, "write", wrong)


@pytest.mark.usefixtures("sabotage")
def test_a_wrong_file_stays_and_is_reported(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = quiet(path, tmp_path / "out")
    assert result.exit_code == 1 and result.files["float32"].is_file()
    assert "DIFFERS" in (line := capsys.readouterr().err) and "node_c2" in line, "also when quiet"
    assert json.loads((tmp_path / "out" / "net_report.json").read_text())["check"]["ok"] is False
    assert quiet(path, check="none").exit_code == 0, "nobody looked"
    loose = quiet(path, check_onnx_tf_outputs_elementwise_close_rtol=1e3)
    assert loose.check is not None and loose.exit_code == 0 and "LOOSENED" in loose.check.files[0].verdict


def test_both_runtimes_of_the_interpreter_are_used(path: Path) -> None:
    check = quiet(path).check
    assert check is not None and check.files[0].runtimes == ("XNNPACK", "builtin kernels")
