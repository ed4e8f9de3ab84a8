"""A model node by node: each by ONNX Runtime, or by onnx.reference where that refuses the node."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from ... import child
from ...errors import one_line
from ...model.walk import sort
from .known_errors import REFERENCE, RUNTIME, masks_wrongly, operators
from .nodes import attribute
from .tidy import IR_VERSION

Arrays = dict[str, np.ndarray]
Result = Any  # an array, a list of them, or None


class RefusedError(Exception):
    """No reference runs a node."""


class Stepwise:
    """``run`` as a session has it.  ``engines``: which reference ran which operators."""

    def __init__(self, model: ModelProto):
        from onnx.inliner import inline_local_functions

        self.model = inline_local_functions(model) if model.functions else model
        sort(self.model.graph)
        self.engines: dict[str, set[str]] = {}
        self.sessions: dict[Hashable, Any] = {}
        self.held = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[Result]:
        """The named tensors.

        :raises RefusedError: with the node that no reference runs, and why.
        """
        values: dict[str, Result] = {**self.held, **feeds}
        for index, node in enumerate(self.model.graph.node):
            reads = {n: values[n] for n in _reads(node) if n in values}
            results = self._step(index, node, reads)
            values |= {n: r for n, r in zip(node.output, results, strict=True) if n}
        return [values[n] for n in names]

    def _step(self, index: int, node: NodeProto, reads: Mapping[str, Result]) -> list[Result]:
        names = [n for n in node.output if n]
        refused = []
        masked = (len(node.input) > 3 and bool(node.input[3])) or bool(attribute(node, "is_causal", 0))
        for engine, load in ENGINES.items():
            if masks_wrongly(engine, node.op_type, node.domain, attribute(node, "softcap", 0.0), masked):
                refused.append(f"{engine} as it is here errs in an Attention with a mask: install a newer release")
                continue
            key = engine, index, tuple((n, str(getattr(a, "dtype", "")), np.ndim(a)) for n, a in reads.items())
            try:
                if key not in self.sessions:
                    self.sessions[key] = load(self._model(node, reads))
                made = dict(zip(names, self.sessions[key].run(names, dict(reads)), strict=True))
            except Exception as error:  # either is foreign code that fails in every way; all of them are reported
                refused.append(f"{engine}: {one_line(error)}")
                continue
            self.engines.setdefault(engine, set()).add(node.op_type)
            return [made.get(n) for n in node.output]
        raise RefusedError(f"{node.op_type} '{node.name or node.output[0]}': {'; '.join(refused)}")

    def _model(self, node: NodeProto, reads: Mapping[str, Result]) -> ModelProto:
        inputs = []
        for name, array in reads.items():
            if not isinstance(array, np.ndarray | np.generic):
                raise TypeError(f"{name} is no tensor")
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, [None] * array.ndim))
        outputs = [onnx.ValueInfoProto(name=n) for n in node.output if n]
        graph = GraphProto(name="step", node=[node], input=inputs, output=outputs)
        return ModelProto(
            ir_version=min(self.model.ir_version, IR_VERSION), graph=graph, opset_import=self.model.opset_import
        )


def _reads(node: NodeProto) -> list[str]:
    """What a node reads, also in its bodies."""
    names = [n for n in node.input if n]
    for said in node.attribute:
        for body in [said.g] if said.HasField("g") else said.graphs:
            own = {v.name for v in body.input} | {t.name for t in body.initializer}
            inner = [n for step in body.node for n in _reads(step)] + [o.name for o in body.output]
            own |= {n for step in body.node for n in step.output}
            names += [n for n in inner if n not in own]
    return list(dict.fromkeys(names))


def _runtime(model: ModelProto) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = child.processors()
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _reference(model: ModelProto) -> Any:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model, new_ops=operators())


#: In the order in which they are asked.
ENGINES = {RUNTIME: _runtime, REFERENCE: _reference}
