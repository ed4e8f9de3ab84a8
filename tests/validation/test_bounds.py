"""A check takes no more memory and time than it may, and says what it left out for that."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import child, convert, validation
from onnx2tf_lite.validation import bounds, verdict
from onnx2tf_lite.validation.bounds import Bounds, OverBudgetError
from onnx2tf_lite.validation.layers import alone
from onnx2tf_lite.validation.original import reference
from onnx2tf_lite.validation.page import render
from onnx2tf_lite.validation.verdict import Verdict
from onnx2tf_lite.validation.whole import samples

from .models import cnn, model

LOOP = """
g (float[1,4] x) => (float[1,4] z) {
  turns = Constant<value = int64 {1000000000}>()
  z = Loop<body = b (int64 i, bool c, float[1,4] v) => (bool d, float[1,4] w) {
    d = Identity(c)
    w = Sin(v)
  }>(turns, , x)
}"""
#: How long the range is depends on a value, not on a shape.
RANGE = """
g (float[1,4] x) => (float[4] z) {
  zero = Constant<value = float {0}>()
  one = Constant<value = float {1}>()
  most = Constant<value = float {1e9}>()
  some = ReduceMax<keepdims=0>(x)
  nothing = Mul(some, zero)
  end = Add(nothing, most)
  range = Range(zero, end, one)
  sum = ReduceSum<keepdims=0>(range)
  shape = Constant<value = int64[1] {4}>()
  flat = Reshape(x, shape)
  z = Add(sum, flat)
}"""
#: The model holds one tensor of its length at a time, the file five.
WINDOW = """
g (float[2] x) => (float[2] y) {
  length = Constant<value = int64 {25000000}>()
  window = HannWindow(length)
  sum = ReduceSum<keepdims=0>(window)
  y = Add(sum, x)
}"""
WIDE = "g (float[N,1,64,64] x, float[1,M,64,64] y) => (float[N,M,64,64] z) { z = Mul(x, y) }"


def written(proto: onnx.ModelProto, folder: Path) -> Path:
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float32"], check="none", non_verbose=True)
    return made.files["float32"]


def checked(proto: onnx.ModelProto, folder: Path, **settings: object) -> validation.Report:
    return validation.check(proto, written(proto, folder), **settings)


# --------------------------------------------------------------------------------------------- time


def test_a_loop_without_an_end_is_ended(tmp_path: Path) -> None:
    report = checked(model(LOOP), tmp_path, seconds=15)
    assert report.exit_code == 2
    assert "a run of the model takes more than 0.5 s of the 15 s of the check (--seconds)" in report.error


def test_what_there_is_no_time_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs out when the layers are to be run on their own."""
    path, check = written(cnn(), tmp_path), alone.Bench.check

    def late(bench: alone.Bench) -> object:
        bench.reference.bounds.start -= 1e6
        return check(bench)

    monkeypatch.setattr(alone.Bench, "check", late)
    report = validation.check(cnn(), path)
    (file,) = report.files
    assert file.ok and "matches: 0 of 7 layers, 0 % of the weights" in file.verdict
    assert "layer r1 (the time of the check was over (--seconds 300))" in file.verdict
    assert report.to_json()["files"][0]["coverage"]["gaps"][0] == {
        "what": "layer r1", "reason": "the time of the check was over (--seconds 300)"}  # fmt: skip
    assert "the time of the check was over" in render(report)
    assert validation.check(cnn(), path, require_coverage=1).exit_code == 1


def test_the_time_of_a_child_follows_from_a_plain_run() -> None:
    """A file that is out of all proportion is wrong, not the budget too small."""

    def busy() -> None:
        while True:
            pass

    own = Bounds(seconds=60, plain=0.001)
    bounds.PATIENCE, known = 0.2, bounds.PATIENCE
    try:
        with pytest.raises(child.DiedError, match="did not end within the time"):
            own.call(busy)
        assert Bounds(seconds=60, plain=1.0).call(lambda: time.sleep(0.5)) is None, "a slow model has more"
        with pytest.raises(OverBudgetError, match="time of the check was over"):
            Bounds(seconds=60, plain=1.0, start=time.monotonic() - 59.8).call(lambda: time.sleep(30))
        with pytest.raises(OverBudgetError, match=r"a run of a file takes more than 0\.2 s of the 3 s of the check"):
            Bounds(seconds=3, plain=1.0).call(busy)
    finally:
        bounds.PATIENCE = known


def test_a_childs_time_is_that_of_its_busiest_thread() -> None:
    """What all threads together compute depends on how many there are, and the clock on who else is there."""

    def busy(seconds: float) -> None:
        while time.thread_time() < seconds:
            pass

    def together(seconds: float) -> bool:
        threads = [threading.Thread(target=busy, args=(seconds,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return True

    limits = child.Limits(600, 1 << 28, 600, counted=True, thread=1.0)
    assert child.call(lambda: together(0.5), limits=limits), "1.5 seconds of processors"
    with pytest.raises(child.DiedError) as death:
        child.call(lambda: together(60), limits=limits)
    assert death.value.late and not death.value.waited


def test_the_first_run_may_take_as_often_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many samples of a user are no slow model, nor a slow file."""

    def busy() -> None:
        while time.thread_time() < 0.5:
            pass

    monkeypatch.setattr(bounds, "FIRST", 1e-4)
    monkeypatch.setattr(bounds, "LATER", 1e-4)
    monkeypatch.setattr(bounds, "PATIENCE", 0.0)
    for plain in (None, 1.0):
        Bounds(seconds=1000, plain=plain, runs=100).call(busy)
    with pytest.raises(OverBudgetError, match=r"a run of the model takes more than 0\.1 s of the 1000 s of the check"):
        Bounds(seconds=1000).call(busy)


def test_a_slow_model_is_run_on_one_set_of_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model("g (float[N,4] x) => (float[N,4] y) { y = Sin(x) }")
    assert len(checked(proto, tmp_path).samples) == 2
    monkeypatch.setattr(samples, "_elapsed", lambda *since: 6.0)
    report = checked(proto, tmp_path)
    assert len(report.samples) == 1 and report.exit_code == 0
    assert "checked on 1 of 2 sets of inputs: a run of the model takes 6 s (--samples)" in report.notes
    assert len(checked(proto, tmp_path, samples=2).samples) == 2, "who asks for two gets two"


def test_a_slow_reference_is_run_end_to_end_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime has no kernel of this pool's opset, and onnx.reference takes milliseconds for an element."""
    proto = model("g (float[1,2,6,6] x) => (float[1,2,3,3] y) { y = AveragePool<kernel_shape=[2,2],strides=[2,2]>(x) }")
    proto.opset_import[0].version, proto.ir_version = 6, 3
    (seen,) = checked(proto, tmp_path).files
    assert seen.ok and seen.coverage and seen.coverage.layers == 1
    monkeypatch.setattr(verdict, "SLOW", 0.0)
    (file,) = checked(proto, tmp_path).files
    assert file.ok and file.coverage and "s, node by node" in file.coverage.gaps[0].reason


def test_the_time_is_that_of_the_size() -> None:
    assert Bounds.of(0, None, 100 << 20).seconds == 1300 and Bounds.of(0, 7.5, 100 << 20).seconds == 7.5


# --------------------------------------------------------------------------------------------- memory


def test_a_length_that_no_shape_tells_is_no_failure_of_the_model(tmp_path: Path) -> None:
    report = checked(model(RANGE), tmp_path)
    assert report.exit_code == 2
    assert report.error == "could not be checked: it takes more memory than the check may use (--budget, 1.8 GB)"


def test_a_file_that_takes_more_memory_than_the_check_may_is_not_wrong(tmp_path: Path) -> None:
    """A runtime that is refused memory says that it cannot run the file, or dies."""
    report = checked(model(WINDOW), tmp_path, budget=400_000_000)
    said = "could not be checked: it takes more memory than the check may use (--budget, 0.4 GB)"
    assert report.exit_code == 2 and not report.wrong and report.files[0].error == said
    assert checked(model(WINDOW), tmp_path, rtol=1).exit_code == 0


def test_a_file_that_differs_is_wrong_whatever_else_takes_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = checked(cnn(), tmp_path)
    row = right.files[0].outputs[0]
    wrong = replace(row, difference=replace(row.difference, what="it differs"))

    def take(self: Verdict, runtimes: object, names: object) -> None:
        self.rows = {"elsewhere": wrong}
        raise OverBudgetError("it takes more memory than the check may use")

    monkeypatch.setattr(Verdict, "take", take)
    report = checked(cnn(), tmp_path)
    assert report.wrong and "could not be compared" in report.files[0].error


def test_what_a_child_holds_is_counted() -> None:
    """Also what it is given while nothing of Python runs, and not what its parent holds."""
    ballast = np.ones(1 << 26)
    limits = child.Limits(60, 1 << 28, counted=True)
    assert child.call(lambda: float(np.ones(1 << 23).sum() + ballast[0]), limits=limits) == (1 << 23) + 1
    with pytest.raises(child.DiedError) as death:
        child.call(lambda: np.ones(1 << 27), limits=limits)
    assert death.value.large
    with pytest.raises(OverBudgetError, match="takes more memory than the check may use"):
        Bounds(memory=1 << 26).call(lambda: np.ones(1 << 27))
    gc.collect()  # what is freed, or taken back by the system, would make up for what comes
    bounds_ = Bounds(memory=1 << 28)
    held = np.ones(1 << 26)
    with pytest.raises(OverBudgetError):  # what came to be held since is part of the budget
        bounds_.call(lambda: np.ones(1 << 24) + held[: 1 << 24])


def test_what_a_parent_has_mapped_is_no_room_for_its_child(tmp_path: Path) -> None:
    """A child begins without the pages of files of its parent, half a gigabyte where TensorFlow is loaded."""
    with open(tmp_path / "library", "wb+") as file:
        file.truncate(1 << 29)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert not any(mapped[:: mmap.PAGESIZE]), "all of it is read"
            with pytest.raises(child.DiedError) as death:
                child.call(lambda: np.ones(1 << 26), limits=child.Limits(60, 1 << 28, counted=True))
    assert death.value.large


def test_what_a_child_reads_of_its_parents_results_is_counted() -> None:
    """They came from another child, in memory that all share; a process of which they are part is as large."""
    result = child.call(lambda: np.ones(1 << 26))
    limits = child.Limits(60, 1 << 28, counted=True)
    assert child.call(lambda: float(result[: 1 << 23].sum()), limits=limits) == 1 << 23
    with pytest.raises(child.DiedError) as death:
        child.call(lambda: float(result.sum()), limits=limits)
    assert death.value.large


def test_tables_of_a_runtime_are_no_memory_beyond_the_usual() -> None:
    """A small budget is one above them; with the usual one a check stays below 2 GB."""
    tables = 1 << 29
    for budget, most in ((1 << 27, 1 << 27), (bounds.MEMORY, bounds.MEMORY - tables), (3 << 30, (3 << 30) - tables)):
        own = Bounds(memory=budget, runtimes=tables)
        assert own.tensors == most
        own.fit(most // bounds.LIVE)
        with pytest.raises(OverBudgetError, match="a tensor would take"):
            own.fit(most // bounds.LIVE + 1)


def test_every_failure_to_allocate_is_one_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of numpy is a class of its own, made of a shape and a dtype."""
    monkeypatch.setattr(reference.Session, "run", lambda self, feeds: np.zeros(1 << 50))
    report = checked(cnn(), tmp_path)
    assert report.exit_code == 2 and "it takes more memory than the check may use" in report.error


@pytest.mark.parametrize("shapes, ok", [({"x": (9, 1, 64, 64), "y": (1, 9, 64, 64)}, True),
                                        ({"x": (2000, 1, 64, 64), "y": (1, 2000, 64, 64)}, False)])  # fmt: skip
def test_sizes_are_known_before_anything_is_allocated(
    shapes: dict[str, tuple[int, ...]], ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two inputs of 33 MB make 66 GB."""
    ran = []
    monkeypatch.setattr(reference.Session, "run", lambda self, feeds: ran.append(feeds) or 1 / 0)
    proto = model(WIDE)
    with pytest.raises(ZeroDivisionError) if ok else nullcontext():
        report = validation.check(proto, written(proto, tmp_path), hints=shapes)
        assert "a tensor would take 65.5 GB: it takes more memory than the check may use" in report.error
        assert report.exit_code == 2


def test_layers_that_are_too_large_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On their own, operands and result at a time; end to end they fit."""
    proto = model("g (float[1,4,30,30] x) => (float[1,2] y) { a = Conv(x, w) b = Sigmoid(a) c = GlobalAveragePool(b) "
                  "d = Flatten(c) y = Gemm(d, k) }", w=(64, 4, 3, 3), k=(64, 2))  # fmt: skip
    path = written(proto, tmp_path)
    assert validation.check(proto, path, require_coverage=100).exit_code == 0
    monkeypatch.setattr(bounds, "LEAST", 1 << 18)
    monkeypatch.setattr(bounds, "PER_THREAD", 1 << 30)  # what the limit of the system adds: only estimates are small
    report = validation.check(proto, path, budget=1 << 20, require_coverage=100)
    assert report.exit_code == 1 and "a tensor would take" in report.files[0].verdict


def test_the_peak_is_within_the_budget(tmp_path: Path) -> None:
    """Thirty results of 2 MB, in all runtimes, every layer: 180 MB if they were held at once."""
    steps = "".join(f"a{i + 1} = {('Mul', 'Sub')[i % 2]}(a{i}, a0)\n" for i in range(30))
    proto = model(f"g (float[1,512,1024] a0) => (float[1,512,1024] a30) {{ {steps} }}")
    written(proto, tmp_path)
    onnx.save(proto, tmp_path / "m.onnx")
    peaks = {budget: _peak(tmp_path, budget) for budget in (64 << 20, 1 << 31)}
    assert peaks[64 << 20] < (64 << 20) < peaks[1 << 31], peaks


MEASURE = """
import resource, sys, pathlib
from onnx2tf_lite import validation
from tests.validation.models import cnn
folder = pathlib.Path(sys.argv[1])
path = next(folder.glob("*_float32.tflite"))
import numpy, onnxruntime, ai_edge_litert.interpreter
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would be that of who started this process
held = int(status.split("VmHWM:")[1].split()[0])
report = validation.check(str(folder / "m.onnx"), path, budget=int(sys.argv[2]), samples=1)
assert report.exit_code == 0, report.files[0].verdict
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - held)
"""


def _peak(folder: Path, budget: int) -> int:
    """Bytes of the largest child, beyond what the libraries take."""
    command = [sys.executable, "-c", MEASURE, str(folder), str(budget)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024
