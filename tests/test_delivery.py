"""Files come into place all at once, or one kind after the other with nothing wrong in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from onnx2tf_lite.delivery import GRAPH, deliver

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
    replace, calls = os.replace, iter(range(9))

    def killed(source: Path, target: Path) -> None:
        if next(calls) == step:
            raise SystemExit
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        deliver(work, old, ["saved_model"])
    found = contents(old)
    assert GRAPH not in found or found[GRAPH] == found["variables/variables.index"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_last_file(work: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deliver(work, old, ["saved_model"])
    found = contents(old)
    assert {text for name, text in found.items() if name != "notes.txt"} == {"new"} and len(found) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
