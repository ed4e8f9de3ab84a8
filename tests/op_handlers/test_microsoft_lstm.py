"""DynamicQuantizeLSTM: the LSTM of its dequantised weights, near to what ONNX Runtime makes with 8-bit states."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert
from tests.op_handlers.microsoft_nodes import check_against, declare, expectation, feeds_of, model_of
from tests.op_handlers.nodes import node_model, normal

STEPS, BATCH, WIDTH, HIDDEN = 5, 2, 6, 4


def stored(width: int, columns: bool, dtype: type, seed: int, ends: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[D, width, 4*H] integers, scales and zero points: per direction or per column."""
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    shape = (ends, 4 * HIDDEN) if columns else (ends,)
    whole: np.ndarray = rng.integers(info.min, info.max + 1, (ends, width, 4 * HIDDEN)).astype(dtype)
    zeros = rng.integers(100, 140, shape) if dtype is np.uint8 else np.zeros(shape)
    return whole, rng.uniform(0.004, 0.01, shape).astype(np.float32), zeros.astype(dtype)


def real_weights(held: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """As ONNX's LSTM has its weights: [D, 4*H, width]."""
    whole, scale, zero = held
    wide = [v.reshape(len(whole), 1, -1).astype(np.float32) for v in (zero, scale)]
    return ((whole - wide[0]) * wide[1]).transpose(0, 2, 1)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("columns, dtype", [(False, np.int8), (True, np.int8), (False, np.uint8)])
def test_dynamic_quantize_lstm(columns: bool, dtype: type, direction: str) -> None:
    ends = 2 if direction == "bidirectional" else 1
    w, r = (stored(n, columns, dtype, seed, ends) for n, seed in ((WIDTH, 1), (HIDDEN, 2)))
    x, bias = normal(STEPS, BATCH, WIDTH), normal(ends, 8 * HIDDEN, seed=3)
    inputs = [x, w[0], r[0], bias, None, None, None, None, *w[1:], *r[1:]]
    options = {"const": (1, 2, 3, 8, 9, 10, 11), "outputs": (np.float32,) * 3}
    attrs = {"direction": direction, "hidden_size": HIDDEN}
    plain = [x, real_weights(w), real_weights(r), bias]
    lstm = node_model("LSTM", plain, const=(1, 2, 3), outputs=3, **attrs)
    wanted = list(expectation(lstm, {"x0": x}).values())
    check_against(wanted, "DynamicQuantizeLSTM", inputs, **options, **attrs, atol=1e-5)
    model = model_of("DynamicQuantizeLSTM", inputs, **options, **attrs)
    near = expectation(model, feeds_of(inputs, options["const"]))
    for found, own in zip(near.values(), wanted, strict=True):
        assert np.abs(found - own).max() < 0.05


def test_it_is_judged_as_a_quantised_layer_too(tmp_path: Path) -> None:
    """Held to the LSTM of its weights, and measured against what ONNX Runtime makes of states of eight bits."""
    w, r = (stored(n, False, np.int8, seed, 1) for n, seed in ((WIDTH, 1), (HIDDEN, 2)))
    x = normal(STEPS, 1, WIDTH)  # one row, so that threads have nothing to share
    inputs = [x, w[0], r[0], normal(1, 8 * HIDDEN, seed=3), None, None, None, None, *w[1:], *r[1:]]
    options = {"const": (1, 2, 3, 8, 9, 10, 11), "outputs": (np.float32,)}
    model = model_of("DynamicQuantizeLSTM", inputs, **options, hidden_size=HIDDEN, direction="forward")
    (own,) = expectation(model, {"x0": x}).values()
    (real,) = expectation(
        node_model("LSTM", [x, real_weights(w), real_weights(r), inputs[3]], const=(1, 2, 3), hidden_size=HIDDEN),
        {"x0": x},
    ).values()
    onnx.save(declare(model, [own]), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path, outputs=["float32"], test_data={"x0": x}, verbosity="error")
    (file,) = result.check.files
    apart = 20 * math.log10(np.linalg.norm(own) / np.linalg.norm(real - own))
    assert result.exit_code == 0 and file.rounded_inside == pytest.approx(apart, abs=0.1)
    assert f"{apart:.1f} dB from ONNX Runtime's 8-bit ones (limit 10 dB)" in file.verdict
    told = json.loads((tmp_path / "m_report.json").read_text())["check"]
    assert told["files"][0]["rounded_inside"] == pytest.approx(apart, abs=0.1)
    assert any("which is more exact" in note for note in told["notes"])
