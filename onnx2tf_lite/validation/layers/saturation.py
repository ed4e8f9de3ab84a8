"""Layers of several roundings, whose operands, made within the scales around them, lead beyond those inside.

A block of a transformer of which one token is read, or a normalisation, is one layer here, since nothing in it is a
tensor of the model; scales inside are those of what calibration saw.  Where made operands saturate there, the layer is
right if it is so on what was seen end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

import numpy as np

from ..figures.judge import Difference, Tolerance
from ..figures.measure import Array
from ..files.flatfile import FlatFile
from ..files.parted import Segment
from ..files.quantised import FIXED
from ..files.tflite_file import TFLiteFile
from ..files.written import LayeredFile
from .isolate import Layer

SHARE = 1e-3  # of the elements of a tensor at an end of its integers, which calibration leaves to few
#: dB that the values end to end have to have beyond the limit for made operands: nothing saturates there, and what is
#: left is rounding (34 to 38 dB for normalisations and for a block of 39 operators of five transformers; at most 28 for
#: that block with one of its weight matrices in reversed order).
STRICTER = 15.0


def saturates(target: LayeredFile, layer: Layer, operands: Sequence[Array], runtime: str) -> bool:
    """Do these ``operands`` of a layer, as the file has them, lead a tensor inside of it to the ends of its integers?
    In a child only."""
    if not isinstance(target, TFLiteFile) or target.kind != "quantised":
        return False
    inside = _inside(target.file, layer)
    known: Mapping[int, Array] = dict(zip(layer.segment.boundary, operands, strict=True))
    given = [known[t] for segment in inside for t in segment.boundary]
    if not inside:
        return False
    runner = target.part(runtime, target.file.extract(inside, [a.shape for a in given]))
    found = runner.run({str(k): a for k, a in enumerate(given)})
    return any(_at_ends(target.file, s.target, found[str(k)]) > SHARE for k, s in enumerate(inside))


def too_coarse(found: Difference, limit: Tolerance) -> bool:
    """Is what a layer makes of values end to end too far off for nothing but rounding?"""
    return bool(found.what) or found.sqnr < STRICTER - 20 * log10(limit.rtol)


def _inside(file: FlatFile, layer: Layer) -> list[Segment]:
    """The tensors between with calibrated scales, each with what makes it of the operands of the layer."""
    made = [
        t
        for i in layer.segment.operators
        if file.operators[i].name not in FIXED
        for t in file.operators[i].outputs
        if t != layer.segment.target and file.tensors[t].quantised and file.tensors[t].scale.size == 1
    ]
    known = set(layer.segment.boundary)
    return [s for t in made if (s := file.segment(t, known)) is not None and s.boundary and s.operators]


def _at_ends(file: FlatFile, index: int, stored: Array) -> float:
    """The share of elements at an end; the lowest is none where it stands for 0, as behind a ReLU."""
    tensor, info = file.tensors[index], np.iinfo(file.tensors[index].dtype)
    ends = [info.max, info.min] if int(tensor.zero[0]) > info.min else [info.max]
    return float(np.isin(stored, ends).mean()) if stored.size else 0.0
