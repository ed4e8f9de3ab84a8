"""The loaded SavedModel as an object: its attributes, and which variables its functions read.

root  .variables, .trainable_variables   list of variables
      .__call__, .serve (which Keras looks for), .serving_default
                                         function, with a concrete one for every form of its arguments
      .signatures                        the concrete function of each signature
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .concrete import Exports
from .nodes import datatype, tensor_shape
from .protos import Proto, message
from .structures import dictionary, listing, named, none, text

VARIABLES, FUNCTION, SIGNATURES, SIGNATURE, FIRST = 1, 2, 3, 4, 5  # places of the objects; 0 is the root
CLASSES = {0: "_generic_user_object", VARIABLES: "trackable_list_wrapper", SIGNATURES: "signature_map"}
ATTRIBUTE = "VARIABLE_VALUE"


class Variable(NamedTuple):
    """``key`` in the checkpoint, ``label`` in the graph and for people."""

    key: str
    label: str


def variables(labels: Sequence[str]) -> list[Variable]:
    """Keys follow from the way through the objects."""
    return [Variable(f"variables/{i}/.ATTRIBUTES/{ATTRIBUTE}", label) for i, label in enumerate(labels)]


def graph(exports: Exports, signature_key: str, labels: Sequence[str]) -> Proto:
    """The ``SavedObjectGraph``."""
    edges, signature, forms = _edges(signature_key, len(labels)), exports.functions[0], exports.functions[1:]
    found = message("SavedObjectGraph")()
    for place in range(FIRST):
        found.nodes.add(children=_references(edges.get(place, {})))
    for place, kind in CLASSES.items():
        found.nodes[place].user_object.identifier = kind
        found.nodes[place].user_object.version.producer = found.nodes[place].user_object.version.min_consumer = 1
    called, bare = found.nodes[FUNCTION].function, found.nodes[SIGNATURE].bare_concrete_function
    called.concrete_functions.extend(f.name for f in forms)
    called.function_spec.CopyFrom(_specification(varargs=text("feeds"), varkw=text("named")))
    bare.concrete_function_name = signature.name
    bare.argument_keywords.extend(key for key, _ in signature.inputs)
    bare.function_spec.CopyFrom(_specification(kwonlyargs=listing([text(key) for key, _ in signature.inputs])))
    for label, array in zip(labels, exports.library.variables.values(), strict=True):
        held = {"dtype": datatype(array.dtype), "shape": tensor_shape(array.shape)}
        found.nodes.add(variable={**held, "trainable": True, "name": label})
    for function in exports.functions:
        concrete = found.concrete_functions[function.name]
        concrete.bound_inputs.extend(range(FIRST, len(found.nodes)))
        concrete.canonicalized_input_signature.CopyFrom(function.taken)
        concrete.output_signature.CopyFrom(function.given)
    return found


def checkpoint(signature_key: str, labels: Sequence[str]) -> bytes:
    """The serialised ``TrackableObjectGraph``: the same objects, and the keys of the variables."""
    edges = _edges(signature_key, len(labels))
    found = message("TrackableObjectGraph")()
    for place in range(FIRST):
        found.nodes.add(children=_references(edges.get(place, {})))
    for key, label in variables(labels):
        found.nodes.add(attributes=[{"name": ATTRIBUTE, "full_name": label, "checkpoint_key": key}])
    written: bytes = found.SerializeToString(deterministic=True)
    return written


def _edges(signature_key: str, count: int) -> dict[int, dict[str, int]]:
    """The attributes of each object that has some."""
    root = {"variables": VARIABLES, "trainable_variables": VARIABLES}
    root |= dict.fromkeys(("__call__", "serve", signature_key), FUNCTION)
    return {
        0: root | {"signatures": SIGNATURES},
        VARIABLES: {str(i): FIRST + i for i in range(count)},
        SIGNATURES: {signature_key: SIGNATURE},
    }


def _references(attributes: Mapping[str, int]) -> list[dict[str, object]]:
    return [{"node_id": place, "local_name": name} for name, place in attributes.items()]


def _specification(**given: Proto) -> Proto:
    """A ``FunctionSpec``: what ``inspect.getfullargspec`` would say."""
    usual = {"args": listing([]), "varargs": none(), "varkw": none(), "defaults": none(), "kwonlyargs": listing([])}
    usual |= {"kwonlydefaults": none(), "annotations": dictionary({})}
    return message("FunctionSpec")(fullargspec=named("FullArgSpec", usual | given), input_signature=none())
