"""Quantised files of real small models: what is an integer, how close they are, and that faults are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError, convert, validation
from onnx2tf_lite.emitters import QUANTISED
from onnx2tf_lite.quantization import speed
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.models import golden
from tests.models.feeds import feeds
from tests.validation.models import cnn, model

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
INTEGER = [kind for kind in QUANTISED if "integer" in kind]


def real(name: str, count: int = 8, first: int = 100) -> tuple[Path, dict[str, np.ndarray]]:
    """A committed model, and samples for it by input name."""
    (found,) = [m for m in golden.real() if m.name == f"real/{name}"]
    samples = [feeds(found.entry["inputs"], found.entry["feeds"], first + i) for i in range(count)]
    return found.path, {n: np.concatenate([s[n] for s in samples]) for n in samples[0]}


def quiet(source: Any, folder: Path, kinds: list[str], **asked: Any) -> Any:
    given = {"onnx_graph": source} if isinstance(source, onnx.ModelProto) else {"input_onnx_file_path": source}
    return convert(output_folder_path=folder, outputs=kinds, non_verbose=True, **given, **asked)


def lowest(result: Any, kind: str) -> float:
    (file,) = [f for f in result.check.files if f.kind == kind]
    return min(row.difference.sqnr for row in file.outputs)


REAL = [("mnist_8", 33.0), pytest.param("super_resolution_espcn", 38.0, marks=pytest.mark.slow)]


@pytest.mark.parametrize("name, bar", REAL)
def test_int8_of_a_real_model(name: str, bar: float, tmp_path: Path) -> None:
    path, data = real(name, 4)
    result = quiet(path, tmp_path, ["integer_quant", "weight_only_int8"], calibration=data)
    assert result.exit_code == 0
    assert lowest(result, "integer_quant") > bar and lowest(result, "weight_only_int8") > bar
    found = Integers.of(FlatFile(result.files["integer_quant"]))
    assert not found.floats and found.conversions == 2


def test_all_kinds_of_digits(tmp_path: Path) -> None:
    with np.load(DIGITS / "heldout.npz") as held:
        images, labels = held["images"], held["labels"]
    x = np.asarray(images, np.float32).reshape(len(images), 1, *images.shape[-2:])
    result = quiet(DIGITS / "digits.onnx", tmp_path, ["float32", *QUANTISED], calibration={"image@onnx": x[:64]})
    assert result.exit_code == 0 and set(result.files) == {"float32", *QUANTISED}
    right = {kind: accuracy(path, x[64:], labels[64:]) for kind, path in result.files.items()}
    assert min(right.values()) >= right["float32"] - 0.005, right
    sizes = {kind: path.stat().st_size for kind, path in result.files.items()}
    assert max(sizes[kind] for kind in QUANTISED) < 0.55 * sizes["float32"]
    assert set(result.report["milliseconds"]) == {"float32", *QUANTISED} and min(result.report["milliseconds"].values())
    held = {name: result.report["quantisation"][name] for name in ("samples", "held_out")}
    assert held == {"samples": 60, "held_out": 4}, "what versions are judged on is kept from calibration"
    assert lowest(result, "integer_quant_with_int16_act") >= lowest(result, "integer_quant")
    ends = {kind: dtypes(path) for kind, path in result.files.items()}
    assert ends["integer_quant"] == ("float32", "float32") and ends["full_integer_quant"] == ("int8", "int8")
    assert ends["full_integer_quant_with_int16_act"] == ("int16", "int16")


def accuracy(path: Path, x: np.ndarray, labels: np.ndarray) -> float:
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(str(path))
    engine.allocate_tensors()
    (given,), (made,) = engine.get_input_details(), engine.get_output_details()
    right = 0
    for image, label in zip(x, labels, strict=True):
        stored = image.transpose(1, 2, 0)[None]
        if given["dtype"] != np.float32:
            scale, zero = given["quantization"]
            info = np.iinfo(given["dtype"])
            stored = np.clip(np.round(stored / scale) + zero, info.min, info.max).astype(given["dtype"])
        engine.set_tensor(given["index"], stored)
        engine.invoke()
        right += int(engine.get_tensor(made["index"]).argmax() == label)
    return right / len(labels)


def dtypes(path: Path) -> tuple[str, str]:
    file = FlatFile(path)
    return file.tensors[file.inputs[0]].dtype.name, file.tensors[file.outputs[0]].dtype.name


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int8"])
def test_outer_types(dtype: str, tmp_path: Path) -> None:
    asked = {"input_quant_dtype": dtype, "output_quant_dtype": dtype, "random_calibration": True}
    result = quiet(cnn(), tmp_path, ["full_integer_quant"], **asked)
    assert result.exit_code == 0 and dtypes(result.files["full_integer_quant"]) == (dtype, dtype)


def test_no_data_is_an_error_that_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no data.*--calibration inputs\.npz.*-cind NAME FILE\.npy"):
        quiet(cnn(), tmp_path, ["integer_quant"])
    assert not list(tmp_path.iterdir())


def test_noise_is_said_in_the_report(tmp_path: Path) -> None:
    result = quiet(cnn(), tmp_path, ["integer_quant"], random_calibration=True)
    report = json.loads((tmp_path / "model_report.json").read_text())
    assert any("calibrated on noise" in w for w in report["warnings"]) and report["quantisation"]["random"]
    assert result.exit_code == 0


def test_unused_data_is_said(tmp_path: Path) -> None:
    result = quiet(cnn(), tmp_path, ["float32"], random_calibration=True)
    assert any("calibration has no effect" in w for w in result.warnings)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    path, data = real("mnist_8")
    made = [quiet(path, tmp_path / f"{i}", INTEGER, calibration=data, check="none").files for i in range(2)]
    assert all(made[0][kind].read_bytes() == made[1][kind].read_bytes() for kind in INTEGER)


def test_scales_are_the_calibrated_ones(tmp_path: Path) -> None:
    x = np.linspace(-3, 1, 2 * 3 * 12 * 10, dtype=np.float32).reshape(2, 3, 12, 10)
    source = model("g (float[1,3,12,10] x) => (float[1,3,12,10] y) { y = Sigmoid(x) }")
    result = quiet(source, tmp_path, ["full_integer_quant"], calibration={"x@onnx": x})
    file = FlatFile(result.files["full_integer_quant"])
    given, made = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
    assert given.scale[0] == np.float32(4 / 255) and given.zero[0] == 63
    assert made.scale[0] == np.float32(1 / 256) and made.zero[0] == -128  # the kernel's own


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_wrong_scale_is_found(factor: float, tmp_path: Path) -> None:
    path, data = real("mnist_8")
    file = quiet(path, tmp_path, ["integer_quant"], calibration=data).files["integer_quant"]
    samples = {f"{n}@onnx": a[:2] for n, a in data.items()}
    assert validation.check(path, file, samples).exit_code == 0
    content = file.read_bytes()
    scales = next(t.scale for t in FlatFile(file).tensors if t.quantised and t.dtype == np.int8 and t.scale.size > 1)
    wrong = (scales * np.float32(factor)).tobytes()
    file.write_bytes(content.replace(scales.tobytes(), wrong))
    assert validation.check(path, file, samples).exit_code == 1


ISLAND = "g (float[1,4] x) => (float[1,4] y) { a = Relu(x) b = Sin(a) y = Relu(b) }"
#: A function of one operand is a table in files that are integer throughout; one of two is not.
POWER = "g (float[1,4] x) => (float[1,4] y) { a = Relu(x) c = Mul(a, a) b = Pow(a, c) y = Relu(b) }"


def test_islands_are_counted_and_refused(tmp_path: Path) -> None:
    asked: Mapping[str, Any] = {"random_calibration": True}
    result = quiet(model(ISLAND), tmp_path, ["integer_quant"], **asked)
    assert Integers.of(FlatFile(result.files["integer_quant"])).floats == {"SIN": 1}
    assert "1 float (1 SIN)" in result.check.files[0].verdict
    for kind in ("integer_quant", "integer_quant_with_int16_act"):
        said = rf"^full_{kind}: 1 operations .*: 1 POW \(at 'Pow_0'\) -> ask for {kind},"
        with pytest.raises(ConversionError, match=said) as raised:
            quiet(model(POWER), tmp_path, [f"full_{kind}"], **asked)
        assert "min-sqnr" not in str(raised.value)


def test_a_function_without_a_kernel_is_a_table_where_there_may_be_no_float(tmp_path: Path) -> None:
    island = model("g (float[1,64] x) => (float[1,64] y) { a = Relu(x) b = Sin(a) y = Relu(b) }")
    data = {"x": np.random.default_rng(0).uniform(-1, 3, (24, 64)).astype(np.float32)}
    result = quiet(island, tmp_path, ["integer_quant", "full_integer_quant"], calibration=data)
    assert result.exit_code == 0 and min(lowest(result, kind) for kind in result.files) > 35
    floats = [Integers.of(FlatFile(file)).floats for file in result.files.values()]
    assert floats == [{"SIN": 1}, {}]
    with pytest.raises(ConversionError, match="1 SIN"):
        quiet(island, tmp_path, ["full_integer_quant_with_int16_act"], calibration=data)


MASKED = """g (float[1,2,2] x) => (float[1,2,2] y) <float[2,2] mask = {0, -inf, 0, 0}>
    { scores = Add(x, mask) y = Softmax<axis=-1>(scores) }"""


def test_what_reads_an_infinite_mask_stays_float(tmp_path: Path) -> None:
    result = quiet(model(MASKED.replace("-inf", "-1")), tmp_path / "finite", ["integer_quant"], random_calibration=True)
    assert not Integers.of(FlatFile(result.files["integer_quant"])).floats
    infinite = model(MASKED.replace("-inf", "-1"))
    infinite.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.array([[0, -np.inf], [0, 0]], np.float32), "mask")
    )
    result = quiet(infinite, tmp_path / "infinite", ["integer_quant"], random_calibration=True)
    assert result.exit_code == 0 and Integers.of(FlatFile(result.files["integer_quant"])).floats == {"ADD": 1}


#: Size of the operands of a convolution, one of whose channels has weights that are nothing beside its bias.
OPERANDS = {"usual": 1.0, "small": 1e-6, "large": 1e4}


@pytest.mark.parametrize("size", OPERANDS.values(), ids=OPERANDS)
@pytest.mark.parametrize("kind", ["full_integer_quant", "full_integer_quant_with_int16_act"])
def test_tiny_weights_leave_room_for_their_bias(kind: str, size: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w, bias = 0.3 * rng.standard_normal((4, 8, 1, 1)) / size, np.array([0.1, -0.2, -10, 0.3])
    w[2] = 1e-9 * rng.standard_normal((8, 1, 1)) / size
    x = (size * rng.standard_normal((8, 8, 6, 6))).astype(np.float32)
    text = "g (float[1,8,6,6] x) => (float[1,4,6,6] y) { r = Relu(x) c = Conv(r, w, b) y = Sigmoid(c) }"
    inner = "g (float[1,8,6,6] x) => (float[1,4,6,6] c) { r = Relu(x) c = Conv(r, w, b) }"
    for number, graph in enumerate((text, inner)):
        proto = model(graph, w=w.astype(np.float32), b=bias.astype(np.float32))
        result = quiet(proto, tmp_path / f"{number}", [kind], calibration={"x@onnx": x})
        assert result.exit_code == 0 and not Integers.of(FlatFile(result.files[kind])).floats
    file = FlatFile(result.files[kind])
    step = float(file.tensors[file.outputs[0]].scale[0])
    assert np.abs(last_channels(file, x)[..., 2] + 10).max() <= step


@pytest.mark.parametrize("kind", ["integer_quant", "integer_quant_with_int16_act"])
def test_results_that_are_nothing_beside_the_bound_of_their_activation(kind: str, tmp_path: Path) -> None:
    """6 is more than int32 holds of their steps."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 8, 6, 6)).astype(np.float32), (1e-9 * rng.standard_normal((4, 8, 1, 1)))
    text = "g (float[1,8,6,6] x) => (float[1,4,6,6] y) { c = Conv(x, w) y = Clip(c, low, high) }"
    proto = model(text, w=w.astype(np.float32), low=np.zeros((), np.float32), high=np.full((), 6, np.float32))
    result = quiet(proto, tmp_path, [kind], calibration={"x@onnx": x})
    assert result.exit_code == 0 and not Integers.of(FlatFile(result.files[kind])).floats


@pytest.mark.parametrize("height, floats", [(-12.0, {"LOGISTIC": 1}), (-6.0, {})], ids=["nothing", "something"])
def test_sigmoids_below_the_steps_of_16_bits_stay_float(height: float, floats: dict[str, int], tmp_path: Path) -> None:
    """Not in 8 bits, whose operand is as coarse, and not where the file has to be integer throughout."""
    x = np.random.default_rng(0).standard_normal((8, 8, 6, 6)).astype(np.float32)
    text = "g (float[1,8,6,6] x) => (float[1,4,6,6] y) { c = Conv(x, w, b) y = Sigmoid(c) }"
    proto = model(text, w=(4, 8, 1, 1), b=np.full(4, height, np.float32))
    result = quiet(proto, tmp_path, INTEGER, calibration={"x@onnx": x})
    found = {kind: Integers.of(FlatFile(result.files[kind])).floats for kind in INTEGER}
    assert found.pop("integer_quant_with_int16_act") == floats and not any(found.values())
    assert lowest(result, "integer_quant_with_int16_act") > 20
    assert ("too coarse for integers" in result.report["quantisation"]["int16 activations"]) == bool(floats)


def last_channels(file: FlatFile, x: np.ndarray) -> np.ndarray:
    """The real numbers of the output [sample, 1, height, width, channel] of an integer file."""
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(str(file.path))
    engine.allocate_tensors()
    given, made = (file.tensors[end[0]] for end in (file.inputs, file.outputs))
    found = []
    for sample in x:
        engine.set_tensor(engine.get_input_details()[0]["index"], given.stored(sample.transpose(1, 2, 0)[None]))
        engine.invoke()
        found.append(made.real(engine.get_tensor(engine.get_output_details()[0]["index"])))
    return np.stack(found)


def test_a_kind_that_quantises_nothing_says_so(tmp_path: Path) -> None:
    result = quiet(model(NOTHING), tmp_path, ["dynamic_range_quant"])
    assert "NOTHING is quantised" in result.check.files[0].verdict


NOTHING = "g (float[1,4] x) => (float[1,4] y) { y = Sin(x) }"


def test_what_is_slower_than_float_is_said() -> None:
    assert speed.sentences({"integer_quant": 9.0}) == []
    found = {"float32": 2.0, "integer_quant": 1.0, "dynamic_range_quant": 2.1, "integer_quant_with_int16_act": 9.0}
    (line,) = speed.sentences(found)
    assert line.startswith("integer_quant_with_int16_act is SLOWER") and "9 ms instead of 2" in line
