"""A program of the compiler in the interpreter, with every tensor of its main graph at hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..emitters.tflite import write
from ..fusion.qdq import TO_SIGNED, sum_16
from ..ir.editor import rewrite
from ..ir.graph import Graph, Value, copy_graph
from ..legalize import dynamic
from ..validation.feeds import inputs


class ProgramRunner:
    """``graph``, as far as the stages before ``shapes``, as a file of its own; the graph stays as it is.

    Only the tensors in ``kept`` can be read beside the outputs, if that is given: the interpreter then reuses memory.
    """

    def __init__(self, graph: Graph, everything: bool = True):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.places = {v.name: graph.placements[v.name] for v in graph.inputs}
        self.outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
        twin = copy_graph(graph)
        self.names = _rename(graph, twin)
        rewrite(twin, [*TO_SIGNED, sum_16])  # there is no QUANTIZE of uint16
        dynamic.materialise(twin)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            write(twin, path)
            self.content = path.read_bytes()
        self.engine = Interpreter(
            model_content=self.content,
            num_threads=os.cpu_count(),
            experimental_preserve_all_tensors=everything,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            if everything
            else OpResolverType.AUTO,
        )
        details = self.engine.get_tensor_details()
        self.indices = {d["name"]: d["index"] for d in details}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> None:
        """``feeds`` by name, in ONNX order."""
        engine = self.engine
        symbols = inputs.bind([(self.places[n].shape, a.shape) for n, a in feeds.items()], {})
        stored = {n: self._stored(n, a, symbols) for n, a in feeds.items()}
        shapes = {n: a.shape for n, a in stored.items()}
        if shapes != self.shapes:
            for name, shape in shapes.items():
                engine.resize_tensor_input(self._index(self.places[name].value), shape)
            engine.allocate_tensors()
            self.shapes = shapes
        for name, array in stored.items():
            engine.set_tensor(self._index(self.places[name].value), array)
        engine.invoke()

    def _stored(self, name: str, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
        place = self.places[name]
        stored = place.store(array, symbols)
        if place.real and place.value.quant is not None:
            return place.value.quant.stored(stored)
        return np.asarray(stored, place.value.dtype, order="C")

    def _index(self, value: Value) -> int:
        return int(self.indices[self.names[value]])

    def has(self, value: Value) -> bool:
        """False for tensors that the interpreter does not have, such as those inside of bodies."""
        return self.names.get(value) in self.indices

    def holds(self, value: Value) -> bool:
        """False for tensors that the interpreter gives up while it runs, as it does with some around loops."""
        try:
            self.engine.get_tensor(self._index(value))
        except ValueError:
            return False
        return True

    def read(self, value: Value) -> np.ndarray:
        """A tensor of the last run, in the order of the program."""
        return np.asarray(self.engine.get_tensor(self._index(value)))

    def results(self) -> dict[str, np.ndarray]:
        """The real numbers of all outputs of the last run."""
        found: dict[str, np.ndarray] = {}
        for name, value in self.outputs.items():
            array = self.read(value)
            found[name] = value.quant.real(array) if value.quant is not None and array.dtype.kind in "iu" else array
        return found


def _rename(graph: Graph, twin: Graph) -> dict[Value, str]:
    """Let every tensor of ``twin`` have a name that nothing in the file can have by chance; which, by those of
    ``graph``."""
    names: dict[Value, str] = {}
    ours = [*graph.inputs, *(v for op in graph.ops for v in op.outputs), *graph.outputs]
    theirs = [*twin.inputs, *(v for op in twin.ops for v in op.outputs), *twin.outputs]
    for number, (value, copied) in enumerate(zip(ours, theirs, strict=True)):
        if value not in names and not value.is_constant:
            copied.name = names[value] = f"tensor {number}"
    twin.output_names = [names.get(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True)]
    twin.placements = {}
    return names
