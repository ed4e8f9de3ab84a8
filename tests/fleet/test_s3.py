"""Models and results in S3: a whole run against a server of its own that speaks S3's protocol (package moto).

Run where s3fs and moto[server] are installed beside the extras; they are no part of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.fleet import convert_many
from onnx2tf_lite.fleet.storage import Results
from tests.fleet.test_run import COUNT, LIGHT, Watch, small
from tests.validation.models import cnn

pytestmark = pytest.mark.slow
pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    Results("s3://").fs.mkdir("models-of-a-team")
    yield "s3://models-of-a-team"
    running.stop()


def test_a_run_from_s3_to_s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is byte for byte that of a single run; a second run makes nothing again, not even of a model with its
    weights beside it."""
    monkeypatch.chdir(tmp_path)
    for number in range(COUNT):
        small(f"{number}.onnx", number)
    onnx.save(cnn(), "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0)
    fs = Results(bucket).fs
    for path in tmp_path.iterdir():
        fs.put_file(str(path), f"{bucket}/models/{path.name}")
    fleet = convert_many([f"{bucket}/models/"], f"{bucket}/out", options=LIGHT, workers=2)
    assert fleet.ok and len(fleet.records) == COUNT + 1
    for name in fleet.records:
        convert(f"{name}.onnx", f"single/{name}", outputs=["float32"], non_verbose=True)
        made = fs.cat_file(f"{bucket}/out/{name}/{name}_float32.tflite")
        assert made == Path(f"single/{name}/{name}_float32.tflite").read_bytes()
    page = fs.cat_file(f"{bucket}/out/index.html").decode()
    assert all(json.dumps(name) in page for name in fleet.records)
    watch = Watch()
    again = convert_many([f"{bucket}/models/*.onnx"], f"{bucket}/out", options=LIGHT, workers=2, view=watch)
    assert again.ok and all(record["again"] for record in watch.records) and len(watch.records) == COUNT + 1
    fs.rm_file(f"{bucket}/out/3/3_float32.tflite")
    again = convert_many([f"{bucket}/models/"], f"{bucket}/out", options=LIGHT, workers=2)
    assert [name for name, record in again.records.items() if "again" not in record] == ["3"]
