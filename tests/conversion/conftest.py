"""A small network in a file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.validation.models import cnn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "net.onnx"
    onnx.save(cnn(), found)
    return found
