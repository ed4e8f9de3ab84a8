"""tests.ratchet: what counts as worse, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import house, ratchet

KEPT: ratchet.Kept = {"lines": 1000, "any": 10, "files": {"validation": 2}}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"any": 11}, [("any", "", 10, 11)]),
        ({"any": 9}, [("any", "", 10, 9)]),
        ({"any": 10}, []),
        ({"lines": 1010}, []),
        ({"lines": 1011}, [("lines", "", 1000, 1011)]),
        ({"files": {"validation": 2, "new": 1}}, [("files", "new", 0, 1)]),
        ({"files": {}}, [("files", "validation", 2, 0)]),
        ({"unheard of": 5}, []),
    ],
    ids=str,
)
def test_differences(now: ratchet.Kept, said: list[tuple[str, str, int, int]]) -> None:
    assert list(ratchet.compare(now, KEPT)) == said


def test_nothing_worse_is_kept() -> None:
    now: ratchet.Kept = {"lines": 1005, "any": 8, "files": {"validation": 3, "new": 1}}
    assert ratchet.better(now, KEPT) == {"lines": 1000, "any": 8, "files": {"validation": 2}}


def test_a_room_without_a_fault_has_none_any_more() -> None:
    assert ratchet.better({"files": {}}, KEPT) == {"files": {}}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a package of one file that is too long; what was kept knows none."""
    (tmp_path / "package" / "room").mkdir(parents=True)
    (tmp_path / "package" / "room" / "long.py").write_text("x = 1\n" * 451)
    monkeypatch.setattr(ratchet, "KEPT", tmp_path / "house.json")
    monkeypatch.setattr(house, "product", lambda: house.Tree(tmp_path, "package", frozenset()))
    monkeypatch.setattr(house, "MEASURES", [m for m in house.MEASURES if m.name in ("files", "code")])
    ratchet.KEPT.write_text(json.dumps({"code": 500, "files": {}}))
    assert ratchet.main(["--write"]) == 1
    said = capsys.readouterr().out
    assert "files of room: 0 -> 1  WORSE" in said and "room/long.py:1 451 lines" in said and "code: 500 -> 451" in said
    assert json.loads(ratchet.KEPT.read_text()) == {"code": 451, "files": {}}


def test_every_measure_is_kept_or_held_elsewhere() -> None:
    kept = json.loads(ratchet.KEPT.read_text())
    assert {m.name for m in house.MEASURES if not m.name.endswith("-new")} == {*kept, *ratchet.ELSEWHERE}
