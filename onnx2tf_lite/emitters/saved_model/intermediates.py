"""The function of the model inside a SavedModel of ours, run with intermediates as results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime import tensorflow
from .concrete import CALL

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Intermediates:
    """``run`` gives the tensors called ``wanted`` (names of node results, as the tensor map of the folder has them)."""

    def __init__(self, folder: Path, wanted: Sequence[str]):
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        self.wanted, self.tf = list(wanted), tensorflow()
        (meta,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
        call = next(n for f in meta.graph_def.library.function for n in f.node_def if n.name == CALL)
        graph = self.tf.compat.v1.GraphDef()
        graph.library.CopyFrom(meta.graph_def.library)
        main = next(f for f in graph.library.function if f.signature.name == call.attr["f"].func.name)
        self._expose(main)
        self.arguments = [(a.name, a.type) for a in main.signature.input_arg]
        node = graph.node.add(name="call", op=call.op)
        node.attr["f"].func.name = main.signature.name
        node.attr["Tin"].list.type.extend(t for _, t in self.arguments)
        node.attr["Tout"].list.type.extend(a.type for a in main.signature.output_arg)
        for name, dtype in self.arguments:
            graph.node.add(name=name, op="Placeholder").attr["dtype"].type = dtype
            node.input.append(name)
        self.graph = self.tf.Graph()
        with self.graph.as_default(), self.tf.device("/CPU:0"):
            self.tf.import_graph_def(graph, name="")
        self.weights = self._weights(folder)

    def _expose(self, main: Message) -> None:
        """``wanted`` as the results of the function, in the place of its own."""
        types = _types(main)
        del main.signature.output_arg[:]
        main.ret.clear()
        for i, name in enumerate(self.wanted):
            main.signature.output_arg.add(name=f"y{i}", type=types(name))
            main.ret[f"y{i}"] = name

    def _weights(self, folder: Path) -> dict[str, np.ndarray]:
        """The variables that the function takes as arguments."""
        names = [n for n, _ in self.arguments if n.startswith("weight")]
        if not names:
            return {}
        stored = self.tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        place = "variables/{}/.ATTRIBUTES/VARIABLE_VALUE"
        return {n: stored.get_tensor(place.format(n.removeprefix("weight"))) for n in names}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``feeds`` by the names of the arguments."""
        given = {f"{n}:0": a for n, a in (self.weights | dict(feeds)).items() if n in dict(self.arguments)}
        with self.tf.compat.v1.Session(graph=self.graph) as session:
            results = session.run([f"call:{i}" for i in range(len(self.wanted))], given)
        return dict(zip(self.wanted, results, strict=True))


def _types(function: Message) -> Callable[[str], int]:
    """A function from the name of a tensor in ``function`` to its DataType, by the operator definitions."""
    from tensorflow.python.framework import op_def_registry

    arguments: dict[str, int] = {a.name: a.type for a in function.signature.input_arg}
    nodes = {n.name: n for n in function.node_def}

    def find(name: str) -> int:
        if name in arguments:
            return arguments[name]
        node, output, position = name.rsplit(":", 2)
        operator = op_def_registry.get(nodes[node].op)
        result = next(o for o in operator.output_arg if o.name == output)
        named = result.type_list_attr or result.type_attr
        if not named:
            return int(result.type)
        value = next(a.default_value for a in operator.attr if a.name == named)  # TensorFlow leaves out what is usual
        value = nodes[node].attr.get(named, value)
        return int(value.list.type[int(position)] if result.type_list_attr else value.type)

    return find
