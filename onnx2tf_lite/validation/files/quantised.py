"""What is asked of files with integers inside beside their SQNR: what its scales reach, whether decisions stay
the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...ir.kinds import KINDS
from ...ir.traits import FixedScale, Int8
from ..figures.judge import Difference
from ..figures.measure import Array
from .flatfile import VIEWS, FlatFile
from .parted import Tensor
from .tflite_file import TFLiteFile
from .written import RUNTIMES, WrittenFile

OTHERS = (Int8.ONE_SCALE, Int8.RESAMPLES)  # whose result has the scale of the operand
#: Operators whose result has not a scale of its own.
FIXED = frozenset(k.operator for k in KINDS.values() if isinstance(k.int8, FixedScale) or k.int8 in OTHERS)
HYBRID = 255 / 127
STEPS = 1.5  # half a step of rounding, one of the kernel


def runtimes(target: WrittenFile) -> tuple[str, ...]:
    """Where a file is run: XNNPACK has no kernels of 16 bits and leaves all of such a file to the builtin ones."""
    if isinstance(target, TFLiteFile) and target.kind == "quantised" and _is_wide(target.file):
        return ("builtin kernels",)
    return RUNTIMES[target.kind]


def form(target: WrittenFile) -> str:
    """The kind of file, by which it is judged: ``int4`` where weights have 4 bits."""
    return "int4" if isinstance(target, TFLiteFile) and target.file.has_int4 else target.kind


def rounding(target: WrittenFile, filled: float) -> float:
    """How many times as much noise of rounding the kernels of a file make as the quantised model does.

    Hybrid ones have steps of ``max|x| / 127``; a model that quantises as it comes has ``(max - min) / 255``, with 0
    between the two, and so ``max|x| <= max - min``: their steps are 255 / 127 times as large at most, which they are
    where an operand has one sign.  The integers of the weights are the same.

    Those of 16 bits know the factor of a result to 15 bits, hence to a share of 2^-15.  In a tensor whose root mean
    square is r of the 2^15 steps of its range that is r steps, beside the 1 / sqrt(12) of rounding: together
    ``sqrt(1 + 12 r^2)`` times the noise of rounding.  ``filled``: the largest r of the model's tensors, as measured.
    """
    if not isinstance(target, TFLiteFile):
        return 1.0
    if _is_wide(target.file):
        return math.sqrt(1 + 12 * filled**2)
    return HYBRID if target.kind == "quantised" else 1.0


def wide_steps(target: WrittenFile) -> dict[str, float]:
    """ONNX tensor -> the step of the 16-bit integers that it is in a file all of whose integers are such."""
    if not isinstance(target, TFLiteFile) or not _is_wide(target.file):
        return {}
    known, nodes = target.program.names.items(), target.reference.nodes
    tensors = {n: target.tensor(s) for n, s in known if n in nodes and s in target.file.by_name}
    return {n: float(t.scale[0]) for n, t in tensors.items() if t.dtype == np.int16 and t.scale.size == 1}


def share_of_range(array: Array, step: float) -> float:
    """The root mean square of a tensor, of what 2^15 steps are; it may be integers itself."""
    values = array.astype(np.float64) / (step if array.dtype.kind == "f" else 1.0)
    centre = 1 << 15 if array.dtype == np.uint16 else 0
    return float(np.sqrt(np.mean(np.square(values - centre)))) / (1 << 15) if array.size else 0.0


def _is_wide(file: FlatFile) -> bool:
    activations = [t for t in file.tensors if t.quantised and not t.constant]
    return bool(activations) and all(t.dtype == np.int16 for t in activations)


def reachable(
    target: WrittenFile, stored: str, expected: Array, got: Array, restored: Callable[[Array], Array]
) -> Array:
    """``expected`` as far as the integers of its tensor reach: made operands lead beyond what scales are calibrated
    for, where saturation is right.  ``restored``: in ONNX order and numbers, what is as ``got`` is."""
    if target.kind != "quantised" or not isinstance(target, TFLiteFile) or expected.dtype.kind != "f":
        return expected
    own = target.tensor(stored)
    tensor = integers_of(target.file, own)
    if not tensor.quantised or tensor.scale.size != 1:
        return expected
    info = np.iinfo(tensor.dtype)
    ends = [np.full(got.shape, end, tensor.dtype) for end in (info.min, info.max)]
    low, high = (restored(end if own.quantised else tensor.real(end)) for end in ends)
    return np.asarray(np.clip(expected, low, high), expected.dtype)


def integers_of(file: FlatFile, tensor: Tensor) -> Tensor:
    """The tensor whose numbers it has, before views and DEQUANTIZE."""
    maker = file.producers.get(tensor.index)
    while maker is not None and (maker.name in VIEWS or maker.name == "DEQUANTIZE"):
        tensor = file.tensors[maker.inputs[0]]
        maker = file.producers.get(tensor.index)
    return tensor


def within_a_step(target: WrittenFile, stored: str, found: Difference, carried: float = 0.0) -> Difference:
    """``found``, forgiven where the scale of the result is given and the error is within one step of it: results much
    smaller than a step have no signal that noise could be compared with.  ``carried``: what the operand may be off, in
    the units of the result, besides."""
    if not found.what or target.kind != "quantised" or not isinstance(target, TFLiteFile):
        return found
    tensor = integers_of(target.file, target.tensor(stored))
    maker = target.file.producers.get(tensor.index)
    fixed = maker is not None and maker.name in FIXED and tensor.scale.size == 1
    near = fixed and found.max_abs <= STEPS * tensor.scale[0] + carried
    return replace(found, what="", asked="", used=1.0) if near else found


def agree(got: Array, expected: Array) -> bool | None:
    """Whether [batch, classes] results choose the same classes; None for other shapes."""
    if expected.ndim != 2 or got.shape != expected.shape or expected.shape[1] < 2 or expected.dtype.kind != "f":
        return None
    return bool((got.argmax(1) == expected.argmax(1)).all())
