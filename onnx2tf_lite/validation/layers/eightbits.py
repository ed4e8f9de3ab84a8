"""Layers on weights of eight bits and real operands: what rounding may do to each of their channels.

A limit for a whole layer overlooks one weight of thousands, which is in one channel.  What rounding does there is
measured on the file itself: all that it rounds is moved by one whole step, up or down.

Operands must be noise of mean zero.  Then the error of a sum of products is that of each weight, squared and added up;
where operands have a mean, errors of one sign (of many small weights beside a large one) add up to any number of steps,
and nothing but the weights of the model would say to how many.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...ir.kinds import KINDS
from ..figures import phrase
from ..figures.judge import TOLERANCES
from ..figures.measure import Array
from ..files.flatfile import FlatFile
from ..files.parted import Segment

DRAWS = (2, 16)  # how often everything is moved: at first, and for the layers that seem to differ then
SIGMAS = 6  # standard deviations that an error of rounding may be: of normal numbers one in 10^9 is beyond
ASKED = f"{SIGMAS} standard deviations of what rounding to 8 bits does to each channel"
#: Rounding is uniform over one step, a root mean square of 1 / sqrt(12) of it.
ROUNDING = 12**-0.5
#: Operators that quantise each row on its own, and not each sample: those without windows.
ROWS = frozenset(k.operator for k in KINDS.values() if k.weights is not None and k.weights.window is None)


def known(file: FlatFile, segment: Segment) -> bool:
    """Does a layer round nothing but its operands and its weights?"""
    operators = [file.operators[i] for i in segment.operators]
    read = {t for op in operators for t in op.inputs if t >= 0}
    made = {t for op in operators for t in op.outputs}
    constants = [t for t in read if file.tensors[t].constant and file.tensors[t].quantised]
    weights = bool(constants) and all(map(file.has_bytes, constants))
    real = not any(file.tensors[t].quantised for t in (*made, *segment.boundary))
    bodies = {body.operator for body in file.below()}
    return weights and real and bodies.isdisjoint(segment.operators)


def moved_weights(stored: Array, rng: np.random.Generator) -> Array:
    """int8 weights, each by one up or down; those at an end go inside."""
    step: Array = rng.integers(0, 2, stored.shape, np.int8)  # a byte for each weight, as they may be many
    step += step
    step -= 1
    ends = np.iinfo(np.int8)
    step[stored == ends.max], step[stored == ends.min] = -1, 1
    step += stored
    return step


def moved_operand(array: Array, by_row: bool, rng: np.random.Generator) -> Array:
    """Floats, in the order of the file, each by one of the steps to which a kernel rounds them, max|x| / 127."""
    if array.dtype.kind != "f" or not array.size or not array.ndim:
        return array
    axes = (array.ndim - 1,) if by_row else tuple(range(1, array.ndim))
    step = np.abs(array).max(axis=axes, keepdims=True) / 127 if axes else np.abs(array) / 127
    return np.asarray(array + np.where(rng.random(array.shape, np.float32) < 0.5, -step, step), array.dtype)


def by_row(file: FlatFile, segment: Segment) -> bool:
    """Does the layer quantise each row of what it reads on its own?"""
    return any(file.operators[i].name in ROWS for i in segment.operators)


def steps(file: FlatFile, segment: Segment, count: int) -> Array:
    """Those of the weights of each of ``count`` channels; all 1 where it is not known which are whose."""
    read = {t for i in segment.operators for t in file.operators[i].inputs if t >= 0}
    scales = [file.tensors[t].scale for t in read if file.tensors[t].constant and file.has_bytes(t)]
    alike = len(scales) == 1 and scales[0].size in (1, count)
    return np.broadcast_to(scales[0] if alike else np.ones(1), (count,)).astype(np.float64)


def channels(error: Array, axis: int) -> Array:
    """The root mean square of each channel."""
    others = tuple(i for i in range(error.ndim) if i != axis)
    return np.asarray(np.sqrt(np.mean(np.square(error, dtype=np.float64), axis=others)))


def allowed(moves: Iterable[Array], steps: Array, floor: float) -> Array:
    """What each channel may differ by, as a root mean square, of what the draws of moves do to it.

    In steps of its weights that is alike in all channels, but for what an activation cuts off: few draws say it.
    ``floor``: what float32 arithmetic is good to."""
    own = np.sqrt(np.mean([np.square(m) for m in moves], axis=0))
    alike = steps * np.sqrt(np.mean(np.square(own / steps)))
    return np.asarray(SIGMAS * ROUNDING * np.maximum(own, alike) + floor)


def floor(expected: Array) -> float:
    """What float32 arithmetic is good to, in a tensor."""
    exact = TOLERANCES["float32"]
    return exact.rtol * float(np.abs(expected).max(initial=0)) + exact.atol


def beyond(error: Array, limit: Array) -> str:
    """In words, which channel differs most by more than it may; empty where none does."""
    share = error / limit
    worst = int(share.argmax()) if share.size else 0
    return phrase.channel(worst, float(error[worst]), float(share[worst])) if share.size and share[worst] > 1 else ""
