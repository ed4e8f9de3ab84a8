"""The SavedModel: one library of functions, one signature that calls it, files renamed into place."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...ir import tensor_map
from ...ir.graph import Graph, Value
from .canonical import canonicalise
from .function import Function, Library, partial
from .ops import emit
from .runtime import errors_only, tensorflow

EXTRA = "assets.extra"  # TensorFlow leaves this folder to its users


def write(graph: Graph, folder: str | os.PathLike[str], *, signature_key: str = "serving_default") -> dict[str, str]:
    """Write ``graph`` as a SavedModel into ``folder``; the signature key of every ONNX input and output, in order.

    :raises ConversionError: where TensorFlow is not installed or has no form of an operation.
    """
    tf = tensorflow()
    keys = signature_keys([v.name for v in graph.inputs] + graph.output_names)
    library = Library(tf, is_weight)
    function = Function(library, graph).build(emit)
    _add_call(library, function)
    with errors_only(), tf.device("/CPU:0"):
        root = tf.__internal__.tracking.AutoTrackable()
        root.variables = [tf.Variable(array, name=library.labels[name]) for name, array in library.variables.items()]
        root.trainable_variables = root.variables
        root.__call__ = _callable(tf, graph, keys, library, root.variables)
        setattr(root, signature_key, root.__call__)
        signature = _signature(tf, graph, keys, root.__call__)
        with _staging(Path(folder)) as staging:
            tf.saved_model.save(root, str(staging), signatures={signature_key: signature})
            canonicalise(staging)
            (staging / EXTRA).mkdir()
            (staging / EXTRA / tensor_map.NAME).write_bytes(_tensor_map(graph, function))
    return keys


def is_weight(array: np.ndarray) -> bool:
    """What can be trained is a variable; a number stays a constant, as integers do, which shape inference reads."""
    return array.dtype == np.float32 and array.size > 1


def _tensor_map(graph: Graph, function: Function) -> bytes:
    """Where the ONNX tensors are in the function of the model: the stored names are those of its nodes' results."""

    def stored(value: Value) -> str | None:
        return function.refs[value].name if value in function.refs else None

    return tensor_map.TensorMap.of(graph, stored).to_bytes(shapes=True)


def constant_bytes(graph: Graph) -> int:
    """Bytes of all distinct constants of ``graph`` and its bodies."""
    values = [v for g in [graph, *graph.subgraphs()] for op in g.ops for v in op.uses()]
    return sum(array.nbytes for array in {id(v.data): v.data for v in values if v.data is not None}.values())


def signature_keys(names: Iterable[str]) -> dict[str, str]:
    """A key for every name: the name itself where it is an ASCII identifier, else one made of it.

    TensorFlow does not tell names apart that differ in case only, so keys differ in more.
    """
    names = list(dict.fromkeys(names))
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for legal in (True, False):  # a legal name is not given up to one that only looks like it once sanitised
        for name in names:
            if (_sanitised(name) == name) == legal:
                keys[name] = key = _unique(_sanitised(name), taken)
                taken.add(key.lower())
    return {name: keys[name] for name in names}


def _sanitised(name: str) -> str:
    stem = re.sub("[^A-Za-z0-9_]", "_", name)
    stem = stem if re.match("[A-Za-z]", stem) else f"tensor_{stem.lstrip('_')}"
    return stem + "_" * keyword.iskeyword(stem)


def _unique(stem: str, taken: set[str]) -> str:
    key, count = stem, 1
    while key.lower() in taken:
        key, count = f"{stem}_{count}", count + 1
    return key


def _add_call(library: Library, function: Function) -> None:
    """The graph around the model's function: placeholders for its arguments, and one call."""
    captured = list(function.captured)
    kind = "StatefulPartitionedCall" if function.stateful else "PartitionedCall"
    call = library.graph_def.node.add(name="call", op=kind)
    call.attr["f"].func.name = function.seal(captured)
    call.attr["Tin"].list.SetInParent()  # a model without inputs has an empty list, not none
    for argument in function.proto.signature.input_arg:
        library.graph_def.node.add(name=argument.name, op="Placeholder").attr["dtype"].type = argument.type
        call.input.append(argument.name)
        call.attr["Tin"].list.type.append(argument.type)
    call.attr["Tout"].list.type.extend(r.type for r in function.proto.signature.output_arg)


def _callable(tf: ModuleType, graph: Graph, keys: dict[str, str], library: Library, variables: list[Any]) -> Any:
    """What the loaded model is: a function of the inputs in their order (several: also as one list or one mapping) that
    gives the result, or the list of them."""
    names = [keys[v.name] for v in graph.inputs]

    def call(*feeds: Any) -> Any:
        if len(feeds) < len(names):
            (together,) = feeds
            return whole(*([together[n] for n in names] if isinstance(together, dict) else together))
        weights = {name: v.read_value() for name, v in zip(library.variables, variables, strict=True)}
        given = {f"x{i}": feed for i, feed in enumerate(feeds)} | weights
        wanted = [f"call:{i}" for i in range(len(graph.outputs))]
        results = tf.graph_util.import_graph_def(library.graph_def, given, wanted, name="network")
        for tensor, value in zip(results, graph.outputs, strict=True):
            tensor.set_shape(partial(value.shape))
        return results[0] if len(results) == 1 else results

    specs = _specs(tf, graph, keys)
    function = tf.function(call, autograph=False)
    whole = function.get_concrete_function(*specs)
    if len(specs) > 1:
        function.get_concrete_function(specs)
        function.get_concrete_function(dict(zip(names, specs, strict=True)))
    return function


def _specs(tf: ModuleType, graph: Graph, keys: dict[str, str]) -> list[Any]:
    return [tf.TensorSpec(partial(v.shape), v.dtype, name=keys[v.name]) for v in graph.inputs]


def _signature(tf: ModuleType, graph: Graph, keys: dict[str, str], function: Any) -> Any:
    """The concrete function that takes and gives named tensors."""

    def call(*feeds: Any) -> dict[str, Any]:
        results = function(*feeds)
        named = results if isinstance(results, list | tuple) else [results]
        return {keys[n]: tensor for n, tensor in zip(graph.output_names, named, strict=True)}

    return tf.function(call, input_signature=_specs(tf, graph, keys), autograph=False).get_concrete_function()


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder next to ``folder`` whose contents are moved there at the end, saved_model.pb last; gone on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield staging
        folder.mkdir(exist_ok=True)
        if (folder / "variables").exists():
            (folder / "variables").rename(staging / "old")
        for name in ("variables", "fingerprint.pb", "saved_model.pb"):
            (staging / name).replace(folder / name)
        (folder / EXTRA).mkdir(exist_ok=True)
        (staging / EXTRA / tensor_map.NAME).replace(folder / EXTRA / tensor_map.NAME)
    finally:
        shutil.rmtree(staging)
