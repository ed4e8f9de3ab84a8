"""Put in order what onnx.checker refuses and ONNX Runtime reads all the same.

The runtime decides what is run, so a model that it takes is taken here too, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto

from .walk import is_function, scopes

#: Domains that ONNX Runtime knows without being told, with the version that it then takes.
KNOWN = {"com.microsoft": 1, "ai.onnx.ml": 1}


def repair(model: ModelProto) -> Iterator[str]:
    """Mend ``model`` in place; a sentence for each thing that was wrong."""
    if twice := _latest_initializers(model):
        yield f"initializers that are there several times count as the last of them: {', '.join(twice)}"
    for domain in _undeclared(model):
        model.opset_import.add(domain=domain, version=KNOWN[domain])
        yield f"the model does not say which version of {domain} it uses: taken as {KNOWN[domain]}"


def _latest_initializers(model: ModelProto) -> list[str]:
    """Leave the last of several initializers of a name; their names."""
    twice: dict[str, None] = {}
    for held in [s.graph.initializer for s in scopes(model) if not is_function(s.graph)]:
        last = {tensor.name: i for i, tensor in enumerate(held)}
        for i in reversed(range(len(held))):
            name = held[i].name
            if last[name] != i:
                twice[name] = None
                del held[i]
    return list(twice)


def _undeclared(model: ModelProto) -> list[str]:
    """Domains of :data:`KNOWN` that nodes use and the model does not import."""
    said = {entry.domain for entry in model.opset_import}
    used = {node.domain for scope in scopes(model) for node in scope.graph.node}
    return sorted((used & KNOWN.keys()) - said)
