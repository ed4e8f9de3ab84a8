"""The measures of benchmarks/ start, by the command that their texts give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: What others of them are made of, and what runs in another environment by its path.
PARTS = {"architectures", "network", "untrained", "peer_worker"}
NAMES = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if p.stem not in PARTS)


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_by_its_command(name: str) -> None:
    pytest.importorskip("distributed", reason="processes are watched as those of a fleet are")
    module = f"benchmarks.{name}"
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python -m {module}" in (ROOT / "benchmarks" / f"{name}.py").read_text()
    assert f"`python -m {module}" in (ROOT / "benchmarks" / "README.md").read_text()
