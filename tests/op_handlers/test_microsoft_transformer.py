"""Transformer operators of ONNX Runtime: normalisations, attention with every mask, rotary and token embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model
from tests.op_handlers.microsoft_nodes import check, check_against, expectation, feeds_of, model_of
from tests.op_handlers.nodes import normal, whole

F32 = np.float32
I32 = np.int32
X, SKIP, GAMMA, BETA, BIAS = normal(2, 5, 8), normal(2, 5, 8, seed=1), *(normal(8, seed=s) for s in (2, 3, 4))

# ------------------------------------------------------------------------------------------------ normalisations


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("opset", [11, 16])
def test_layer_normalization_before_onnx_had_it(opset: int, axis: int) -> None:
    shape = X.shape[axis:]
    inputs = [X, normal(*shape, seed=1), normal(*shape, seed=2)]
    check("LayerNormalization", inputs, domain="", version=opset, axis=axis, epsilon=1e-3, dynamic=(0,), atol=1e-5)


@pytest.mark.parametrize("outputs", [(F32,), (F32, F32)], ids=["", "deviation"])
@pytest.mark.parametrize("opset", [11, 20])
def test_simplified_layer_normalization(opset: int, outputs: tuple) -> None:
    check("SimplifiedLayerNormalization", [X, GAMMA], domain="", version=opset, const=(1,), outputs=outputs,
          epsilon=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("skip", [SKIP, SKIP[0], SKIP[:1]], ids=["full", "rows", "one"])
@pytest.mark.parametrize("optional", [[], [BETA], [BETA, BIAS], [None, BIAS]], ids=["", "beta", "both", "bias"])
def test_skip_layer_normalization(optional: list[Any], skip: np.ndarray) -> None:
    check("SkipLayerNormalization", [X, skip, GAMMA, *optional], outputs=(F32, None, None, F32), epsilon=1e-5,
          atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("optional", [[], [BIAS]], ids=["", "bias"])
def test_skip_simplified_layer_normalization(optional: list[Any]) -> None:
    check("SkipSimplifiedLayerNormalization", [X, SKIP, GAMMA, *optional], outputs=(F32, None, None, F32), atol=1e-5,
          dynamic=(0, 1))  # fmt: skip


IDS, SEGMENTS, MASK = (whole(2, 6, low=0, high=n, dtype=I32, seed=n) for n in (20, 3, 2))
TABLES = [normal(20, 8), normal(12, 8, seed=1), normal(3, 8, seed=2)]


@pytest.mark.parametrize("form", ["plain", "segments", "mask", "positions"])
@pytest.mark.parametrize("dynamic", [(), (0, (0, 1), 1, (1, 1), 7, (7, 1), 8, (8, 1))], ids=["static", "dynamic"])
def test_embed_layer_normalization(form: str, dynamic: tuple) -> None:
    segments = [None if form == "plain" else SEGMENTS, TABLES[2] if form != "plain" else None]
    extra: dict[str, list[Any]] = {"mask": [MASK], "positions": [None, whole(2, 6, low=0, high=12, dtype=I32)]}
    more = extra.get(form, [])
    inputs = [IDS, segments[0], *TABLES[:2], segments[1], GAMMA, BETA, *more]
    check("EmbedLayerNormalization", inputs, const=(2, 3, 4, 5, 6), outputs=(F32, I32, F32), dynamic=dynamic, atol=1e-5)


# ------------------------------------------------------------------------------------------------ attention

B, S, N, H, P = 2, 4, 2, 8, 3
INPUT, WEIGHTS, ALL = normal(B, S, 16), normal(16, 48, seed=1, scale=0.2), normal(48, seed=2)
PAST = normal(2, B, N, P, H, seed=3)
ROWS = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], I32)
SQUARE = np.random.default_rng(5).integers(0, 2, (B, S, S)).astype(I32)
SQUARE[:, :, 0] = 1

MASKS: dict[str, np.ndarray] = {
    "rows": ROWS, "square": SQUARE, "ends": np.array([3, 2], I32), "ends_and_starts": np.array([4, 3, 1, 0], I32),
    "nothing_kept": np.zeros((B, S), I32),
}  # fmt: skip


def attend(inputs: list[Any], *, dynamic: bool = False, outputs: tuple = (F32,), **attributes: Any) -> None:
    check("Attention", inputs, const=(1, 2), num_heads=N, outputs=outputs, atol=1e-5, rtol=1e-4,
          dynamic=(0, (0, 1)) if dynamic else (), **attributes)  # fmt: skip


@pytest.mark.parametrize("unidirectional", [0, 1], ids=["", "causal"])
@pytest.mark.parametrize("mask", [None, *MASKS])
def test_attention_masks(mask: str | None, unidirectional: int) -> None:
    more = [] if mask is None else [MASKS[mask]]
    # scores of a row that is masked entirely are 10000 too low in float32, which holds only 3 digits of them
    loose = {"rtol": 2e-3, "atol": 2e-3} if mask == "nothing_kept" else {"rtol": 1e-4, "atol": 1e-5}
    check("Attention", [INPUT, WEIGHTS, ALL, *more], const=(1, 2), num_heads=N, unidirectional=unidirectional, **loose)


@pytest.mark.parametrize("attributes", [
    {"scale": 0.7}, {"mask_filter_value": float(np.finfo(F32).min), "unidirectional": 1},
], ids=["scale", "filter"])  # fmt: skip
def test_attention_attributes(attributes: dict[str, Any]) -> None:
    attend([INPUT, WEIGHTS, ALL, ROWS], **attributes)


@pytest.mark.parametrize("bias", [(1, 1), (B, N)], ids=["broadcast", "full"])
def test_attention_bias(bias: tuple[int, int]) -> None:
    attend([INPUT, WEIGHTS, ALL, ROWS, None, normal(*bias, S, S, seed=7)])


def test_attention_sizes_and_no_bias() -> None:
    attend([INPUT, normal(16, 44, seed=1, scale=0.2), normal(44, seed=2)], qkv_hidden_sizes=[16, 16, 12])
    attend([INPUT, WEIGHTS], dynamic=True)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("unidirectional", [0, 1], ids=["", "causal"])
def test_attention_with_a_past(unidirectional: int, dynamic: bool) -> None:
    open_axes = (0, (0, 1), (4, 1), (4, 3)) if dynamic else ()
    check("Attention", [INPUT, WEIGHTS, ALL, None, PAST], const=(1, 2), num_heads=N, outputs=(F32, F32), atol=1e-5,
          rtol=1e-4, unidirectional=unidirectional, dynamic=open_axes)  # fmt: skip


Q, K, V = normal(B, S, 16), normal(B, 6, 16, seed=1), normal(B, 6, 12, seed=2)
KEYS = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]], I32)
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": ([Q, K, V], {}),
    "bias": ([Q, K, V, normal(44, seed=3)], {}),
    "padding_rows": ([Q, K, V, None, KEYS], {}),
    "padding_ends": ([Q, K, V, None, np.array([4, 6], I32)], {}),
    "attention_bias": ([Q, K, V, None, None, normal(1, N, S, 6, seed=4)], {}),
    "scale": ([Q, K, V], {"scale": 0.3}),
    "causal": ([Q, K[:, :S], V[:, :S]], {"unidirectional": 1}),
    "heads_first": ([Q, normal(B, N, 6, H, seed=1), normal(B, N, 6, H, seed=2)], {}),
    "past": ([Q, K[:, :S], normal(B, S, 16, seed=2), None, None, None, normal(B, N, P, H, seed=5),
              normal(B, N, P, H, seed=6)], {}),
    "past_causal": ([Q, K[:, :S], normal(B, S, 16, seed=2), None, None, None, normal(B, N, P, H, seed=5),
                     normal(B, N, P, H, seed=6)], {"unidirectional": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_multi_head_attention(case: str) -> None:
    inputs, attributes = CASES[case]
    outputs = (F32, F32, F32) if case.startswith("past") else (F32,)
    check("MultiHeadAttention", inputs, num_heads=N, outputs=outputs, atol=1e-5, rtol=1e-4, **attributes)


@pytest.mark.parametrize("count", [3, 2], ids=["qkv", "kv"])
def test_packed_operands_are_the_plain_ones_side_by_side(count: int) -> None:
    """ONNX Runtime's CPU kernel does not take them; the expectation is what it gives for the plain ones."""
    packed = normal(B, S, N, count, H, seed=1)
    plain = [packed[:, :, :, i].reshape(B, S, N * H) for i in range(count)]
    query = [] if count == 3 else [Q]
    model = model_of("MultiHeadAttention", [*query, *plain], num_heads=N)
    expected = expectation(model, feeds_of([*query, *plain]))["y0"]
    check_against([expected], "MultiHeadAttention", [*query, packed], num_heads=N, atol=1e-5)


def test_multi_head_attention_of_open_lengths() -> None:
    open_axes = (0, 1, 2, 4, *((i, 1) for i in (0, 1, 2, 4)))
    check("MultiHeadAttention", [Q, K, V, None, KEYS], num_heads=N, dynamic=open_axes, atol=1e-5, rtol=1e-4)


def test_scores_of_multi_head_attention() -> None:
    check("MultiHeadAttention", [Q, K, V], num_heads=N, outputs=(F32, F32, F32, F32), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name,inputs,attributes,what", [
    ("Attention", [INPUT, WEIGHTS, ALL, np.ones((B, 1, S, S), I32)], {}, r"a mask \[2,1,4,4\]: no CPU kernel"),
    ("Attention", [INPUT, WEIGHTS, ALL, np.ones(3 * B + 2, I32)], {}, r"a mask \[8\]"),
    ("Attention", [INPUT, WEIGHTS, ALL], {"do_rotary": 1}, "do_rotary: no CPU kernel"),
    ("Attention", [INPUT, WEIGHTS, ALL], {"past_present_share_buffer": 1}, "buffer that the operator writes"),
    ("MultiHeadAttention", [Q], {}, "attention without keys or values"),
    ("MultiHeadAttention", [Q, K, V, None, None, None, None, None, np.ones(1, I32)], {}, "buffer"),
    ("RotaryEmbedding", [Q, np.zeros((B, S), np.int64), normal(9, 4), normal(9, 4)], {"is_packed_batching": 1},
     "is_packed_batching"),
], ids=lambda p: p if isinstance(p, str) else "")  # fmt: skip
def test_refusals_name_what_is_wrong(name: str, inputs: list[Any], attributes: dict[str, Any], what: str) -> None:
    heads = {} if name == "RotaryEmbedding" else {"num_heads": N}
    with pytest.raises(ConversionError, match=rf"com\.microsoft\.{name} .*{what}"):
        compile_model(model_of(name, inputs, **heads, **attributes))


# ------------------------------------------------------------------------------------------------ rotary embedding

ANGLES = normal(12, 4, seed=1)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [whole(B, S, low=0, high=12), np.array([3])], ids=["each", "first"])
@pytest.mark.parametrize("x", [normal(B, S, 16), normal(B, N, S, 8)], ids=["flat", "heads"])
def test_rotary_embedding(x: np.ndarray, positions: np.ndarray, interleaved: int) -> None:
    dynamic = (0, 1) if positions.ndim == 2 else (0,)
    check(
        "RotaryEmbedding", [x, positions, COS, SIN], const=(2, 3), dynamic=dynamic, interleaved=interleaved, atol=1e-5
    )


def test_rotary_embedding_of_a_part_of_each_head() -> None:
    check("RotaryEmbedding", [normal(B, S, 32), whole(B, S, low=0, high=12), COS, SIN], const=(2, 3), num_heads=2,
          rotary_embedding_dim=8, atol=1e-5)  # fmt: skip
