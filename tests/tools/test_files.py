"""Model files: what is in side files, what is refused, and nothing half-written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, numpy_helper

from onnx2tf_lite.commands import log
from onnx2tf_lite.model import write
from onnx2tf_lite.model.tensors import reference
from onnx2tf_lite.model.write import atomic
from onnx2tf_lite.tools import ToolError, load, save

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]


def outside(path: Path) -> dict[str, str]:
    """Tensor -> side file."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return {t.name: reference(t)["location"] for t in tensors if external_data_helper.uses_external_data(t)}


def with_side_file(folder: Path, name: str = "m.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(models.build("cnn"), folder / name, save_as_external_data=True, location="side.bin", size_threshold=512)
    return folder / name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"external_data": True}, {"w1": "o.onnx.data"}),
        (
            {"external_data": True, "size_threshold": 100},
            {"w0": "o.onnx.data", "w1": "o.onnx.data", "wg": "o.onnx.data"},
        ),
        ({"external_data": False}, {}),
    ],
    ids=["as-is", "external", "threshold", "single"],
)
def test_storage_of_an_inline_model(options: dict, expected: dict, tmp_path: Path) -> None:
    before = models.build("cnn")
    save(before, tmp_path / "o.onnx", **options)
    assert outside(tmp_path / "o.onnx") == expected
    given = models.feeds(before)
    models.assert_same(models.run(tmp_path / "o.onnx", given), models.run(before, given))
    assert not any(external_data_helper.uses_external_data(t) for t in before.graph.initializer)  # not changed


def test_too_large_gets_a_side_file_and_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write, "LIMIT", 2000)
    save(models.build("cnn"), tmp_path / "o.onnx", log=log.Log())
    assert outside(tmp_path / "o.onnx") == {"w1": "o.onnx.data"}
    assert "more than one file can hold" in capsys.readouterr().out
    with pytest.raises(ToolError, match="do not fit into one file"):
        save(models.build("cnn"), tmp_path / "p.onnx", external_data=False)
    assert listing(tmp_path) == ["o.onnx", "o.onnx.data"]


def test_side_file_is_shared_in_its_folder_and_copied_elsewhere(tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    model = load(source)
    save(model, tmp_path / "a" / "n.onnx")
    assert listing(tmp_path / "a") == ["m.onnx", "n.onnx", "side.bin"]
    save(model, tmp_path / "b" / "n.onnx")
    assert (tmp_path / "b" / "side.bin").read_bytes() == (tmp_path / "a" / "side.bin").read_bytes()
    given = models.feeds(models.build("cnn"))
    models.assert_same(models.run(tmp_path / "b" / "n.onnx", given), models.run(source, given))


def test_side_file_of_another_model_is_not_overwritten(tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "side.bin").write_bytes(b"of somebody else")
    save(load(source), tmp_path / "b" / "n.onnx")
    assert (tmp_path / "b" / "side.bin").read_bytes() == b"of somebody else"
    assert set(outside(tmp_path / "b" / "n.onnx").values()) == {"n.onnx.data"}
    given = models.feeds(models.build("cnn"))
    models.assert_same(models.run(tmp_path / "b" / "n.onnx", given), models.run(source, given))


def test_part_of_a_side_file_is_copied_as_needed(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    words = ["-ion", "x", "-oon", "c0", "-of", tmp_path / "b" / "p.onnx"]
    assert cli("sne4onnx", "-if", source, *words).code == 0
    assert listing(tmp_path / "b") == ["p.onnx", "p.onnx.data"]
    assert (tmp_path / "b" / "p.onnx.data").stat().st_size == 8 * 3 * 3 * 3 * 4


def test_no_op_copies_side_files_byte_for_byte(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    words = ["-on", "nope", "--missing-ok", "-of", tmp_path / "b" / "m.onnx"]
    assert cli("sod4onnx", "-if", source, *words).code == 0
    for name in ("m.onnx", "side.bin"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_op_keeps_bytes_that_protobuf_would_write_otherwise(cli: Cli, tmp_path: Path) -> None:
    """A graph before the IR version: valid, and not the order in which protobuf writes."""
    model = models.build("cnn")
    head = onnx.ModelProto(ir_version=model.ir_version).SerializeToString()
    model.ClearField("ir_version")
    data = model.SerializeToString() + head
    (tmp_path / "m.onnx").write_bytes(data)
    assert (
        cli("sod4onnx", "-if", tmp_path / "m.onnx", "-on", "nope", "--missing-ok", "-of", tmp_path / "o.onnx").code == 0
    )
    assert (tmp_path / "o.onnx").read_bytes() == data


def test_edit_in_place_with_a_side_file(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path)
    side, given = (tmp_path / "side.bin").read_bytes(), models.feeds(models.build("cnn"))
    expected = models.run(source, given)
    assert cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", source).code == 0
    models.assert_same(models.run(source, given), expected)
    assert (tmp_path / "side.bin").read_bytes() == side


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", ""])
def test_data_outside_the_folder_is_refused(location: str, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    source = with_side_file(folder)
    (tmp_path / "secret").write_bytes(bytes(10_000))
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    source.write_bytes(model.SerializeToString())
    for words in (["--single-file"], []):
        result = cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", tmp_path / "b" / "o.onnx", *words)
        assert result.code == 1 and "outside the model's folder" in result.err and not (tmp_path / "b").exists()


def test_a_folder_in_the_file_is_not_believed(cli: Cli, tmp_path: Path) -> None:
    """`basepath` is ours, in memory; in a file or a pipe it could name any folder."""
    source = with_side_file(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "side.bin").write_bytes(bytes(10_000))
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            tensor.external_data.add(key="basepath", value=str(tmp_path / "other"))
    source.write_bytes(model.SerializeToString())
    assert cli("sor4onnx", "-if", source, "-on", "r0", "z", "--single-file", "-of", tmp_path / "o.onnx").code == 0
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "o.onnx").graph.initializer}
    assert np.any(weights["w1"])


def test_missing_side_file(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    (tmp_path / "a" / "side.bin").unlink()
    result = cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", tmp_path / "b" / "o.onnx")
    assert result.code == 1 and "'side.bin' is missing" in result.err and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no graph in it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (models.build("cnn").SerializeToString()[:-100], "cut off"),
    ],
    ids=["empty", "lfs", "cut"],
)
def test_no_model(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ToolError, match=why):
        load(tmp_path / "m.onnx")


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    (tmp_path / "o.txt").write_text("old")
    with (
        pytest.raises(ToolError, match=r"o\.txt: cannot be written: disk full"),
        atomic(tmp_path / "o.txt") as file,
    ):
        file.write(b"half")
        raise OSError("disk full")
    assert listing(tmp_path) == ["o.txt"] and (tmp_path / "o.txt").read_text() == "old"


def test_a_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    with atomic(tmp_path / "o.txt") as file:
        file.write(b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "o.txt").stat().st_mode) == 0o666 & ~mask


def test_what_is_no_file_is_written_into(tmp_path: Path) -> None:
    """A rename would put a file in the place of a device or a pipe."""
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    read: list[bytes] = []
    reader.start()
    with atomic(tmp_path / "pipe") as file:
        file.write(b"one")
    reader.join(10)
    assert read == [b"one"] and (tmp_path / "pipe").is_fifo() and listing(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such name here")
def test_the_name_of_standard_output_stays_what_it_is(tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    code = "import sys; from onnx2tf_lite.tools.sng4onnx import main; sys.exit(main(sys.argv[1:]))"
    was = os.lstat("/dev/stdout")
    with (tmp_path / "o.onnx").open("wb") as out:
        words = [sys.executable, "-c", code, "-if", str(source), "-of", "/dev/stdout", "-n"]
        subprocess.run(words, stdout=out, check=True)
    assert os.lstat("/dev/stdout").st_ino == was.st_ino and (tmp_path / "o.onnx").read_bytes() == source.read_bytes()


def test_onnx_by_its_name(cli: Cli, tmp_path: Path) -> None:
    """The domain may be spelled ai.onnx: rules hold for it, and what is not edited stays as it is spelled."""
    spelled = models.build("branch")
    spelled.opset_import[0].domain = "ai.onnx"
    for node in spelled.graph.node:
        node.domain = "ai.onnx"
    source, target = tmp_path / "m.onnx", tmp_path / "o.onnx"
    onnx.save(spelled, source)
    assert cli("sng4onnx", "-if", source, "-of", target).code == 0
    assert target.read_bytes() == source.read_bytes()
    assert cli("soc4onnx", "-if", source, "-of", target, "-os", "18").code == 0
    assert [(e.domain, e.version) for e in onnx.load(target).opset_import] == [("", 18)]
    assert cli("sna4onnx", "-if", source, "-of", target, "-aot", "Neg", "-aon", "n", "--after", "r").code == 0
    assert cli("sbi4onnx", "-if", source, "-of", target, "-ics", "N").code == 0
    models.run(target, {"x": np.zeros((5, 3), np.float32)})
