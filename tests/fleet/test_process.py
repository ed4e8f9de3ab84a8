"""The warm process: what a model does to it is that model's outcome, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import onnx
import pytest

from onnx2tf_lite.child import Limits
from onnx2tf_lite.fleet import made
from onnx2tf_lite.fleet.process import ProcessLostError, Warm
from tests.fleet.works import (
    Tell,
    abort,
    answer,
    break_off,
    crash,
    eat,
    fail,
    grab,
    hang,
    held,
    judged,
    leave,
    modules,
    own_id,
    pass_on,
    stop,
)
from tests.validation.models import cnn

MODELS = Path(__file__).parents[1] / "models"
ROOMY = Limits(3600, 1 << 30)
SMALL = Limits(3600, 1 << 28)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    warm = Warm()
    yield warm
    warm.close()


def gone(pid: int) -> bool:
    """The process is not there, or has ended and was not asked how; waits for that."""
    with suppress(FileNotFoundError, ProcessLookupError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.05)
    return True


def test_an_answer_from_a_fork_that_is_warm(warm: Warm) -> None:
    told: list[str] = []
    results = [warm.run(partial(answer, value), ROOMY, told.append) for value in (1, 2)]
    assert [value for value, _ in results] == [1, 2] and told == ["first", "second"] * 2
    assert len({pid for _, pid in results} | {warm.process.pid, os.getpid()}) == 4


def test_a_conversion_imports_nothing(warm: Warm, tmp_path: Path) -> None:
    """What it would, every model would again."""
    onnx.save(cnn(), tmp_path / "net.onnx")
    work = partial(modules, str(tmp_path / "net.onnx"), str(tmp_path / "out"))
    assert warm.run(work, Limits(300, 4 << 30), lambda stage: None) == []


@pytest.mark.parametrize("name", ["lstm_lengths.ts13", "cbam.ts13"])
def test_what_is_found_without_children_is_found_with_them(warm: Warm, tmp_path: Path, name: str) -> None:
    """A check in one process finds what one in several does, whose results are sent: numpy has two types for int64,
    of which one gets lost on the way, and the other is none for LiteRT."""
    model = MODELS / "exports" / f"{name}.onnx"
    found: list[list[object]] = []
    for run in (lambda work: warm.run(work, ROOMY, lambda stage: None), lambda work: work(lambda stage: None)):
        folder = tmp_path / f"{len(found)}"
        record = run(partial(made.make, model, folder, {"outputs": ["float32"]}, "", "none"))
        files = {path.name: path.read_bytes() for path in folder.glob("*.tflite")}
        found.append([record[key] for key in ("status", "why", "coverage", "targets", "sizes")] + [files])
    assert found[0] == found[1] and found[0][0] == "right"


@pytest.mark.parametrize(
    ("work", "limits", "why", "stage"),
    [
        (abort, ROOMY, "ended by SIGABRT, in stage 'check'", "check"),
        (leave, ROOMY, "ended early, with exit code 3", ""),
        (break_off, ROOMY, "ended early, with exit code 5", ""),
        (eat, SMALL, "out of memory: it took more than 0.3 GB", ""),
        (pass_on, SMALL, "out of memory", ""),
        (grab, SMALL, "ended early|out of memory", ""),
        (fail, ROOMY, "ended early", ""),
    ],
    ids=["abort", "exit", "in its answer", "memory", "memory of a child", "memory at once", "error"],
)
def test_a_death_is_the_outcome_and_the_next_model_goes_on(
    warm: Warm, work: Callable[[Tell], object], limits: Limits, why: str, stage: str
) -> None:
    with pytest.raises(ProcessLostError, match=why) as died:
        warm.run(work, limits, lambda stage: None)
    assert died.value.stage == stage
    assert warm.run(partial(answer, 7), ROOMY, lambda stage: None)[0] == 7


def test_what_dies_of_a_check_is_done_again_with_children(warm: Warm, tmp_path: Path) -> None:
    """Children are dear: the first attempt has none.  What becomes of it is what would have become of it with them."""
    marker = tmp_path / "attempts"
    assert "SIGABRT" in warm.run(partial(judged, str(marker)), ROOMY, lambda stage: None)
    assert marker.read_text().split() == ["True", "False"]


def test_what_dies_by_itself_is_not_done_again(warm: Warm, tmp_path: Path) -> None:
    marker = tmp_path / "attempts"
    with pytest.raises(ProcessLostError, match="SIGABRT"):
        warm.run(partial(crash, str(marker)), ROOMY, lambda stage: None)
    assert marker.read_text().split() == ["once"]


def test_limits_of_a_call_end_with_it(warm: Warm) -> None:
    before, inside, after = warm.run(held, ROOMY, lambda stage: None)
    assert before[:2] == [True, False] and inside[:2] == [True, True] and inside[2] < before[2]
    assert after == before


def test_a_time_out_takes_the_grandchildren_with_it(warm: Warm, tmp_path: Path) -> None:
    marker, seconds = tmp_path / "pid", 1
    while not (marker.exists() and marker.read_text()):  # on a busy machine it does not come so far
        seconds *= 3
        with pytest.raises(ProcessLostError, match=f"did not end within {seconds} s") as lost:
            warm.run(partial(hang, str(marker)), Limits(seconds, 1 << 30), lambda stage: None)
    assert lost.value.stage == "lower" and gone(int(marker.read_text()))


def test_a_stopped_process_is_ended_too(warm: Warm) -> None:
    """No signal but SIGKILL reaches it: its own timer does nothing."""
    with pytest.raises(ProcessLostError, match="did not end within 1 s"):
        warm.run(stop, Limits(1, 1 << 30), lambda stage: None)
    assert warm.run(partial(answer, 7), ROOMY, lambda stage: None)[0] == 7


def test_a_killed_warm_process_is_said(tmp_path: Path) -> None:
    """At once, and what it was doing ends."""
    warm, marker = Warm(), tmp_path / "pid"
    with pytest.raises(ProcessLostError, match="its process was killed"):
        warm.run(partial(own_id, str(marker)), ROOMY, lambda stage: os.kill(warm.process.pid, signal.SIGKILL))
    warm.close()
    assert gone(int(marker.read_text()))


def test_all_ends_with_the_worker(tmp_path: Path) -> None:
    """A worker that is killed leaves neither the warm process nor what it was doing."""
    marker = tmp_path / "pid"
    code = (
        "from functools import partial; from tests.fleet.test_process import *;"
        f"w = Warm(); print(w.process.pid, flush=True); w.run(partial(hang, {str(marker)!r}), ROOMY, lambda s: None)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    while not (marker.exists() and marker.read_text()):
        assert worker.poll() is None
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    assert gone(pid) and gone(int(marker.read_text()))
