"""One child for work that would have many: what it tells, gives and raises, and what follows from its end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import ref

import numpy as np
import pytest

from onnx2tf_lite import child

pytestmark = pytest.mark.skipif(not child.can_fork(), reason="children are forks")
Tell = Callable[[str], None]


def test_all_is_done_in_one_child_and_heard_here() -> None:
    told: list[str] = []
    lines = ["reference", "a\nb.tflite", "\udcff.tflite", "ünder"]

    def work(tell: Tell) -> tuple[list[int], bool, np.ndarray]:
        for line in lines:
            tell(line)
        return [os.getpid(), child.call(os.getpid), child.call(os.getpid)], gc.isenabled(), np.arange(3)

    ids, collects, array = child.one_for_all(work, told.append)
    assert len(set(ids)) == 1 and ids[0] != os.getpid() and told == lines
    assert collects and array.tolist() == [0, 1, 2]


def test_inside_of_one_there_is_no_other() -> None:
    def work(tell: Tell) -> bool:
        return child.one_for_all(lambda tell: os.getpid(), tell) == os.getpid()

    assert child.one_for_all(work, lambda what: None)


def test_what_is_done_here_leaves_nothing_behind() -> None:
    """A child's cycles end with it; where there is none they do, too, also without the collector."""

    class Node:
        def __init__(self) -> None:
            self.own = self

    gc.disable()
    try:
        assert child.call(lambda: ref(Node()), forked=False)() is None
        assert ref(Node())() is not None, "nothing else collects it"
        with pytest.raises(ZeroDivisionError):
            child.call(lambda: 1 / 0, forked=False)
    finally:
        gc.enable()


def test_what_is_raised_there_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        child.one_for_all(lambda tell: 1 / 0, lambda what: None)


def test_what_dies_in_a_call_is_done_again_with_a_child_for_each(tmp_path: Path) -> None:
    """Also with what was told before: it begins again."""
    told: list[str] = []

    def work(tell: Tell) -> str:
        with open(tmp_path / "attempts", "a", encoding="ascii") as file:
            file.write(f"{os.getpid()} ")
        tell("begun")
        assert child.call(lambda: 7) == 7
        try:
            child.call(os.abort)
        except child.DiedError as death:
            return str(death)
        return "alive"

    assert "SIGABRT" in child.one_for_all(work, told.append)
    first, second = map(int, (tmp_path / "attempts").read_text().split())
    assert first != os.getpid() == second and told == ["begun", "begun"]


@pytest.mark.parametrize("death", [os.abort, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_what_dies_of_anything_else_is_not_done_again(tmp_path: Path, death: Callable[[], None]) -> None:
    def work(tell: Tell) -> None:
        with open(tmp_path / "attempts", "a", encoding="ascii") as file:
            file.write("once")
        child.call(lambda: 7)
        death()

    with pytest.raises(child.DiedError):
        child.one_for_all(work, lambda what: None)
    assert (tmp_path / "attempts").read_text() == "once"


def test_it_gets_ready_before_it_is_given_anything(tmp_path: Path) -> None:
    ready, told = tmp_path / "ready", list[str]()

    def work(given: Iterator[int], tell: Tell) -> tuple[list[int], int]:
        tell(ready.read_text())
        return [number + 1 for number in given], os.getpid()

    with child.standby(work, lambda: ready.write_text(str(os.getpid()))) as (give, answer):
        while not ready.exists() or not ready.read_text():
            os.sched_yield()
        give(41), give(1)
        found = answer(told.append)
    assert found == ([42, 2], int(told[0])) and found[1] != os.getpid()


def test_what_it_is_given_it_has_before_there_is_all(tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    def work(given: Iterator[str], tell: Tell) -> list[str]:
        return [number for number in given if seen.write_text(number)]

    with child.standby(work) as (give, answer):
        for number in ("one", "two"):
            give(number)
            while not seen.exists() or seen.read_text() != number:
                os.sched_yield()
        assert answer(lambda what: None) == ["one", "two"]


def test_where_it_dies_in_a_call_all_that_it_was_given_is_done_again() -> None:
    def work(given: Iterator[int], tell: Tell) -> tuple[int, str]:
        total = sum(given)
        try:
            child.call(os.abort)
        except child.DiedError as death:
            return total, str(death)
        return total, "alive"

    with child.standby(work) as (give, answer):
        give(1), give(2)
        total, said = answer(lambda what: None)
    assert total == 3 and "SIGABRT" in said


def test_what_nothing_is_given_to_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(given: Iterator[None], tell: Tell) -> None:
        for _ in given:
            raise AssertionError

    begun, fork = list[int](), child.fork
    monkeypatch.setattr(child, "fork", lambda: begun.append(fork()) or begun[-1])
    with child.standby(work):
        assert begun[0] > 0
    with pytest.raises(ChildProcessError):
        os.waitpid(begun[0], 0)


def listed(given: Iterator[int], tell: child.Tell) -> list[int]:
    """All that a child was given."""
    return list(given)


def test_what_dies_while_it_gets_ready_is_told_to_who_asks() -> None:
    with child.standby(listed, os.abort) as (give, answer):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        give(1)
        with pytest.raises(child.DiedError, match="SIGABRT"):
            answer(lambda what: None)


def test_what_others_were_told_is_no_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was made while one waits does not keep it from ending."""
    with child.standby(listed) as (give, answer):
        other = child.fork()
        if other == 0:
            while True:
                signal.pause()
        give(1)
        assert answer(lambda what: None) == [1]
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def several(*works: Callable[[], object]) -> object:
    """Of one child that may split."""
    return child.one_for_all(lambda tell: child.at_once(works), lambda what: None)


def test_several_things_are_done_in_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "processors", lambda: 2)  # a cluster of an earlier test may have left fewer
    first, *others = np.asarray(several(*[lambda: (os.getpid(), os.getppid(), child.call(os.getpid))] * 3))
    assert len({first[0], *(one[0] for one in others)}) == 3 and all(one[1] == first[0] for one in others)
    assert all(one[0] == one[2] for one in [first, *others])  # and in no further ones


def test_several_things_are_done_in_one_process_where_there_is_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(set(np.asarray(several(*[os.getpid] * 3)).tolist())) == 1


def test_what_one_of_several_raises_is_raised_and_the_others_end() -> None:
    def forever() -> None:
        while True:
            signal.pause()

    with pytest.raises(ZeroDivisionError):
        several(lambda: 1 / 0, forever)
    with pytest.raises(ZeroDivisionError):
        several(lambda: 1, lambda: 1 / 0, forever)


def test_several_are_done_again_where_one_dies_in_a_call(tmp_path: Path) -> None:
    def dies() -> str:
        with open(tmp_path / "attempts", "a", encoding="ascii") as file:
            file.write(f"{os.getpid()} ")
        try:
            child.call(os.abort)
        except child.DiedError as death:
            return str(death)
        return "alive"

    first, second = np.asarray(several(lambda: "right", dies))
    assert first == "right" and "SIGABRT" in second
    assert (tmp_path / "attempts").read_text().split()[1:] == [str(os.getpid())]


def test_where_one_of_several_dies_of_anything_else_that_is_told() -> None:
    with pytest.raises(child.DiedError, match="SIGABRT"):
        several(lambda: "right", os.abort)


def test_who_hears_may_raise_and_nothing_is_left() -> None:
    """An interrupt arrives there, too."""
    code = """
import os, sys, time
from onnx2tf_lite import child
def work(tell):
    tell(str(os.getpid()))
    time.sleep(3600)
def told(what):
    raise KeyboardInterrupt(what)
try:
    child.one_for_all(work, told)
except KeyboardInterrupt as error:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("interrupted, and no child is left", len(os.listdir("/dev/fd")))
"""
    before = subprocess.run([sys.executable, "-c", "import os; print(len(os.listdir('/dev/fd')))"],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == (f"interrupted, and no child is left {before}", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends no orphans")
def test_it_ends_with_who_made_it() -> None:
    code = """
import os, sys
from onnx2tf_lite import child
asked, answered = map(int, sys.argv[1:])
def work(tell):
    tell("ready")
    os.read(asked, 1)
    os.write(answered, b"alive")
child.one_for_all(work, lambda what: os.kill(os.getpid(), 9))
"""
    asked, answered = os.pipe(), os.pipe()
    inner = asked[0], answered[1]
    ended = subprocess.run([sys.executable, "-c", code, *map(str, inner)], pass_fds=inner)
    os.write(asked[1], b"?")
    for descriptor in inner:
        os.close(descriptor)
    with open(answered[0], "rb") as end, open(asked[1], "wb"):
        assert end.read() == b"" and ended.returncode == -signal.SIGKILL
