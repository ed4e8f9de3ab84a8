"""What a check may take: memory above the libraries and the weights of the model, and time.

Sizes are estimated before anything is allocated (``samples``, ``alone``).  What no shape tells, a length that is
computed or a loop of many turns, is stopped in the child that runs it: it is ended when it holds too much, or its time
is over.  More memory is not refused: a runtime would fail of that as of a wrong file, or die.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from .. import child
from ..usage import own

T = TypeVar("T")

MEMORY = 1_800_000_000  # with the libraries a process stays below 2 GB
SECONDS, PER_MB = 300.0, 10.0  # for a check, and for every MB of weights
LEAST = 1 << 26  # bytes without which nothing runs
LIVE = 4  # tensors of the largest size that a runtime, or a comparison, has at a time
HELD = 4  # times that tensors to compare are in memory: as computed, as sent, in the order of the file, the file's own
COPIES = 6  # of the weights at a time: as read, parsed, changed, written, in the runtime, and in its order
PER_THREAD = 1 << 25  # bytes that are set aside for each thread of a runtime
TENSORFLOW = 100.0, 1 << 29  # seconds and bytes that loading it may take
FIRST = 1 / 30  # share of the time that the first run of a model may take
PATIENCE, SLOWER = 20.0, 100.0  # seconds for whatever follows, and plain runs of the model
LATER = 1 / 15  # share of the time that whatever follows may take


class OverBudgetError(Exception):
    """What was asked for takes more memory or time than the check may."""


class TooLongError(OverBudgetError):
    """A single run takes more time than one may."""


@dataclass
class Bounds:
    """``memory`` in bytes above ``weights`` bytes; ``seconds`` from the ``start``, on the monotonic clock: a child has
    a share of them as time that it computes, which a busy machine does not make longer.

    ``plain``: seconds of a run of the model, as soon as one was measured; ``inside``: of a child that keeps to them;
    ``runtimes``: bytes that a plain run of a file takes beside those weights and the tensors;
    ``runs``: sets of inputs that are asked for, each of which has its time;
    ``own``: bytes of this process at the start: what it came to hold since is part of the budget.
    ``crowded``: beside it is a process of TensorFlow.
    """

    memory: int = MEMORY
    seconds: float = SECONDS
    weights: int = 0
    start: float = field(default_factory=time.monotonic)
    plain: float | None = None
    inside: bool = False
    runtimes: int = 0
    runs: int = 1
    own: int = field(default_factory=own)
    crowded: bool = False

    @classmethod
    def of(cls, memory: int, seconds: float | None, weights: int, crowded: bool = False) -> Bounds:
        """From now on; ``seconds``: None for those that suit the size of the model."""
        given = SECONDS + PER_MB * (weights >> 20) if seconds is None else seconds
        return cls(max(memory, LEAST), given, weights, crowded=crowded)

    def call(
        self, function: Callable[[], T], forked: bool = True, tensorflow: bool = False, patience: float | None = None
    ) -> T:
        """``function()`` in a child that keeps to what is left; ``tensorflow``: it has to be loaded first;
        ``patience`` in the place of :data:`PATIENCE`.

        :raises OverBudgetError: it takes more.
        :raises DiedError: the child died, or did not end in a time that is out of proportion to a run of the model.
        """
        left = self.start + self.seconds - time.monotonic()
        if left <= 0:
            raise OverBudgetError(self._late)
        if self.inside:
            return self._held(lambda: child.call(function, forked=False))
        most = FIRST * self.seconds if self.plain is None else max(LATER * self.seconds, PATIENCE)
        patience = PATIENCE if patience is None else patience
        due = most if self.plain is None else min(patience + SLOWER * self.plain, most)
        allowed = due * self.runs + (TENSORFLOW[0] if tensorflow else 0.0)
        wait, processors = min(left, child.BUSY * allowed), allowed * child.processors()
        memory = max(self.memory, min(self.memory + self.runtimes, MEMORY)) + COPIES * self.weights + room(tensorflow)
        memory -= max(own() - self.own, 0)
        limits = child.Limits(wait, memory, processors, counted=True, thread=allowed)
        try:
            return self._held(lambda: child.call(function, forked, limits))
        except child.DiedError as error:
            if error.large:
                raise OverBudgetError(self._large) from error
            if error.waited and wait == left:
                raise OverBudgetError(self._late) from error
            if not error.late or due < most:
                raise
            what = f"a run of {'the model' if self.plain is None else 'a file'} takes more than {most:g} s"
            raise TooLongError(f"{what} of the {self.seconds:g} s of the check (--seconds)") from error

    def over(self, death: child.DiedError) -> OverBudgetError | None:
        """What the death of a process that might take all of it says of the budget."""
        why = self._large if death.large else self._late if death.late else ""
        return OverBudgetError(why) if why else None

    def _held(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except MemoryError as error:
            raise OverBudgetError(self._large) from error

    @contextmanager
    def here(self) -> Iterator[None]:
        """In a child already: what is called inside makes no others, which TensorFlow's threads would not survive."""
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    @property
    def tensors(self) -> int:
        """Bytes of the budget that are there for tensors: what a runtime takes beside them and its weights is added to
        a small budget only."""
        return min(self.memory, max(MEMORY, self.memory) - self.runtimes)

    def fit(self, size: int) -> None:
        """:raises OverBudgetError: where tensors of ``size`` bytes are too large to be allocated."""
        if LIVE * size > self.tensors:
            raise OverBudgetError(f"a tensor would take {amount(size)}: {self._large}")

    @property
    def _late(self) -> str:
        return f"the time of the check was over (--seconds {self.seconds:g})"

    @property
    def _large(self) -> str:
        return f"it takes more memory than the check may use (--budget, {amount(self.memory)})"


def room(tensorflow: bool) -> int:
    """Bytes that the runtimes of a child take for themselves."""
    return TENSORFLOW[1] * tensorflow + PER_THREAD * child.processors()


def amount(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size:,} bytes"
