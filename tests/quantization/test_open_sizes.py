"""Models with open extents: ranges do not depend on sizes, so that files quantised in some of them serve in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import passes
from onnx2tf_lite.emitters import QUANTISED
from onnx2tf_lite.validation.figures.judge import Difference
from onnx2tf_lite.validation.files import quantised
from onnx2tf_lite.validation.files.tflite_file import TFLiteFile
from onnx2tf_lite.validation.original.reference import Reference
from tests.quantization.nets import Net
from tests.quantization.test_quantising import quiet, real
from tests.validation.models import model

STATIC = [kind for kind in QUANTISED if "integer" in kind]
SIZES = [(64, 48), (48, 96), (32, 32)]


@pytest.fixture(scope="module")
def opened() -> onnx.ModelProto:
    """From pictures of any size to a map: halved twice, doubled once, and gated."""
    net = Net(9)
    fine = net.conv("x", 3, 8, 3, 2)
    coarse = net.conv(net.conv(fine, 8, 8, 3, 2, 8), 8, 8, 1)
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    wide = net.op("Resize", coarse, "", scales, mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")  # fmt: skip
    found = net.model(net.op("Sigmoid", net.conv(net.op("Add", fine, wide), 8, 4, act="")))
    for value, extents in ((found.graph.input[0], ("b", 3, "h", "w")), (found.graph.output[0], ("b", 4, "v", "u"))):
        kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, extents)
        value.type.CopyFrom(kind)
    return found


def pictures(sizes: list[tuple[int, int]], first: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(first)
    return [{"x": rng.normal(size=(1, 3, *size)).astype(np.float32)} for size in sizes]


def decibels(path: Path, source: onnx.ModelProto, sample: dict[str, np.ndarray]) -> float:
    """Of a file on a sample of any size, beside ONNX Runtime."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    (want,) = onnxruntime.InferenceSession(source.SerializeToString()).run(None, sample)
    runner = Interpreter(str(path)).get_signature_runner()
    ((name, given),), ((result, made),) = (d.items() for d in (runner.get_input_details(), runner.get_output_details()))
    x, (scale, zero) = sample["x"].transpose(0, 2, 3, 1), given["quantization"]
    if scale:
        info = np.iinfo(given["dtype"])
        x = np.clip(np.round(x / scale) + zero, info.min, info.max).astype(given["dtype"])
    got, (scale, zero) = runner(**{name: x})[result].astype(np.float64), made["quantization"]
    got = (got - zero) * scale if scale else got
    return float(10 * np.log10(np.square(want).sum() / np.square(got.transpose(0, 3, 1, 2) - want).sum()))


def test_every_kind_keeps_its_extents_open(opened: onnx.ModelProto, tmp_path: Path) -> None:
    result = quiet(opened, tmp_path, [*QUANTISED], calibration=pictures(SIZES))
    assert result.exit_code == 0 and {file.kind for file in result.check.files} == {*QUANTISED}
    for sample in pictures([(96, 32), (128, 128)], 7):
        for kind in QUANTISED:
            assert decibels(result.files[kind], opened, sample) > (12 if kind == "weight_only_int4" else 25)


ASKED: dict[str, dict[str, Any]] = {
    "sizes that run": {},
    "a hint": {"shape_hints": {"x": (1, 3, 48, 48)}},
    "a shape": {"overwrite_input_shape": ["x:1,3,64,32"]},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_noise_has_a_size_with_which_the_model_runs(
    asked: dict[str, Any], opened: onnx.ModelProto, tmp_path: Path
) -> None:
    result = quiet(opened, tmp_path, ["float32", "integer_quant"], random_calibration=True, **asked)
    assert result.exit_code == 0
    assert set(result.report["milliseconds"]) == {"float32", "integer_quant"}


def test_all_samples_of_a_folder_are_looked_at(opened: onnx.ModelProto, tmp_path: Path) -> None:
    """The largest numbers are in the last file, which has another size than the others."""
    given = pictures(SIZES)
    given[-1]["x"] *= 9
    folder = tmp_path / "samples"
    folder.mkdir()
    np.savez(folder / "0.npz", **given[0])
    for number, sample in enumerate(given[1:], start=1):
        np.save(folder / f"{number}.npy", sample["x"])
    made = [
        quiet(opened, tmp_path / name, ["full_integer_quant"], calibration=data, check="none").files.popitem()[1]
        for name, data in {"from files": folder, "from arrays": given}.items()
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    from ai_edge_litert.interpreter import Interpreter

    scale, zero = Interpreter(str(made[0])).get_input_details()[0]["quantization"]
    assert (127 - zero) * scale > 2 * max(sample["x"].max() for sample in given[:-1])


def test_nobody_is_told_how_fast_the_least_picture_is(opened: onnx.ModelProto, tmp_path: Path) -> None:
    result = quiet(opened, tmp_path, ["float32", "dynamic_range_quant"])
    assert result.exit_code == 0 and not result.report["milliseconds"]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{}, {"batch_size": 1}, {"overwrite_input_shape": ["input:1,3,160,160"]}])
def test_yunet_of_any_size(asked: dict[str, Any], tmp_path: Path) -> None:
    """Its objectness is below 1e-3: a few steps of the fixed scale of 16 bits, less than one of 8."""
    path, data = real("yunet_n_dynamic", 16)
    result = quiet(path, tmp_path, [*STATIC, "dynamic_range_quant"], calibration=data, **asked)
    assert result.exit_code == 0


SMALL = "g (float[1,8] x) => (float[1,8] y) <float[1] b = {-9.5}> { z = Add(x, b) y = Sigmoid(z) }"


@pytest.mark.parametrize(
    "steps, carried, fine", [(1.4, 0.0, True), (1.7, 0.0, False), (1.7, 0.3, True), (9, 0.3, False)]
)
def test_a_result_of_few_steps_may_be_one_off_and_what_was_carried_there(
    steps: float, carried: float, fine: bool, tmp_path: Path
) -> None:
    """Each element, so that no wrong one hides among many right ones; 1.5 steps are the kernel's."""
    source, kind, step = model(SMALL), "integer_quant_with_int16_act", 2.0**-15
    path = quiet(source, tmp_path, [kind], random_calibration=True, check="none").files[kind]
    target = TFLiteFile(path, Reference.of(source, passes.load(source)), kind)
    found = Difference(max_abs=steps * step, what="SQNR 3.0 dB", asked="SQNR 10 dB", sqnr=3.0, used=2.0)
    judged = quantised.within_a_step(target, target.program.names["y"], found, carried * step)
    assert (not judged.what) == fine
