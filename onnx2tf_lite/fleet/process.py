"""A process that has imported everything once and forks for every model: a start costs milliseconds, not a second.

The child that converts is the head of a process group: when it ends, or has to, nothing of it is left.  The warm
process ends when the worker that made it does, however that ends.

Memory beyond the limit of a model is not refused: what libraries make of a refusal has many forms (an error, another
result, a crash, less that is checked), and each could be taken for the model's fault.  The warm process looks, and
ends the child.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from ..child import Limits, bound, follow, no_core, scratch, without_children
from ..targets import DEVICES
from ..usage import allocated

#: What a model needs nearly always, also what is imported late elsewhere: every fork would do it again.  TensorFlow is
#: left out, since its threads do not survive a fork.
IMPORTS = (
    "numpy.random",
    "onnxruntime",
    "ai_edge_litert.interpreter",
    "onnx2tf_lite.conversion",
    "onnx2tf_lite.validation.beside",
    "onnx2tf_lite.validation.checking",
    "onnx2tf_lite.op_handlers.lower",
    "onnx2tf_lite.emitters.tflite",
    "onnx2tf_lite.emitters.tflite.weights",
    "onnx2tf_lite.emitters.saved_model",
    "onnx2tf_lite.validation.files.profile",
    "onnx2tf_lite.fleet.made",
    *(f"onnx2tf_lite.targets.{module}" for module in sorted(set(DEVICES.values()))),
)
#: Seconds beyond its own for a child that its timer does not end: a stopped process gets no signal but SIGKILL.
GRACE = 5
LOOK = 0.05  # seconds between two looks at the memory of a child and its children
#: Bytes beyond the limit that the system refuses after all: they could be filled between two looks.
SUDDEN = 1 << 30
BOARD = 256  # bytes of a stage that are told
#: Is given what tells a stage; what it returns is sent back.
Work = Callable[[Callable[[str], None]], object]


class ProcessLostError(Exception):
    """The process that converted a model is gone: ``how``, and the last ``stage`` that it told."""

    def __init__(self, how: str, stage: str):
        super().__init__(f"{how}, in stage '{stage}'" if stage else how)
        self.how, self.stage = how, stage


class Warm:
    """The worker's side.  One piece of work at a time."""

    def __init__(self) -> None:
        import socket

        ours, theirs = socket.socketpair()
        code = f"from {__name__} import serve; serve({theirs.fileno()})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self.connection: Connection = Connection(ours.detach())

    def run(self, work: Work, limits: Limits, told: Callable[[str], None]) -> Any:
        """``work(tell)`` in a fork; ``told`` hears what it tells.

        :raises ProcessLostError: it crashed, took more memory or time than its limits, or its warm process was killed.
        """
        stage = ""
        try:
            self.connection.send((os.getcwd(), work, limits))
            while True:
                kind, what = self.connection.recv()
                if kind == "stage":
                    stage = what
                    told(stage)
                elif kind == "died":
                    raise ProcessLostError(what, stage)
                else:
                    return what
        except (EOFError, OSError) as error:
            raise ProcessLostError("its process was killed", stage) from error

    def close(self) -> None:
        """End it, and what it is doing."""
        self.connection.close()
        self.process.wait()


def serve(descriptor: int) -> None:
    """The warm process's life: until the other end of the connection is closed."""
    import gc
    import importlib

    from ..op_handlers import every
    from .made import rehearse

    for name in IMPORTS:
        with suppress(ImportError):  # of an extra that is not installed: whoever needs it says so
            importlib.import_module(name)
    every()
    with scratch() as room:
        if room is not None:
            rehearse(Path(room))
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that it shares with this process
    boss = Connection(descriptor)
    while True:
        try:
            folder, work, limits = boss.recv()
        except EOFError:
            return
        os.chdir(folder)  # paths are the worker's
        try:
            with scratch() as room:
                _Task(boss, work, limits, room).do()
        except OrphanedError:
            os._exit(1)


class OrphanedError(Exception):
    """The worker is gone: nobody hears what comes of its work."""


@dataclass
class _Task:
    """A piece of work, and who is told what comes of it.  ``folder``: for the temporary files of who does it."""

    boss: Connection
    work: Work
    limits: Limits
    folder: str | None

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.limits.seconds

    def do(self) -> None:
        """In a fork; where that dies of what is done in children elsewhere (:func:`..child.without_children`), in
        another one that has children, in the time that is left.

        :raises OrphanedError: the worker is gone.
        """
        board = Board()
        how = self._tried(board, children=False)
        if how and board.calls[0] and time.monotonic() < self.end:
            how = self._tried(Board(), children=True)
        if how:
            self.boss.send(("died", how))

    def _tried(self, board: Board, children: bool) -> str:
        """How the fork died; empty where it gave an answer, which is passed on.  Nothing of it is left."""
        from multiprocessing import Pipe

        ours, theirs = Pipe(duplex=False)
        most = allocated() + self.limits.memory
        pid = os.fork()
        if pid == 0:
            self._work(theirs, board, children)
        _lead(pid)
        theirs.close()
        beyond = ""
        while not beyond and not (ready := wait([self.boss, ours], LOOK)):
            self._tell(board)
            beyond = self._beyond(pid, most)
        if not beyond and self.boss in ready:  # nobody speaks now: the worker is gone
            _end(pid)
            raise OrphanedError
        answer = None if beyond else _answer(ours)
        if answer is not None:
            _kill(pid)
            self.boss.send(("done", answer[0]))  # before the system has taken back its memory, which takes a while
            os.waitpid(pid, 0)
            return ""
        status = _end(pid, wait_first=not beyond)
        self._tell(board)
        return beyond or _how(status, self.limits)

    def _tell(self, board: Board) -> None:
        if stage := board.news():
            self.boss.send(("stage", stage))

    def _beyond(self, pid: int, most: int) -> str:
        """Which of its limits a child, or one of its own, is beyond; ``most``: bytes that each may have allocated."""
        if time.monotonic() > self.end + GRACE:
            return _late(self.limits)
        if any(allocated(one) > most for one in family(pid)):
            from ..validation.bounds import amount

            return f"out of memory: it took more than {amount(self.limits.memory)} (--memory-limit)"
        return ""

    def _work(self, answer: Connection, board: Board, children: bool) -> NoReturn:
        """The fork's life."""
        code = 1
        try:
            tempfile.tempdir = self.folder
            self.boss.close()  # where the warm process is killed, the worker hears that now, not when this one ends
            _lead(0)
            follow()
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):  # what is to be said goes into the record
                os.dup2(null, standard)
            no_core()
            bound(Limits(max(self.end - time.monotonic(), 1e-3), self.limits.memory + SUDDEN))
            if not children:
                without_children(board.calls)
            answer.send(self.work(board.write))
            code = 0
        finally:
            os._exit(code)


def _answer(child: Connection) -> tuple[object] | None:
    """What it sends, in a tuple; None where it ends without."""
    try:
        return (child.recv(),)
    except (EOFError, OSError):  # before it, or in the middle of it
        return None


class Board:
    """The stage that a child is in, in memory that it shares with who watches it: a message for each would cost three
    processes more than most stages take.  ``calls``: a byte for :func:`..child.without_children`."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, BOARD + 1)
        self.calls = memoryview(self.shared)[BOARD:]
        self.known = b""

    def write(self, stage: str) -> None:
        """By the child."""
        text = stage.encode()[: BOARD - 1]
        self.shared[1 : 1 + len(text)] = text
        self.shared[0] = len(text)

    def news(self) -> str:
        """The stage, where it is another than the last time."""
        text = self.shared[1 : 1 + self.shared[0]]
        if text == self.known:
            return ""
        self.known = text
        return text.decode(errors="ignore")


def _lead(pid: int) -> None:
    """Make the child the head of a group; both sides do, whoever is first."""
    with suppress(OSError):
        os.setpgid(pid, pid)


def _end(pid: int, wait_first: bool = False) -> int:
    """The child's exit status; its whole group is gone afterwards."""
    status = os.waitpid(pid, 0)[1] if wait_first else 0
    _kill(pid)
    return status if wait_first else os.waitpid(pid, 0)[1]


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):  # it is empty
        os.killpg(group, signal.SIGKILL)


def family(process: int) -> list[int]:
    """A process and all below it."""
    found = [process]
    for one in found:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", "rb") as file:
                    found += map(int, file.read().split())
    return found


def _late(limits: Limits) -> str:
    return f"it did not end within {limits.seconds} s"


def _how(status: int, limits: Limits) -> str:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGALRM:
        return _late(limits)
    if not number:
        return f"its process ended early, with exit code {os.waitstatus_to_exitcode(status)}"
    killed = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(number).name}{killed}"
