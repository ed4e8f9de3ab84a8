"""Keras models and frozen graphs of ours: every tensor that the map in the file names can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..ir.tensor_map import TensorMap
from .program import Program
from .reference import Reference
from .tensorflow_file import TensorFlowFile
from .written import Arrays, FileFailed, Loaded, one_line

Run = Callable[[Arrays], Arrays]


class Reader(NamedTuple):
    """How a kind of file is read: its tensor map, and a function of inputs that gives the wanted tensors, by the names
    that the map has."""

    table: Callable[[Path], bytes | None]
    load: Callable[[Path, Sequence[str]], Run]


def _keras() -> Reader:
    from ..emitters.keras import files

    return Reader(files.tensor_map_of, files.runner)


def _frozen() -> Reader:
    from ..emitters.saved_model import frozen

    return Reader(frozen.tensor_map_of, frozen.load)


READERS: dict[str, Callable[[], Reader]] = {"keras": _keras, "keras_weights": _keras, "frozen": _frozen}


def tensor_map_of(kind: str, path: Path) -> TensorMap | None:
    """What a file says of itself; None where it says nothing.

    :raises FileFailed: where it cannot be read.
    """
    from ..child import call

    def read() -> bytes | None:
        return READERS[kind]().table(path)

    try:
        table = call(read) if kind == "frozen" else read()  # TensorFlow has to read that one
        return None if table is None else TensorMap.from_bytes(table, {})
    except (OSError, ValueError, KeyError) as error:
        raise FileFailed(f"cannot be loaded: {one_line(error)}") from error


class MappedFile(TensorFlowFile):
    """A file with a tensor map."""

    inside = True

    def __init__(self, kind: str, path: Path, reference: Reference, table: TensorMap):
        self.kind, self.path = kind, path
        self.program = Program.read(table, reference.outputs)

    def open(self, runtime: str, wanted: Sequence[str]) -> Loaded:
        """The model, with the ``wanted`` tensors as its results.

        :raises FileFailed: where TensorFlow or Keras does not load it.
        """
        from ..emitters.runtime import tensorflow

        errors = (tensorflow().errors.OpError, OSError, ValueError, TypeError, KeyError, AttributeError)
        try:
            return _Loaded(READERS[self.kind]().load(self.path, wanted), errors)
        except errors as error:
            raise FileFailed(f"cannot be loaded: {one_line(error)}") from error


class _Loaded:
    def __init__(self, function: Run, errors: tuple[type[Exception], ...]):
        self.function, self.errors = function, errors

    def run(self, feeds: Arrays) -> Arrays:
        try:
            return self.function(feeds)
        except self.errors as error:
            raise FileFailed(f"cannot be run: {one_line(error)}") from error
