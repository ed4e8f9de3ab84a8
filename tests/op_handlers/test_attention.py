"""Attention and RotaryEmbedding against onnx's reference implementation (ONNX Runtime where it has them)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import new_runtime
from tests.op_handlers.nodes import check_node, normal

Q, K, V = normal(2, 4, 5, 8), normal(2, 4, 6, 8, seed=1), normal(2, 4, 6, 3, seed=2)
MASK = np.random.default_rng(3).integers(0, 2, (5, 6)).astype(bool)
MASK[:, 0] = True

CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": ([Q, K, V], {}),
    "causal": ([Q, K, V], {"is_causal": 1}),
    "scale_softcap": ([Q, K, V], {"scale": 0.7, "softcap": 2.0}),
    "bool_mask": ([Q, K, V, MASK], {}),
    "float_mask": ([Q, K, V, normal(2, 1, 5, 6, seed=4)], {}),
    "causal_and_mask": ([Q, K, V, MASK], {"is_causal": 1}),
    "grouped": ([Q, K[:, :2], V[:, :2]], {}),
    "past": ([Q, K, V, None, normal(2, 4, 3, 8, seed=5), normal(2, 4, 3, 3, seed=6)], {}),
    "flat": (
        [normal(2, 5, 32), normal(2, 6, 16, seed=1), normal(2, 6, 8, seed=2)],
        {"q_num_heads": 4, "kv_num_heads": 2},
    ),
}


CHANGED = ("grouped", "flat")  # of which an old ONNX Runtime mixes up the heads


@pytest.mark.parametrize("open_steps", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", [pytest.param(c, marks=new_runtime) if c in CHANGED else c for c in CASES])
def test_attention(case: str, open_steps: bool) -> None:
    inputs, attrs = CASES[case]
    steps = inputs[0].ndim - 2  # the axis of queries and keys
    dynamic = (0, 1, 2, *((i, steps) for i in range(3))) if open_steps else ()
    outputs = 3 if case == "past" else 1
    check_node("Attention", inputs, dynamic=dynamic, outputs=outputs, rtol=1e-4, atol=1e-5, **attrs)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("part", [0, 4])
def test_rotary_embedding(part: int, interleaved: int) -> None:
    angles = normal(10, (part or 8) // 2, seed=1)
    positions = np.random.default_rng(2).integers(0, 10, (2, 5))
    inputs = [normal(2, 3, 5, 8), np.cos(angles), np.sin(angles), positions]
    check_node(
        "RotaryEmbedding", inputs, const=(1, 2), dynamic=(0, 3), interleaved=interleaved, rotary_embedding_dim=part
    )
