"""The files to be checked: what is in them, and how they are run (in a child process, see ``child``).

A .tflite is run by LiteRT's interpreter in both its ways, each of which catches failures that the other one hides; a
SavedModel and a Keras model by TensorFlow.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ConversionError, Problem
from ..ir.kinds import KINDS
from ..ir.tensor_map import NAME, TensorMap
from .flatfile import FlatFile, Operator, Tensor, Unreadable
from .program import Program, match
from .reference import Reference
from .report import Move

Arrays = Mapping[str, np.ndarray]
RUNTIMES = {
    "float32": ("XNNPACK", "builtin kernels"),
    "float16": ("XNNPACK", "builtin kernels"),
    "quantised": ("XNNPACK", "builtin kernels"),
    "saved_model": ("TensorFlow",),
    "keras": ("TensorFlow",),
}
LARGE = 64 << 20  # bytes of a file from which a changed copy lies on disk instead of in memory
CHANNELS_LAST_KERNELS = frozenset(kind.operator for kind in KINDS.values() if kind.layout.channels_last)


class TargetFailed(Exception):
    """A written file cannot be loaded or run."""


class Target(Protocol):
    """A file.  ``program`` says where the tensors of the model are in it; arrays go by their names in the file."""

    kind: str
    path: Path
    inside: bool  # intermediates can be read

    @property
    def program(self) -> Program: ...
    @property
    def size(self) -> int: ...
    @property
    def operators(self) -> dict[str, int]: ...
    @property
    def transposes(self) -> list[Move]: ...
    @property
    def forks(self) -> bool: ...
    def store(self, name: str, array: np.ndarray, stored: str) -> np.ndarray: ...
    def open(self, runtime: str, wanted: Sequence[str]) -> Any: ...
    def real(self, stored: str, array: np.ndarray, like: np.dtype) -> np.ndarray: ...
    def span(self, stored: str) -> tuple[float, float] | None: ...
    def bisect(self, runtime: str, count: int) -> Any: ...


def open_target(kind: str, path: Path, reference: Reference) -> Target:
    """A file by its ``kind``, or by what it is where that is ''; TargetFailed if it cannot be read at all."""
    kind = kind or guess(path)
    if kind == "saved_model":
        return SavedModel(path, reference)
    return Keras(path, reference) if kind == "keras" else TFLite(path, reference, "" if kind == "tflite" else kind)


def guess(path: Path) -> str:
    """``tflite``, ``saved_model`` or ``keras``; ConversionError where it is none of them."""
    if path.is_dir() and (path / "saved_model.pb").exists():
        return "saved_model"
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return "keras"
    if path.is_file():
        return "tflite"
    what = "is a folder without saved_model.pb" if path.is_dir() else "does not exist"
    raise ConversionError(Problem(f"file '{path}'", what, "give a .tflite, a SavedModel folder, a .keras or an .h5"))


class TFLite:
    """A .tflite file."""

    inside = True
    forks = True

    def __init__(self, path: Path, reference: Reference, kind: str = "", subgraph: int = 0):
        """``subgraph``: a body of the program instead, and ``reference`` what it is in the model."""
        self.path, self.reference = path, reference
        try:
            self.file = FlatFile(path, subgraph)
            table = self.file.tensor_map
        except (Unreadable, ValueError) as error:
            raise TargetFailed(str(error)) from error
        self.kind = kind or ("float32" if reference.steps and self.file.kind == "quantised" else self.file.kind)
        if table is not None and subgraph:
            table = table.bodies[subgraph][1]
        if table is not None:
            self.program = Program.read(table, reference.outputs)
        else:
            file, ends = self.file, self.file.signature
            shapes = [{n: file.tensors[i].shape for n, i in end.items()} for end in ends]
            made = [file.tensors[t].name for op in file.operators for t in op.outputs]
            image = not CHANNELS_LAST_KERNELS.isdisjoint(file.counts)
            self.program = match(
                reference.inputs, reference.outputs, reference.nodes, (shapes[0], shapes[1]), made, image
            )

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def operators(self) -> dict[str, int]:
        return self.file.counts

    @property
    def transposes(self) -> list[Move]:
        return [
            Move(t.name, perm, int(np.prod([abs(d) for d in t.shape], dtype=np.int64)) * t.dtype.itemsize, self._why(t))
            for t, perm in self.file.transposes()
        ]

    def _why(self, result: Tensor) -> str:
        """Between which nodes of the model (or operators of a foreign file) the axes change their order."""
        before, after = self.file.around(result.index)

        def called(operator: Operator) -> str:
            node = self.program.nodes[operator.index] if operator.index < len(self.program.nodes) else ""
            return f"'{node}'" if node else operator.name

        source = called(before) if before else "an input of the model"
        readers = ", ".join(dict.fromkeys(map(called, after))) or "an output of the model"
        return f"{source} gives another order of axes than {readers} needs"

    def index(self, stored: str) -> int | None:
        return self.file.by_name.get(stored)

    def tensor(self, stored: str) -> Tensor:
        return self.file.tensors[self.file.by_name[stored]]

    def store(self, name: str, array: np.ndarray, stored: str) -> np.ndarray:
        """An array in the axis order of the file, as the dtype of its tensor; ``name`` is its ONNX name."""
        tensor = self.tensor(stored)
        if tensor.quantised and array.dtype.kind == "f":
            return tensor.stored(array)
        return np.asarray(array.astype(tensor.dtype, copy=False), order="C")

    def real(self, stored: str, array: np.ndarray, like: np.dtype) -> np.ndarray:
        """What a stored array stands for, for comparison with one of dtype ``like``."""
        tensor = self.tensor(stored)
        return tensor.real(array) if tensor.quantised and like.kind == "f" and array.dtype.kind in "iu" else array

    def span(self, stored: str) -> tuple[float, float] | None:
        """The range that an input is quantised to, here or as the first that is done to it."""
        index = self.index(stored)
        readers = [op for op in self.file.operators if index in op.inputs]
        quantise = [op for op in readers if op.name == "QUANTIZE"]
        found = [t for t in (self.file.tensors[op.outputs[0]] for op in quantise) if t.quantised]
        tensor = None if index is None else self.file.tensors[index]
        if tensor is not None and tensor.quantised:
            found = [tensor]
        if not found or found[0].scale.size != 1:
            return None
        info = np.iinfo(found[0].dtype)
        low, high = found[0].real(np.array([info.min, info.max], np.int64))
        return float(low), float(high)

    def open(self, runtime: str, wanted: Sequence[str]) -> Runner:
        """A runner that gives ``wanted`` tensors."""
        indices = {n: self.file.by_name[n] for n in wanted if n in self.file.by_name}
        if set(indices.values()) <= set(self.file.outputs):
            return Runner(self.path, runtime, self.ends, indices)
        more = dict.fromkeys([*self.file.outputs, *indices.values()])
        made = [i for i in more if i in self.file.producers or i in self.file.outputs]
        with _loadable(self.file.exposing(made)) as content:
            return Runner(content, runtime, self.ends, {n: i for n, i in indices.items() if i in set(made)})

    @cached_property
    def ends(self) -> dict[str, int]:
        """The inputs, by their names in the program; an output may have the name of one that is handed through."""
        known, indices = {s.name for s in self.reference.inputs}, self.file.by_name | self.file.signature[0]
        return {n: indices[n] for t, n in self.program.names.items() if t in known}

    def bisect(self, runtime: str, count: int) -> Runner:
        """A runner of the first ``count`` operators alone."""
        last = self.file.operators[count - 1].outputs[:1]
        with _loadable(self.file.exposing(list(last), count)) as content:
            return Runner(content, runtime, self.ends, {})

    def part(self, runtime: str, content: bytes) -> Runner:
        """A runner of parts of the program, as :meth:`FlatFile.extract` makes them: fed and asked by position."""
        runner = Runner(content, runtime, {}, {})
        ends = runner.engine.get_input_details(), runner.engine.get_output_details()
        runner.inputs = {str(i): d["index"] for i, d in enumerate(ends[0])}
        runner.wanted = {str(i): d["index"] for i, d in enumerate(ends[1])}
        return runner


@contextmanager
def _loadable(content: bytes) -> Any:
    """What the interpreter is to load: the bytes, or a file with them that is mapped instead of copied."""
    if len(content) < LARGE:
        yield content
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        del content
        yield path


class Runner:
    """A .tflite in an interpreter.  ``inputs`` and ``wanted``: name -> tensor index."""

    def __init__(self, model: Path | bytes, runtime: str, inputs: Mapping[str, int], wanted: Mapping[str, int]):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.inputs, self.wanted = dict(inputs), dict(wanted)
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        try:
            self.engine = Interpreter(
                **source,
                num_threads=os.cpu_count(),
                experimental_op_resolver_type=OpResolverType.AUTO if runtime == "XNNPACK" else plain,
            )
        except (ValueError, RuntimeError) as error:
            raise TargetFailed(f"cannot be loaded: {_line(error)}") from error

    def run(self, feeds: Arrays) -> Mapping[str, np.ndarray]:
        """The wanted tensors, each copied out of the interpreter when it is asked for, until the next run."""
        engine = self.engine
        try:
            for name, index in self.inputs.items():
                engine.resize_tensor_input(index, list(feeds[name].shape))
            engine.allocate_tensors()
            for name, index in self.inputs.items():
                if feeds[name].size:
                    engine.set_tensor(index, feeds[name])
            engine.invoke()
        except (ValueError, RuntimeError) as error:
            raise TargetFailed(f"cannot be run: {_line(error)}") from error
        return _Results(engine, self.wanted)


class _Results(Mapping[str, np.ndarray]):
    """Tensors of an interpreter by name."""

    def __init__(self, engine: Any, indices: Mapping[str, int]):
        self.engine, self.indices = engine, indices

    def __getitem__(self, name: str) -> np.ndarray:
        index = self.indices[name]
        try:
            return np.asarray(self.engine.get_tensor(index))
        except ValueError as error:
            detail = next(d for d in self.engine.get_tensor_details() if d["index"] == index)
            if 0 not in detail["shape"]:
                raise TargetFailed(f"tensor '{name}' cannot be read: {_line(error)}") from error
            return np.zeros(detail["shape"], detail["dtype"])  # LiteRT does not hand out empty tensors

    def __contains__(self, name: object) -> bool:  # without a copy of the tensor
        return name in self.indices

    def __iter__(self) -> Iterator[str]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class _TensorFlow:
    """What SavedModels and Keras models have in common."""

    path: Path

    @property
    def operators(self) -> dict[str, int]:
        return {}

    @property
    def transposes(self) -> list[Move]:
        return []

    @property
    def forks(self) -> bool:
        """TensorFlow's threads do not survive a fork."""
        return "tensorflow" not in sys.modules

    @property
    def size(self) -> int:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(p.stat().st_size for p in files if p.is_file())

    def store(self, name: str, array: np.ndarray, stored: str) -> np.ndarray:
        return np.asarray(array, order="C")

    def real(self, stored: str, array: np.ndarray, like: np.dtype) -> np.ndarray:
        return array

    def span(self, stored: str) -> tuple[float, float] | None:
        return None

    def bisect(self, runtime: str, count: int) -> Any:
        raise TargetFailed("TensorFlow does not say where")


class SavedModel(_TensorFlow):
    """A SavedModel folder; of ours, every tensor that its map names can be read."""

    kind = "saved_model"

    def __init__(self, path: Path, reference: Reference):
        self.path, self.reference = path, reference
        table = path / "assets.extra" / NAME
        if table.exists():
            try:
                self.program = Program.read(TensorMap.from_bytes(table.read_bytes(), {}), reference.outputs)
            except ValueError as error:
                raise TargetFailed(str(error)) from error
            self.inside = True
        else:
            self.inside = False

    @cached_property
    def program(self) -> Program:
        """Of a foreign one, by the shapes in its signature, which TensorFlow has to read."""
        from ..child import call

        ends = call(lambda: self._signature(), self.forks)
        return match(self.reference.inputs, self.reference.outputs, (), ends, (), True)

    def _signature(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        function = self._loaded().__dict__["signature"]
        given = function.structured_input_signature[1]
        return {n: _shape(t) for n, t in given.items()}, {n: _shape(t) for n, t in function.structured_outputs.items()}

    def _loaded(self) -> Any:
        from ..emitters.saved_model import load
        from ..emitters.saved_model.runtime import tensorflow

        try:
            return load(self.path)
        except (tensorflow().errors.OpError, ValueError, TypeError, OSError, KeyError) as error:
            raise TargetFailed(f"cannot be loaded: {_line(error)}") from error

    def open(self, runtime: str, wanted: Sequence[str]) -> Any:
        from ..emitters.saved_model import signature_keys
        from ..emitters.saved_model.intermediates import Intermediates

        function, names = self._loaded(), self.program.names
        inputs, outputs = [s.name for s in self.reference.inputs], list(self.program.outputs)
        keys = (
            signature_keys([*inputs, *self.reference.outputs]) if self.inside else names
        )  # ours follow from the names
        ends = [[(names[n], keys[n]) for n in end if n in names] for end in (inputs, outputs)]
        inner = [n for n in wanted if n not in dict(ends[1])]
        return _Signature(function, dict(ends[0]), ends[1], Intermediates(self.path, inner) if inner else None)


class _Signature:
    """A loaded signature, with the name in the program and the key of every input and output."""

    def __init__(self, function: Any, inputs: Mapping[str, str], outputs: Sequence[tuple[str, str]], network: Any):
        self.function, self.inputs, self.outputs, self.network = function, inputs, outputs, network

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        from ..emitters.saved_model.runtime import tensorflow

        try:
            inner = self.network.run(feeds) if self.network else {}
            results = self.function({self.inputs[n]: a for n, a in feeds.items()})
        except (tensorflow().errors.OpError, ValueError, TypeError) as error:
            raise TargetFailed(f"cannot be run: {_line(error)}") from error
        return inner | {n: results[k] for n, k in self.outputs if k in results}


class Keras(_TensorFlow):
    """A ``.keras`` or ``.h5`` file of tf_keras, or else of the Keras that TensorFlow brings; outputs only."""

    kind = "keras"
    inside = False

    def __init__(self, path: Path, reference: Reference):
        self.path, self.reference = path, reference
        if not path.exists():
            raise TargetFailed("does not exist")

    @cached_property
    def program(self) -> Program:
        from ..child import call

        ends = call(lambda: self._signature(), self.forks)
        return match(self.reference.inputs, self.reference.outputs, (), ends, (), True)

    def _model(self) -> Any:
        from ..emitters.saved_model.runtime import tensorflow

        tf, problems = tensorflow(), []
        for package in ("tf_keras", "keras"):
            try:
                keras = __import__(package)
            except ImportError as error:
                problems.append(f"{package}: {error}")
                continue
            try:
                return keras.models.load_model(str(self.path), compile=False)
            except (ValueError, TypeError, OSError, KeyError, AttributeError, tf.errors.OpError) as error:
                problems.append(f"{package}: {_line(error)}")
        raise TargetFailed(f"cannot be loaded: {'; '.join(problems)}")

    def _signature(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        model = self._model()
        outputs = getattr(model, "output_names", None) or [t.name for t in model.outputs]
        return ({t.name: _shape(t) for t in model.inputs},
                {n: _shape(t) for n, t in zip(outputs, model.outputs, strict=True)})  # fmt: skip

    def open(self, runtime: str, wanted: Sequence[str]) -> Any:
        return _KerasRunner(self._model(), list(wanted))


class _KerasRunner:
    def __init__(self, model: Any, wanted: list[str]):
        self.model = model
        self.names = getattr(model, "output_names", None) or [t.name for t in model.outputs]

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        from ..emitters.saved_model.runtime import tensorflow

        tensors = [feeds[t.name] for t in self.model.inputs]
        try:
            results = self.model(tensors[0] if len(tensors) == 1 else tensors, training=False)
        except (ValueError, TypeError, tensorflow().errors.OpError) as error:
            raise TargetFailed(f"cannot be run: {_line(error)}") from error
        flat = tensorflow().nest.flatten(results)
        return {n: np.asarray(t) for n, t in zip(self.names, flat, strict=True)}


def _shape(tensor: Any) -> list[int]:
    return [-1 if d is None else int(d) for d in tensor.shape]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
