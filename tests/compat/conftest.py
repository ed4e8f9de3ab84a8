"""The names of compat/ can be imported, as if it were installed."""

from __future__ import annotations

from pathlib import Path

import pytest

COMPAT = Path(__file__).resolve().parents[2] / "compat"


@pytest.fixture(autouse=True)
def known_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(COMPAT))
    monkeypatch.chdir(tmp_path)
