"""SavedModels and Keras models that are checked, run by TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...emitters import TENSORFLOW
from ...errors import one_line
from ...ir.tensor_map import NAME, TensorMap
from ..bounds import MEMORY
from ..figures.measure import Array
from ..original.reference import Reference
from .program import Program, match
from .written import REFUSALS, Arrays, FileError, Loaded, Move, failures

if TYPE_CHECKING:
    from ...emitters.saved_model.graphs import FlatGraph, GraphSession
    from .graph_file import GraphFile
MISSING = "TensorFlow is not installed (pip install 'onnx2tf_lite[tensorflow]')"


def installed() -> bool:
    """Can files be run in TensorFlow?"""
    return find_spec("tensorflow") is not None


def scarce(budget: int, forms: Iterable[str]) -> bool:
    """Is memory scarce where such files are checked?  A child gives all of its own back when it ends: one for each call
    takes least."""
    return budget < MEMORY or (not {*forms}.isdisjoint(TENSORFLOW) and installed())


class TensorFlowFile:
    """What SavedModels and Keras models have in common."""

    path: Path
    tensorflow = True

    @property
    def operators(self) -> dict[str, int]:
        """It does not say."""
        return {}

    @property
    def transposes(self) -> list[Move]:
        """None that would be seen."""
        return []

    @property
    def forks(self) -> bool:
        """TensorFlow's threads do not survive a fork."""
        return "tensorflow" not in sys.modules

    @property
    def size(self) -> int:
        """Bytes of the file, or of all files of the folder."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(p.stat().st_size for p in files if p.is_file())

    def store(self, name: str, array: Array, stored: str) -> Array:
        """TensorFlow casts where that is needed."""
        return np.asarray(array, order="C")

    def real(self, stored: str, array: Array, like: np.dtype) -> Array:
        """Itself: no integers stand for real numbers."""
        return array

    def span(self, stored: str) -> tuple[float, float] | None:
        """None: inputs are not quantised."""
        return None

    def bisect(self, runtime: str, count: int) -> Loaded:
        """FileError: TensorFlow does not say where it fails."""
        raise FileError("TensorFlow does not say where")

    def part(self, runtime: str, content: FlatGraph) -> Loaded:
        """Layers of a file of ours on their own.

        :raises FileError: where TensorFlow does not load them.
        """
        from .graph_file import GraphParts

        with failures("cannot be loaded"):
            return GraphParts(content)


def read_graph(read: Callable[[], FlatGraph]) -> GraphFile:
    """What ``read`` gives as a file of layers.

    :raises FileError: where it cannot be read.
    """
    from .graph_file import GraphFile

    with failures("cannot be taken apart"):
        return GraphFile(read())


class SavedModel(TensorFlowFile):
    """A SavedModel folder; of ours, every tensor that its map names can be read."""

    kind = "saved_model"

    def __init__(self, path: Path, reference: Reference):
        self.path, self.reference = path, reference
        table = path / "assets.extra" / NAME
        if table.exists():
            try:
                self.program = Program.read(TensorMap.from_bytes(table.read_bytes(), {}), reference.outputs)
            except ValueError as error:
                raise FileError(str(error)) from error
            self.inside = True
        else:
            self.inside = False

    @cached_property
    def program(self) -> Program:
        """Of a foreign one, by the shapes in its signature, which TensorFlow has to read."""

        ends = self.reference.bounds.call(lambda: self._signature(), self.forks, tensorflow=True)
        return match(self.reference.inputs, self.reference.outputs, (), ends, (), True)

    def _signature(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        function = self._loaded().__dict__["signature"]
        given = function.structured_input_signature[1]
        return {n: _shape(t) for n, t in given.items()}, {n: _shape(t) for n, t in function.structured_outputs.items()}

    @cached_property
    def file(self) -> GraphFile:
        """The graph of the model's function, of one of ours.

        :raises FileError: where it cannot be read.
        """
        from ...emitters.saved_model import graphs

        return read_graph(lambda: graphs.saved_model(self.path))

    def _loaded(self) -> Any:
        from ...emitters.saved_model import load

        with failures("cannot be loaded"):
            return load(self.path)

    def open(self, runtime: str, wanted: Sequence[str]) -> Loaded:
        """Its signature, and of ours a function of the ``wanted`` tensors inside.

        :raises FileError: where TensorFlow does not load it.
        """
        from ...emitters.saved_model import signature_keys

        function, names = self._loaded(), self.program.names
        inputs, outputs = [s.name for s in self.reference.inputs], list(self.program.outputs)
        keys = (
            signature_keys([*inputs, *self.reference.outputs]) if self.inside else names
        )  # ours follow from the names
        ends = [[(names[n], keys[n]) for n in end if n in names] for end in (inputs, outputs)]
        inner = [n for n in wanted if n not in dict(ends[1])]
        return _Signature(function, dict(ends[0]), ends[1], inner, self.file.session if inner else None)


class _Signature:
    """A loaded signature, with the name in the program and the key of every input and output."""

    def __init__(
        self,
        function: Any,
        inputs: Mapping[str, str],
        outputs: Sequence[tuple[str, str]],
        inner: Sequence[str],
        session: GraphSession | None,
    ):
        self.function, self.inputs, self.outputs, self.inner, self.session = function, inputs, outputs, inner, session

    def run(self, feeds: Arrays) -> dict[str, Array]:
        with failures("cannot be run"):
            inner = self.session.run(self.inner, feeds) if self.session else {}
            results = self.function({self.inputs[n]: a for n, a in feeds.items()})
        return inner | {n: results[k] for n, k in self.outputs if k in results}


class Keras(TensorFlowFile):
    """A ``.keras`` or ``.h5`` file of tf_keras, or else of the Keras that TensorFlow brings; outputs only."""

    kind = "keras"
    inside = False

    def __init__(self, path: Path, reference: Reference):
        self.path, self.reference = path, reference
        if not path.exists():
            raise FileError("does not exist")

    @cached_property
    def program(self) -> Program:
        """By the names and shapes of its inputs and outputs, which Keras has to read."""

        ends = self.reference.bounds.call(lambda: self._signature(), self.forks, tensorflow=True)
        return match(self.reference.inputs, self.reference.outputs, (), ends, (), True)

    def _model(self) -> Any:
        from ...emitters.runtime import tensorflow

        tf, problems = tensorflow(), []
        for package in ("tf_keras", "keras"):
            try:
                keras = __import__(package)
            except ImportError as error:
                problems.append(f"{package}: {error}")
                continue
            try:
                return keras.models.load_model(str(self.path), compile=False)
            except (tf.errors.OpError, *REFUSALS) as error:
                problems.append(f"{package}: {one_line(error)}")
        raise FileError(f"cannot be loaded: {'; '.join(problems)}")

    def _signature(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        model = self._model()
        outputs = getattr(model, "output_names", None) or [t.name for t in model.outputs]
        return ({t.name: _shape(t) for t in model.inputs},
                {n: _shape(t) for n, t in zip(outputs, model.outputs, strict=True)})  # fmt: skip

    def open(self, runtime: str, wanted: Sequence[str]) -> Loaded:
        """The model; it gives its outputs, whatever is ``wanted``.

        :raises FileError: where neither Keras loads it.
        """
        return _KerasRunner(self._model())


class _KerasRunner:
    def __init__(self, model: Any):
        self.model = model
        self.names = getattr(model, "output_names", None) or [t.name for t in model.outputs]

    def run(self, feeds: Arrays) -> dict[str, Array]:
        from ...emitters.runtime import tensorflow

        tensors = [feeds[t.name] for t in self.model.inputs]
        with failures("cannot be run"):
            results = self.model(tensors[0] if len(tensors) == 1 else tensors, training=False)
        flat = tensorflow().nest.flatten(results)
        return {n: np.asarray(t) for n, t in zip(self.names, flat, strict=True)}


def _shape(tensor: Any) -> list[int]:
    return [-1 if d is None else int(d) for d in tensor.shape]
