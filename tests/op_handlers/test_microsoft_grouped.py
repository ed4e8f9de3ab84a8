"""GroupQueryAttention against ONNX Runtime, where the operator's schema says what comes out; zeros elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx2tf_lite import convert
from onnx2tf_lite.errors import ConversionError
from tests import harness
from tests.harness import new_runtime
from tests.op_handlers.grouped_nodes import Drawn
from tests.op_handlers.microsoft_nodes import declare, expectation, feeds_of, model_of
from tests.op_handlers.nodes import IN_PROCESS

MODES = ("prompt", "first prompt", "step", "several tokens", "chunk", "shared")
FREE = (0, 1, 2, (3, 2), (4, 2), 3, 4, 5, (0, 1), (1, 1), (2, 1))


def model(drawn: Drawn, **options: Any) -> onnx.ModelProto:
    return model_of("GroupQueryAttention", drawn.inputs, outputs=drawn.outputs, **drawn.attrs, **options)


@new_runtime
@IN_PROCESS
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mode", MODES)
def test_every_form_of_it(mode: str, seed: int) -> None:
    drawn = Drawn(mode, np.random.default_rng([MODES.index(mode), seed]))
    const, feeds = [i for i in (7, 8) if drawn.inputs[i] is not None], feeds_of(drawn.inputs, (7, 8))
    options = {"const": const, "dynamic": FREE if seed % 2 else ()}
    wanted = expectation(model(drawn, **options), feeds)
    graph = harness.compile_model(declare(model(drawn, **options), list(wanted.values())))
    told = drawn.specified([a.shape for a in wanted.values()])
    for results in harness.run_tflite(graph, feeds).values():
        for (name, array), where in zip(wanted.items(), told, strict=True):
            got = results[name]
            assert got.shape == array.shape and got.dtype == array.dtype
            np.testing.assert_allclose(got[where], array[where], rtol=1e-4, atol=1e-5, err_msg=f"{name} {drawn.attrs}")
            assert not got[~where].any(), f"{name} {drawn.attrs}"


@new_runtime
@pytest.mark.parametrize("seed", range(3))
def test_a_padded_prompt_matches(tmp_path: Path, seed: int) -> None:
    """The reference, too, has zeros where nothing is specified: ONNX Runtime leaves there what lay in its memory."""
    drawn = Drawn("prompt", np.random.default_rng([9, seed]))
    drawn.inputs[5][:] = 2, 4
    const = [i for i in (6, 7, 8, 12, 13) if drawn.inputs[i] is not None]
    feeds = feeds_of(drawn.inputs, const)
    wanted = expectation(model(drawn, const=const), feeds)
    onnx.save(declare(model(drawn, const=const), list(wanted.values())), tmp_path / "m.onnx")
    options = {"outputs": ["float32"], "verbosity": "error"}
    result = convert(tmp_path / "m.onnx", tmp_path / "out", check="layers", test_data=feeds, **options)
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]
    assert any("padding" in note for note in result.check.notes)


@new_runtime
@pytest.mark.parametrize("seed, declared", [(0, True), (2, True), (4, False)])
def test_lengths_of_a_padded_chunk_are_drawn_so_that_they_fit(tmp_path: Path, seed: int, declared: bool) -> None:
    """Whether the check knows how many new tokens there are, or only how many rows the cache has, or neither."""
    drawn = Drawn("chunk", np.random.default_rng([11, seed]))
    const = [i for i in (7, 8, 12, 13) if drawn.inputs[i] is not None]
    options = {"const": const, "dynamic": () if declared else ((0, 1), (1, 1), (2, 1), (3, 2), (4, 2))}
    wanted = expectation(model(drawn, **options), feeds_of(drawn.inputs, const))
    made = declare(model(drawn, **options), list(wanted.values()))
    if declared:
        found = [helper.make_tensor_value_info(f"v{i}", 1, drawn.inputs[i].shape) for i in (0, 3)]
        made.graph.value_info.extend(found)
    onnx.save(made, tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "out", outputs=["float32"], verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]


@new_runtime
@pytest.mark.parametrize("mode", ["prompt", "step"])
def test_lengths_are_what_the_extents_add_up_to(tmp_path: Path, mode: str) -> None:
    """Others have no meaning, and ONNX Runtime does not refuse all of them; nobody declares the shape of the query."""
    drawn = Drawn(mode, np.random.default_rng([11, 1]))
    const = [i for i in (7, 8, 12, 13) if drawn.inputs[i] is not None]
    wanted = expectation(model(drawn, const=const), feeds_of(drawn.inputs, const))
    onnx.save(declare(model(drawn, const=const), list(wanted.values())), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "out", outputs=["float32"], verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]


def test_a_sliding_cache_says_no_scores() -> None:
    drawn = Drawn("step", np.random.default_rng(0))
    drawn.attrs |= {"local_window_size": 2, "sliding_window_cache": 1, "qk_output": 1}
    with pytest.raises(ConversionError, match="sliding_window_cache"):
        harness.compile_model(model(drawn))
