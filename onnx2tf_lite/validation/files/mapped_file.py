"""Keras models and frozen graphs of ours: every tensor that the map in the file names can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...emitters.runtime import Runner
from ...errors import one_line
from ...ir.tensor_map import TensorMap
from ..original.reference import Reference
from .program import Program
from .tensorflow_file import TensorFlowFile, read_graph
from .written import REFUSALS, Arrays, FileError, Loaded, failures

if TYPE_CHECKING:
    from ...emitters.saved_model.graphs import FlatGraph
    from .graph_file import GraphFile


class Reader(NamedTuple):
    """How a kind of file is read: its tensor map; a function of inputs that gives the wanted tensors, by the names
    that the map has; the same as a graph, of which layers can be run on their own."""

    table: Callable[[Path], bytes | None]
    load: Callable[[Path, Sequence[str]], Runner]
    graph: Callable[[Path, Sequence[str]], FlatGraph]


def _keras() -> Reader:
    from ...emitters.keras import files

    return Reader(files.tensor_map_of, files.runner, files.graph)


def _frozen() -> Reader:
    from ...emitters.saved_model import frozen

    return Reader(frozen.tensor_map_of, frozen.load, frozen.graph)


READERS: dict[str, Callable[[], Reader]] = {"keras": _keras, "keras_weights": _keras, "frozen": _frozen}


def tensor_map_of(kind: str, path: Path) -> TensorMap | None:
    """What a file says of itself; None where it says nothing.

    :raises FileError: where it cannot be read.
    """
    from ...child import call

    def read() -> bytes | None:
        return READERS[kind]().table(path)

    try:
        table = call(read) if kind == "frozen" else read()  # TensorFlow has to read that one
        return None if table is None else TensorMap.from_bytes(table, {})
    except REFUSALS as error:
        raise FileError(f"cannot be loaded: {one_line(error)}") from error


class MappedFile(TensorFlowFile):
    """A file with a tensor map."""

    inside = True

    def __init__(self, kind: str, path: Path, reference: Reference, table: TensorMap):
        self.kind, self.path = kind, path
        self.program = Program.read(table, reference.outputs)

    def open(self, runtime: str, wanted: Sequence[str]) -> Loaded:
        """The model, with the ``wanted`` tensors as its results.

        :raises FileError: where TensorFlow or Keras does not load it.
        """
        with failures("cannot be loaded"):
            return _Loaded(READERS[self.kind]().load(self.path, wanted))

    @cached_property
    def file(self) -> GraphFile:
        """The graph of the model.

        :raises FileError: where it cannot be read.
        """
        wanted = list(dict.fromkeys(self.program.names.values()))
        return read_graph(lambda: READERS[self.kind]().graph(self.path, wanted))


class _Loaded:
    def __init__(self, function: Runner):
        self.function = function

    def run(self, feeds: Arrays) -> Arrays:
        with failures("cannot be run"):
            return self.function(feeds)
