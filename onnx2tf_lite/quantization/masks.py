"""Masks of attention: numbers that a SOFTMAX takes for nothing, however low, and constants that lead beyond a scale.

A mask adds -1e4 or -3.4e38 to the scores that are not to count, or puts it in their place.  Taken as numbers that occur
these would have all steps of a scale, and the scores none (8 bits: -0.7 dB of the softmax of a GPT).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log
from typing import Protocol

import numpy as np

from ..ir.graph import Graph, Op, Quant, Value
from ..ir.traits import Int8

#: All that is masked in a row together may have this share of it: a fifth of a step of 8 bits.
SHARE = 1 / (5 * 256)


class Reach(Protocol):
    """What is known of the numbers of a tensor; ``floor`` as :func:`floor` of what SOFTMAX reads, inf of others;
    ``low`` and ``high`` are finite, and ``bottomless`` says that there is -inf, too."""

    low: float
    high: float
    floor: float
    bottomless: bool


def read(graph: Graph) -> set[Value]:
    """What a SOFTMAX reads."""
    return {v for op in graph.ops if op.is_a("SOFTMAX") for v in op.inputs if v is not None}


def floor(x: np.ndarray) -> float:
    """The number below which nothing counts in any row [..., n] of ``x``.

    In a row whose largest is m, what is at most m - ln(n / SHARE) has at most exp(-ln(n / SHARE)) = SHARE / n of it
    each, and n of these SHARE: wherever such elements are, the others change by no more.
    """
    return float(x.max(axis=-1).min()) - log(x.shape[-1] / SHARE)


def cut(graph: Graph, spans: Mapping[Value, Reach]) -> None:
    """Let nothing reach below what its readers tell apart, and -inf just as far, in place."""
    readers, least = graph.consumers(), dict[Value, float]()
    for value in [v for op in reversed(graph.ops) for v in op.outputs] + graph.inputs:
        if value in spans and value not in graph.outputs:
            told = min((_least(value, op, spans, least) for op in readers.get(value, ())), default=-inf)
            if told > -inf:
                least[value] = told
                low = -inf if spans[value].bottomless else spans[value].low
                spans[value].low = max(low, min(told, spans[value].high))


def _least(value: Value, op: Op, spans: Mapping[Value, Reach], least: Mapping[Value, float]) -> float:
    """The number of ``value`` below which ``op`` tells nothing apart; ``least`` those of its results.

    Behind a sum: x + y is below the least of the result wherever x is below that less the largest y.
    """
    if op.is_a("SOFTMAX"):
        return spans[value].floor
    told = least.get(op.outputs[0], -inf)
    if op.is_a("ADD") and op.inputs.count(value) == 1 and op.attrs.get("activation") is None:
        (other,) = (v for v in op.inputs if v is not value)
        return told - _high(other, spans)
    chosen = op.is_a("SELECT_V2") and value is not op.inputs[0]
    return told if len(op.outputs) == 1 and (chosen or op.kind.int8 is Int8.MOVES) else -inf


def _high(value: Value | None, spans: Mapping[Value, Reach]) -> float:
    """The largest number of an operand that is known."""
    if value is not None and value.data is not None:
        return float(value.data.max(initial=-inf))
    return spans[value].high if value is not None and value in spans else inf


def within(op: Op, data: np.ndarray, operand: Quant, result: Quant) -> np.ndarray:
    """The constant ``data`` of a sum or product as far as the integers of the ``result`` can show it.

    ADD: with c < low - x for the largest x that there is, every x + c is the lowest of the result, and so it is with
    c = low - x; likewise above.  MUL: x is 0 or at least a step s, so that with |c| > r / s, r being the magnitude that
    no result exceeds, every x c that is not 0 is beyond the ends of the result, and so it is with r / s and the sign of
    c.
    """
    (least, most), (low, high) = ends(operand), ends(result)
    if op.is_a("ADD"):
        return np.asarray(np.clip(data, low - most, high - least))
    if op.is_a("MUL"):
        farthest = max(-low, high) / float(operand.scale[0])
        return np.asarray(np.clip(data, -farthest, farthest))
    return data


def ends(quant: Quant) -> tuple[float, float]:
    """The least and the largest real number of per-tensor parameters."""
    low, high = quant.real(np.array(quant.ends)).astype(np.float64)
    return float(low), float(high)
