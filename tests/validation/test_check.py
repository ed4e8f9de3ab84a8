"""The checker finds what is wrong with a file, at the layer where it is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx2tf_lite import convert, passes, validation
from onnx2tf_lite.conversion import ConversionResult
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.validation.original.reference import NoReferenceError, Reference

from .models import cnn, model


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> ConversionResult:
    return convert(onnx_graph=cnn(), output_folder_path=tmp_path_factory.mktemp("out"), outputs=["float32", "float16"],
                   check="layers", non_verbose=True)  # fmt: skip


def recheck(result: ConversionResult, path: Path, **options: object) -> validation.Report:
    """Check ``path`` in place of the float32 file of ``result``."""
    proto = cnn()
    reference = Reference.of(proto, passes.load(proto))
    return validation.check(reference, {"float32": path}, options=validation.CheckOptions(**options))


def test_every_layer_with_a_counterpart_is_compared(converted: ConversionResult) -> None:
    assert converted.check is not None
    for file in converted.check.files:
        assert file.ok and {"r1", "s2", "t3", "scores"} <= {r.tensor for r in file.layers}
        row = next(r for r in file.layers if r.tensor == "r1")
        assert (row.node, row.op, row.perm) == ("node_r1", "Relu", (0, 2, 3, 1))
        assert row.shape[1:] == (8, 12, 10) and row.stored_shape[1:] == (12, 10, 8)


def test_dynamic_model_is_checked_at_two_shapes(converted: ConversionResult) -> None:
    assert converted.check is not None
    assert [s["image"] for s in converted.check.samples] == [(1, 3, 12, 10), (2, 3, 12, 10)]


# the first tensor after each weight that exists in the file
PLANTED = {"w1": "r1", "w2": "c2", "w3": "c3", "k": "scores"}


@pytest.mark.parametrize("layers", [False, True], ids=["default", "every layer"])
@pytest.mark.parametrize("weight", PLANTED)
def test_planted_error_is_blamed_on_its_layer(
    converted: ConversionResult, tmp_path: Path, weight: str, layers: bool
) -> None:
    array = next(numpy_helper.to_array(t) for t in cnn().graph.initializer if t.name == weight)
    stored = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
    content = converted.files["float32"].read_bytes()
    assert content.count(stored.tobytes()) == 1
    bent = stored.copy()
    bent.reshape(-1)[np.random.default_rng(0).integers(bent.size)] += 0.1
    path = tmp_path / "bent.tflite"
    path.write_bytes(content.replace(stored.tobytes(), bent.tobytes()))
    report = recheck(converted, path, layers=layers)
    (file,) = report.files
    assert report.exit_code == 1 and file.first_divergence is not None
    assert file.first_divergence.tensor == PLANTED[weight]
    assert f"'node_{PLANTED[weight]}'" in file.verdict
    tensors = [r.tensor for r in file.layers]
    assert [r.ok for r in file.layers] == [t < tensors.index(PLANTED[weight]) for t in range(len(tensors))]


def test_a_file_that_does_not_load_is_a_failure(converted: ConversionResult, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(converted.files["float32"].read_bytes()[:500])
    report = recheck(converted, path)
    assert report.exit_code == 2 and "cannot be loaded" in report.files[0].verdict


def test_unmodified_copy_matches(converted: ConversionResult, tmp_path: Path) -> None:
    path = Path(shutil.copy(converted.files["float32"], tmp_path / "copy.tflite"))
    assert recheck(converted, path, layers=True).exit_code == 0


def test_nodes_are_run_one_by_one_where_onnx_runtime_refuses_the_model() -> None:
    """It knows no pool of before opset 7."""
    proto = model("g (float[1,1,4,4] x) => (float[1,1,2,2] y) { y = AveragePool<kernel_shape=[2,2],strides=[2,2]>(x) }")
    proto.opset_import[0].version, proto.ir_version = 6, 3
    reference = Reference.of(proto, passes.load(proto))
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    (found,) = reference.open().run({"x": x}).values()
    assert reference.engine == "ONNX Runtime, node by node"
    assert len(reference.notes) == 1 and reference.notes[0].startswith("ONNX Runtime refuses the model")
    np.testing.assert_array_equal(found, [[[[2.5, 4.5], [10.5, 12.5]]]])


def test_nothing_to_compare_with_is_said(converted: ConversionResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise NoReferenceError("no kernel")

    monkeypatch.setattr(Reference, "open", refuse)
    report = recheck(converted, converted.files["float32"])
    assert report.exit_code == 2 and "no kernel" in report.error


def test_quantised_models_are_compared_in_steps() -> None:
    proto = model(
        """g (float[1,4] x) => (float[1,4] y) {
          q = QuantizeLinear(x, scale, zero)
          d = DequantizeLinear(q, scale, zero)
          y = Relu(d)
        }""",
        scale=np.array(0.25, np.float32),
        zero=np.array(3, np.int8),
    )
    reference = Reference.of(proto, passes.load(proto))
    assert reference.steps == {"x": 0.25, "d": 0.25, "y": 0.25}
    assert "fused 8-bit kernels" in reference.notes[0]


def test_external_data_is_found_when_layers_are_exposed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    reference = Reference.of(path, passes.load(path))
    found = reference.open(["c1", "scores"]).run({"image": np.ones((1, 3, 12, 10), np.float32)})
    assert set(found) == {"c1", "scores"} and reference.engine == "ONNX Runtime"


def test_hint_for_an_unknown_input_is_an_error(converted: ConversionResult) -> None:
    with pytest.raises(ConversionError, match="did you mean image"):
        recheck(converted, converted.files["float32"], hints={"imag": (1, 3, 12, 10)})


def test_sizes_are_tried_until_the_model_runs() -> None:
    """A reshape to [-1, 53] only takes multiples of 53."""
    proto = model("g (float[M] x) => (float[A,53] y) { y = Reshape(x, to) }", to=np.array([-1, 53]))
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True)
    assert result.check is not None and result.exit_code == 2, "no multiple of 53 is among the sizes"
    assert "shape_hints" in result.check.error
    hinted = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True,
                     shape_hints=["x:106"])  # fmt: skip
    assert hinted.exit_code == 0
