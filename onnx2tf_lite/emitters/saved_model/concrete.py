"""What users of a loaded SavedModel call: functions that read the variables and call the function of the model.

One takes and gives tensors by name (the signature) and reads the variables; the others are forms in which the loaded
object can be called, and call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...ir.graph import Graph, Value
from .function import Function, Library
from .nodes import Ref, append, datatype, results, shapes, tensor_shape
from .ops import emit
from .protos import DTYPES, Proto
from .structures import dictionary, listing, spec, tuple_

CALL = "network/call"  # the node that calls the model's function


@dataclass
class Concrete:
    """A concrete function.

    ``inputs``, ``outputs``   (key, value of the graph) in the order of its arguments and results
    ``taken``, ``given``      their structures
    """

    name: str
    inputs: Sequence[tuple[str, Value]]
    outputs: Sequence[tuple[str, Value]]
    taken: Proto
    given: Proto


@dataclass
class Exports:
    """The model as functions: its own, and those that are called.

    ``keys``: the signature key of every ONNX input and output.
    """

    graph: Graph
    keys: dict[str, str]
    library: Library
    function: Function = field(init=False)
    name: str = field(init=False)
    functions: list[Concrete] = field(init=False)

    def __post_init__(self) -> None:
        self.function = Function(self.library, self.graph).build(emit)
        self.name = self.function.seal(self.function.captured)
        self.functions = [self.signature(), *self.forms()]
        for function in self.functions:
            self._define(function)

    def signature(self) -> Concrete:
        """Tensors by name; TensorFlow sorts what goes by names."""
        inputs, outputs = sorted(self.inputs), sorted(self.outputs)
        taken = _taken(**{key: spec(key, v) for key, v in inputs})
        return Concrete("__inference_signature_wrapper_0", inputs, outputs, taken, _named(outputs))

    def forms(self) -> list[Concrete]:
        """The inputs in their order, where there are several also as one list, give results in their order; inputs by
        name, as one mapping or as keywords, give results by name."""
        ends, (inputs, outputs) = (self.inputs, self.outputs), (sorted(self.inputs), sorted(self.outputs))
        ordered = [spec(*i) for i in ends[0]]
        results = listing([spec(*o) for o in ends[1]]) if len(ends[1]) != 1 else spec(*ends[1][0])
        forms = [(*ends, _taken(*ordered), results)]
        if len(inputs) > 1:
            forms.append((*ends, _taken(listing(ordered)), results))
        if inputs:
            forms.append((inputs, outputs, _taken(_named(inputs)), _named(outputs)))
            forms.append((inputs, outputs, _taken(**{key: spec(key, v) for key, v in inputs}), _named(outputs)))
        return [Concrete(f"__inference_call_{i}", *form) for i, form in enumerate(forms, 1)]

    @property
    def inputs(self) -> list[tuple[str, Value]]:
        """(key, value) in the order of ONNX."""
        return [(self.keys[v.name], v) for v in self.graph.inputs]

    @property
    def outputs(self) -> list[tuple[str, Value]]:
        """(key, value) in the order of ONNX."""
        names = [self.keys[n] for n in self.graph.output_names]
        return list(zip(names, self.graph.outputs, strict=True))

    def _define(self, concrete: Concrete) -> None:
        """The FunctionDef: a call, whose results are put in order."""
        proto = self.library.graph_def.library.function.add()
        proto.signature.name, proto.signature.is_stateful = concrete.name, True
        given, resources = self._arguments(proto, concrete), self._resources(proto)
        signature = self.functions[0]
        if concrete is signature:  # variables are read, the model's function is called with them
            name, stateful, outputs = self.name, self.function.stateful, self.outputs
            given |= self._variables(proto, resources)
            operands = [given[n] for n in (*self._names(self.inputs), *self.function.captured)]
        else:
            name, stateful, outputs = signature.name, True, [*signature.outputs]
            operands = [*(given[n] for n in self._names(signature.inputs)), *resources.values()]
        kind = "StatefulPartitionedCall" if stateful else "PartitionedCall"
        dtypes = [datatype(v.dtype) for _, v in outputs]
        call = append(proto.node_def, kind, CALL, [operands], f=name, Tout=dtypes)
        shapes(call.attr["_output_shapes"], [v.shape for _, v in outputs])
        found = dict(zip([key for key, _ in outputs], results(call), strict=True))
        for place, (key, value) in enumerate(concrete.outputs):
            last = append(proto.node_def, "Identity", f"result_{place}", [found[key]])
            proto.signature.output_arg.add(name=f"y{place}", type=datatype(value.dtype))
            proto.ret[f"y{place}"] = results(last)[0].name

    def _arguments(self, proto: Proto, concrete: Concrete) -> dict[str, Ref]:
        """The inputs, by the names that they have in the function of the model; for people by their keys."""
        given = {}
        for place, (key, value) in enumerate(concrete.inputs):
            name = self.function.refs[value].name
            given[name] = self._argument(proto, name, datatype(value.dtype))
            proto.arg_attr[place].attr["_user_specified_name"].s = key.encode()
        handles: list[tuple[int, ...]] = [()] * len(self.library.variables)
        shapes(proto.attr["_input_shapes"], [*(v.shape for _, v in concrete.inputs), *handles])
        return given

    def _names(self, inputs: Sequence[tuple[str, Value]]) -> list[str]:
        return [self.function.refs[v].name for _, v in inputs]

    def _resources(self, proto: Proto) -> dict[str, Ref]:
        """The variables, by their names in the library."""
        given = {}
        for name, array in self.library.variables.items():
            given[name] = self._argument(proto, f"resource_{name}", DTYPES["resource"])
            held = {"dtype": datatype(array.dtype), "shape": tensor_shape(array.shape)}
            proto.signature.input_arg[-1].handle_data.add(**held)
        return given

    def _variables(self, proto: Proto, resources: dict[str, Ref]) -> dict[str, Ref]:
        """What the variables hold, by their names in the library."""
        given = {}
        for name, resource in resources.items():
            dtype = datatype(self.library.variables[name].dtype)
            given[name] = results(append(proto.node_def, "ReadVariableOp", f"read_{name}", [resource], dtype=dtype))[0]
        return given

    def _argument(self, proto: Proto, name: str, dtype: int) -> Ref:
        proto.signature.input_arg.add(name=name, type=dtype)
        return Ref(name, dtype)


def _taken(*args: Proto, **keywords: Proto) -> Proto:
    return tuple_([tuple_(args), dictionary(keywords)])


def _named(ends: Iterable[tuple[str, Value]]) -> Proto:
    return dictionary({key: spec(key, value) for key, value in ends})
