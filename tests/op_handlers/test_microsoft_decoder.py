"""Attention with a cache of keys and values, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import new_runtime
from tests.op_handlers.microsoft_nodes import check, check_against, expectation, feeds_of, model_of
from tests.op_handlers.nodes import normal

F32, I32 = np.float32, np.int32
HEADS, KEYS, SIZE = 4, 2, 16
COS, SIN = (f(np.arange(16)[:, None] / 3 ** np.arange(8)).astype(F32) for f in (np.cos, np.sin))


def grouped(steps: int, past: int | None, total: int, *, batch: int = 2, packed: bool = False, size: int = SIZE,
            lasts: list[int] | None = None, rotary: bool = False) -> list[Any]:  # fmt: skip
    """The operands of GroupQueryAttention: ``past`` rows of cache, ``total`` tokens with the new ones."""
    q, k, v = (normal(batch, steps, n * size, seed=i) for i, n in enumerate((HEADS, KEYS, KEYS)))
    cache = [None, None] if past is None else [normal(batch, KEYS, past, size, seed=i) for i in (3, 4)]
    last = np.array(lasts or [total - 1] * batch, I32)
    given = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
    return [*given, *cache, last, np.array(total, I32), *([COS, SIN] if rotary else [])]


ATTRS: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": KEYS, "outputs": (F32, F32, F32), "atol": 1e-5}
GROUPED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "prompt": (grouped(5, 0, 5), {}),
    "decode": (grouped(1, 5, 6), {}),
    "packed": (grouped(1, 5, 6, packed=True), {}),
    "several tokens": (grouped(3, 4, 7, batch=1), {}),
    "rotary": (grouped(1, 5, 6, rotary=True), {"do_rotary": 1}),
    "rotary prompt": (grouped(5, 0, 5, rotary=True), {"do_rotary": 1}),
    "rotary, interleaved": (grouped(1, 5, 6, rotary=True), {"do_rotary": 1, "rotary_interleaved": 1}),
    "part of a head turned": (grouped(1, 5, 6, rotary=True, size=32), {"do_rotary": 1}),
    "packed and turned": (grouped(1, 5, 6, rotary=True, packed=True), {"do_rotary": 1}),
    "local window": (grouped(1, 7, 8), {"local_window_size": 3}),
    "local window of a prompt": (grouped(6, 0, 6), {"local_window_size": 2}),
    "softcap": (grouped(1, 5, 6), {"softcap": 0.5}),
    "scale": (grouped(1, 5, 6), {"scale": 0.7}),
    "smooth softmax": (grouped(1, 5, 6), {"smooth_softmax": 1}),
    "bias": ([*grouped(1, 5, 6), None, None, None, normal(1, 1, 1, 6, seed=9)], {}),
    "sink": ([*grouped(1, 5, 6), None, None, None, None, normal(HEADS, seed=9)], {}),
    "rows of different length": (grouped(1, 7, 6, lasts=[5, 3]), {}),
    "more room than tokens": (grouped(1, 9, 6), {}),
}


@pytest.mark.parametrize("case", [pytest.param(c, marks=new_runtime) if "window" in c else c for c in GROUPED])
def test_group_query_attention(case: str) -> None:
    inputs, attrs = GROUPED[case]
    const = [i for i in (7, 8) if len(inputs) > i and inputs[i] is not None]
    check("GroupQueryAttention", inputs, const=const, **ATTRS | attrs)


@pytest.mark.parametrize("steps, past", [(1, 5), (4, 0)], ids=["decode", "prompt"])
def test_a_cache_of_unknown_size(steps: int, past: int) -> None:
    inputs = grouped(steps, past, steps + past, rotary=True)
    check("GroupQueryAttention", inputs, const=(7, 8), dynamic=(0, 1, 2, (3, 2), (4, 2), 3, 4, 5), do_rotary=1, **ATTRS)


MASKED = [normal(2, 1, HEADS * SIZE, seed=i) for i in range(3)]
CACHE = [normal(2, HEADS, 6, SIZE, seed=i) for i in (3, 4)]


@pytest.mark.parametrize("bias", [None, normal(3 * HEADS * SIZE, seed=7)], ids=["", "bias"])
def test_decoder_masked_multi_head_attention(bias: Any) -> None:
    inputs = [*MASKED, None, None, *CACHE, np.array([4], I32), None, None, bias]
    check("DecoderMaskedMultiHeadAttention", inputs, num_heads=HEADS, past_present_share_buffer=1, atol=1e-5,
          outputs=(F32, F32, F32))  # fmt: skip


def test_decoder_masked_multi_head_attention_whose_cache_grows() -> None:
    """ONNX Runtime's kernel wants a shared cache; the results are those of MultiHeadAttention."""
    outputs, same = (F32, F32, F32), [*MASKED, None, None, None, *CACHE]
    model = model_of("MultiHeadAttention", same, num_heads=HEADS, outputs=outputs)
    wanted = list(expectation(model, feeds_of(same)).values())
    inputs = [*MASKED, None, None, *CACHE]
    check_against(wanted, "DecoderMaskedMultiHeadAttention", inputs, num_heads=HEADS, atol=1e-5, outputs=outputs)


def test_decoder_masked_multi_head_attention_across() -> None:
    """Keys and values [B,N,L,H] of an encoder."""
    across = [MASKED[0], *(normal(2, HEADS, 5, SIZE, seed=i) for i in (1, 2))]
    check("DecoderMaskedMultiHeadAttention", across, num_heads=HEADS, atol=1e-5)


def test_four_bit_types_of_bitsandbytes() -> None:
    for kind in (0, 1):
        x, packed = normal(3, 32), np.random.default_rng(kind).integers(0, 256, 32 * 24 // 2, np.uint8)
        largest = np.abs(normal(32 * 24 // 16, seed=2)) + 0.1
        check("MatMulBnb4", [x, packed, largest.astype(F32)], const=(1, 2), K=32, N=24, block_size=16, quant_type=kind,
              dynamic=(0,), atol=1e-5)  # fmt: skip
