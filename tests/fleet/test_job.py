"""One model on a worker: what its key depends on, what is stored, what is found again."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.fleet import job as work
from onnx2tf_lite.fleet import made
from onnx2tf_lite.fleet.job import Job, identity, run
from onnx2tf_lite.fleet.storage import RECORD, Results, local_copy
from tests.validation.models import cnn
from tests.validation.models import model as parsed

LIGHT = {"outputs": ["float32"], "check": "outputs"}
INT8 = "full_integer_quant"


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(cnn(), "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    if (warm := getattr(work.HERE, "warm", None)) is not None:
        warm.close()
        work.HERE.warm = None


def job(**given: Any) -> Job:
    return Job("net", "net.onnx", 1, **{"options": LIGHT, **given})


def test_results_are_those_of_a_single_run(tmp_path: Path) -> None:
    record = run(job(), "out")
    assert record["status"] == "right" and record["operators"] > 5
    assert record["coverage"]["float32"] == 100 and record["latency_ms"]["float32"] > 0
    convert("net.onnx", "single", outputs=["float32"], non_verbose=True)
    name = "net_float32.tflite"
    assert Path("out/net", name).read_bytes() == Path("single", name).read_bytes()
    assert json.loads(Path("out/net", RECORD).read_text()) == record
    assert run(job(), "out") == record | {"again": True}


def test_figures_of_quantised_files_and_devices() -> None:
    """SQNR is that of the quantised file's own output; a device's own tool has the last word where it is asked."""
    np.savez("data.npz", image=np.random.default_rng(0).standard_normal((8, 3, 12, 10)).astype(np.float32))
    record = run(job(options={"outputs": ["float32", INT8], "calibration": "data.npz", "target": "micro"}), "out")
    report = json.loads(Path("out/net/net_report.json").read_text())
    checked = {file["kind"]: file for file in report["check"]["files"]}
    worst = min(row["difference"]["sqnr"] for row in checked[INT8]["outputs"])
    assert record["sqnr"] == {INT8: pytest.approx(worst, abs=0.01)} and 10 < worst < 80
    assert set(record["coverage"]) == set(record["latency_ms"]) == {"float32", INT8}
    assert record["targets"]["float32"]["ethos-u55"] is None and record["targets"][INT8]["ethos-u55"] > 0
    proved = {fit["path"]: fit["share"] if fit["ok"] else None for fit in report["fits"]}
    assert proved and all(
        record["targets"][n[4:-7]]["micro"] == (s and pytest.approx(s, abs=0.1)) for n, s in proved.items()
    )


@pytest.mark.parametrize("check", ["outputs", "none"])
def test_a_goal_that_is_missed_differs_and_says_why(check: str) -> None:
    options = {"outputs": [INT8], "random_calibration": True, "min_sqnr": 120.0, "check": check}
    record = run(job(options=options), "out")
    assert record["status"] == "differs" and "SQNR 120 dB not reached: output '" in record["why"][0]


def test_a_file_of_dynamic_extents_has_the_devices_that_run_it() -> None:
    """None of its operators on XNNPACK, which wants to know them; the processor's other kernels do."""
    text = "g (float[1,3,h,w] x) => (float[1,4,h2,w2] y) { c = Conv <pads=[1,1,1,1]> (x, k) y = Relu(c) }"
    onnx.save(parsed(text, k=(4, 3, 3, 3)), "net.onnx")
    shares = run(job(), "out")["targets"]["float32"]
    assert shares["cpu"] == 0 and shares["gpu"] is None and shares["ethos-u55"] is None


CHANGES: dict[str, Callable[[], Job]] = {
    "options": lambda: job(options=LIGHT | {"batch_size": 1}),
    "page": lambda: job(page="all"),
    "model": lambda: (onnx.save(cnn("2"), "net.onnx"), job())[1],
    "recipe": lambda: job(recipe="recipe.yaml"),
    "data": lambda: job(options=LIGHT | {"test_data_npz_path": "data.npz"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_depends_on_what_results_are_made_of(change: str) -> None:
    Path("recipe.yaml").write_text("- opset: {opset: 18}\n")
    np.savez("data.npz", image=np.zeros(3))
    before = identity(job(), Path("net.onnx"))
    assert identity(CHANGES[change](), Path("net.onnx")) != before


def test_the_key_depends_on_the_contents_of_files() -> None:
    given = job(recipe="recipe.yaml", options=LIGHT | {"test_data_npz_path": "data"})
    keys = set()
    for recipe, data in (("a", "x"), ("b", "x"), ("b", "y")):
        Path("recipe.yaml").write_text(recipe)
        Path("data").mkdir(exist_ok=True)
        Path("data/x.npy").write_text(data)
        keys.add(identity(given, Path("net.onnx")))
    assert len(keys) == 3


def test_the_key_depends_on_every_number_of_an_array() -> None:
    """Whose repr shows the ends only."""
    data = np.zeros(5000, np.float32)
    before = identity(job(options=LIGHT | {"calibration": {"image": data}}), Path("net.onnx"))
    data[2500] = 1
    assert identity(job(options=LIGHT | {"calibration": {"image": data}}), Path("net.onnx")) != before


def test_the_key_depends_on_side_files() -> None:
    onnx.save(cnn(), "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0)
    before = identity(job(), Path("big.onnx"))
    Path("big.bin").write_bytes(Path("big.bin").read_bytes()[::-1])
    assert identity(job(), Path("big.onnx")) != before


def test_the_key_does_not_depend_on_names_and_limits() -> None:
    Path("other.onnx").write_bytes(Path("net.onnx").read_bytes())
    other = Job("other", "other.onnx", 5, LIGHT, seconds=1, memory=9)
    assert identity(other, Path("other.onnx")) == identity(job(), Path("net.onnx"))


@pytest.mark.parametrize("damage", ["gone", "cut", "record"])
def test_results_that_are_not_whole_are_made_again(damage: str) -> None:
    run(job(), "out")
    file = Path("out/net/net_float32.tflite")
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        Path("out/net", RECORD).write_text('{"key": ')
    assert "again" not in run(job(), "out") and file.stat().st_size > 1000


def test_a_model_that_is_refused_says_why_and_is_not_tried_again() -> None:
    Path("net.onnx").write_bytes(b"no model")
    record = run(job(), "out")
    assert record["status"] == "refused" and "not an ONNX file" in record["why"][0]
    assert run(job(), "out")["again"]


@pytest.mark.parametrize("memory", [0, 1 << 20, 1 << 26])
def test_a_model_beyond_its_memory_leaves_a_record_only_and_is_tried_again(memory: int) -> None:
    """Wherever it is when it gets there: nothing that a refused allocation could become is its outcome."""
    text = "g (float[1,4096] x) => (float[1,4096] y) { y = MatMul(x, w) }"
    onnx.save(parsed(text, w=(4096, 4096)), "net.onnx")
    record = run(job(memory=memory), "out")
    assert record["status"] == "died" and record["files"] == {}
    assert record["why"][0].startswith("out of memory: it took more than")
    assert [p.name for p in Path("out/net").iterdir() if p.suffix == ".tflite"] == []
    assert "again" not in run(job(memory=memory), "out")


def test_a_recipe_edits_the_model_before() -> None:
    Path("recipe.yaml").write_text("- rename: {old_new: [[image, picture]], search_mode: exact_match}\n")
    assert run(job(recipe="recipe.yaml"), "out")["status"] == "right"
    report = json.loads(Path("out/net/net_report.json").read_text())
    assert [entry["name"] for entry in report["inputs"]] == ["picture"]


def test_a_full_disk_is_told_and_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnx2tf_lite.fleet.storage.deliver", full)
    with pytest.raises(OSError, match="No space left"):
        run(job(), "out")
    assert not Path("out/net", RECORD).exists() and not list(Path("out/.work").iterdir())


def test_a_full_disk_is_not_the_models_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the conversion meets it: a record that says refused would keep the model from being tried again."""
    cause = OSError(errno.ENOSPC, "No space left on device")

    def full(*arguments: object, **keywords: object) -> None:
        raise ConversionError("file 'x': cannot be read or written: No space left on device") from cause

    monkeypatch.setattr("onnx2tf_lite.convert", full)
    found = made.make(Path("net.onnx"), Path("out"), LIGHT, "", "none", lambda stage: None)
    assert found["status"] == "died" and found["status"] not in work.SETTLED
    cause.errno = errno.ENOENT
    found = made.make(Path("net.onnx"), Path("out"), LIGHT, "", "none", lambda stage: None)
    assert found["status"] == "refused"


def test_results_go_to_what_fsspec_reaches() -> None:
    record = run(job(), "memory://results")
    store = Results("memory://results")
    assert store.record("net") == record and run(job(), "memory://results")["again"]
    assert store.fs.cat_file("/results/net/net_float32.tflite")[4:8] == b"TFL3"


def test_models_come_from_there_too_with_their_side_files(tmp_path: Path) -> None:
    Path("data").mkdir()
    onnx.save(cnn(), "big.onnx", save_as_external_data=True, location="data/big.bin", size_threshold=0)
    fs = Results("memory://").fs
    for name in ("big.onnx", "data/big.bin"):
        fs.pipe_file(f"/models/{name}", Path(name).read_bytes())
    (tmp_path / "copy").mkdir()
    assert local_copy("memory://models/big.onnx", tmp_path / "copy") == tmp_path / "copy/big.onnx"
    assert Path("copy/data/big.bin").read_bytes() == Path("data/big.bin").read_bytes()
    far = replace(job(), url="memory://models/big.onnx", name="big")
    assert run(far, "out")["status"] == "right"


def test_latency_is_of_zeros_whatever_lay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of turns that is not fed is whatever a model before left there."""
    from ai_edge_litert import interpreter as litert

    fed = list[Any]()

    class Dirty(litert.Interpreter):  # type: ignore[misc]
        def allocate_tensors(self) -> None:
            super().allocate_tensors()
            for detail in self.get_input_details():
                self.set_tensor(detail["index"], np.full(detail["shape"], 7, detail["dtype"]))

        def invoke(self) -> None:
            fed.extend(self.get_tensor(detail["index"]) for detail in self.get_input_details())
            super().invoke()

    turns = parsed("g (int32[1] n, float[2] x) => (float[2] y) { c = Cast<to=1>(n) y = Add(x, c) }")
    path = convert(onnx_graph=turns, output_folder_path=tmp_path, outputs=["float32"], check="none").files["float32"]
    monkeypatch.setattr(litert, "Interpreter", Dirty)
    assert made.latency(path) is not None
    assert len(fed) >= 6 and not any(array.any() for array in fed)
