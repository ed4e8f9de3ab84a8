"""200 models on two workers while everything goes wrong: what is lost, and what is made twice?

python -m benchmarks.fleet_faults [--models 200] [--timeout 60]

In the middle of one run: a worker is killed (SIGKILL), then the scheduler (SIGKILL) and started again, then the disk is
full for a while (a small one, which it takes root to mount), one model takes more memory than it may, one never ends.
Then the same run again.  What has to hold is checked, and is the exit code:

 - every other model is right, and its file is byte for byte that of ``convert`` alone;
 - every model has one outcome; what the full disk hit is named, and right after the second run, which makes nothing
   else again; only what was running when its worker or the scheduler was killed was begun twice.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx.parser

from benchmarks.fleet import OPTIONS, gather, small
from onnx2tf_lite import convert
from onnx2tf_lite.fleet import Fleet, FleetPlan, convert_many
from onnx2tf_lite.fleet.plan import Override
from onnx2tf_lite.fleet.progress import Silent
from onnx2tf_lite.fleet.storage import Results

ENDLESS, GREEDY = "endless", "greedy"
LIMIT = 700 << 20  # bytes for a model
#: 10,000 tokens have 0.4 GB of scores, and as much again of shares.
ATTENTION = """<ir_version: 8, opset_import: ["": 17]> greedy (float[10000,16] x) => (float[10000,16] y) {
    keys = Transpose <perm=[1,0]> (x)
    scores = MatMul (x, keys)
    shares = Softmax (scores)
    y = MatMul (shares, x)
}"""
DISK = 300 << 20  # bytes of the small disk
MIDDLE = 20_000  # bytes of a model that comes in the middle, the largest being first
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def bad(folder: Path) -> list[Override]:
    """A model whose run takes 0.8 GB at least, which nobody sees from outside: every token looks at every other; and
    one whose recipe is a pipe that nobody writes to."""
    (folder / f"{GREEDY}.onnx").write_bytes(_padded(onnx.parser.parse_model(ATTENTION)))
    small(folder / f"{ENDLESS}.onnx", 0)
    (folder / f"{ENDLESS}.onnx").write_bytes(_padded(onnx.load(folder / f"{ENDLESS}.onnx")))
    pipe = folder.parent / "recipe.yaml"
    os.mkfifo(pipe)
    return [Override(match=ENDLESS, recipe=str(pipe))]


def _padded(proto: onnx.ModelProto) -> bytes:
    proto.doc_string = " " * MIDDLE
    return proto.SerializeToString()


class Cluster:
    """A scheduler and two workers, as somebody starts them by hand, and somebody starts them again."""

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{found.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        dask = [sys.executable, "-m", "distributed.cli.dask_"]
        settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        port = self.address.rpartition(":")[2]
        command = [*dask[:2], f"{dask[2]}scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        self.scheduler = subprocess.Popen(command, env=os.environ | settings, **QUIET)
        command = [*dask[:2], f"{dask[2]}worker", self.address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
        self.workers = subprocess.Popen(command, **QUIET)

    def kill_a_worker(self) -> None:
        threads = Path(f"/proc/{self.workers.pid}/task").glob("*/children")
        children = [pid for thread in threads for pid in thread.read_text().split()]
        os.kill(next(int(p) for p in children if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()), 9)

    def restart(self) -> None:
        self.scheduler.kill()
        self.scheduler.wait()
        time.sleep(2)
        self.workers.terminate()
        self.workers.wait()
        self.start()

    def stop(self) -> None:
        for process in (self.workers, self.scheduler):
            process.terminate()
            process.wait()


class Watch(Silent):
    """Does what is to be done when so many models have their outcome; remembers how often each was begun and ended."""

    def __init__(self, events: Mapping[int, tuple[str, Callable[[], object]]]):
        self.events = events
        self.begun, self.ended = Counter[str](), Counter[str]()
        self.before: dict[str, str] = {}

    def stage(self, name: str, stage: str) -> None:
        if stage in ("load", "recipe"):
            self.begun[name] += 1

    def done(self, record: Mapping[str, Any]) -> None:
        self.ended[record["name"]] += 1
        if (event := self.events.get(self.ended.total())) is not None:
            print(f"  {self.ended.total()} done: {event[0]}", flush=True)
            event[1]()

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small disk at ``folder``; False where none can be had."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Nothing more goes onto its disk."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


def short_of_room(fleet: Fleet) -> set[str]:
    """The models that the full disk has hit."""
    why = {name: " ".join(record["why"]) for name, record in fleet.records.items() if record["status"] == "died"}
    return {name for name, text in (why | fleet.lost).items() if "No space left" in text}


def unequal(folder: Path, out: Path, names: set[str]) -> list[str]:
    """Models whose file is not that of a conversion alone."""
    found = []
    for name in sorted(names):
        with tempfile.TemporaryDirectory() as room:
            made = convert(folder / f"{name}.onnx", room, outputs=["float32"], check="none", non_verbose=True).files
            alone, packed = made["float32"], out / name / made["float32"].name
            if not packed.exists() or alone.read_bytes() != packed.read_bytes():
                found.append(name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--timeout", type=int, default=60, help="seconds for a model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as room, disk(Path(room, "out")) as small_disk:
        folder, out = Path(room, "models"), Path(room, "out")
        folder.mkdir()
        gather(folder, args.models)
        plan = FleetPlan((str(folder),), tuple(bad(folder)))
        cluster = Cluster()
        at = [args.models * share // 10 for share in (2, 4, 6)]
        events: dict[int, tuple[str, Callable[[], object]]] = {
            at[0]: ("a worker is killed", cluster.kill_a_worker),
            at[1]: ("the scheduler is killed", threading.Thread(target=cluster.restart).start),
        }
        if small_disk:
            events[at[2]] = "the disk is full", lambda: fill(out)
            events[at[2] + 5] = "it has room again", (out / "ballast").unlink
        else:
            print("  no disk is full in this run: it takes root to mount a small one")
        watch = Watch(events)
        given: dict[str, Any] = {"plan": plan, "options": OPTIONS, "scheduler": cluster.address}
        given |= {"memory_limit": LIMIT, "timeout": args.timeout}
        begin = time.perf_counter()
        try:
            fleet = convert_many([], out, view=watch, **given)
            print(f"  {time.perf_counter() - begin:.0f} s; now the same again", flush=True)
            times = {path: path.stat().st_mtime_ns for path in out.glob("*/*.tflite")}
            again = convert_many([], out, **given)
        finally:
            cluster.stop()
        return verdict(args.models, watch, fleet, again, folder, out, times)


def verdict(
    count: int, watch: Watch, first: Fleet, second: Fleet, folder: Path, out: Path, times: Mapping[Path, int]
) -> int:
    """Everything that has to hold, a line each."""
    hit, faulty = short_of_room(first), {ENDLESS, GREEDY}
    right = {name for name, record in first.records.items() if record["status"] == "right"}
    all_names = set(first.records) | set(first.lost)
    twice = sorted(name for name, times_begun in watch.begun.items() if times_begun > 1)
    why = {name: " ".join(first.records[name]["why"]) for name in faulty}
    unchanged = all(path.stat().st_mtime_ns == then for path, then in times.items())
    wrong = unequal(folder, out, all_names - faulty)
    for name in sorted(all_names - right - hit - faulty):  # so that who reads FAIL sees why
        print(f"  {name}: {first.lost.get(name) or first.records[name]['why']}")
    claims = [
        (f"{len(all_names)} outcomes for {count + 2} models, none of them twice",
         len(all_names) == count + 2 and set(watch.ended.values()) == {1}),
        (f"{len(right)} right, {len(hit)} short of room on the disk, all but these and the two faulty ones",
         right | hit | faulty == all_names),
        (f"{GREEDY}: {why[GREEDY][:90]}", "memory" in why[GREEDY]),
        (f"{ENDLESS}: {why[ENDLESS][:90]}", "did not end within" in why[ENDLESS]),
        (f"begun twice: {', '.join(twice) or 'none'} (two workers, killed once and once with the scheduler)",
         len(twice) <= 3),
        ("the second run has made right what the disk had no room for, and made again nothing else",
         unchanged and all(second.records[name].get("again") for name in right)
         and all(second.records[name]["status"] == "right" for name in hit)),
        (f"{len(all_names - faulty)} records are there with their files",
         all(Results(str(out)).record(name) for name in all_names - faulty)),
        (f"byte for byte what a single run writes: all but {len(wrong)}", not wrong),
        ("no workshop is left", not list(out.glob("**/.onnx2tf-*"))),
    ]  # fmt: skip
    for said, holds in claims:
        print(f"{'ok  ' if holds else 'FAIL'} {said}")
    return int(not all(holds for _, holds in claims))


if __name__ == "__main__":
    sys.exit(main())
