"""Plans: which models, called what, with which options; mistakes with their lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnx2tf_lite.errors import ToolError
from onnx2tf_lite.fleet.cluster import Room
from onnx2tf_lite.fleet.job import Job
from onnx2tf_lite.fleet.plan import ENTRY, KEYS, FleetPlan, need, schema
from onnx2tf_lite.fleet.run import Lanes
from onnx2tf_lite.fleet.storage import find


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("models/a.onnx", "models/sub/b.onnx", "models/notes.txt", "more/c.onnx", "more/a.onnx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["models"], ["a", "sub/b"]),
        (["models/"], ["a", "sub/b"]),
        (["models/*.onnx"], ["a"]),
        (["models/**/*.onnx"], ["a", "sub/b"]),
        (["m*/c.onnx"], ["more/c"]),
        (["more/c.onnx", "models"], ["a", "c", "sub/b"]),
        (["models", "models/a.onnx"], ["a", "sub/b"]),
    ],
    ids=str,
)
def test_models_are_called_by_their_place_below_what_is_fixed(patterns: list[str], names: list[str]) -> None:
    assert [model.name for model in find(patterns)] == names


def test_sizes_are_those_of_the_files() -> None:
    assert {model.name: model.size for model in find(["models"])} == {"a": 13, "sub/b": 17}


@pytest.mark.parametrize(
    ("patterns", "why"),
    [(["models", "more"], "would both be called 'a'"), (["nothing/"], "there is no model"), (["*.pb"], "there is no")],
    ids=["two of one name", "no folder", "no match"],
)
def test_what_cannot_be_found(patterns: list[str], why: str) -> None:
    with pytest.raises(ToolError, match=why):
        find(patterns)


PLAN = """models: [models]
options: {outputs: [float32], check: layers}
each:
  - match: "sub/*"
    options: {check: none, batch_size: 1}
  - match: a
    skip: true
"""


def _read(text: str) -> FleetPlan:
    Path("plan.yaml").write_text(text)
    return FleetPlan.read("plan.yaml")


def test_later_rules_win() -> None:
    (job,) = _read(PLAN).jobs("wrong", 600, 1 << 30)
    assert (job.name, job.options) == ("sub/b", {"outputs": ["float32"], "check": "none", "batch_size": 1})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("- a\n", "plan.yaml:1: this is a mapping"),
        ("models: [models]\nmodel: x\n", "plan.yaml:2: there is no 'model' here; nearest: 'models'"),
        ("models: {a: b}\n", "plan.yaml:1: models are files"),
        ("models: [a, b, a]\n", "plan.yaml:1: models are .* each once"),
        ("options:\n  check: none\n  bath_size: 1\n", "plan.yaml:3: convert.. has no keyword 'bath_size'"),
        ("options:\n  check: none\n\n  simplify: perhaps\n", "plan.yaml:4: .*perhaps"),
        ("options: 3\n", "plan.yaml:1: options is a mapping, NAME: VALUE, not 3"),
        ("\noptions: {bath_size: 1}\n", "plan.yaml:2: convert.. has no keyword 'bath_size'"),
        ("options: {check: none, check_onnx_tf_outputs_elementwise_close_rtol: 0.1}\n", "plan.yaml:1: .*has no effect"),
        ("each:\n  - options: {batch_size: 1}\n", "plan.yaml:2: an entry says which names"),
        ("each:\n  match: a\n", "plan.yaml:2: this is a list"),
        ("each:\n  - {match: a, recipe: gone.yaml}\n", "plan.yaml:2: there is no file gone.yaml"),
        ("recipe: {a: b}\n", "plan.yaml:1: recipe is a text"),
        ("options:\n  check: none\n  target: [cpu, gpu]\n", "plan.yaml:3: target .*: is unknown"),
        ("options:\n  batch_size: 1\n  outputs: [flaot32]\n", "plan.yaml:3: output 'flaot32': is unknown .* float32"),
        ("models: [\n", "not YAML"),
    ],
    ids=lambda v: None if "plan.yaml" in v else v.replace("\n", " ")[:40],
)
def test_mistakes_have_their_line(text: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        _read(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('models: [models]\neach:\n  - {match: "detect*", skip: true}\n', "plan.yaml:3: no model matches 'detect"),
        ("models:\n  - models\n  - nothing/\n", "plan.yaml:3: nothing/: there is no model"),
    ],
    ids=["rule", "pattern"],
)
def test_what_is_for_nobody_is_a_mistake(text: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        _read(text).jobs("wrong", 600, 1 << 30)


def test_side_files_count_for_the_size(folder: Path) -> None:
    """Also those of 3 GB beside a model of 13 bytes: placement looks at it."""
    for name, size in (("a.onnx.data", 100), ("a.bin", 10), ("ab.bin", 7), ("notes.md", 5)):
        (folder / "models" / name).write_bytes(b"x" * size)
    assert {model.name: model.size for model in find(["models"])} == {"a": 123, "sub/b": 17}
    assert [model.size for model in find(["models/*.onnx"])] == [123]


def test_the_schema_knows_what_the_reader_knows() -> None:
    found: Any = schema()
    entry = found["properties"]["each"]["items"]["properties"]
    assert (set(found["properties"]), set(entry)) == (set(KEYS), set(ENTRY))
    options = entry["options"]["properties"]
    assert {"outputs", "calibration", "target"} <= set(options) and "bath_size" not in options


def test_large_models_go_alone_the_others_largest_first() -> None:
    light = {"outputs": ["float32"]}
    jobs = [Job(name, name, size << 20, light) for name, size in (("s", 1), ("huge", 3000), ("m", 100), ("t", 1))]
    lanes = Lanes.of(jobs, Room(1 << 30, 8 << 30))
    assert [job.name for job in lanes.packed] == ["m", "s", "t"] and [job.name for job in lanes.alone] == ["huge"]
    assert lanes.alone[0].memory == 8 << 30 > jobs[1].memory and all(need(job) <= 1 << 30 for job in lanes.packed)
