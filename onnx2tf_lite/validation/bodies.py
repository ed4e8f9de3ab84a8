"""The branches of an If as models of their own, so that the layers in them are checked like all others.

A branch runs on what it reads from outside, as it is there end to end, whether the condition leads into it or not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from .. import child, passes
from . import inputs
from .alone import Bench
from .bounds import OverBudget
from .parts import Parts, needs
from .reference import Reference, ReferenceFailed
from .run import Run
from .samples import Sample, Samples
from .tflite_file import TFLiteFile
from .written import FileFailed


def branches(run: Run, target: TFLiteFile) -> Iterator[tuple[int, Bench]]:
    """(number of the subgraph, its layers) of every branch whose tensors the file's map has."""
    table = target.file.tensor_map
    if table is None or not table.bodies:
        return
    model = Parts(run.reference.source)
    for number, (body_of, _) in table.bodies.items():
        result, _, attribute = body_of.rpartition("/")
        if result not in model.producers:
            continue  # in a body itself
        node = model.nodes[model.producers[result]]
        body = next((a.g for a in node.attribute if a.name == attribute), None)
        if body is None:
            continue
        try:
            yield number, _bench(run, target, number, model, body)
        except (FileFailed, ReferenceFailed, child.Died, OverBudget):
            continue  # the coverage says that nothing of it was run on its own


def _bench(run: Run, target: TFLiteFile, number: int, model: Parts, body: onnx.GraphProto) -> Bench:
    own = {t.name for t in body.initializer} | {t for n in body.node for t in n.output}
    read = dict.fromkeys(n for node in body.node for n in needs(node) if n not in own)
    outside = [n for n in read if n not in model.weights]
    values = _values(run, outside)
    whole = onnx.ModelProto(ir_version=max(model.model.ir_version, 4))
    whole.opset_import.extend(model.model.opset_import)
    whole.functions.extend(model.model.functions)
    whole.graph.CopyFrom(body)
    for name in read:
        if name in model.weights:
            model.copy_weight(name, whole.graph)
    for name, array in values.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        whole.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    reference = Reference.of(whole, passes.load(whole))
    reference.bounds = run.reference.bounds
    inner = TFLiteFile(target.path, reference, target.kind, number)
    samples = Samples(reference, run.whole.options)
    symbols = inputs.bind([(inner.program.places[n].shape, a.shape) for n, a in values.items()
                           if n in inner.program.places], run.whole.samples[0].symbols)  # fmt: skip
    samples.samples = [Sample(symbols, values, {})]
    samples.read([*samples.names([inner]), *reference.outputs])
    return Bench(Run(samples, inner, run.limit), inner, {})


def _values(run: Run, names: list[str]) -> dict[str, np.ndarray]:
    """Tensors of the model around, as they are end to end."""
    sample = run.whole.samples[0]
    run.whole.read([n for n in names if n not in sample.feeds])
    return {n: sample.feeds[n] if n in sample.feeds else sample.expected[n] for n in names}
