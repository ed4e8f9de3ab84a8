"""DFT, STFT and MelWeightMatrix (the windows are ONNX functions).

Axis names: J samples, K frequencies; complex numbers are a last axis of (real, imaginary), real ones one of extent 1.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value
from ._loops import scalar
from .reductions import at_axis
from .registry import op
from .sampling import number
from .shapes import ir_type

I32, F32 = np.dtype(np.int32), np.dtype(np.float32)
FAST = 64  # real transforms of a power of two from here on by the kernel: it is as exact and 25-70 times faster


def _waves(rows: Dim, columns: Dim, length: Dim) -> tuple[Value, Value]:
    """Cosine and sine of 2 pi row column / length; the phase is reduced in whole numbers."""
    if isinstance(rows, int) and isinstance(columns, int) and isinstance(length, int):
        angles = np.outer(b.places(rows, 4 * columns), b.places(columns)) % length * (2 * np.pi / length)
        return b.lift(np.cos(angles), F32), b.lift(np.sin(angles), F32)
    turns = b.reshape(b.iota(rows), (rows, 1)) * b.reshape(b.iota(columns), (1, columns))
    phase = b.cast(b.floor_mod(turns, scalar(length)), F32) * (2 * np.pi / number(length))
    return b.cos(phase), b.sin(phase)


def _matrix(rows: Dim, columns: Dim, length: Dim, complex_in: bool, inverse: bool, real_out: bool) -> Value:
    """[rows, parts, columns, parts]: results of (samples, or of the half spectrum of real samples)."""
    cos, sin = _waves(rows, columns, length)
    if inverse:
        weight = b.lift(1, F32)
        if real_out:  # frequencies stand for their mirror images too, but for 0 and the highest of an even length
            j = b.reshape(b.iota(columns), (1, columns))
            weight = b.where(b.logical_or(b.equal(j, 0), b.equal(j * 2, scalar(length))), np.float32(1), np.float32(2))
        weight = weight / number(length)
        cos, sin = cos * weight, -(sin * weight)
    parts = [[cos, sin], [-sin, cos]][: 1 if real_out else 2]
    return b.pack([b.pack(part if complex_in else part[:1], 2) for part in parts], 1)


def transform(x: Value, length: Dim | None, axis: int, inverse: bool, onesided: bool) -> Value:
    """The DFT along ``axis`` as one matrix product; ``length`` pads with zeros or cuts."""
    moved = b.move_axis(x, axis, -2)
    if not isinstance(moved.shape[-1], int):  # real or complex is not known: an imaginary part of zeros does no harm
        moved = b.pad(moved, [(0, 0)] * (moved.rank - 1) + [(0, 2 - moved.shape[-1])])
    *lead, count, parts = moved.shape
    half = inverse and onesided
    if length is None:
        length = dims.maximum(2 * (count - 1), 1) if half else count  # kernels want something
    rows = length // 2 + 1 if onesided and not inverse else length
    used = dims.minimum(count, length // 2 + 1 if half else length)
    moved = b.narrow(moved, -2, 0, used)
    if (
        onesided
        and not inverse
        and parts == 1
        and isinstance(length, int)
        and length >= FAST
        and not length & (length - 1)
    ):
        return b.move_axis(_fast(moved, used, length), -2, axis)
    matrix = b.reshape(_matrix(rows, used, length, parts == 2, inverse, half), (-1, used * parts))
    flat = b.reshape(moved, (*lead, used * parts))
    y = b.fully_connected(flat, matrix) if matrix.is_constant else b.matmul(flat, matrix, adj_y=True)
    return b.move_axis(b.reshape(y, (*lead, rows, 1 if half else 2)), -2, axis)


def _fast(x: Value, used: Dim, length: int) -> Value:
    *lead, _, _ = x.shape
    rows = b.reshape(x, (dims.product(lead), 1, used))
    spectrum = b.emit("RFFT2D", b.pad(rows, [(0, 0), (0, 0), (0, length - used)]), lengths=(1, length))
    parts = b.emit("REAL", spectrum), b.emit("IMAG", spectrum)
    return b.pack([b.reshape(part, (*lead, length // 2 + 1)) for part in parts], -1)


@op("DFT")
def dft(
    x: Value, length: Value | None = None, axis: Value | None = None, *, inverse: int = 0, onesided: int = 0
) -> Value:
    extent = None if length is None else b.dims_of(length)[0]

    def along(at: int) -> Value:
        return transform(x, extent, at, bool(inverse), bool(onesided))

    return at_axis(axis, x.rank, along, default=-2, count=x.rank - 1)


@op("STFT")
def stft(
    signal: Value, step: Value, window: Value | None = None, length: Value | None = None, *, onesided: int = 1
) -> Value:
    """signal[N,J,parts] -> [N,frames,K,2]: every frame, weighed by the window, transformed."""
    n, count, *parts = signal.shape
    size: Dim = count
    if length is not None or window is not None:
        size = b.dims_of(length)[0] if window is None else window.shape[0]
    (hop,) = b.dims_of(step)
    frames = dims.floordiv(count - size, hop) + 1
    places = b.reshape(b.iota(frames), (frames, 1)) * scalar(hop) + b.reshape(b.iota(size), (1, size))
    pieces = b.reshape(b.gather(signal, places, 1), (n, frames, size, *(parts or [1])))
    if window is not None:
        pieces = pieces * b.reshape(window, (1, 1, size, 1))
    return transform(pieces, None, 2, False, bool(onesided))


@op("MelWeightMatrix")
def mel_weight_matrix(
    bins: Value, length: Value, rate: Value, low: Value, high: Value, *, output_datatype: int = 1
) -> Value:
    """[K, bins]: triangles between neighbours but one of ``bins + 2`` frequencies, evenly spaced in mel.

    mel is 2595 log10(1 + f / 700), so 700 + f grows by an equal factor each time.
    """
    (count,), (size,) = b.dims_of(bins), b.dims_of(length)
    low, high, rate = (b.cast(b.reshape(v, ()), F32) for v in (low, high, rate))
    growth = b.log((high + 700.0) / (low + 700.0)) / number(count + 2)
    edges = (low + 700.0) * b.exp(b.iota(count + 2, F32) * growth) - 700.0
    places = b.reshape(b.floor(edges * number(size + 1) / rate), (1, count + 2))
    left, centre, right = (b.narrow(places, 1, i, count) for i in range(3))
    j = b.reshape(b.iota(size // 2 + 1, F32), (size // 2 + 1, 1))
    rise, fall = centre - left, right - centre
    up = (j - left + b.maximum(1.0 - rise, 0.0)) / b.maximum(rise, 1.0)
    down = (right - j + b.maximum(1.0 - fall, 0.0)) / b.maximum(fall, 1.0)
    return b.cast(b.maximum(b.minimum(up, down), 0.0), ir_type(output_datatype))
