"""Real numbers that are small integers times scales: weights that had few bits before they were expanded."""

from __future__ import annotations

import numpy as np

from .graph import Quant

BITS = 4
LEVELS = 1 << BITS
BLOCK = 16  # weights, the smallest that share a scale
CLOSE = 1e-5  # of a step: what float32 makes of a small integer times a scale, and that divided by it
SAMPLE = 64  # blocks that tell ordinary numbers apart
VARIED = 1024  # weights; fewer, or with fewer values than half the levels, are masks, ramps and the like
TINY = np.float32(1e-30)
MOST = 127  # of symmetric integers of 8 bits
CHUNK = 1024  # weights that are looked at together
#: Of a small integer times a scale, what float32 makes of it, of the largest one, and of factors that went into them.
ROUNDED = 4 * float(np.finfo(np.float32).eps)


def integers(blocks: np.ndarray) -> Quant | None:
    """The scale and zero point of each row of ``blocks`` [block, weight], where all rows are integers of 4 bits times a
    scale.  None where some are not.
    """
    if len(blocks) > SAMPLE and integers(blocks[:SAMPLE]) is None:
        return None
    largest = np.maximum(np.abs(blocks).max(1), TINY).astype(np.float32)
    scale, zero = np.zeros_like(largest), np.zeros(len(blocks), np.int64)
    left = np.arange(len(blocks))
    for steps in range(1, LEVELS):  # of the largest number of a row
        unit = largest[left] / np.float32(steps)
        numbers = blocks[left] / unit[:, None]
        whole = np.round(numbers)
        low, high = whole.min(1), whole.max(1)
        fits = (np.abs(numbers - whole).max(1) <= CLOSE) & (high - low < LEVELS)
        at = left[fits]
        scale[at] = unit[fits]
        zero[at] = np.maximum(-LEVELS // 2 - low, 0)[fits] + np.minimum(LEVELS // 2 - 1 - high, 0)[fits]
        left = left[~fits]
    return None if left.size else Quant(scale, zero, np.dtype(np.int8), 0, BITS)


def had_few_bits(weights: np.ndarray) -> bool:
    """True where the rows of a matrix seem to be made of blocks of integers of 4 bits, by its first ones."""
    if weights.ndim != 2 or weights.size < VARIED or weights.shape[1] % BLOCK:
        return False
    some = weights.reshape(-1, BLOCK)[:SAMPLE]
    quant = integers(some)
    return quant is not None and len(np.unique(quant.stored(some))) > LEVELS // 2


def bytes_of(rows: np.ndarray) -> np.ndarray | None:
    """The scale of each row of ``rows`` [channel, weight], where all are symmetric integers of 8 bits times a scale.
    None where some are not.  Integers of such scales are exact, whatever made the weights.
    """
    found = np.zeros(len(rows), np.float32)
    for i, row in enumerate(rows):
        largest = float(np.abs(row).max(initial=0))
        steps = np.arange(1, MOST + 1)
        for start in range(0, row.size if largest else 0, CHUNK):
            numbers = np.multiply.outer(steps / largest, row[start : start + CHUNK].astype(np.float64))
            steps = steps[np.abs(numbers - np.round(numbers)).max(1) <= ROUNDED * steps]
            if not steps.size:
                return None
        found[i] = max(largest / steps[0], TINY)
    return found
