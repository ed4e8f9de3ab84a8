"""Figures: how two tensors differ, in numbers alone.  What they mean is said by ``judge``, in words by ``phrase``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...record import record

Array = npt.NDArray[Any]
FLOAT_MAX = float(np.finfo(np.float32).max)
BLOCK = 1 << 16


@record
class Measures:
    """How ``got`` differs from ``reference``, two tensors of one shape with at least one element.

    ``error`` per element, flat; ``odd`` where one is NaN or infinite and the other is not (None: nowhere); ``worst``
    the largest error and ``scale`` the largest magnitude of the reference, both where both are finite; ``rmse``,
    ``signal`` (root mean square of the reference), ``cosine``, ``sqnr`` in dB; ``whole``: the reference has integers
    or booleans.  ``values`` are both sides, flat, finite.
    """

    error: Array
    odd: Array | None
    worst: float
    scale: float
    rmse: float
    signal: float
    cosine: float
    sqnr: float
    whole: bool
    values: tuple[Array, Array]

    def within(self, allowed: float) -> float:
        """The share of elements that differ by no more."""
        if self.worst <= allowed and self.odd is None:
            return 1.0
        beyond = self.error > allowed if self.odd is None else (self.error > allowed) | self.odd
        return 1 - int(np.count_nonzero(beyond)) / self.error.size

    def beside(self, signal: float) -> Measures:
        """The same error beside a ``signal`` that is usual for the tensor, where it has less here."""
        if signal <= self.signal:
            return self
        sqnr = 20 * math.log10(signal / self.rmse) if self.rmse else math.inf
        return replace(self, signal=signal, sqnr=sqnr)


def measure(got: Array, reference: Array, single: bool = False) -> Measures:
    """``single``: arithmetic in float32 where both are, which is fast, and good to six digits."""
    whole = reference.dtype.kind not in "fcV"
    wide: Any = np.complex128 if "c" in (got.dtype.kind, reference.dtype.kind) else np.float64
    narrow = single and got.dtype == reference.dtype == np.float32
    a, b = got.reshape(-1), reference.reshape(-1)
    a, b = (a, b) if narrow else (a.astype(wide), b.astype(wide))
    with np.errstate(over="ignore", invalid="ignore"):
        error = a - b
        power, noise = product(b, b), product(error, error)
    odd = None
    if not math.isfinite(power + noise):
        a, b, odd = _finite(a.astype(wide), b.astype(wide))
        error = a - b
        power, noise = product(b, b), product(error, error)
    cosine = _cosine(a, b, error, power, noise)
    error = np.abs(error, out=error) if error.dtype.kind == "f" else np.abs(error)
    if whole:  # 64-bit integers are more exact than float64
        error = np.where(got.reshape(-1) != reference.reshape(-1), np.maximum(error, 1), 0)
        noise = product(error, error)
    count = error.size
    return Measures(
        error=error,
        odd=odd,
        worst=float(error.max()),
        scale=float(np.abs(b).max() if wide is np.complex128 else max(b.max(), -b.min())),
        rmse=math.sqrt(noise / count),
        signal=math.sqrt(power / count),
        cosine=cosine,
        sqnr=math.inf if not noise else 10 * math.log10(power / noise) if power else -math.inf,
        whole=whole,
        values=(a, b),
    )


def _cosine(a: Array, b: Array, error: Array, power: float, noise: float) -> float:
    """Of a and b, of ``power`` b b and ``noise`` e e, whose difference is the error e: a b = b b + e b, where e is
    small."""
    if noise < power / 4 and error.dtype.kind == "f":
        cross = product(error, b)
        own, dot = power + 2 * cross + noise, power + cross
    else:
        own, dot = product(a, a), product(a, b)
    return min(1.0, dot / math.sqrt(power * own)) if power and own else float(power == own)


def product(a: Array, b: Array) -> float:
    """The scalar product (of complex vectors its size), the sums of blocks in double precision.

    Not by BLAS, whose threads cost more than they save beside those of a runtime.
    """
    if a.dtype.kind == "c":
        return float(np.abs(np.einsum("i,i->", a.conj(), b)))
    if a.size <= BLOCK:
        return float(np.einsum("i,i->", a, b))
    whole = a.size // BLOCK * BLOCK
    blocks = np.einsum("ij,ij->i", a[:whole].reshape(-1, BLOCK), b[:whole].reshape(-1, BLOCK))
    return float(blocks.sum(dtype=np.float64)) + float(np.einsum("i,i->", a[whole:], b[whole:]))


def _finite(a: Array, b: Array) -> tuple[Array, Array, Array | None]:
    """Both with zeros where one is NaN or infinite, and where that is so on one side only (None: nowhere)."""
    saturated = np.isinf(b) & (np.abs(a) >= FLOAT_MAX)  # TFLite's builtin ADD and MUL clamp to the finite range
    a = np.where(saturated & (np.sign(a) == np.sign(b)), b, a) if saturated.any() else a
    finite = np.isfinite(a) & np.isfinite(b)
    odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    return np.where(finite, a, 0), np.where(finite, b, 0), odd if odd.any() else None


def usual(values: Sequence[Array]) -> float:
    """The root mean square of a tensor over several samples, of its finite numbers; 0 where it has none."""
    squares, count = 0.0, 0
    for value in values:
        flat = value.reshape(-1).astype(np.float64)
        flat = flat[np.isfinite(flat)]
        squares, count = squares + product(flat, flat), count + flat.size
    return math.sqrt(squares / count) if count else 0.0


def change(moved: Array, reference: Array) -> float:
    """How far the reference moves: the largest difference, of integers the share that changes."""
    if moved.shape != reference.shape or reference.size == 0:
        return 0.0
    if exact(reference.dtype):
        return float(np.mean(moved != reference))
    with np.errstate(invalid="ignore"):
        difference = np.abs(moved - (reference.astype(np.int32) if reference.dtype.kind in "iu" else reference))
        return float(np.max(np.nan_to_num(difference, nan=0.0, posinf=0.0)))


def exact(dtype: np.dtype) -> bool:
    """True for whole numbers; those of 8 and 16 bits may be quantised reals."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 2)


@record
class Histogram:
    """How often values between consecutive ``edges`` occur in the reference and in the result (finite ones)."""

    edges: tuple[float, ...]
    reference: tuple[int, ...]
    result: tuple[int, ...]

    @classmethod
    def of(cls, got: Array, reference: Array, bins: int = 40) -> Histogram | None:
        """None for complex tensors and where nothing finite can be counted."""
        if "c" in (got.dtype.kind, reference.dtype.kind):
            return None
        sides = [a.reshape(-1).astype(np.float64) for a in (reference, got)]
        sides = [a[np.isfinite(a)] for a in sides]
        full = [a for a in sides if a.size]
        if not full:
            return None
        low, high = min(a.min() for a in full), max(a.max() for a in full)
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        counts = [tuple(int(c) for c in np.histogram(a, edges)[0]) for a in sides]
        return cls(tuple(float(e) for e in edges), *counts)


def narrow(array: Array) -> Array:
    """As the files have it: floats are of 32 bits there."""
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16", "float64") else array
