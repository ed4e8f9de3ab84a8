"""The check whose process begins beside the conversion: what it finds, how it dies, and that it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnx2tf_lite import ConversionError, child, convert
from onnx2tf_lite.errors import Problem
from onnx2tf_lite.validation import checking
from onnx2tf_lite.validation.files.opening import open_file
from onnx2tf_lite.validation.files.tflite_file import TFLiteRunner
from onnx2tf_lite.validation.whole.samples import CheckOptions, _Search

from .models import cnn

pytestmark = pytest.mark.skipif(not child.can_fork(), reason="children are forks")
KINDS = ["float32", "float16"]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that are begun before there are files."""
    found: list[int] = []
    standby, fork = child.standby, child.fork

    def noted(*asked: Any) -> Any:
        def forked() -> int:
            pid = fork()
            found.append(pid)
            return pid

        with monkeypatch.context() as patch:
            patch.setattr(child, "fork", forked)
            manager = standby(*asked)
            helper = manager.__enter__()
        return _Entered(manager, helper)

    monkeypatch.setattr(child, "standby", noted)
    yield found


class _Entered:
    """A context that has been entered already."""

    def __init__(self, manager: Any, helper: Any):
        self.manager, self.helper = manager, helper

    def __enter__(self) -> Any:
        return self.helper

    def __exit__(self, *raised: Any) -> Any:
        return self.manager.__exit__(*raised)


def gone(pid: int) -> bool:
    """Has it ended, and been waited for?"""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_it_finds_what_a_check_by_itself_finds(tmp_path: Path, begun: list[int]) -> None:
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, non_verbose=True)
    assert result.check is not None and result.exit_code == 0 and len(begun) == 1 and gone(begun[0])
    alone = checking.check(cnn(), result.files, layers=False)
    assert [f.verdict for f in result.check.files] == [f.verdict for f in alone.files]
    assert [f.outputs for f in result.check.files] == [f.outputs for f in alone.files]
    assert result.check.settings == alone.settings | {"layers": False} and result.check.notes == alone.notes


def test_the_model_is_run_once_for_what_it_knows_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where the files turn out to be other ones than was said, with the same inputs."""
    proto, runs = cnn(), list[int]()
    result = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=KINDS, check="none", non_verbose=True)
    program = open_file("float32", result.files["float32"], checking.make_reference(proto)).program
    run = _Search.run
    monkeypatch.setattr(child, "call", lambda function, *limits: function())  # what is counted is counted here
    monkeypatch.setattr(_Search, "run", lambda search, given: runs.append(len(search.layers)) or run(search, given))
    fewer = replace(program, names={n: stored for n, stored in program.names.items() if n != "r1"})
    found = []
    for said, times in ((), 1), ([program], 1), ([fewer], 2):
        check = checking.Check(checking.make_reference(proto), CheckOptions(layers=True))
        found.append(check.found([*said, *result.files.items()], lambda what: None))
        assert len(runs) == times and runs[-1] == max(runs)
        runs.clear()
    first, *others = ([f.layers for f in report.files] for report in found)
    assert found[0].ok and all(layers == first for layers in others)


def test_inputs_that_the_model_refuses_are_told_when_there_are_files(tmp_path: Path) -> None:
    """Not before, where nobody would hear of them."""
    with pytest.raises(ConversionError, match="no such input"):
        convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, shape_hints=["picture:1,3,12,10"])


def test_a_file_that_kills_it_is_wrong(tmp_path: Path, begun: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that happens in the fork for one of the files; the other one is not."""
    run = TFLiteRunner.run

    def fatal(runner: TFLiteRunner, feeds: Any) -> Any:
        if any(d["dtype"].__name__ == "float16" for d in runner.engine.get_tensor_details()):
            os.abort()
        return run(runner, feeds)

    monkeypatch.setattr(TFLiteRunner, "run", fatal)
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, non_verbose=True)
    assert result.check is not None and result.exit_code == 1 and gone(begun[0])
    first, second = result.check.files
    assert first.ok and not second.ok and "SIGABRT" in second.error, (first.verdict, second.error)


def test_what_dies_before_there_are_files_is_told(
    tmp_path: Path, begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_preload", os.abort)
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, non_verbose=True)
    assert result.check is not None and result.exit_code == 2 and "SIGABRT" in result.check.error and gone(begun[0])


@pytest.mark.parametrize(("taken", "at_once"), [(0, [2]), (1, [1, 1]), (5, [1, 1])])
def test_files_have_the_processors_that_are_left(
    taken: int, at_once: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto, counts = cnn(), list[int]()

    def noted(works: Any) -> Any:
        counts.append(len(works))
        return [work() for work in works]

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(child, "at_once", noted)
    files = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=KINDS, check="none").files
    check = checking.Check(checking.make_reference(proto), CheckOptions(), taken)
    assert check.found(list(files.items()), lambda what: None).ok and counts == at_once


def test_a_conversion_that_fails_leaves_none(tmp_path: Path, begun: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any) -> Any:
        raise ConversionError(Problem("stage", "refused"))

    monkeypatch.setattr("onnx2tf_lite.compile.run", refused)
    with pytest.raises(ConversionError, match="refused"):
        convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, non_verbose=True)
    assert len(begun) == 1 and gone(begun[0])


def test_where_memory_is_scarce_there_is_none(tmp_path: Path, begun: list[int]) -> None:
    options = {"outputs": KINDS, "budget": 1 << 29, "non_verbose": True}
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, **options)
    assert result.exit_code == 0 and not begun
