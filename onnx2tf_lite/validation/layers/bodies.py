"""The branches of Ifs as models of their own, so that the layers in them are checked like all others.

A branch runs on what it reads from outside, as it is there end to end, whether the condition leads into it or not; one
in a loop on what is there in the first turn.  A loop itself is a layer, see ``parts``; that of the file is met where
the model has one, so that an If in a loop that was written out, which knows its turn, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from ... import child, passes
from ...errors import ConversionError
from ..bounds import Bounds, OverBudgetError
from ..feeds import inputs
from ..figures.measure import Array
from ..files.program import Program
from ..files.tflite_file import TFLiteFile
from ..files.written import FileError
from ..original.parts import Parts, inline_all, needs
from ..original.reference import NoReferenceError, Reference
from ..whole.run import Run
from ..whole.samples import Sample, Samples
from .alone import Bench

FAILURES = (FileError, NoReferenceError, child.DiedError, OverBudgetError, ConversionError)
Body = tuple[onnx.NodeProto, str, onnx.GraphProto]
NOWHERE = Program({}, {}, ())


def branches(run: Run, target: TFLiteFile) -> Iterator[tuple[int, Bench]]:
    """(number of the subgraph, its layers) of every branch whose tensors the file's map has, those in branches before
    the branch that they are in."""
    table = target.file.tensor_map
    if table is not None and table.bodies:
        known = {n: of for n, (of, _) in table.bodies.items()}
        yield from _below(run, target, run.whole, target.file.graph, known, target.program)


def _below(
    run: Run, target: TFLiteFile, whole: Samples, graph: Any, known: Mapping[int, str], program: Program = NOWHERE
) -> Iterator[tuple[int, Bench]]:
    """Those in a ``graph`` of the file, which is the model that ``whole`` are the samples of; ``program``: where its
    tensors are in there."""
    below = {number for number, _, _ in target.file.bodies(graph)}
    loops = [target.file.root.Subgraphs(n) for n in sorted(below - known.keys())]
    model = whole.reference.parts
    for node, attribute, body in _bodies(model):
        try:
            if node.op_type != "If":
                if loops and (inside := _first_turn(whole, model, node, body)):
                    for loop in loops:
                        yield from _below(run, target, inside, loop, known)
                continue
            for number in (n for n in below if known.get(n) == f"{node.output[0]}/{attribute}"):
                entries = _entries(target, graph, number, program, body)
                samples = _samples(whole, model, body, _values(whole, list(entries.names)))
                bench = _bench(run, target, number, samples, entries)
                inside = target.file.root.Subgraphs(number)
                yield from _below(run, target, bench.run.whole, inside, known, bench.target.program)
                yield number, bench
        except FAILURES:
            continue  # the coverage says that nothing of it was run on its own


def _bodies(model: Parts) -> Iterator[Body]:
    for node in model.nodes:
        yield from ((node, a.name, a.g) for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)


def _entries(target: TFLiteFile, graph: Any, number: int, program: Program, body: onnx.GraphProto) -> Program:
    """Where the tensors around a branch are in it, by the operands of its IF.

    A file may read other ones than the model, where only their shape counts.
    """
    operator = next(op for body, op, _ in target.file.bodies(graph) if body == number)
    inside = target.file.root.Subgraphs(number)
    ends = zip(graph.Operators(operator).InputsAsNumpy()[1:], inside.InputsAsNumpy(), strict=True)
    given = {graph.Tensors(outer).Name().decode(): inside.Tensors(inner).Name().decode() for outer, inner in ends}
    own = {t for n in body.node for t in n.output}
    names = {n: given[stored] for n, stored in program.names.items() if stored in given and n not in own}
    places = {n: program.places[n] for n in names if n in program.places}
    return Program(places, {n: names[n] for n in places}, ())


def _bench(run: Run, target: TFLiteFile, number: int, samples: Samples, entries: Program) -> Bench:
    inner = TFLiteFile(target.path, samples.reference, target.kind, number)
    own = inner.program
    places = {**entries.places, **own.places}
    inner.program = replace(own, names={**entries.names, **own.names}, places=places)
    (sample,) = samples.samples
    pairs = [(places[n].shape, a.shape) for n, a in sample.feeds.items() if n in places]
    sample.symbols = inputs.bind(pairs, run.whole.samples[0].symbols)
    samples.read([*samples.names([inner]), *samples.reference.outputs])
    return Bench(Run(samples, inner, run.limit), inner, {})


# ------------------------------------------------------------------------------------------ of the model


def _samples(whole: Samples, model: Parts, body: onnx.GraphProto, given: Mapping[str, Array] | None = None) -> Samples:
    """A body as a model, on what it reads from outside, and is ``given``."""
    own = {t.name for t in (*body.initializer, *body.input)} | {t for n in body.node for t in n.output}
    read = dict.fromkeys(n for node in body.node for n in needs(node) if n not in own)
    values = _values(whole, [n for n in read if n not in model.weights]) | dict(given or {})
    proto = onnx.ModelProto(ir_version=max(model.model.ir_version, 4))
    proto.opset_import.extend(model.model.opset_import)
    proto.functions.extend(model.model.functions)
    proto.graph.CopyFrom(body)
    del proto.graph.input[:], proto.graph.value_info[:]
    for name in read:
        if name in model.weights:
            model.refer(name, proto.graph)
    inline_all(proto, model.folder)
    for name, array in values.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    if any(not (t.type.tensor_type.HasField("shape") or t.type.HasField("sequence_type")) for t in body.output):
        _declare(proto, values, whole.reference.bounds)
    reference = Reference.of(proto, passes.load(proto))
    reference.bounds = whole.reference.bounds
    samples = Samples(reference, whole.options)
    samples.samples = [Sample({}, values, {})]
    return samples


def _declare(model: onnx.ModelProto, values: Mapping[str, Array], bounds: Bounds) -> None:
    """The results with the types that they have: those of a body may be without, those of a model not.

    :raises NoReferenceError: ONNX Runtime does not run the body on these ``values``.
    """
    plain = Reference(model, [t.name for t in model.graph.output], [])
    found = bounds.call(lambda: plain.open().run(values))
    del model.graph.output[:]
    for name, array in found.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))


def _first_turn(whole: Samples, model: Parts, node: onnx.NodeProto, body: onnx.GraphProto) -> Samples | None:
    """The body of a Loop or Scan as a model, on what its first turn is given; None where there is none, or that is no
    tensor."""
    if not all(i.type.HasField("tensor_type") for i in body.input if i.type.WhichOneof("value")):
        return None
    if node.op_type == "Loop":
        carried = _operands(whole, model, list(node.input[2:]))
        first = [np.array(0, np.int64), np.array(True), *carried]
    elif node.op_type == "Scan" and (settings := {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}):
        operands, count = _operands(whole, model, list(node.input)), settings["num_scan_inputs"]
        axes = settings.get("scan_input_axes") or [0] * count
        ends = [-1 if back else 0 for back in settings.get("scan_input_directions") or [0] * count]
        scanned = operands[len(operands) - count :]
        if any(a.shape[axis] == 0 for a, axis in zip(scanned, axes, strict=True)):
            return None
        slices = [a.take(end, axis) for a, axis, end in zip(scanned, axes, ends, strict=True)]
        first = [*operands[: len(operands) - count], *slices]
    else:
        return None
    names = [i.name for i in body.input]
    return _samples(whole, model, body, dict(zip(names, first, strict=True))) if len(names) == len(first) else None


def _operands(whole: Samples, model: Parts, names: list[str]) -> list[Array]:
    values = _values(whole, [n for n in names if n not in model.weights])
    folder = str(model.folder or "")
    weights = {n: onnx.numpy_helper.to_array(model.weights[n], folder) for n in names if n not in values}
    return [(values | weights)[n] for n in names]


def _values(whole: Samples, names: list[str]) -> dict[str, Array]:
    """Tensors of the model around, as they are end to end."""
    (sample, *_) = whole.samples
    whole.read([n for n in names if n not in sample.feeds])
    return {n: sample.feeds[n] if n in sample.feeds else sample.expected[n] for n in names}
