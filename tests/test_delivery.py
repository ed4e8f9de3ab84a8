"""Files come into place all at once, or one kind after the other with nothing wrong in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from onnx2tf_lite import delivery
from onnx2tf_lite.delivery import GRAPH, deliver, put

KINDS = ("a.tflite", "saved_model/saved_model.pb", "saved_model/variables/variables.index", "z.json")


def make(folder: Path, text: str, strip: str = "") -> Path:
    for name in KINDS:
        path = folder / name.removeprefix(strip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return make(tmp_path / "work", "new")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = make(tmp_path / "out", "old", "saved_model/")
    (folder / "notes.txt").write_text("mine")
    (folder / "variables" / "left.data").write_text("old")
    return folder


@pytest.fixture(autouse=True, params=["the system's", "without"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that cannot let two paths change places must come to the same."""
    if request.param == "without":
        monkeypatch.setattr(delivery, "_exchanged", lambda one, other: False)


def test_a_new_folder_appears_whole(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, out = os.rename, tmp_path / "deep" / "out"

    def watched(source: Path, target: Path) -> None:
        assert not out.exists()
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    deliver(work, out, ["saved_model"])
    assert set(contents(out)) == {"a.tflite", "z.json", GRAPH, "variables/variables.index"}


def test_kinds_are_replaced_and_everything_else_stays(work: Path, old: Path) -> None:
    deliver(work, old, ["saved_model"])
    assert contents(old).pop("notes.txt") == "mine"
    assert {name: text for name, text in contents(old).items() if name != "notes.txt"} == {
        "a.tflite": "new", "z.json": "new", GRAPH: "new", "variables/variables.index": "new",
    }  # fmt: skip


@pytest.mark.parametrize("step", range(4))
def test_a_saved_model_is_whole_or_none_wherever_a_run_is_killed(
    work: Path, old: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(9))

    def killed(source: Path, target: Path) -> None:
        if next(calls) == step:
            raise SystemExit
        put(source, target)

    monkeypatch.setattr(delivery, "put", killed)
    with pytest.raises(SystemExit):
        deliver(work, old, ["saved_model"])
    found = contents(old)
    assert GRAPH not in found or found[GRAPH] == found["variables/variables.index"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_last_file(work: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, target: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        put(source, target)

    monkeypatch.setattr(delivery, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deliver(work, old, ["saved_model"])
    found = contents(old)
    assert {text for name, text in found.items() if name != "notes.txt"} == {"new"} and len(found) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(delivery._rename() is None, reason="the system cannot")
def test_two_paths_change_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of one")
    (tmp_path / "folder").mkdir()
    if not delivery._exchanged(tmp_path / "file", tmp_path / "folder"):
        pytest.skip("switched off, or the file system cannot")
    assert (tmp_path / "folder").read_text() == "of one" and (tmp_path / "file").is_dir()
    assert not delivery._exchanged(tmp_path / "file", tmp_path / "missing")


@pytest.mark.parametrize("kind", ["file", "link", "folder", "nothing"])
def test_whatever_was_there(tmp_path: Path, kind: str) -> None:
    item, target, other = tmp_path / "item", tmp_path / "target", tmp_path / "other"
    item.write_text("new")
    other.write_text("another's")
    if kind == "file":
        target.write_text("old")
    elif kind == "link":
        target.symlink_to(other)
    elif kind == "folder":
        make(target, "old")
    put(item, target)
    assert target.read_text() == "new" and not target.is_symlink() and other.read_text() == "another's"
