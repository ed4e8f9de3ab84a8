"""What a layer made in the file, beside what it made in the original model, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from ...record import record
from ..figures.judge import QUANTISED, Difference, Tolerance, compare
from ..figures.measure import Array
from ..files import quantised
from ..files.flatfile import FlatFile
from ..files.tflite_file import TFLiteFile
from ..original.known_errors import unsaid
from ..original.reference import Reference
from . import eightbits
from .isolate import Layer, Layers


def rounds_anew(layers: Layers, reference: Reference, layer: Layer, dtype: np.dtype) -> bool:
    """Does the file round where the quantised model does not: weights of its own, a result, of ``dtype`` in the model,
    that has no step there, or everything by other steps?"""
    target = layers.target
    if not isinstance(target, TFLiteFile) or target.kind != "quantised":
        return False
    operators = [target.file.operators[i] for i in layer.segment.operators]
    touched = {t for op in operators for t in (*op.inputs, *op.outputs) if t >= 0}
    rounds = any(target.file.tensors[t].quantised for t in touched)
    own = dtype.kind != "f" or layer.name in reference.steps
    return (rounds and not own) or other_steps(target.file, reference) or eightbits.known(target.file, layer.segment)


def other_steps(file: FlatFile, reference: Reference) -> bool:
    """Was a quantised model quantised again, in steps of which none is its own?  (Around zero points that no kernel has
    its scales are of no use; of a file that has any, a wrong one is an error.)"""
    made = (t for op in file.operators if op.name not in quantised.FIXED for t in op.outputs)
    scales = {float(t.scale[0]) for t in map(file.tensors.__getitem__, made) if t.quantised and t.scale.size == 1}
    return bool(scales) and scales.isdisjoint(reference.steps.values())


@record
class Comparison:
    """``limit``: what is asked of every layer of the file that computes as the model does."""

    reference: Reference
    layers: Layers
    limit: Tolerance
    symbols: Mapping[str, int]

    def sides(self, name: str, got: Array, expected: Array) -> tuple[Array, Array]:
        """A result of the file, as it is stored there, and the reference's as far as the file can have it, in ONNX
        order."""
        whole = self.layers.restore(name, got, expected.shape, expected.dtype, self.symbols)
        whole = unsaid(self.reference.nodes[name][1], whole, expected) if name in self.reference.nodes else whole
        target = self.layers.target
        restored = partial(self.layers.restore, name, shape=expected.shape, like=expected.dtype, symbols=self.symbols)
        return whole, quantised.reachable(target, target.program.names[name], expected, got, restored)

    def difference(self, layer: Layer, whole: Array, expected: Array, slack: float, usual: float) -> Difference:
        """How the two differ.  A layer that rounds where the quantised model does not is held to what that may do to
        it, not to steps that it does not compute in."""
        target, name = self.layers.target, layer.name
        anew = self.limit.steps and rounds_anew(self.layers, self.reference, layer, expected.dtype)
        limit = QUANTISED.isolated if anew else self.limit
        found = compare(whole, expected, limit, self.reference.steps.get(name), slack, usual=usual)
        return quantised.within_a_step(target, target.program.names[name], found)

    def rounds_to_bytes(self, layer: Layer) -> bool:
        """Is the layer one whose channels are each held to what rounding does to them?"""
        target = self.layers.target
        return (
            isinstance(target, TFLiteFile)
            and target.kind == "quantised"
            and self.limit.source == "default"
            and eightbits.known(target.file, layer.segment)
        )
