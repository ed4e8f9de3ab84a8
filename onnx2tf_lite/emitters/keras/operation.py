"""An operation of no Keras layer and no public function: its nodes as the SavedModel has them, in a layer of its own.

A model with such a layer loads where this package has been imported (``onnx2tf_lite.emitters.keras.load`` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ...ir.graph import Graph, Op, Value
from ..runtime import keras, tensorflow
from ..saved_model.flat import flatten
from ..saved_model.function import Function, Library
from ..saved_model.ops import emit
from ..saved_model.writer import is_weight


class Nodes(NamedTuple):
    """The nodes of one operation: a GraphDef as plain data, the names of its operands (variables last) and results."""

    graph: dict[str, object]
    operands: list[str]
    results: list[str]
    variables: list[np.ndarray]


def operands_of(op: Op) -> list[Value]:
    """What the layer of ``op`` is called with."""
    return list(dict.fromkeys(v for v in op.uses() if v.data is None))


def nodes(op: Op) -> Nodes:
    """``op`` alone; its float constants, those of its bodies too, are variables."""
    from google.protobuf.json_format import MessageToDict

    graph = Graph(name="operation", inputs=operands_of(op), outputs=list(op.outputs), ops=[op])
    library = Library(is_weight)
    function = Function(library, graph).build(emit)
    names = flatten(library, function, {})
    operands = [*(f"x{i}" for i in range(len(graph.inputs))), *function.captured]
    results = [names[function(v).name] for v in graph.outputs]
    return Nodes(MessageToDict(library.graph_def), operands, results, [library.variables[n] for n in function.captured])


@cache
def operation() -> type:
    """The layer class, registered with Keras under ``onnx2tf_lite>Operation``."""
    tf, k = tensorflow(), keras()
    from tensorflow.python.eager.context import context

    @k.utils.register_keras_serializable(package="onnx2tf_lite", name="Operation")
    class Operation(k.layers.Layer):  # type: ignore[misc, name-defined]
        """The nodes of ``graph`` on the operands; ``shapes`` are those of its trainable variables."""

        def __init__(
            self,
            graph: dict[str, object],
            operands: Sequence[str],
            results: Sequence[str],
            shapes: Sequence[Sequence[int]],
            **rest: object,
        ):
            from google.protobuf.json_format import ParseDict

            super().__init__(**{**rest, "autocast": False})
            self.config = {"graph": graph, "operands": operands, "results": results, "shapes": shapes}
            self.graph_def = ParseDict(graph, tf.compat.v1.GraphDef())
            for body in self.graph_def.library.function:  # named after their contents
                context().add_function_def(body)
            self.traced = tf.function(self.imported, autograph=False, reduce_retracing=True)

        def build(self, shape: object) -> None:
            for i, extents in enumerate(self.config["shapes"]):
                self.add_weight(name=f"weight{i}", shape=extents, initializer="zeros", trainable=True)
            super().build(shape)

        def call(self, inputs: Any) -> Any:
            return self.traced(*tf.nest.flatten(inputs))

        def imported(self, *tensors: Any) -> Any:
            count = len(self.config["operands"]) - len(self.config["shapes"])  # one more tensor where there is none
            given = [*tensors[:count], *map(tf.convert_to_tensor, self.weights)]
            mapped = dict(zip(self.config["operands"], given, strict=True))
            found = tf.graph_util.import_graph_def(self.graph_def, mapped, self.config["results"], name="")
            return found[0] if len(found) == 1 else found

        def get_config(self) -> dict[str, object]:
            return {**super().get_config(), **self.config}

    return Operation
