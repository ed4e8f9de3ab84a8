"""What the warm processes of the tests do: functions that another process can import."""

from __future__ import annotations

import gc
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from onnx2tf_lite.child import DiedError, Limits, call
from onnx2tf_lite.fleet import made

Tell = Callable[[str], None]


def answer(value: int, tell: Tell) -> tuple[int, int]:
    for stage in ("first", "second"):
        tell(stage)
        time.sleep(0.3)
    return value, os.getpid()


def abort(tell: Tell) -> None:
    tell("check")
    os.abort()


def leave(tell: Tell) -> None:
    os._exit(3)


def break_off(tell: Tell) -> None:
    """In the middle of the answer: it says that there are 100 bytes, and sends 7."""
    (answer,) = (c for c in gc.get_objects() if isinstance(c, Connection) and c.writable and not c.readable)
    os.write(answer.fileno(), struct.pack("!i", 100) + b"to be c")
    os._exit(5)


def hang(marker: str, tell: Tell) -> None:
    """With a child of its own, as a check has."""
    tell("lower")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(marker).write_text(str(child.pid))
    time.sleep(3600)


def own_id(marker: str, tell: Tell) -> None:
    Path(marker).write_text(str(os.getpid()))
    tell("lower")
    time.sleep(3600)


def stop(tell: Tell) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def modules(model: str, folder: str, tell: Tell) -> list[str]:
    """What a conversion imports that was not there before."""
    before = set(sys.modules)
    assert made.make(Path(model), Path(folder), {"outputs": ["float32"]}, "", "none", tell)["status"] == "right"
    return sorted(set(sys.modules) - before)


def eat(tell: Tell) -> int:
    """Piece by piece, as a conversion does, until somebody looks; what would be refused is not an error of its own."""
    held: list[bytes] = []
    with suppress(MemoryError):
        while len(held) < 3000:
            held.append(b"x" * (1 << 20))
            time.sleep(1e-4)
    time.sleep(3600)
    return len(held)


def grab(tell: Tell) -> int:
    """At once."""
    return len(bytearray(3 << 30))


def pass_on(tell: Tell) -> int:
    """In a child of its own, as a check has; whose death is no error here."""
    with suppress(DiedError):
        return call(partial(eat, tell))
    return 0


def judged(marker: str, tell: Tell) -> str:
    """What dies in a child is a finding, as in a check; ``marker`` has a line for every attempt, and if the deed was
    done in the process itself."""
    own = os.getpid()

    def die() -> None:
        with open(marker, "a") as file:
            file.write(f"{os.getpid() == own}\n")
        os.abort()

    try:
        call(die)
    except DiedError as death:
        return str(death)
    return "nothing"


def crash(marker: str, tell: Tell) -> None:
    """Outside of every call, after one."""
    call(os.getpid)
    with open(marker, "a") as file:
        file.write("once\n")
    os.abort()


def held(tell: Tell) -> list[object]:
    """What a process is held to before, in and after a call with limits."""

    def now() -> list[object]:
        timers = [signal.getitimer(timer)[0] > 0 for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)]
        return [*timers, resource.getrlimit(resource.RLIMIT_DATA)[0]]

    return [now(), call(now, limits=Limits(50, 1 << 28, 50)), now()]


def fail(tell: Tell) -> None:
    raise ValueError("a mistake")
