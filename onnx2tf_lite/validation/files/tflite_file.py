"""A .tflite that is checked: LiteRT's interpreter runs it in both its ways, as each shows what the other hides."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ... import child
from ...errors import one_line
from ...ir.graph import other_sign
from ...ir.kinds import KINDS
from ..figures.measure import Array
from ..original.reference import Reference
from .flatfile import FlatFile, UnreadableError
from .parted import Operator, Tensor
from .program import Program, match
from .written import Arrays, FileError, Move

LARGE = 64 << 20  # bytes of a file from which a changed copy lies on disk instead of in memory
SIGNED = {(np.dtype(f"u{size}"), np.dtype(f"i{size}")) for size in (1, 2)}  # of the model, of the file
SHORT = 0.1  # seconds of a run of the model from which more than one thread pays
CHANNELS_LAST_KERNELS = frozenset(kind.operator for kind in KINDS.values() if kind.layout.channels_last)


class TFLiteFile:
    """A .tflite file."""

    inside = True
    forks = True
    tensorflow = False

    def __init__(self, path: Path, reference: Reference, kind: str = "", subgraph: int = 0):
        """``subgraph``: a body of the program instead, and ``reference`` what it is in the model."""
        self.path, self.reference = path, reference
        try:
            self.file = FlatFile(path, subgraph)
            table = self.file.tensor_map
        except (UnreadableError, ValueError) as error:
            raise FileError(str(error)) from error
        inside = self.file.kind == "quantised"  # without steps of the model: kernels have some of their own
        self.kind = "quantised" if inside and not reference.steps else kind or ("float32" if inside else self.file.kind)
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
        """Bytes on disk."""
        return self.path.stat().st_size

    @property
    def operators(self) -> dict[str, int]:
        """How many of each operator, bodies included."""
        return self.file.counts

    @property
    def transposes(self) -> list[Move]:
        """Every TRANSPOSE of the main program, with the bytes that it moves and why it is there."""
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
        """The number of a tensor of the file; None where it has none of this name."""
        return self.file.by_name.get(stored)

    def tensor(self, stored: str) -> Tensor:
        """A tensor of the file.

        :raises KeyError: where it has none of this name.
        """
        return self.file.tensors[self.file.by_name[stored]]

    def store(self, name: str, array: Array, stored: str) -> Array:
        """An array in the axis order of the file, as the dtype of its tensor; ``name`` is its ONNX name."""
        tensor = self.tensor(stored)
        if tensor.quantised and array.dtype.kind == "f":
            return tensor.stored(array)
        if (array.dtype, tensor.dtype) in SIGNED:
            return np.asarray(other_sign(array), order="C")
        return np.asarray(array.astype(tensor.dtype, copy=False), order="C")

    def real(self, stored: str, array: Array, like: np.dtype) -> Array:
        """What a stored array stands for, for comparison with one of dtype ``like``."""
        tensor = self.tensor(stored)
        if (like, array.dtype) in SIGNED:
            return other_sign(array)
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

    @property
    def threads(self) -> int:
        """As many as pay: while others have little to do, each takes a processor to wait for them."""
        plain = self.reference.bounds.plain
        return 1 if plain is not None and plain < SHORT else child.processors()

    def open(self, runtime: str, wanted: Sequence[str]) -> TFLiteRunner:
        """A runner that gives ``wanted`` tensors."""
        indices = {n: self.file.by_name[n] for n in wanted if n in self.file.by_name}
        if set(indices.values()) <= set(self.file.outputs):
            return TFLiteRunner(self.path, runtime, self.ends, indices, self.threads)
        more = dict.fromkeys([*self.file.outputs, *indices.values()])
        made = [i for i in more if i in self.file.producers or i in self.file.outputs]
        with _loadable(self.file.exposing(made)) as content:
            return TFLiteRunner(
                content, runtime, self.ends, {n: i for n, i in indices.items() if i in set(made)}, self.threads
            )

    @cached_property
    def ends(self) -> dict[str, int]:
        """The inputs, by their names in the program; an output may have the name of one that is handed through."""
        known, indices = {s.name for s in self.reference.inputs}, self.file.by_name | self.file.signature[0]
        return {n: indices[n] for t, n in self.program.names.items() if t in known}

    def bisect(self, runtime: str, count: int) -> TFLiteRunner:
        """A runner of the first ``count`` operators alone."""
        last = self.file.operators[count - 1].outputs[:1]
        with _loadable(self.file.exposing(list(last), count)) as content:
            return TFLiteRunner(content, runtime, self.ends, {}, self.threads)

    def part(self, runtime: str, content: bytes) -> TFLiteRunner:
        """A runner of parts of the program, as :meth:`FlatFile.extract` makes them: fed and asked by position."""
        runner = TFLiteRunner(content, runtime, {}, {}, self.threads)
        ends = runner.engine.get_input_details(), runner.engine.get_output_details()
        runner.inputs = {str(i): d["index"] for i, d in enumerate(ends[0])}
        runner.wanted = {str(i): d["index"] for i, d in enumerate(ends[1])}
        return runner


@contextmanager
def _loadable(content: bytes) -> Iterator[bytes | Path]:
    """What the interpreter is to load: the bytes, or a file with them that is mapped instead of copied."""
    if len(content) < LARGE:
        yield content
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        del content
        yield path


class TFLiteRunner:
    """A .tflite in an interpreter.  ``inputs`` and ``wanted``: name -> tensor index."""

    def __init__(
        self,
        model: Path | bytes,
        runtime: str,
        inputs: Mapping[str, int],
        wanted: Mapping[str, int],
        threads: int,
    ):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.inputs, self.wanted = dict(inputs), dict(wanted)
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        try:
            self.engine = Interpreter(
                **source,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.AUTO if runtime == "XNNPACK" else plain,
            )
        except (ValueError, RuntimeError) as error:
            raise FileError(f"cannot be loaded: {one_line(error)}") from error

    def run(self, feeds: Arrays) -> Mapping[str, Array]:
        """The wanted tensors, each copied out of the interpreter when it is asked for, until the next run.

        :raises FileError: a kernel refuses.
        """
        engine = self.engine
        try:
            for name, index in self.inputs.items():
                engine.resize_tensor_input(index, list(feeds[name].shape))
            engine.allocate_tensors()
            for name, index in self.inputs.items():
                if feeds[name].size:
                    engine.set_tensor(index, feeds[name].view(feeds[name].dtype.str))  # no long long, but int64
            engine.invoke()
        except (ValueError, RuntimeError) as error:
            raise FileError(f"cannot be run: {one_line(error)}") from error
        return _Results(engine, self.wanted)


class _Results(Mapping[str, Array]):
    """Tensors of an interpreter by name."""

    def __init__(self, engine: Any, indices: Mapping[str, int]):
        self.engine, self.indices = engine, indices

    def __getitem__(self, name: str) -> Array:
        index = self.indices[name]
        try:
            return np.asarray(self.engine.get_tensor(index))
        except ValueError as error:
            detail = next(d for d in self.engine.get_tensor_details() if d["index"] == index)
            if 0 not in detail["shape"]:
                raise FileError(f"tensor '{name}' cannot be read: {one_line(error)}") from error
            return np.zeros(detail["shape"], detail["dtype"])  # LiteRT does not hand out empty tensors

    def __contains__(self, name: object) -> bool:  # without a copy of the tensor
        return name in self.indices

    def __iter__(self) -> Iterator[str]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
