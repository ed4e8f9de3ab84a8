"""tests.pythons: what it finds, and the exit code that says what did not run."""

from __future__ import annotations

import sys

import pytest

from tests import pythons
from tests.pythons import FAILED, MISSING, PASSED, Outcome


def test_finds_an_interpreter_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    assert pythons.interpreter(own) == sys.executable


def test_an_interpreter_of_another_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    monkeypatch.setattr(pythons, "uv", lambda *words: [sys.executable, "-c", "raise SystemExit(1)"])
    assert pythons.interpreter("3.99") is None
    outcome = pythons.run("3.99", False, [])
    assert outcome.code == MISSING and "did not run" in outcome.what


def test_packages_that_do_not_resolve_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "interpreter", lambda version: sys.executable)
    monkeypatch.setattr(pythons, "uv", lambda *words: [sys.executable, "-c", "raise SystemExit(1)", *words])
    assert pythons.run("3.10", True, []).code == FAILED


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((PASSED, PASSED), 0), ((PASSED, MISSING), 2), ((FAILED, MISSING), 1), ((MISSING, FAILED), 1)],
)
def test_exit_code(codes: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(Outcome("one", code, "what") for code in codes)
    monkeypatch.setattr(pythons, "run", lambda version, lowest, words: next(made))
    assert pythons.main([f"3.{n}" for n in range(len(codes))]) == expected


def test_words_for_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(version: str, lowest: bool, words: list[str]) -> Outcome:
        seen.append((version, lowest, words))
        return Outcome("one", PASSED, "what")

    monkeypatch.setattr(pythons, "run", run)
    assert pythons.main(["3.13", "--lowest", "--", "tests/ir", "-x"]) == 0
    assert seen == [("3.13", True, ["tests/ir", "-x"])]
