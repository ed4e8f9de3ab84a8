"""A finished program as a functional model of tf_keras.

Each operation becomes, in this order of preference, a layer of Keras (``layers``), a function of TensorFlow that the
functional API serialises (``calls``), a registered layer (``operation``).  What each becomes is decided backwards from
the outputs, so that operations which no step reads any more (extents that a layer finds by itself) disappear.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ...errors import ConversionError, Problem
from ...ir.graph import Graph, Op, Value
from ...ir.tensor_map import TensorMap
from ..runtime import errors_only, keras, tensorflow
from ..saved_model.nodes import partial
from .calls import call
from .layers import LAYERS, activation
from .operation import nodes, operands_of, operation
from .patterns import pattern
from .rows import signals
from .steps import BatchMajor, FunctionCall, KerasLayer, Other, Recurrent, Several, Step, tensors


class Built(NamedTuple):
    """A model, and the bytes of the tensor map that says which of its tensors are which of ONNX."""

    model: Any
    table: bytes


_BUILT: WeakKeyDictionary[Graph, Built] = WeakKeyDictionary()  # several files are written of one program


def build(graph: Graph) -> Built:
    """The model: inputs named and ordered as in ONNX, outputs in the order of ONNX.

    :raises ConversionError: where tf-keras is not installed, or the program has no input.
    """
    if graph not in _BUILT:
        _BUILT[graph] = _build(graph)
    return _BUILT[graph]


def _build(graph: Graph) -> Built:
    tf, k = tensorflow(), keras()
    if not graph.inputs:
        raise ConversionError(Problem("Keras model", "the model has no input", "write a SavedModel"))
    graph = signals(graph)
    with errors_only(), tf.device("/CPU:0"):
        steps = chosen(graph)
        made = _Model(k, graph, {_node(op) for op, step in steps if _weighted(step)})
        for op, step in steps:
            made.add(op, step)
        ends = [[made.tensor(v) for v in end] for end in (graph.inputs, graph.outputs)]
        model = k.Model(*ends, name=made.name(graph.name))
    return Built(model, TensorMap.of(graph, made.stored).to_bytes(shapes=True))


def chosen(graph: Graph) -> list[tuple[Op, Step]]:
    """What every operation that the outputs need becomes, in the order of the program."""
    live = set(graph.outputs)
    steps: list[tuple[Op, Step]] = []
    for op in reversed(graph.ops):
        if live.isdisjoint(op.outputs):
            continue
        step = form_of(op)
        live.update(tensors(step))
        steps.append((op, step))
    return steps[::-1]


def form_of(op: Op) -> Step:
    """The step of one operation, its fused activation included."""
    layer = LAYERS.get(op.kind.name)
    step = pattern(op) or (layer(op) if layer else None) or call(op)
    fused = op.attrs.get("activation")
    if step is None or not fused:
        return step or Other(op)
    if fused == "RELU_N1_TO_1":
        return FunctionCall("clip_by_value", [step, -1.0, 1.0])
    return activation(fused, step) or Other(op)


class _Model:
    """A model being built: the tensor of every value.  ``owners``: ONNX nodes that have a layer with their weights, to
    which their name belongs."""

    def __init__(self, k: ModuleType, graph: Graph, owners: set[str]):
        self.k, self.owners, self.taken = k, owners, dict[str, int]()
        self.tensors: dict[Value, Any] = {
            v: k.Input(batch_shape=partial(v.shape), dtype=v.dtype.name, name=self.name(v.name)) for v in graph.inputs
        }
        self.batch_major: dict[Value, Any] = {}
        self.anchor = self.tensors[graph.inputs[0]]  # what a layer without operands is called with

    def name(self, wanted: str) -> str:
        """A name of a layer, made of an ONNX name: Keras names scopes and groups of a file after it."""
        stem = re.sub("[^A-Za-z0-9_.-]", "_", wanted).lstrip("_.-") or "layer"
        count = self.taken[stem.lower()] = self.taken.get(stem.lower(), -1) + 1
        return self.name(f"{stem}_{count}") if count else stem

    def add(self, op: Op, step: Step) -> None:
        """The layers of an operation, and the tensors of its results."""
        if isinstance(step, Recurrent):
            self._recurrent(step, op)
            return
        found = self.applied(step, op)
        results = found if isinstance(found, list | tuple) else [found]
        for value, tensor in zip(op.outputs, results, strict=True):
            self.tensors[value] = tensor

    def applied(self, x: object, op: Op) -> Any:
        """``x`` with its values and steps replaced by tensors, inner steps first."""
        if isinstance(x, Value):
            return self.tensor(x) if x.data is None else x.data.tolist()
        if isinstance(x, KerasLayer):
            return self._layer(x, op)
        if isinstance(x, FunctionCall):
            args, kwargs = self.applied(list(x.args), op), self.applied(dict(x.kwargs), op)
            return self._function(x.name, self._named(op, x.name, False))(*args, **kwargs)
        if isinstance(x, Other):
            return self._other(x, op)
        if isinstance(x, BatchMajor):
            return self.batch_major[x.value]
        if isinstance(x, Several):
            return [self.applied(step, op) for step in x.steps]
        if isinstance(x, Mapping):
            return {key: self.applied(part, op) for key, part in x.items()}
        return [self.applied(part, op) for part in x] if isinstance(x, list | tuple) else x

    def tensor(self, value: Value) -> Any:
        """The tensor of a value, as the program has it."""
        if value not in self.tensors:
            turned = self._function("transpose", self.name(f"{value.name}_transpose"))
            self.tensors[value] = turned(self.batch_major[value], [1, 0, 2])
        return self.tensors[value]

    def stored(self, value: Value) -> str | None:
        """``layer:index`` of a value, where it is a tensor of the model."""
        if value not in self.tensors:
            return None
        layer, _, index = self.tensors[value]._keras_history
        return f"{layer.name}:{index}"

    def _named(self, op: Op, what: str, weights: bool) -> str:
        """The name of the node, and what the layer does where the name is not its own."""
        node = _node(op)
        return self.name(node if weights or node not in self.owners else f"{node}_{what.rpartition('.')[2].lower()}")

    def _layer(self, step: KerasLayer, op: Op) -> Any:
        inputs = [self.applied(x, op) for x in step.inputs]
        layer = getattr(self.k.layers, step.name)(name=self._named(op, step.name, bool(step.weights)), **step.config)
        result = layer(inputs if len(inputs) > 1 else inputs[0])
        layer.set_weights(list(step.weights))
        return result

    def _recurrent(self, step: Recurrent, op: Op) -> None:
        ends = {"return_sequences": True, "return_state": True, "go_backwards": step.backwards}
        ends["time_major"] = not step.batch_major
        layer = getattr(self.k.layers, step.name)(name=self._named(op, step.name, True), **step.config, **ends)
        inputs = [self.applied(x, op) for x in (step.x, *step.states)]
        every, *last = layer(inputs if step.states else inputs[0])
        layer.set_weights(list(step.weights))
        if step.backwards and step.results[0] is not None:
            every = self._function("reverse", self._named(op, "reverse", False))(every, [int(step.batch_major)])
        for place, tensor in zip(step.results, (every, *last), strict=True):
            if place is not None:
                known = self.batch_major if step.batch_major and tensor is every else self.tensors
                known[op.outputs[place]] = tensor

    def _function(self, path: str, name: str) -> Any:
        from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

        function: Any = tensorflow()
        for part in path.split("."):
            function = getattr(function, part)
        return TFOpLambda(function, name=name)

    def _other(self, step: Other, op: Op) -> Any:
        made = nodes(step.op)
        layer = operation()(
            made.graph,
            made.operands,
            made.results,
            [list(w.shape) for w in made.variables],
            name=self._named(op, step.op.kind.name, True),
        )
        result = layer([self.tensor(v) for v in operands_of(step.op)] or [self.anchor])
        layer.set_weights(made.variables)
        for tensor, value in zip(
            result if isinstance(result, list | tuple) else [result], step.op.outputs, strict=True
        ):
            tensor.shape.assert_is_compatible_with(partial(value.shape))
        return result


def _node(op: Op) -> str:
    return op.origin.node if op.origin and op.origin.node else op.outputs[0].name


def _weighted(step: Step) -> bool:
    """Whether a layer of the step holds weights."""
    if isinstance(step, KerasLayer):
        return bool(step.weights) or any(_weighted(x) for x in step.inputs if not isinstance(x, Value))
    return isinstance(step, Other | Recurrent)


def sorts(graph: Graph) -> Counter[str]:
    """How many layers of each sort the model of ``graph`` has: ``layer`` of Keras, ``function`` of TensorFlow,
    ``other``."""
    return Counter(sort for _, step in chosen(signals(graph)) for sort in _sorts(step))


def _sorts(x: object) -> Iterator[str]:
    if isinstance(x, KerasLayer):
        yield "layer"
        yield from _sorts(x.inputs)
    elif isinstance(x, Recurrent):
        yield "layer"
        yield from _sorts(x.x)
        if x.backwards:
            yield "function"
    elif isinstance(x, FunctionCall):
        yield "function"
        yield from _sorts(x.args)
    elif isinstance(x, Other):
        yield "other"
    elif isinstance(x, Several):
        yield from _sorts(x.steps)
    elif isinstance(x, list | tuple):
        for part in x:
            yield from _sorts(part)
