"""Files of TensorFlow as one flat graph in the form of TensorFlow 1, of which any tensor can be fed and fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from ...record import record
from ..runtime import tensorflow
from .concrete import CALL
from .nodes import inline
from .protos import Proto

VARIABLE = "variables/{}/.ATTRIBUTES/VARIABLE_VALUE"


@record
class FlatGraph:
    """A ``definition`` (GraphDef) whose inputs are placeholders.

    ``names``: what the tensor map calls a tensor -> its name in the graph, where that is another one; ``weights``: what
    goes into placeholders that stand for variables, by the names of these.
    """

    definition: Proto
    names: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def name(self, mapped: str) -> str:
        """A tensor of the map as the graph calls it (``node:0``)."""
        return self.names.get(mapped, mapped)


class GraphSession:
    """A flat graph, loaded on the processor, and run operator by operator as it is written.

    With TensorFlow's optimiser of graphs (2.21) what Keras writes for a LayerNormalization of epsilon 1e-5 gave the
    figures of one of 1e-3 (2.8e-4 of the result): most likely its remapper makes one kernel of it.
    """

    def __init__(self, flat: FlatGraph):
        tf = tensorflow()
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self.flat, self.graph = flat, tf.Graph()
        with self.graph.as_default(), tf.device("/CPU:0"):
            tf.import_graph_def(flat.definition, name="")
        self.session = tf.compat.v1.Session(graph=self.graph, config=config)

    def run(self, wanted: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ``wanted`` tensors; they and the inputs go by their names in the map."""
        name = self.flat.name
        given = {f"{n}:0": a for n, a in self.flat.weights.items()} | {name(n): a for n, a in feeds.items()}
        return dict(zip(wanted, self.session.run([name(n) for n in wanted], given), strict=True))


def saved_model(folder: Path) -> FlatGraph:
    """The function of the model inside a SavedModel of ours; its arguments are the placeholders."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    tf = tensorflow()
    (meta,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    library = meta.graph_def.library
    call = next(n for f in library.function for n in f.node_def if n.name == CALL)
    main = next(f for f in library.function if f.signature.name == call.attr["f"].func.name)
    definition = tf.compat.v1.GraphDef(library=library, versions=meta.graph_def.versions)
    definition.library.function.remove(main)
    names = {}
    for argument in main.signature.input_arg:
        definition.node.add(name=argument.name, op="Placeholder").attr["dtype"].type = argument.type
        names[argument.name] = f"{argument.name}:0"
    inline(definition.node, main, names)
    stored = [a.name for a in main.signature.input_arg if a.name.startswith("weight")]
    if not stored:
        return FlatGraph(definition, names)
    read = tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_tensor
    keys = {n: VARIABLE.format(n.removeprefix("weight")) for n in stored}
    return FlatGraph(definition, names, Variables(keys, read))


@record
class Variables(Mapping[str, np.ndarray]):
    """Weights by name; each is read when it is asked for.  ``stored``: name -> key in a checkpoint."""

    stored: Mapping[str, str]
    read: Callable[[str], np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.read(self.stored[name])

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)
