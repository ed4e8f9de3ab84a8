"""Attention with a cache of keys and values, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import new_runtime
from tests.op_handlers.microsoft_nodes import check, check_against, expectation, feeds_of, model_of
from tests.op_handlers.nodes import normal

F32, I32, I8 = np.float32, np.int32, np.int8
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


def quantised(steps: int, past: int, scale: tuple[int, ...]) -> list[Any]:
    """The same with a cache of int8, and scales of this shape."""
    inputs, rng = grouped(steps, past, steps + past), np.random.default_rng(7)
    inputs[3:5] = [rng.integers(-120, 120, (2, KEYS, past, SIZE), np.int8) for _ in range(2)]
    return [*inputs, *[None] * 5, *(rng.uniform(0.02, 0.03, scale).astype(F32) for _ in range(2))]


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
    **{
        f"int8 cache, {kind}, {past} rows": (
            quantised(1 if past else 5, past, scale),
            {"k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": 8, "outputs": (F32, I8, I8)},
        )
        for past in (5, 0)
        for kind, scale in (("PER_TENSOR", (1,)), ("PER_CHANNEL", (1, KEYS, 1, SIZE)))
    },
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


def test_norms_of_queries_and_keys() -> None:
    """ONNX Runtime has them on other devices only: what it makes of heads that have been normalised."""
    inputs, weights = grouped(1, 5, 6, rotary=True), [normal(SIZE, seed=i) for i in (8, 9)]
    normed = list(inputs)
    for place, weight in enumerate(weights):
        heads = inputs[place].reshape(2, 1, -1, SIZE)
        power = np.square(heads).mean(-1, keepdims=True) + F32(1e-5)
        normed[place] = (heads / np.sqrt(power) * weight).reshape(inputs[place].shape).astype(F32)
    model = model_of("GroupQueryAttention", normed, do_rotary=1, **{k: v for k, v in ATTRS.items() if k != "atol"})
    wanted = list(expectation(model, feeds_of(normed)).values())
    inputs += [None] * (14 - len(inputs))
    check_against(wanted, "GroupQueryAttention", [*inputs, *weights], do_rotary=1, qk_norm_epsilon=1e-5, **ATTRS)


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
