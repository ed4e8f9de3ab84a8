"""Layers of many roundings: right ones are not refused for operands that saturate inside, and wrong ones are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation.files.flatfile import FlatFile

EXPORTS = Path(__file__).resolve().parents[1] / "models" / "exports"
#: Transformers: one token is read, so that the last block is one layer; normalisations whose parts are no tensors.
NETWORKS = ["vit.ts13", pytest.param("vit.dynamo", marks=pytest.mark.slow),
            pytest.param("mini_detr.dynamo", marks=pytest.mark.slow),
            pytest.param("encoder_decoder.dynamo", marks=pytest.mark.slow)]  # fmt: skip


def integers(network: str, folder: Path, check: str = "outputs") -> validation.Report | Path:
    path = EXPORTS / f"{network}.onnx"
    asked = {"outputs": ["integer_quant"], "random_calibration": True, "non_verbose": True, "check": check}
    result = convert(path, folder, **asked)
    return result.files["integer_quant"] if result.check is None else result.check


@pytest.mark.parametrize("network", NETWORKS)
def test_a_right_transformer_is_not_refused(network: str, tmp_path: Path) -> None:
    report = integers(network, tmp_path)
    assert isinstance(report, validation.Report) and report.exit_code == 0
    gaps = [str(gap) for gap in report.files[0].coverage.gaps]
    assert any("beyond the values seen end to end" in what for what in gaps), "it is said what was not seen"


def test_reversed_weights_in_such_a_layer_are_found(tmp_path: Path) -> None:
    """Every matrix of the block that is one layer, one after the other."""
    file = integers("vit.ts13", tmp_path, "none")
    assert isinstance(file, Path)
    content, copy = file.read_bytes(), tmp_path / "copy.tflite"
    copy.write_bytes(content)  # what is read of it stays
    flat = FlatFile(copy)
    matrices = [flat.tensors[op.inputs[1]] for op in flat.operators if op.name == "FULLY_CONNECTED"]
    (given,) = onnx.load(EXPORTS / "vit.ts13.onnx").graph.input
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim]
    samples = {f"{given.name}@onnx": np.random.default_rng(0).normal(size=(2 * shape[0], *shape[1:])).astype("f4")}
    missed = []
    for tensor in matrices[-6:-1]:  # q, projection and both of the MLP; the last of all is the head
        stored = flat.bytes_of(tensor.buffer).tobytes()
        reversed_ = np.frombuffer(stored, np.int8).reshape(tensor.shape)[::-1].tobytes()
        assert content.count(stored) == 1
        file.write_bytes(content.replace(stored, reversed_))
        if validation.check(EXPORTS / "vit.ts13.onnx", file, samples).exit_code != 1:
            missed.append(tensor.name)
    assert not missed
