"""What XNNPACK keeps of a file beside its tensors and weights: a plain run takes it, so it is no part of a budget.

Its convolutions and pools find their operands by tables of pointers, one for each place of the result and each element
of the window (XNNPACK, ``xnn_indirection_init_conv2d``): 100 convolutions of 3 x 3 on images of 256 x 256 have 470 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...ir.graph import concrete
from ...ir.kinds import KINDS
from ..files.parted import Operator
from ..files.tflite_file import TFLiteFile
from .samples import Sample

POINTER = 8  # bytes
#: Operators whose weights, the second operand, have a window -> its axes.
WINDOWS = {k.operator: k.weights.window for k in KINDS.values() if k.weights and k.weights.window}


def pointers(target: TFLiteFile, samples: Sequence[Sample]) -> int:
    """Bytes of them on the largest of the ``samples``."""
    named = {stored: name for name, stored in target.program.names.items()}
    return max((sum(_of(op, target, named, s.symbols) for op in target.file.operators) for s in samples), default=0)


def _of(operator: Operator, target: TFLiteFile, named: Mapping[str, str], symbols: Mapping[str, int]) -> int:
    if operator.name not in WINDOWS:
        return 0
    result = target.file.tensors[operator.outputs[0]]
    window = target.file.tensors[operator.inputs[1]].shape[WINDOWS[operator.name]]
    place = target.program.places.get(named.get(result.name, ""))
    extents = concrete(place.value.shape, symbols) if place and place.value.rank == len(result.shape) else result.shape
    area = int(np.prod(window, dtype=np.int64))
    return POINTER * area * int(np.prod(np.abs(extents[:-1]), dtype=np.int64)) if area > 1 else 0
