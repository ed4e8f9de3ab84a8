"""The example of fine-tuning does what its page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "finetune" / "finetune.py"


def test_the_digits_are_trained_on_and_written_with_integers(tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after, integers = (float(line.split("%")[0]) for line in done.stdout.splitlines())
    assert before < 85 and after > 88 and integers > after - 2
    assert (tmp_path / "digits_shifted_int8.tflite").exists()
