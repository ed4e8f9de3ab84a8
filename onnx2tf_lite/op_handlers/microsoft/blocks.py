"""Weights of 2, 4 or 8 bits, a scale for each block of neighbours: what LLM exports hold.

They become float32 constants where TFLite has no kernel for blocks.  Packed integers lie in bytes, lowest bits first;
an absent zero point is the middle of the range.
"""

from __future__ import annotations

import numpy as np

from ...ir import build as b
from ...ir.graph import Value, constant
from ...record import record
from ..indexing import wrap
from ..quantization import dequantize_linear
from ..registry import UnsupportedError, const
from ._domain import op


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., n] as uint8[..., n * 8 / bits]."""
    parts = packed[..., None] >> np.arange(0, 8, bits, dtype=np.uint8) & ((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], -1)


def _stored(x: np.ndarray) -> np.ndarray:
    """4-bit types in 8 bits."""
    return x if x.dtype == np.uint8 else x.astype(np.int8)


@record
class Blocks:
    """Rows of ``columns`` numbers in blocks of ``size``; ``bits`` each."""

    rows: int
    columns: int
    bits: int
    size: int

    @property
    def count(self) -> int:
        """Blocks per row."""
        return -(-self.columns // self.size)

    def zeros(self, stored: np.ndarray | None) -> np.ndarray:
        """[rows, blocks] as float32, from packed bytes (each row starts with a new one) or numbers as they are."""
        if stored is None:
            return np.full((self.rows, self.count), 1 << self.bits - 1, np.float32)
        if stored.dtype == np.uint8:
            stored = unpack(stored.reshape(self.rows, -1), self.bits)[:, : self.count]
        return stored.reshape(self.rows, self.count).astype(np.float32)

    def real(
        self, packed: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """float32[rows, columns] of uint8[rows, blocks, bytes]; ``groups`` [columns]: whose scale and zero point each
        column has, where these do not go by the blocks in which the integers lie."""
        whole = unpack(packed.reshape(self.rows, -1), self.bits)[:, : self.columns].astype(np.float32)
        factor = scales.reshape(self.rows, self.count).astype(np.float32)
        own = np.arange(self.columns) // self.size if groups is None else groups.ravel()[: self.columns]
        real: np.ndarray = (whole - self.zeros(zeros)[:, own]) * factor[:, own]
        return real


@op("MatMulNBits")
def matmul_nbits(
    x: Value, w: Value, scales: Value, zeros: Value | None = None, groups: Value | None = None,
    bias: Value | None = None, *, K: int, N: int, accuracy_level: int = 0, bits: int = 4, block_size: int,
    weight_prepacked: int = 0
) -> Value:  # fmt: skip
    """x[..., K] times w[N, blocks of K, bytes] + bias[N]; ``groups`` [K]: the block whose scale a column has.

    ``accuracy_level`` is the least precision that is allowed, so float32 always is.
    """
    if weight_prepacked:
        raise UnsupportedError("weights prepacked for one device", "export the weights in their plain order")
    blocks = Blocks(N, K, bits, block_size)
    stored = [const(v, "weights of MatMulNBits") for v in (w, scales, zeros, groups)]
    if (own := stored[3]) is not None and not ((own >= 0) & (own < blocks.count)).all():
        raise UnsupportedError(f"g_idx beyond the {blocks.count} blocks of a row", "export the node again")
    return b.fully_connected(x, constant(blocks.real(*stored)), bias)  # type: ignore[arg-type]


@op("GatherBlockQuantized")
def gather_block_quantized(
    table: Value,
    index: Value,
    scales: Value,
    zeros: Value | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Value:
    """Gather of integers, scales and zero points, then dequantisation: the table stays in 8 bits.

    uint8 holds packed numbers around the middle of their range, int4 and uint4 numbers around 0.
    """
    gather_axis, axis = b.axis_of(gather_axis, table.rank), b.axis_of(quantize_axis, table.rank)
    if gather_axis == axis:
        raise UnsupportedError("gather_axis and quantize_axis are the same: rows would be torn out of their blocks")
    data, zero = const(table, "the table"), const(zeros, "zero_points")
    assert data is not None
    if data.dtype == np.uint8:
        middle = np.full(scales.shape, 1 << bits - 1, np.uint8)  # type: ignore[type-var]
        data, zero = unpack(data, bits), middle if zero is None else unpack(zero, bits)[..., : middle.shape[-1]]
    elif data.dtype.name not in ("int4", "uint4"):
        raise UnsupportedError(f"a table of {data.dtype}", "quantise it to 4 or 8 bits")
    places = wrap(index, table.shape[gather_axis])
    parts = [
        None if v is None else b.gather(v, places, gather_axis)
        for v in (_stored(data), scales, None if zero is None else _stored(zero))
    ]
    at = axis if axis < gather_axis else axis + index.rank - 1
    return dequantize_linear(*parts, axis=at, block_size=block_size)  # type: ignore[arg-type]


#: The 16 numbers of bitsandbytes' 4-bit types: FP4 and NF4.
BNB4 = {
    0: (0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, 0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4),
    1: (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
        0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ),
}  # fmt: skip


@op("MatMulBnb4")
def matmul_bnb4(
    x: Value, w: Value, largest: Value, *, K: int, N: int, block_size: int, quant_type: int, training_mode: int = 0,
    transB: int = 1
) -> Value:  # fmt: skip
    """x[..., K] times w[N, K], whose bytes hold two numbers of a table each, the first in the upper half.

    ``largest``[N * K / block_size] is the magnitude that a block's numbers are shares of.
    """
    packed, scales = const(w, "weights of MatMulBnb4"), const(largest, "absmax of MatMulBnb4")
    assert packed is not None and scales is not None
    if not transB:
        raise UnsupportedError("transB = 0", "export the weights transposed, which is the default")
    places = unpack(packed.reshape(-1, 1), 4)[:, ::-1].ravel()[: N * K]
    real = np.array(BNB4[quant_type], np.float32)[places] * np.repeat(scales.ravel(), block_size)[: N * K]
    return b.fully_connected(x, constant(real.reshape(N, K).astype(np.float32)))
