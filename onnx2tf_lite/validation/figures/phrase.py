"""Words for figures: limits and differences as the terminal, the page and the JSON say them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .measure import Measures


def limit(metric: str, rtol: float, atol: float, share: float, steps: float) -> str:
    """A tolerance."""
    if steps:
        return f"{steps:g} quantisation step at {100 * share:g} % of the elements, same argmax"
    if metric == "sqnr":
        return f"SQNR {-20 * math.log10(rtol):.3g} dB" if rtol else "no noise at all"
    if metric == "cosine":
        return f"cosine {1 - rtol:g}"
    part = "" if share == 1 else f" at {100 * share:g} % of the elements"
    return f"{rtol:g} * {'max|ref|' if metric == 'max' else 'rms(ref)'} + {atol:g}{part}"


def shapes(got: Sequence[int], reference: Sequence[int]) -> str:
    """Two tensors of different shapes."""
    return f"has shape {dims(got)}, not {dims(reference)}"


def odd(count: int) -> str:
    """Elements of which one side is no finite number."""
    return f"{count} NaN or infinite elements that the other side has not"


def beyond(found: Measures, within: float) -> str:
    """Too few elements ``within`` their limit."""
    relative = found.worst / found.scale if found.scale else math.inf
    relation = "" if found.whole else f" = {relative:.1e} of max|ref|"
    count = found.error.size
    return f"max|diff| {found.worst:.2e}{relation}, {100 * within:.4g} % of {count} elements within the limit"


def metric(name: str, found: Measures, may: float) -> str:
    """Another measure than the largest difference is beyond its limit ``may``."""
    told = {"rmse": f"RMSE {found.rmse:.2e}, limit {may:.2e}", "cosine": f"cosine {found.cosine:.6f}"}
    return told.get(name, f"SQNR {found.sqnr:.1f} dB")


def channel(number: int, error: float, share: float) -> str:
    """One channel of a layer on weights of eight bits is beyond its limit."""
    return f"RMSE {error:.2e} in channel {number}, {share:.3g} times what rounding to 8 bits may do to it"


def decibel(value: float) -> str:
    """A signal-to-noise ratio in dB, infinite where there is no noise."""
    return f"{value:.1f} dB" if math.isfinite(value) else "exact" if value > 0 else "-inf dB"


def dims(shape: Sequence[int]) -> str:
    """A shape as ONNX's text form has it."""
    return "[" + ",".join(map(str, shape)) + "]"
