"""A written file that is checked: what every kind of it answers, and in which runtimes it is run.

Files are run in a child process only, see ``child``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from ...emitters import TENSORFLOW
from ...errors import one_line
from ...ir.graph import Placement
from ...record import record
from ..figures.measure import Array
from .parted import Parted
from .program import Program

Arrays = Mapping[str, Array]
RUNTIMES = {
    "float32": ("XNNPACK", "builtin kernels"),
    "float16": ("XNNPACK", "builtin kernels"),
    "quantised": ("XNNPACK", "builtin kernels"),
    **dict.fromkeys(TENSORFLOW, ("TensorFlow",)),
}
#: What TensorFlow, Keras and what they read with raise of a file that is damaged, or of another kind.
REFUSALS = (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError, AttributeError)


class FileError(Exception):
    """A written file cannot be loaded or run."""


@record
class Move:
    """A TRANSPOSE in the file: its result, the order of axes, the bytes it moves, and the reason where it is known."""

    tensor: str
    perm: tuple[int, ...]
    bytes: int
    reason: str = ""


class Loaded(Protocol):
    """A loaded file."""

    def run(self, feeds: Arrays) -> Arrays:
        """The wanted tensors by their names in the file.

        :param feeds: every input by its name in the file, as :meth:`WrittenFile.store` makes it.
        :raises FileError: where the runtime refuses the inputs or fails.
        """


class Described(Protocol):
    """A file, as far as the inputs of a check depend on it."""

    @property
    def inside(self) -> bool:
        """Can intermediates be read?"""

    @property
    def program(self) -> Program:
        """Where the tensors of the model are in it."""

    def span(self, stored: str) -> tuple[float, float] | None:
        """The real numbers (lowest, highest) that an input is quantised to; None where it is not."""


class WrittenFile(Described, Protocol):
    """A file.  Arrays go by the names of their tensors in the file and have its axis order and dtype."""

    kind: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes on disk."""

    @property
    def operators(self) -> dict[str, int]:
        """How many of which operators it has; empty where it does not say."""

    @property
    def transposes(self) -> list[Move]:
        """Its operators that only change the order of axes."""

    @property
    def tensorflow(self) -> bool:
        """Does its runtime have to be loaded first?"""

    @property
    def forks(self) -> bool:
        """May it be run in a fork of this process?"""

    def store(self, name: str, array: Array, stored: str) -> Array:
        """The ONNX tensor ``name``, its axes in the order of the file, as the dtype of the file's tensor ``stored``."""

    def open(self, runtime: str, wanted: Sequence[str]) -> Loaded:
        """Loaded into one of :data:`RUNTIMES` so that ``wanted`` tensors can be read.

        :raises FileError: where the runtime does not load it.
        """

    def real(self, stored: str, array: Array, like: np.dtype) -> Array:
        """What an array of the file's tensor ``stored`` stands for, for comparison with one of dtype ``like``."""

    def bisect(self, runtime: str, count: int) -> Loaded:
        """The first ``count`` operators alone.

        :raises FileError: where that is not possible.
        """


class LayeredFile(WrittenFile, Protocol):
    """A file whose layers can be run on their own."""

    @property
    def file(self) -> Parted:
        """Its tensors and operators.

        :raises FileError: where it cannot be read as such.
        """

    def part(self, runtime: str, content: Any) -> Loaded:
        """Parts of the program, as :meth:`Parted.extract` makes them, loaded: fed and asked by position."""


def as_told(place: Placement) -> Placement:
    """The placement of a tensor whose numbers the file itself turns into what they stand for: it knows its scale."""
    return replace(place, real=False, unsigned=False) if place.real or place.unsigned else place


@contextmanager
def failures(what: str) -> Iterator[None]:
    """What TensorFlow and Keras refuse is the file's failure, but for memory."""
    from ...emitters.runtime import tensorflow

    try:
        yield
    except tensorflow().errors.ResourceExhaustedError as error:
        raise MemoryError(one_line(error)) from error
    except (tensorflow().errors.OpError, *REFUSALS) as error:
        raise FileError(f"{what}: {one_line(error)}") from error
