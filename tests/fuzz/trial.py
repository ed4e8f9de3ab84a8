"""One input in a process of its own, with limits; and what must never happen."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Of time: of the clock, which threads do not change, or of processors, which a busy machine does not change; the less
#: of the two is what it takes on a quiet one.  Who only waits has ten times as long.
SECONDS, BYTES = 30, 2 << 30
WAITING = 10 * SECONDS
#: The address space at which a child gets no more, so that a bomb is its own end and not that of the machine.
ROOM = 6 << 30
OPTIONS = ("--outputs", "float32")
#: Words that no message to a user has, with the name of the fault.
FORBIDDEN = {
    "Traceback (most recent call last)": "traceback",
    "mistake of the converter": "mistake",
    "defect of the pass": "defect",
}


@dataclass(frozen=True)
class Outcome:
    """How a conversion ended: its exit code (negative: the signal), what it said, seconds, bytes at most."""

    code: int
    said: str
    seconds: float
    peak: int
    rests: tuple[str, ...]
    late: bool = False

    def faults(self) -> Iterator[str]:
        """What must not happen."""
        if self.late or self.seconds >= SECONDS or self.code == -signal.SIGXCPU:
            yield "hang"
        elif self.code < 0:
            yield f"crash: {signal.Signals(-self.code).name}"
        if self.code not in (0, 1, 2) and self.code >= 0:
            yield f"exit code {self.code}"
        yield from (name for words, name in FORBIDDEN.items() if words in self.said)
        if self.peak > BYTES:
            yield f"memory: {self.peak >> 20} MB"
        if self.rests:
            yield f"rests: {self.rests[0]}"


def attempt(model: bytes, options: Sequence[str] = OPTIONS) -> Outcome:
    """Convert ``model`` by the command line."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "model.onnx").write_bytes(model)
        words = ["-i", str(place / "model.onnx"), "-o", str(place / "out"), *options]
        begin, pid = time.monotonic(), os.fork()
        if pid == 0:
            _convert(words, place / "said")
        code, usage, late = _watched(pid)
        said = (place / "said").read_text(errors="replace") if (place / "said").exists() else ""
        rests = [p.name for p in place.iterdir() if p.name.startswith(".onnx2tf-") and code >= 0]
        if code == 1 and "nothing was written" in said and (place / "out").exists():
            rests += [p.name for p in (place / "out").iterdir()]
        seconds = min(usage.ru_utime + usage.ru_stime, time.monotonic() - begin)
        return Outcome(code, said, seconds, usage.ru_maxrss << 10, tuple(rests), late)


def _convert(words: Sequence[str], said: Path) -> None:
    """The child; it does not return."""
    code = 70
    try:
        os.setpgid(0, 0)  # so that those that it starts end with it
        resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        processors = SECONDS * (os.cpu_count() or 1)
        resource.setrlimit(resource.RLIMIT_CPU, (processors, processors + 1))
        target = os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
        from onnx2tf_lite import cli

        code = cli.main(list(words))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # what the interpreter would print
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watched(pid: int) -> tuple[int, resource.struct_rusage, bool]:
    """The exit code of a child, what it and its children used, and whether it had to be killed."""
    end = time.monotonic() + WAITING
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage, False
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            return os.waitstatus_to_exitcode(status), usage, True
        time.sleep(0.005)
