"""Whole runs on Dask: what dies on the way is that model's failure or nobody's, and nothing is lost or made twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx2tf_lite import fleet_cli
from onnx2tf_lite.errors import ToolError
from onnx2tf_lite.fleet import convert_many
from onnx2tf_lite.fleet.cluster import Capacity, Room, connected
from onnx2tf_lite.fleet.progress import Silent
from onnx2tf_lite.fleet.run import planned
from tests.validation.models import cnn

LIGHT = {"outputs": ["float32"]}
COUNT = 6


class Watch(Silent):
    """Remembers what happened; ``at`` is called when so many models are done."""

    def __init__(self, at: int = 0, then: Any = None):
        self.records: list[Mapping[str, Any]] = []
        self.notes: list[str] = []
        self.at, self.then = at, then

    def done(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)
        if len(self.records) == self.at:
            self.then()

    def say(self, text: str) -> None:
        self.notes.append(text)


def small(name: str, seed: int) -> None:
    proto = cnn()
    weight = next(t for t in proto.graph.initializer if t.name == "k")
    rng = np.random.default_rng(seed)
    weight.CopyFrom(numpy_helper.from_array(rng.standard_normal((5, 6)).astype(np.float32), "k"))
    onnx.save(proto, name)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    for i in range(COUNT):
        small(f"models/m{i}.onnx", i)
    return tmp_path


def processes(text: str) -> list[int]:
    """Processes of this run whose command line has the text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if text in line and (parent == os.getpid() or _parent(parent) == os.getpid()):
            found.append(int(folder.name))
    return found


def workers() -> list[int]:
    """Those of a cluster of our own."""
    return processes("multiprocessing.spawn")


def deaf(pid: int) -> bool:
    """Does a process ignore what a terminal sends for Ctrl-C?"""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigIgn:")[2].split()[0], 16) >> (signal.SIGINT - 1) & 1)


def kill_a_worker() -> int:
    """And wait until it is gone and another one is in its place, however long that takes: nothing is given to a dying
    one."""
    killed, count = workers()[0], len(workers())
    os.kill(killed, signal.SIGKILL)
    while killed in (now := workers()) or len(now) < count:
        time.sleep(0.1)
    return killed


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_worker_that_is_killed_costs_nothing_and_the_faults_of_models_are_theirs(models: Path) -> None:
    """One run with all of it: six good models, one that is none, one whose weights are a pipe, a worker that is killed;
    then the same run again."""
    Path("models/broken.onnx").write_bytes(b"no model")
    proto = cnn()
    onnx.save(proto, "models/pipe.onnx", save_as_external_data=True, location="never.bin", size_threshold=0)
    Path("models/never.bin").unlink()
    os.mkfifo("models/never.bin")  # whoever opens it waits for a writer
    fleet = convert_many(["models"], "out", options=LIGHT, workers=2, view=(watch := Watch(2, kill_a_worker)))
    found = {name: record["status"] for name, record in fleet.records.items()}
    assert found.pop("broken") == "refused"
    assert found.pop("pipe") == "refused"
    assert found == {f"m{i}": "right" for i in range(COUNT)} and not fleet.lost and not fleet.ok
    assert len(watch.records) == COUNT + 2
    assert not list(Path("out").glob("**/.onnx2tf-*"))
    assert {p.parent.name for p in Path("out").glob("*/*_float32.tflite")} == set(found)

    before = {p: p.stat().st_mtime_ns for p in Path("out").glob("m*/*")}
    again = convert_many(["models"], "out", options=LIGHT, workers=2)
    assert {name for name, record in again.records.items() if record.get("again")} >= {*found, "broken"}
    assert {p: p.stat().st_mtime_ns for p in Path("out").glob("m*/*")} == before
    assert "Nothing has changed" in Path("out/index.html").read_text()


def test_workers_that_die_again_and_again_take_nothing_with_them() -> None:
    """What waits is not blamed for what runs: nobody but a model that two workers died over is lost.  An interrupt is
    nothing to them.  A worker may take as long as it needs to come back: Dask would give it up after 15 s, here 0."""
    killed: list[int] = []

    class Killer(Watch):
        def done(self, record: Mapping[str, Any]) -> None:
            super().done(record)
            if len(self.records) == 1:
                assert deaf(workers()[0])
            if len(self.records) in (1, 3, 4):
                killed.append(kill_a_worker())

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0s"}):
        fleet = convert_many(["models"], "out", options=LIGHT, workers=1, view=Killer())
    assert fleet.ok and len(fleet.records) == COUNT and len(set(killed)) == 3


def test_an_interrupt_loses_what_was_running_alone() -> None:
    """What has a record is not made again; the worker may be ahead of who is told."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_many(["models"], "out", options=LIGHT, workers=1, view=Watch(3, interrupt))
    while workers():  # one that still ends could still write
        time.sleep(0.1)
    done = {json.loads(p.read_text())["name"] for p in Path("out").glob("*/fleet.json")}
    assert len(done) >= 3
    fleet = convert_many(["models"], "out", options=LIGHT, workers=1)
    assert fleet.ok and {n for n, r in fleet.records.items() if r.get("again")} == done


def test_what_cannot_be_written_is_said_before_anything_is_done(models: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(ToolError, match="cannot be written"):
        convert_many(["models"], "file/out", options=LIGHT)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet_cli.main(["models", "-o", "out", "--dry-run", "--outputs", "float32", "--workers", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == COUNT and said[0].startswith("m0: beside others, up to 0.4 GB, outputs=")
    argv = ["models/m0.onnx", "models/m1.onnx", "-o", "out", "--outputs", "float32", "--workers", "1"]
    assert fleet_cli.main([*argv, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events if e["event"] != "stage"] == ["begin", "done", "done", "end"]
    assert fleet_cli.main(argv) == 0
    assert "m1: right, as before" in capsys.readouterr().out
    for words in (["--bath-size", "1"], ["nothing/"], [], ["--plan", "gone.yaml"], ["models", "--no-check", "-coto"]):
        try:
            code = fleet_cli.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        assert code == 2


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cluster(port: int, *more: str) -> list[subprocess.Popen[bytes]]:
    """A scheduler and a worker, by Dask's own commands."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]
    scheduler = subprocess.Popen(run, **quiet)  # type: ignore[call-overload]
    run = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        f"tcp://127.0.0.1:{port}",
        "--nworkers",
        "1",
        "--nthreads",
        "1",
        "--no-dashboard",
        *more,
    ]
    return [scheduler, subprocess.Popen(run, **quiet)]  # type: ignore[call-overload]


def stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(running):
        process.terminate()
    for process in running:
        process.wait()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """For what :func:`cluster` starts; it is waited for as long as a busy machine takes."""
    monkeypatch.setattr("onnx2tf_lite.fleet.cluster.SECONDS", 3600)
    monkeypatch.setattr("onnx2tf_lite.fleet.run.PATIENCE", 3600)
    running: list[subprocess.Popen[bytes]] = []
    yield running
    stop(running)


def test_an_address_without_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx2tf_lite.fleet.cluster.SECONDS", 1)
    with pytest.raises(ToolError, match="no scheduler at tcp"):
        convert_many(["models"], "out", scheduler="tcp://127.0.0.1:9")


def test_what_fits_is_said_by_the_workers(port: int, held: list[subprocess.Popen[bytes]]) -> None:
    """And a large model goes alone there, on a machine that has a worker."""
    address = f"tcp://127.0.0.1:{port}"
    held += cluster(port, "--memory-limit", "2GiB")
    with connected(Capacity(address)) as client:
        client.wait_for_workers(1)
    assert Capacity(address).room() == Room(2 << 30, 2 << 30)
    assert Capacity(address, memory_limit=9 << 20).room() == Room(9 << 20, 2 << 30)
    plan = planned(["models/m0.onnx", "models/m1.onnx"], None, LIGHT, Capacity(address, memory_limit=9 << 20))
    assert len(plan.alone) == 2 and not plan.packed and plan.alone[0].memory == 2 << 30
    models = ["models/m0.onnx", "models/m1.onnx"]
    assert convert_many(models, "out", options=LIGHT, scheduler=address, memory_limit=9 << 20).ok


@pytest.mark.slow
def test_a_scheduler_that_is_stopped_and_started_again(port: int, held: list[subprocess.Popen[bytes]]) -> None:
    held += cluster(port)

    def restart() -> None:
        def work() -> None:
            stop(held[:2])
            time.sleep(2)
            held[:2] = cluster(port)

        threading.Thread(target=work).start()

    watch = Watch(2, restart)
    fleet = convert_many(["models"], "out", options=LIGHT, scheduler=f"tcp://127.0.0.1:{port}", view=watch)
    assert fleet.ok and len(fleet.records) == COUNT and len(watch.records) == COUNT
    assert any("scheduler has gone" in note for note in watch.notes)
