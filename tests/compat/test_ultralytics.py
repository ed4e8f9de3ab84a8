"""The exporter of the ultralytics package, as it is, on top of ``compat``.

It needs an environment of its own, since that package wants PyTorch:

    python -m venv env && env/bin/pip install torch ultralytics onnxslim '.[keras]' ./compat
    ULTRALYTICS=env/bin/python pytest tests/compat/test_ultralytics.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

PYTHON = os.environ.get("ULTRALYTICS", "")
CLIENT = Path(__file__).with_name("ultralytics_client.py")
#: Files that callers of the exporter look for, with the largest error that their numbers may have.
FILES = {
    "saved_model network_float32.tflite": 1e-4,
    "saved_model network_float16.tflite": 1e-2,
    "saved_model saved_model": 1e-4,
    "pb network.pb": 0.0,
    "int8 network_int8.tflite": 0.1,
    "int8 network_integer_quant.tflite": 0.1,
    "int8 network_full_integer_quant.tflite": 0.1,
}


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="ULTRALYTICS is not set to a Python that has the ultralytics package")
def test_every_form_that_it_exports(tmp_path: Path) -> None:
    words = [*PYTHON.split(), str(CLIENT), "yolo11n.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = {name: error for name, _, error in map(json.loads, filter(is_result, done.stdout.splitlines()))}
    assert {name: found.get(name) for name, limit in FILES.items() if not found.get(name, 9) <= limit} == {}


def is_result(line: str) -> bool:
    return line.startswith('["')
