"""The check in processes beside the conversion: what runs the files is loaded there while they are made.

TensorFlow, which takes longer to load than all the rest of a small conversion takes, has a process of its own.  It
begins as a fork, with the model in memory, and checks every file that it is told of.  That of all others, too, runs the
original model as soon as it is known what the files will be, and opens each when it is there.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .. import child, pages
from ..emitters import KERAS, TENSORFLOW
from .bounds import COPIES, Bounds, room
from .files.program import Program
from .files.tensorflow_file import installed, scarce
from .files.written import FileError
from .original.reference import Reference
from .whole.samples import CheckOptions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .checking import Check, Listener
    from .reports.report import Report

Told = Program | tuple[str, Path]  # what files will be, and each of them with its kind
Answer = Callable[["Listener"], "Report"]
Helper = tuple[Callable[[Told], None], Answer]
LARGE_MODEL = 1 << 28  # bytes of weights that two processes should not both load


def pays(checked_as: str, reference: Reference) -> bool:
    """Is such a file checked sooner here?  Its runtime has to be loaded, and can be beside this process."""
    free = child.can_fork() and "tensorflow" not in sys.modules
    return checked_as in TENSORFLOW and free and installed() and reference.size <= LARGE_MODEL


class Beside:
    """The check of one conversion, until the end of a ``with``; with processes where that pays.

    :param options: what is asked of the check there.
    :param kinds: kinds of file that may be checked there, and as what.
    """

    def __init__(self, reference: Reference, options: CheckOptions, kinds: Mapping[str, str]):
        self.reference = reference
        self.kinds = {kind for kind, checked_as in kinds.items() if pays(checked_as, reference)}
        self.paths: dict[str, Path] = {}
        self.taken = int(bool(self.kinds))
        self.pid = 0
        self.ends = ExitStack()
        if self.kinds:
            self._start(options, keras=any(kinds[kind] in KERAS for kind in self.kinds))
        own = [checked_as for kind, checked_as in kinds.items() if kind not in self.kinds]
        waits = bool(own) and child.has_children() and not scarce(options.budget, own)
        self.helper = self.ends.enter_context(self._helper(options)) if waits else None

    def _here(self, options: CheckOptions) -> Check:
        """The check of files that are not TensorFlow's; what it takes is loaded where it is called."""
        from .checking import Check

        return Check(self.reference, options, self.taken)

    def _helper(self, options: CheckOptions) -> AbstractContextManager[Helper]:
        def found(coming: Iterator[Told], tell: Listener) -> Report:
            return self._here(options).found(coming, tell)

        return child.standby(found, lambda: self._here(options).prepare())

    def _start(self, options: CheckOptions, keras: bool) -> None:
        from multiprocessing.connection import Connection

        ours, theirs = socket.socketpair()
        self.pid = child.fork()
        if self.pid == 0:
            ours.close()
            _live(Connection(theirs.detach()), self.reference, options, keras)
        theirs.close()
        self.connection = Connection(ours.detach())

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *raised: object) -> None:
        self.ends.close()
        if self.kinds:
            self.connection.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._died()

    def expect(self, program: Program) -> None:
        """What the files will be."""
        if self.helper is not None:
            self.helper[0](program)

    def begin(self, kind: str, path: Path) -> None:
        """A file is there; nobody waits for what is found."""
        if kind in self.kinds:
            self.paths[kind] = path
            with suppress(OSError):  # it has died: who asks finds out
                self.connection.send((kind, path))
        elif self.helper is not None:
            self.helper[0]((kind, path))

    def check(self, files: Mapping[str, Path], options: CheckOptions, listener: Listener) -> Report:
        """All ``files``, by kind; ``options`` for those that are checked here."""
        if self.pid:  # TensorFlow takes longer to load than this, and all the memory that there is
            gc.collect()
            pages.give_back()
        if self.helper is not None:
            report = self._answer(self.helper[1], options, listener)
        else:
            from .checking import check

            own = {kind: path for kind, path in files.items() if kind not in self.paths}
            report = check(self.reference, own, options=options, listener=listener)
        if report.error:
            return report
        found = {kind: self._report(kind, path, options) for kind, path in self.paths.items()}
        left = iter(report.files)
        report.files = [file for kind in files for file in (found[kind].files if kind in found else [next(left)])]
        for part in found.values():
            report.seconds |= {f"{name} (beside)": seconds for name, seconds in part.seconds.items()}
            report.error = report.error or part.error
        return report

    def _answer(self, answer: Answer, options: CheckOptions, listener: Listener) -> Report:
        from .reports import show  # noqa: F401  (what is needed next is loaded while the others work)

        try:
            return answer(listener)
        except child.DiedError as error:
            return self._here(options).died(error)

    def _report(self, kind: str, path: Path, options: CheckOptions) -> Report:
        """What is found of a file; here that of those after one that took the process with it, and of all where it had
        no answer, as one has that cannot import a TensorFlow which does need what others do without."""
        from .checking import check, failed
        from .reports.report import Report

        if not self.pid:
            return check(self.reference, {kind: path}, options=options)
        try:
            answer: Report = self.connection.recv()
        except (EOFError, OSError):
            death = child.DiedError(self._died())
            if not death.signal:
                return check(self.reference, {kind: path}, options=options)
            over = Bounds.of(options.budget, options.seconds, self.reference.size).over(death)
            return Report(files=[failed(kind, path, over or FileError(f"{death} (TensorFlow)"))])
        return answer

    def _died(self) -> int:
        """The number of the signal that ends it, or 0."""
        pid, self.pid = self.pid, 0
        status = os.waitpid(pid, 0)[1] if pid else 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _live(boss: Connection, reference: Reference, options: CheckOptions, keras: bool) -> NoReturn:
    try:
        child.settle()
        gc.disable()  # a collection would touch, and so copy, all that is shared with the parent
        from ..emitters import runtime
        from .checking import check

        runtime.tensorflow() if keras else runtime.tensorflow_alone()
        gc.freeze()
        while True:
            try:
                kind, path = boss.recv()
            except EOFError:
                os._exit(0)
            bounds = Bounds.of(options.budget, options.seconds, reference.size)
            memory = bounds.memory + COPIES * reference.size + room(tensorflow=True)
            child.bound(child.Limits(bounds.seconds, memory, counted=True))
            with child.watched(os.getpid(), bounds.own + memory):  # by a thread: TensorFlow's kernels let it run
                boss.send(check(reference, {kind: path}, options=options))
    finally:
        os._exit(1)
