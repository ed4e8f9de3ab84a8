"""Models that onnxruntime.quantization has quantised: integer inside, with their own scales, and matching."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx2tf_lite import ConversionError, convert, passes, validation
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.harness import new_runtime
from tests.models import golden, onnx_quantised
from tests.validation.editor import Editor

#: What stays float: MatMul's weights are activations to the quantiser, of 16 bits then; and 16 bits around another
#: zero point than the middle have no kernel.
FLOATS = {
    "S16S8 symmetric": {"FULLY_CONNECTED"},
    "U16S8 symmetric": {"FULLY_CONNECTED"},
    "dynamic": {"MAX_POOL_2D", "RESHAPE", "CONV_2D", "FULLY_CONNECTED"},
    "dynamic U8": {"MAX_POOL_2D", "RESHAPE", "CONV_2D", "FULLY_CONNECTED", "CONCATENATION", "SLICE"},
}
CHANGED = ("U16S8 symmetric",)  # which an old ONNX Runtime quantises otherwise
FORMS = [form for form in onnx_quantised.FORMS if form not in ("S16S8", "U16S8")]


def converted(form: str, folder: Path) -> tuple[Path, FlatFile]:
    (model,) = golden.named("real/mnist_8")
    if not model.present:
        pytest.skip("the model is not here")
    source = onnx_quantised.make(folder, model, onnx_quantised.FORMS[form])
    result = convert(source, folder / "out", outputs=("float32",), non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    return source, FlatFile(result.files["float32"])


@pytest.mark.parametrize("form", [pytest.param(f, marks=new_runtime) if f in CHANGED else f for f in FORMS])
def test_integer_inside(form: str, tmp_path: Path) -> None:
    source, file = converted(form, tmp_path)
    inside = Integers.of(file)
    assert set(inside.floats) <= FLOATS.get(form, set())
    if "dynamic" in form:
        assert inside.hybrid == 2 and len(file.operators) < 12
        return
    ours = {float(s) for t in file.tensors if t.quantised and not t.constant for s in t.scale}
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
    theirs = {float(a) for a in held.values() if a.dtype == np.float32 and a.size == 1}
    assert ours <= theirs, "a scale that the model does not have"


@pytest.mark.parametrize("form", ["S8S8", "QOperator U8U8", "QAT-like"])
def test_report_and_line_count_what_the_model_s_own_scales_make_integers(form: str, tmp_path: Path) -> None:
    (model,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS[form])
    result = convert(source, tmp_path / "out", outputs=("float32", "float16"), non_verbose=True)
    report = json.loads((tmp_path / "out" / "quantised_report.json").read_text())
    for checked, told in zip(result.check.files, report["check"]["files"], strict=True):
        operators, counted = checked.operators, told["integers"]
        assert (counted["floats"], counted["conversions"], counted["hybrid"]) == ({}, 2, 0)
        assert counted["integer"] == sum(operators.values()) - 2 and operators["QUANTIZE"] >= 1
        line = f"; {counted['integer']} integer operators, none float, 2 QUANTIZE or DEQUANTIZE"
        assert checked.verdict.endswith(line)


@pytest.mark.parametrize("form", ["S8S8", "QOperator S8S8", "U8U8", "QAT-like"])
def test_kinds_of_quantised_weights_keep_the_model_s_own_integers(form: str, tmp_path: Path) -> None:
    """Nothing is left to quantise: rounding its weights anew would undo the kernels, and the file would differ."""
    (model,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS[form])
    kinds = ("float32", "dynamic_range_quant", "weight_only_int8", "weight_only_int4")
    result = convert(source, tmp_path / "out", outputs=kinds, non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    own, *others = [FlatFile(result.files[kind]) for kind in kinds]
    for file in others:
        assert file.counts == own.counts and Integers.of(file) == Integers.of(own)
        assert integer_weights(file) == integer_weights(own)


@pytest.mark.parametrize("form", ["S8S8", "QOperator U8U8"])
def test_no_calibration_is_needed_where_the_model_leaves_nothing_float(form: str, tmp_path: Path) -> None:
    (model,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS[form])
    kinds = ("float32", "integer_quant", "full_integer_quant")
    result = convert(source, tmp_path / "out", outputs=kinds, non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    own, inside, outside = [FlatFile(result.files[kind]) for kind in kinds]
    assert inside.counts == own.counts and integer_weights(inside) == integer_weights(outside) == integer_weights(own)
    assert [outside.tensors[i].dtype for i, *_ in (outside.inputs, outside.outputs)] == [np.int8, np.int8]


def test_objectness_in_finer_steps_than_any_kernel_is_integer_too(tmp_path: Path) -> None:
    """YuNet, whose three sigmoids of at most 1e-4 are float in other files."""
    (model,) = golden.named("real/yunet_n_dynamic")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS["S8S8"])
    kind = "full_integer_quant"
    result = convert(source, tmp_path / "out", outputs=(kind,), non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    file = FlatFile(result.files[kind])
    assert not Integers.of(file).floats and file.counts["GATHER"] == 3
    assert {file.tensors[i].dtype for i in (*file.inputs, *file.outputs)} == {np.dtype(np.int8)}


def test_what_a_model_leaves_float_has_to_be_calibrated(tmp_path: Path) -> None:
    (model,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS["dynamic"])
    with pytest.raises(ConversionError, match="there is no data to take ranges from"):
        convert(source, tmp_path / "out", outputs=("integer_quant",), non_verbose=True)


def integer_weights(file: FlatFile) -> list[tuple[bytes, bytes]]:
    """The stored bytes of those of linear operators, and their scales."""
    linear = [op for op in file.operators if op.name in ("CONV_2D", "FULLY_CONNECTED")]
    weights = [file.tensors[op.inputs[1]] for op in linear]
    assert weights and all(t.dtype == np.int8 and t.constant for t in weights)
    return [(bytes(file.bytes_of(t.buffer)), t.scale.tobytes()) for t in weights]


def test_what_a_dynamically_quantised_model_leaves_float_is_quantised_beside_its_own(tmp_path: Path) -> None:
    """Its rounding of operands stays that of hybrid kernels, not arithmetic."""
    (model,) = golden.named("real/mnist_8")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS["dynamic"])
    kinds = ("float32", "dynamic_range_quant")
    result = convert(source, tmp_path / "out", outputs=kinds, non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    own, other = [FlatFile(result.files[kind]) for kind in kinds]
    assert (Integers.of(own).hybrid, Integers.of(other).hybrid) == (2, 3) and own.counts == other.counts


def test_plain_float_files_have_no_such_counts(tmp_path: Path) -> None:
    (model,) = golden.named("real/mnist_8")
    result = convert(model.path, tmp_path, outputs=("float32", "float16"), non_verbose=True)
    assert all(file.ok and file.integers is None and "float (" not in file.verdict for file in result.check.files)


@pytest.mark.parametrize("form", ["QOperator S8S8", "QOperator U8U8", "S16S8 symmetric"])
def test_layers_may_carry_what_the_model_s_own_rounding_does(form: str, tmp_path: Path) -> None:
    """Also those that are integers in the model."""
    source, file = converted(form, tmp_path)
    (found,) = validation.check(source, file.path, layers=True).files
    assert found.ok, found.verdict


@pytest.mark.parametrize(
    "form, place",
    [("dynamic", 0), ("dynamic", 1), ("S16S8 symmetric", 0), ("S16S8 symmetric", 1)],
)
def test_a_wrong_weight_is_found(form: str, place: int, tmp_path: Path) -> None:
    """Although what adds up over the layers of these files may be 3 n."""
    source, file = converted(form, tmp_path)
    edit = Editor(file.path)
    convolution = edit.indices("CONV_2D")[place]
    weights = edit.data(int(edit.graph.operators[convolution].inputs[1]))
    assert weights is not None and weights.dtype == np.int8
    wrong = weights.copy()
    largest = int(np.abs(weights.astype(int)).argmax())
    wrong.reshape(-1)[largest] = -int(np.clip(wrong.reshape(-1)[largest], -127, 127))
    edit.put(convolution, 1, wrong)
    (found,) = validation.check(source, edit.save(tmp_path / "wrong.tflite")).files
    assert not found.ok and not found.error and "introduces" in found.verdict


#: Of which a file rounds weights that the model does not have as integers, or not in a form that kernels read.
PARTLY = {
    "convolutions alone": onnx_quantised.Form("QDQ", only=("Conv",)),
    "products alone": onnx_quantised.Form("QDQ", only=("MatMul",)),
    "S16S8": onnx_quantised.FORMS["S16S8"],
    "U16S8": onnx_quantised.FORMS["U16S8"],
}


def partly(form: str, kind: str, folder: Path) -> tuple[Path, Path]:
    """A model that is quantised in parts, and a file of it, which is right."""
    (model,) = golden.named("real/mnist_8")
    if not model.present:
        pytest.skip("the model is not here")
    source = onnx_quantised.make(folder, model, PARTLY[form])
    data = next(iter(model.feeds()), None)
    result = convert(source, folder / "out", outputs=(kind,), non_verbose=True, calibration=data)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    return source, result.files[kind]


@pytest.mark.parametrize("form", PARTLY)
@pytest.mark.parametrize("kind", ["dynamic_range_quant", "weight_only_int8"])
def test_weights_that_a_file_rounds_beside_the_model_s_own_are_held_to_that(
    form: str, kind: str, tmp_path: Path
) -> None:
    """Not to steps, in which the layer does not compute."""
    source, file = partly(form, kind, tmp_path)
    assert Integers.of(FlatFile(file)).hybrid or Integers.of(FlatFile(file)).expanded
    (found,) = validation.check(source, {kind: file}, layers=True).files
    assert found.ok, found.verdict


@pytest.mark.parametrize("kind", ["dynamic_range_quant", "weight_only_int8"])
def test_weights_that_are_bytes_in_the_model_are_the_same_in_the_file(kind: str, tmp_path: Path) -> None:
    """Though its 16-bit activations have no kernel."""
    source, path = partly("S16S8", kind, tmp_path)
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
    (theirs,) = [n for n, a in held.items() if a.shape == (16, 8, 5, 5)]
    real = held[theirs] * held[theirs.replace("_quantized", "_scale")]
    edit = Editor(path)
    (ours,) = [t for t in FlatFile(path).tensors if t.quantised and t.constant and t.shape == (16, 5, 5, 8)]
    stored = edit.data(ours.index)
    assert stored is not None
    np.testing.assert_allclose(ours.real(stored), real.transpose(0, 2, 3, 1), rtol=1e-6)


@pytest.mark.parametrize("form", ["convolutions alone", "products alone"])
def test_what_a_model_leaves_float_may_become_integers_beside_its_own(form: str, tmp_path: Path) -> None:
    _, file = partly(form, "integer_quant", tmp_path)
    floats = Integers.of(FlatFile(file)).floats
    assert floats and not {"CONV_2D", "FULLY_CONNECTED"}.intersection(floats)


@pytest.mark.parametrize("kind", ["dynamic_range_quant", "weight_only_int8"])
@pytest.mark.parametrize(
    "form, operator, place",
    [
        ("convolutions alone", "FULLY_CONNECTED", 0),  # rounded by the file
        ("convolutions alone", "CONV_2D", 0),  # the model's own
        ("products alone", "CONV_2D", 1),
        ("S16S8", "CONV_2D", 1),
    ],
)
def test_a_wrong_weight_is_found_beside_the_model_s_own(
    form: str, operator: str, place: int, kind: str, tmp_path: Path
) -> None:
    source, file = partly(form, kind, tmp_path)
    edit = Editor(file)
    layer = edit.indices(operator)[place]
    read = int(edit.graph.operators[layer].inputs[1])
    maker = next((i for i in edit.indices("DEQUANTIZE") if read in edit.graph.operators[i].outputs), None)
    layer, operand = (layer, 1) if maker is None else (maker, 0)
    weights = edit.data(int(edit.graph.operators[layer].inputs[operand]))
    assert weights is not None and weights.dtype == np.int8
    wrong = weights.copy()
    largest = int(np.abs(weights.astype(int)).argmax())
    wrong.reshape(-1)[largest] = -int(np.clip(wrong.reshape(-1)[largest], -127, 127))
    edit.put(layer, operand, wrong)
    (found,) = validation.check(source, {kind: edit.save(tmp_path / "wrong.tflite")}).files
    assert not found.ok and not found.error and "introduces" in found.verdict


def test_products_of_one_quantiser_alone_are_such(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,4] a, float[2,4] b) => (float[2,3] y) <
        int8[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float ws = {0.1}, int8 wz = {0}> {
        q, s, z = DynamicQuantizeLinear (a)  r, t, v = DynamicQuantizeLinear (b)
        p = MatMulInteger (q, w, z, wz)  f = Cast <to = 1> (p)  u = Mul (SCALE, ws)  y = Mul (f, u) }"""
    for scale, fused in (("s", True), ("t", False)):
        onnx.save(onnx.parser.parse_model(text.replace("SCALE", scale)), tmp_path / "m.onnx")
        graph, _ = passes.optimize(passes.load(tmp_path / "m.onnx"))
        assert ("MatMul" in {n.op for n in graph.nodes}) == fused
        x = {n: np.random.default_rng(i).normal(size=(2, 4)).astype(np.float32) for i, n in enumerate("ab")}
        result = convert(tmp_path / "m.onnx", tmp_path / "o", outputs=("float32",), non_verbose=True, test_data=x)
        assert result.exit_code == 0


@pytest.mark.parametrize("form", [pytest.param("U16S8 symmetric", marks=new_runtime), "S16S8", "U16S8"])
@pytest.mark.parametrize("kind", ["integer_quant", "integer_quant_with_int16_act"])
def test_models_of_16_bits_may_be_quantised_again(form: str, kind: str, tmp_path: Path) -> None:
    """Around the middle they keep their own scales; others have no kernel, and everything gets scales anew."""
    (model,) = golden.named("real/mnist_8")
    if not model.present:
        pytest.skip("the model is not here")
    source = onnx_quantised.make(tmp_path, model, onnx_quantised.FORMS[form])
    given = [next(iter(model.feeds()))]
    result = convert(source, tmp_path / "out", outputs=(kind,), non_verbose=True, calibration=given)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    assert "CONV_2D" not in Integers.of(FlatFile(result.files[kind])).floats


@pytest.mark.parametrize("factor", [1.1, 2.0])
@pytest.mark.parametrize("place", range(3))
def test_a_wrong_scale_of_the_model_s_own_is_found(place: int, factor: float, tmp_path: Path) -> None:
    source, file = converted("S8S8", tmp_path)
    edit = Editor(file.path)
    made = edit.graph.tensors[int(edit.graph.operators[edit.indices("CONV_2D", "ADD")[place]].outputs[0])]
    scale = float(made.quantization.scale[0])
    for tensor in edit.graph.tensors:  # pools and views have that of their operand
        if tensor.quantization is not None and list(tensor.quantization.scale or ()) == [scale]:
            tensor.quantization.scale = [float(np.float32(scale * factor))]
    (found,) = validation.check(source, edit.save(tmp_path / "wrong.tflite")).files
    assert not found.ok and not found.error
