"""Weights of 4 bits: how they are cut into blocks, what is in the file, what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite import validation
from onnx2tf_lite.emitters.tflite.tables import unpacked
from onnx2tf_lite.ir.graph import Quant
from onnx2tf_lite.quantization import RECIPES, blocks, scales
from onnx2tf_lite.quantization.runner import ProgramRunner
from onnx2tf_lite.quantization.weights import quantise_weights
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.quantization.nets import resnet
from tests.quantization.test_laws import LINEAR, program
from tests.quantization.test_quantising import DIGITS, lowest, quiet
from tests.validation.models import model

RECIPE = RECIPES["weight_only_int4"]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


FORMS = [
    ((64, 96), 0, "int4 in blocks of 32"),
    ((64, 48), 0, "int4 in blocks of 24"),
    ((16, 3, 3, 3), 0, "int4 in blocks of 27"),
    ((64, 37), 0, "int4 by channel (no block divides 37)"),
    ((1, 3, 3, 64), 3, "int4 by channel (a filter's weights do not lie together)"),
]


@pytest.mark.parametrize("shape, axis, said", FORMS, ids=[said for *_, said in FORMS])
def test_forms(shape: tuple[int, ...], axis: int, said: str) -> None:
    weights = normal(*shape)
    form = blocks.form(weights, axis)
    assert (form.said, form.bits) == (said, 4)
    data, quant = form.laid_out(weights), form.quant(weights)
    stored = quant.stored(data)
    assert stored.min() >= -8 and stored.max() <= 7
    rows = np.moveaxis(data, quant.axis or 0, 0).reshape(quant.scale.size, -1)
    error = np.abs(np.moveaxis(quant.real(stored) - data, quant.axis or 0, 0).reshape(rows.shape))
    assert (error <= np.abs(rows).max(1, keepdims=True) * (1 - scales.SHARES[-1])).all()


@pytest.mark.parametrize("zero", [0, 3, 8, 15])
@pytest.mark.parametrize("size", [16, 32, 128])
def test_what_had_4_bits_before_keeps_its_numbers(zero: int, size: int) -> None:
    rng = np.random.default_rng(zero)
    numbers, scale = rng.integers(0, 16, (12, 256 // size, size)), rng.uniform(0.01, 0.03, (12, 256 // size, 1))
    weights = ((numbers - zero).astype(np.float32) * scale.astype(np.float32)).reshape(12, 256)
    form = blocks.form(weights, 0)
    assert form.said == f"int4 in blocks of {min(size, 32)}, as they were"
    quant, data = form.quant(weights), form.laid_out(weights)
    np.testing.assert_allclose(quant.real(quant.stored(data)), data, rtol=1e-6)
    weights[-1, -1] += np.float32(0.002)
    assert "as they were" not in blocks.form(weights, 0).said


def test_weights_that_4_bits_do_not_hold_keep_8() -> None:
    weights = normal(8, 1009)
    weights[:, 0] = 12
    form = blocks.form(weights, 0)
    assert form.bits == 8 and "int8 (4 bits leave" in form.said


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(max_examples=30, deadline=None)
def test_cutting_off_the_largest_is_never_worse_than_reaching_it(seed: int, axis: int) -> None:
    weights = np.random.default_rng(seed).standard_t(3, size=(6, 24))
    quant = scales.of_few_bits(weights, axis, 4)
    whole = np.abs(weights).max(1 - axis) / 7
    reaching = Quant(whole, np.zeros(whole.size, np.int64), np.dtype(np.int8), axis, 4)
    cut, plain = (np.square(weights - q.real(q.stored(weights))).sum(1 - axis) for q in (quant, reaching))
    assert (cut <= plain * (1 + 1e-5)).all()


def test_two_to_a_byte_the_lower_half_first() -> None:
    assert unpacked(np.array([0x21, 0xF8, 0x07], np.uint8), 5).tolist() == [1, 2, -8, -1, 7]


@pytest.mark.parametrize("name", LINEAR)
def test_the_interpreter_reads_what_was_stored(name: str) -> None:
    function, shape = LINEAR[name]
    graph, plain = program(function, shape), program(function, shape)
    op = plain.ops[0]
    assert op.inputs[1] is not None and op.inputs[1].data is not None and op.kind.weights is not None
    weights = op.inputs[1].data = np.resize(op.inputs[1].data, op.inputs[1].shape)
    form = blocks.form(weights, op.kind.weights.outputs)
    op.inputs[1].data = (
        form.quant(weights).real(form.quant(weights).stored(form.laid_out(weights))).reshape(weights.shape)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnx2tf_lite.quantization.weights.SMALL", 1)
        assert [*quantise_weights([graph], RECIPE)] == [form.said]
    results = []
    for made in (graph, plain):
        runner = ProgramRunner(made)
        runner.run({"x0": np.random.default_rng(2).normal(size=shape).astype(np.float32)})
        results.append(runner.results()["y"])
    got, wanted = results
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_table_is_in_blocks_too(tmp_path: Path) -> None:
    table = normal(50, 64)
    text = "g (int64[1,3] x) => (float[1,3,64] y) { t = Gather(table, x) y = Sin(t) }"
    result = quiet(model(text, table=table), tmp_path, ["weight_only_int4"])
    assert result.exit_code == 0 and FlatFile(result.files["weight_only_int4"]).has_int4
    assert result.report["quantisation"]["int4 weights"] == {"int4 in blocks of 32": ["Gather_0"]}


@pytest.mark.parametrize("kind", ["weight_only_int8", "weight_only_int4"])
@pytest.mark.parametrize("width, fine", [(512, True), (64, False)], ids=["small", "large"])
def test_a_small_table_has_16_bits(width: int, fine: bool, kind: str, tmp_path: Path) -> None:
    """What it is off reaches its readers as it is: so a table that is little of all weights is stored finely."""
    table = normal(50, 32)
    text = f"g (int64[3] x) => (float[3,32] t, float[3,{width}] y) {{ t = Gather(table, x) y = MatMul(t, w) }}"
    result = quiet(model(text, table=table, w=normal(32, width)), tmp_path, [kind])
    assert result.exit_code == 0
    runner = Interpreter(model_path=str(result.files[kind])).get_signature_runner()
    got = runner(x=np.array([0, 7, 49]))["t"]
    step = 2 * np.abs(table).max() / (1 << 16)
    assert (np.abs(got - table[[0, 7, 49]]).max() <= step) == fine


def test_the_file_is_smaller(tmp_path: Path) -> None:
    kinds = ["float32", "weight_only_int8", "weight_only_int4"]
    result = quiet(resnet(), tmp_path, kinds, check="none")
    sizes = [result.files[kind].stat().st_size for kind in kinds]
    assert sizes[2] < 0.19 * sizes[0] and sizes[2] < 0.7 * sizes[1]
    forms = result.report["quantisation"]["int4 weights"]
    assert sum(map(len, forms.values())) == 12 and all("int4" in form for form in forms)
    assert (
        FlatFile(result.files["weight_only_int4"]).has_int4 and not FlatFile(result.files["weight_only_int8"]).has_int4
    )


def test_blocks_in_another_order_are_found(tmp_path: Path) -> None:
    with np.load(DIGITS / "heldout.npz") as held:
        images = held["images"].astype(np.float32).reshape(-1, 1, *held["images"].shape[-2:])[:16]
    samples, source = {"image@onnx": images}, DIGITS / "digits.onnx"
    result = quiet(source, tmp_path, ["weight_only_int4"], calibration=samples)
    assert result.exit_code == 0 and lowest(result, "weight_only_int4") > 17
    path = result.files["weight_only_int4"]
    file = FlatFile(path)
    largest = max((t for t in file.tensors if t.quantised), key=lambda t: int(np.prod(t.shape)))
    blob, content = file.bytes_of(largest.buffer).copy(), path.read_bytes()
    assert content.count(blob.tobytes()) == 1
    path.write_bytes(content.replace(blob.tobytes(), np.roll(blob, 16).tobytes()))
    assert validation.check(source, path, {"image@onnx": images[:2]}).exit_code == 1
