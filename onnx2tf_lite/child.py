"""Work in a child process: a kernel that aborts takes the child with it and not the checker.

A fork costs a few milliseconds and shares all that the parent has in memory (also the reference's tensors).  Results
come back through a file in memory, from which large arrays are read in place.  Where there is no fork (Windows), or
TensorFlow runs already (its threads would not survive one), the work is done in the process itself.
"""

from __future__ import annotations

import faulthandler
import gc
import math
import mmap
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import IO, TypeVar

from . import answers, pages
from .interrupts import undisturbed
from .record import record
from .usage import allocated, computed, held, own, resident

BUSY = 10  # times as long as on an idle machine may all take on one that is busy
INTERVAL = 0.01  # seconds between two looks at what a child holds
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_Answer = TypeVar("_Answer")
_Given = TypeVar("_Given")
Tell = Callable[[str], None]
#: Of a process that is begun again where it dies in a :func:`call`: one byte that who begins it sees, in how many of
#: them it is.  None: the work of a call is done in a child.
_calls: memoryview | None = None


@record
class Limits:
    """What a child may use: seconds, and bytes of memory beyond those that it shares with its parent.

    ``processor``: seconds of processors, of all its threads together, which a busy machine does not make more; 0 for
    any number.
    ``counted``: what it holds is counted, and too much ends it, which is seen; else more is refused, and what runs in
    it may take that for any fault, or die of it.
    ``thread``: seconds that one of its threads may compute, where what it holds is counted: how long it takes on an
    idle machine, however many processors that has.
    """

    seconds: float
    memory: int
    processor: float = 0.0
    counted: bool = False
    thread: float = math.inf


class DiedError(Exception):
    """The child was killed by ``signal``, or left without an answer.

    ``late``: it did not end in time, ``waited``: by the clock and not by what it computed; ``large``: it held too much
    memory, or more than the system had.
    """

    def __init__(self, signal_number: int):
        self.signal = signal_number
        name = signal.Signals(signal_number).name if signal_number else "exit"
        what = f"aborted with signal {signal_number} ({name})" if signal_number else "the process ended early"
        self.waited, self.large = name == "SIGALRM", name == "SIGKILL"
        self.late = self.waited or name == "SIGPROF"
        super().__init__("did not end within the time that it was given" if self.late else what)


def processors() -> int:
    """How many processors the runtimes of this process may use: as many as OMP_NUM_THREADS says, as it does to other
    libraries (Dask says 1 to its workers), or those of the machine."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else os.cpu_count() or 1


def can_fork() -> bool:
    """Does this system have processes that begin as copies of others?"""
    return hasattr(os, "fork")


def fork() -> int:
    """The id of a new child; 0 in the child itself.

    An interrupt waits: what Python calls around a fork (hooks of logging, random, ...) would lose it.
    """
    with warnings.catch_warnings(), undisturbed() as came:
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child has its own
        pid = os.fork()
        if pid == 0:
            came.clear()  # they are the parent's
            _expose(None)  # it is not begun again
        elif came:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return pid


def call(function: Callable[[], _Answer], forked: bool = True, limits: Limits | None = None) -> _Answer:
    """``function()`` in a child; what it raises is raised here; :class:`DiedError` where the child dies by it, or
    is not ready within the ``limits``."""
    if not (forked and can_fork()):
        with pages.returned():  # as a child's are by its end
            return function()
    if _calls is not None:
        return _done_here(function, limits, _calls)
    return _called(function, limits)


def one_for_all(work: Callable[[Tell], _Answer], told: Tell) -> _Answer:
    """``work(tell)`` in one child that does itself what it would do in others; what it tells, ``told`` hears here.

    Where that takes it down in a :func:`call`, ``work`` is done again in this process, with a child for every call.

    :raises DiedError: it died of anything else.
    """
    if not has_children():
        return work(told)
    with standby(lambda nothing, tell: work(tell)) as (_, answer):
        return answer(told)


@contextmanager
def standby(
    work: Callable[[Iterator[_Given], Tell], _Answer], prepare: Callable[[], object] = lambda: None
) -> Iterator[tuple[Callable[[_Given], None], Callable[[Tell], _Answer]]]:
    """The child of :func:`one_for_all` before there is all that it needs: beside this process it does what ``prepare``
    does, and then ``work(given, tell)``.  ``given`` are the arguments of the calls of the first function that this
    yields, as they come; the second one says that those were all, and gives the answer.  It ends with the ``with``."""
    calls = memoryview(mmap.mmap(-1, 1))
    with _pipe() as (inbox, outbox), _pipe() as (ear, mouth):

        def tell(what: str) -> None:
            mouth.write(what.encode("unicode_escape") + b"\n")

        def done() -> _Answer:
            outbox.close()
            ear.close()
            follow()
            without_children(calls)
            pages.keep()
            prepare()
            gc.freeze()  # what is shared with the parent stays as it is, what is made here is collected
            gc.enable()
            return work(coming(), tell)

        def coming() -> Iterator[_Given]:
            while message := pickle.load(inbox):
                yield message[0]

        with _begun(done, None) as wait:
            inbox.close()  # so that no other child holds the ends of this one
            mouth.close()
            sent: list[_Given] = []

            def send(message: tuple[_Given] | tuple[()]) -> None:
                with suppress(BrokenPipeError):  # it has died
                    outbox.write(pickle.dumps(message))

            def give(given: _Given) -> None:
                sent.append(given)
                send((given,))

            def answer(told: Tell) -> _Answer:
                send(())  # that it is closed would not be seen, where another child has it open
                try:
                    for line in ear:
                        told(line[:-1].decode("unicode_escape"))
                    return wait()
                except DiedError:
                    if not calls[0]:
                        raise
                return work(iter(sent), told)

            yield give, answer


@contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Its end to read from, and that to write to."""
    heard, said = os.pipe()
    with open(heard, "rb") as ear, open(said, "wb", 0) as mouth:
        yield ear, mouth


def at_once(works: Sequence[Callable[[], _Answer]]) -> list[_Answer]:
    """What each of ``works`` gives.

    In the child of :func:`one_for_all`, where there are processors for them, all but the first are done in forks of it,
    which are such children, too; where one of these dies, this process dies like it.
    """
    if _calls is None or processors() < 2:
        return [work() for work in works]
    forked = []
    with ExitStack() as until_the_end:
        for work in works[1:]:
            calls = memoryview(mmap.mmap(-1, 1))
            forked.append((calls, until_the_end.enter_context(_begun(partial(_alike, work, calls), None))))
        found = [works[0]()]
        for calls, wait in forked:
            try:
                found.append(wait())
            except DiedError as death:
                if calls[0]:
                    _calls[0] += 1
                if death.signal:
                    os.kill(os.getpid(), death.signal)
                os._exit(1)
    return found


def _alike(work: Callable[[], _Answer], calls: memoryview) -> _Answer:
    """In a fork of a process that does itself what others do in children, and is such a one, too."""
    follow()
    without_children(calls)
    gc.freeze()
    gc.enable()
    return work()


def has_children() -> bool:
    """Does this process do in children what may end it?"""
    return _calls is None and can_fork()


def follow() -> None:
    """End with the process that made this one, where the system has that."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def without_children(calls: memoryview) -> None:
    """From now on this process does itself what others do in a child: a fork, with the pages that both sides copy after
    it, costs more than what small models need it for.

    ``calls``: a byte that is shared with another process.  Where this one dies and the byte is not 0, that happened in
    a :func:`call`: what it did is to be done again, with children.
    """
    _expose(calls)


def _expose(calls: memoryview | None) -> None:
    global _calls
    _calls = calls


def _done_here(function: Callable[[], _Answer], limits: Limits | None, calls: memoryview) -> _Answer:
    """In this process, which dies where a child would."""
    calls[0] += 1
    try:
        with nullcontext() if limits is None else _kept(limits):
            return function()
    finally:
        calls[0] -= 1


@contextmanager
def _kept(limits: Limits) -> Iterator[None]:
    """This process keeps to ``limits``, and afterwards to what it was held to before."""
    import resource

    clocks = {signal.ITIMER_REAL: time.monotonic, signal.ITIMER_PROF: time.process_time}
    before = {timer: (signal.getitimer(timer)[0], clock()) for timer, clock in clocks.items()}
    data = resource.getrlimit(resource.RLIMIT_DATA)
    bound(replace(limits, seconds=min(limits.seconds, before[signal.ITIMER_REAL][0] or limits.seconds)))
    most = os.getpid(), own() + limits.memory, computed(os.getpid()) + limits.thread
    try:
        with watched(*most) if limits.counted else nullcontext():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, data)
        for timer, (left, begin) in before.items():
            signal.setitimer(timer, left and max(left - (clocks[timer]() - begin), 1e-6))


@contextmanager
def scratch() -> Iterator[str | None]:
    """A folder for the temporary files of a child, which ends without clearing up; None where none can be made."""
    try:
        folder = tempfile.mkdtemp(prefix="onnx2tf-")
    except OSError:  # read-only, or full: who does not need it is not hindered
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _called(function: Callable[[], _Answer], limits: Limits | None) -> _Answer:
    """In a child."""
    with _begun(function, limits) as wait:
        return wait()


@contextmanager
def _begun(function: Callable[[], _Answer], limits: Limits | None) -> Iterator[Callable[[], _Answer]]:
    """A child, until the end of the ``with``; what is yielded waits for its answer, and not for its end where nothing
    limits it: the system takes milliseconds for each of its pages' return."""
    with answers.storage() as descriptor, scratch() as folder, _pipe() as (done, do):
        pid = fork()
        if pid == 0:
            tempfile.tempdir = folder
            _serve(function, descriptor, limits, do)
        do.close()
        ended = list[int]()

        def wait() -> _Answer:
            if limits is not None and limits.counted and sys.platform == "linux":
                with watched(pid, own() + limits.memory, limits.thread):
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # so that its number is not another one's
            if limits is not None or not done.read(1):
                ended.append(os.waitpid(pid, 0)[1])
            size = os.fstat(descriptor).st_size
            if any(ended) or not size:
                raise DiedError(os.WTERMSIG(ended[0]) if os.WIFSIGNALED(ended[0]) else 0)
            good, result = answers.read(descriptor, size)
            if not good:
                raise result
            answer: _Answer = result
            return answer

        try:
            yield wait
        finally:
            if not ended:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@contextmanager
def watched(pid: int, most: int, seconds: float = math.inf) -> Iterator[None]:
    """Meanwhile a process that comes to hold more than ``most`` bytes is ended by SIGKILL, as the system does it where
    there is no more, and by SIGPROF one of which a thread computed longer than ``seconds``; not where the system does
    not say what processes hold."""
    done, until = threading.Event(), time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(INTERVAL):
            if resident(pid) > most and held(pid) > most:  # all that is resident is read sooner
                os.kill(pid, signal.SIGKILL)
                return
            if time.monotonic() > until and computed(pid) > seconds:  # before, no thread can have
                os.kill(pid, signal.SIGPROF)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _serve(function: Callable[[], object], descriptor: int, limits: Limits | None, do: IO[bytes]) -> None:
    """The child's life.  It never returns, and never runs what the parent wants to run at its end."""
    try:
        settle()
        if limits is not None:
            bound(limits)
        gc.disable()  # a collection would touch, and so copy, all that is shared with the parent
        try:
            answer: tuple[bool, object] = (True, function())
        except Exception as error:  # whatever it is, it is raised in the parent
            answer = (False, answers.portable(error))
        try:
            answers.write(descriptor, answer)
        except (TypeError, AttributeError, pickle.PicklingError) as error:  # a result that holds an interpreter, say
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            answers.write(descriptor, (False, TypeError(f"the result of the child cannot be sent: {error}")))
        do.write(b"!")
        os._exit(0)
    finally:
        os._exit(1)


def settle() -> None:
    """What a child does first: it says nothing, and dies without a trace."""
    faulthandler.disable()  # a death is reported by the parent
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # the runtimes log there and have no switch for it
        os.dup2(null, standard)
    no_core()


def no_core() -> None:
    """A process that dies here leaves no image of its memory."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bound(limits: Limits) -> None:
    """Hold this process to ``limits``: the system ends it when its time is over, and gives it no more memory unless
    that is counted (:func:`watched`)."""
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    signal.setitimer(signal.ITIMER_PROF, limits.processor)
    if sys.platform == "linux" and not limits.counted:
        import resource

        room, (held, most) = allocated() + limits.memory, resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (room if held == resource.RLIM_INFINITY else min(room, held), most))
