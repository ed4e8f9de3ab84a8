"""The keywords of `onnx2tf_lite.convert`: what each of them asks for, and which cannot be together."""

from __future__ import annotations

import inspect
import os
import subprocess
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.emitters import EMITTERS
from onnx2tf_lite.options import Options, resolve
from tests.validation.models import model

from .quiet import listing, quiet, signature


@pytest.mark.parametrize(
    "keyword, value, hint",
    [
        ("overwrite_input_shape", ["imagee:1,3,12,10"], "image"),
        ("shape_hints", ["imagee:1,3,12,10"], "image"),
        ("keep_ncw_or_nchw_or_ncdhw_input_names", ["imagee"], "image"),
        ("keep_nwc_or_nhwc_or_ndhwc_input_names", ["imagee"], "image"),
        ("keep_shape_absolutely_input_names", ["imagee"], "image"),
        ("keep_ncw_or_nchw_or_ncdhw_output_names", ["score"], "scores"),
        ("keep_shape_absolutely_output_names", ["score"], "scores"),
        ("channels_last_names", ["imagee"], "image"),
        ("input_names_to_interrupt_model_conversion", ["r11"], "r1"),
        ("output_names_to_interrupt_model_conversion", ["pol"], "pool"),
        ("disable_passes", ["batchnrom"], "batchnorm"),
        ("outputs", ["float33"], "float32"),
        ("check", "layer", "layers"),
        ("simplify", "neverr", "never"),
    ],
)
def test_unknown_names_are_errors_with_the_nearest(path: Path, keyword: str, value: Any, hint: str) -> None:
    with pytest.raises(ConversionError) as error:
        quiet(path, **{keyword: value})
    assert hint in str(error.value)


@pytest.mark.parametrize("word", ["image", "image:", "image:1,x", ":1,3"])
def test_shapes_have_a_form(path: Path, word: str) -> None:
    with pytest.raises(ConversionError):
        quiet(path, overwrite_input_shape=[word])


STATIC = [1, 12, 10, 3]


@pytest.mark.parametrize(
    "options, shape",
    [
        ({}, [-1, 12, 10, 3]),
        ({"batch_size": 4}, [4, 12, 10, 3]),
        ({"overwrite_input_shape": ["image:1,3,12,10"]}, STATIC),
        ({"overwrite_input_shape": {"image": (1, 3, 12, 10)}, "batch_size": 4}, STATIC),
        ({"shape_hints": ["image:7,3,12,10"]}, [-1, 12, 10, 3]),
        ({"keep_ncw_or_nchw_or_ncdhw_input_names": ["image"]}, [-1, 3, 12, 10]),
        ({"keep_shape_absolutely_input_names": ["image"]}, [-1, 3, 12, 10]),
    ],
    ids=["as it is", "batch", "shape", "shape beats batch", "hint", "-k", "-kat"],
)
def test_shape_and_layout_of_the_input(path: Path, tmp_path: Path, options: dict[str, Any], shape: list[int]) -> None:
    result = quiet(path, tmp_path / "out", **options)
    assert result.exit_code == 0
    assert signature(result.files["float32"])[0] == {"image": shape}
    assert result.inputs[0].moved == (shape[-1] == 3)
    if "shape_hints" in options:
        assert result.check is not None and result.check.samples[0] == {"image": (7, 3, 12, 10)}


def test_other_extents_than_the_model_declares_are_carried_through() -> None:
    """The Reshape holds the number of places; the files are compared with the model of the new size."""
    text = """g (float[1,2,8,6] x) => (float[1,2,48] y) { p = MaxPool <kernel_shape = [1,1]> (x)
        s = Constant <value = int64[3] {1,2,48}> () y = Reshape(p, s) }"""
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    result = quiet(source, overwrite_input_shape=["x:1,2,4,10"])
    assert [end.onnx_shape for end in (*result.inputs, *result.outputs)] == [(1, 2, 4, 10), (1, 2, 40)]
    assert result.exit_code == 0 and any(
        "[1, 2, 8, 6] in the model and becomes [1, 2, 4, 10]" in w for w in result.warnings
    )
    assert [d.dim_value for d in source.graph.input[0].type.tensor_type.shape.dim] == [1, 2, 8, 6]


def test_extents_that_weights_contradict_are_an_error_that_names_the_node() -> None:
    text = """g (float[1,6] x) => (float[1,2] y) { w = Constant <value = float[6,2] {1,2,3,4,5,6,7,8,9,0,1,2}> ()
        [product] y = MatMul(x, w) }"""
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    with pytest.raises(ConversionError, match=r"declares other extents, and cannot have these.*product.*-> export"):
        quiet(source, overwrite_input_shape=["x:1,7"])


def test_layout_of_an_output(tmp_path: Path) -> None:
    proto = model("g (float[1,3,8,6] x) => (float[1,4,8,6] y) { y = Conv<pads=[1,1,1,1]>(x, w) }", w=(4, 3, 3, 3))
    assert quiet(proto).outputs[0].shape == (1, 8, 6, 4)
    assert quiet(proto, keep_shape_absolutely_output_names=["y"]).outputs[0].shape == (1, 4, 8, 6)
    relu = model("g (float[1,5,8,6] x) => (float[1,5,8,6] y) { y = Relu(x) }")
    assert quiet(relu).outputs[0].shape == (1, 5, 8, 6), "nothing asks for another order"
    forced = quiet(relu, channels_last_names=["x", "y"])
    assert forced.inputs[0].shape == forced.outputs[0].shape == (1, 8, 6, 5) and forced.exit_code == 0


def test_part_of_a_model(path: Path, tmp_path: Path) -> None:
    result = quiet(path, tmp_path / "out", input_names_to_interrupt_model_conversion=["r1"],
                   output_names_to_interrupt_model_conversion=["t3", "pool"])  # fmt: skip
    assert result.exit_code == 0 and result.check is not None
    assert [r.tensor for r in result.check.files[0].outputs] == ["t3", "pool"]
    inputs, outputs = signature(result.files["float32"])
    assert list(inputs) == ["r1"] and set(outputs) == {"t3", "pool"}


def test_a_cut_that_does_not_separate_lists_what_is_missing() -> None:
    proto = model("g (float[1,4] x, float[1,4] z) => (float[1,4] y) { a = Relu(x)\n y = Add(a, z) }")
    with pytest.raises(ConversionError, match="z"):
        quiet(proto, input_names_to_interrupt_model_conversion=["a"])


@pytest.mark.parametrize("order", ["ONNX", "stored"])
def test_own_test_data(path: Path, tmp_path: Path, order: str) -> None:
    array = np.random.default_rng(0).random((2, 3, 12, 10), np.float32)
    np.save(tmp_path / "data.npy", array if order == "ONNX" else array.transpose(0, 2, 3, 1))
    result = quiet(path, test_data_nhwc_path=tmp_path / "data.npy")
    assert result.check is not None and result.check.ok and result.check.samples == [{"image": (2, 3, 12, 10)}]


def test_obsolete_keywords_warn_refused_ones_fail_others_do_not_exist(path: Path) -> None:
    result = quiet(path, output_signaturedefs=True, param_replacement_file="fix.json", report_op_coverage=False)
    assert [w.partition(" ")[0] for w in result.warnings] == ["output_signaturedefs", "param_replacement_file"]
    with pytest.raises(ConversionError, match="use the ONNX file there"):
        quiet(path, flatbuffer_direct_output_pytorch=True)
    with pytest.raises(TypeError, match="batch_size"):
        quiet(path, batchsize=1)


@pytest.mark.parametrize(
    "given",
    [
        {"check": "none", "check_onnx_tf_outputs_elementwise_close_full": True},
        {"check": "none", "html": "page.html"},
        {"check": "none", "shape_hints": {"image": (2, 3, 12, 10)}},
        {"check": "outputs", "html": "page.html"},
        {"test_data": "a.npz", "test_data_nhwc_path": "b.npz"},
        {"test_data": {"image": np.zeros(1)}, "test_data_nhwc_path": "b.npz"},
        {"simplify": "always", "not_use_onnxsim": True},
        {"channels_last_names": ["image"], "keep_shape_absolutely_input_names": "image"},
        {"disable_passes": ["shapes"], "output_names_to_interrupt_model_conversion": ["pool"]},
        {"check": "none", "eval_rtol": 1e-3},
        {"check": "none", "eval_atol": 1e-3},
        {"check": "none", "eval_num_samples": 3},
        {"check": "none", "value_hints": {"image": 0.5}},
        {"test_data": "a.npz", "shape_hints": {"image": (2, 3, 12, 10)}},
        {"test_data": "a.npz", "value_hints": {"image": 0.5}},
        {"test_data": "a.npz", "eval_num_samples": 3},
        {"calibration": "a.npz", "random_calibration": True},
        {"calibration": "a.npz", "custom_input_op_name_np_data_path": [["image", "a.npy"]]},
        {"disable_passes": ["fold"], "fold_budget": 1000},
        {"options": Options(), "batch_size": 1},
        {"check_onnx_tf_outputs_elementwise_close_rtol": -1.0},
        {"batch_size": 0},
        {"fold_budget": -1},
    ],
    ids=lambda given: " ".join(given),
)
def test_contradictions_and_impossible_values_are_errors(path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ConversionError) as error:
        convert(path, "unused", **given)
    assert all(name in str(error.value) for name in given)
    assert listing(path.parent) == ["net.onnx"]


@pytest.mark.parametrize(
    "fields",
    [
        {"check": "none", "html": "page.html"},
        {"check": "none", "rtol": 0.1},
        {"test_data": "a.npz", "samples": 2},
        {"disabled_passes": ("shapes",), "batch_size": 2},
        {"random_calibration": True, "calibration": {"image": np.zeros((2, 3))}},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_an_object_of_options_contradicts_itself_no_more_than_keywords_do(fields: dict[str, Any]) -> None:
    with pytest.raises(ConversionError) as error:
        Options(**fields)
    assert all(name in str(error.value) for name in fields)


@pytest.mark.parametrize("beside", [{"check": "none"}, {"test_data": "a.npz"}], ids=str)
def test_the_size_of_noise_to_calibrate_with_contradicts_nothing_of_the_check(beside: dict[str, Any]) -> None:
    hints = {"shape_hints": {"image": (2, 3, 12, 10)}}
    assert Options(**beside, **hints, random_calibration=True).shape_hints == hints["shape_hints"]


@pytest.mark.parametrize("device", [{"target": "edgetpu"}, {"check_gpu_delegate_compatibility": True}], ids=str)
def test_a_device_without_a_file_to_judge_is_an_error(path: Path, device: dict[str, Any]) -> None:
    with pytest.raises(ConversionError, match=r"judges \.tflite files, and none is asked for -> add one"):
        convert(path, "unused", outputs=["saved_model"], **device)


@pytest.mark.parametrize(
    "outputs, given, said",
    [
        ("float32", {"random_calibration": True}, "random_calibration has no effect: no quantised file"),
        ("float32", {"quant_type": "per-tensor"}, "-qt) has no effect: no quantised file"),
        ("float32", {"enable_accumulation_type_float16": True}, "-eatfp16) has no effect: no float16 file"),
        ("saved_model", {"output_weights": True}, "-ow) has no effect: no .tflite"),
    ],
    ids=lambda word: "",
)
def test_what_nothing_that_is_written_is_about_is_said(outputs: str, given: dict[str, Any], said: str) -> None:
    (warning,) = resolve({"outputs": outputs, **given}).warnings
    assert said in warning
    every = [*EMITTERS]
    assert not resolve({"outputs": every, **given}).warnings


GOALS = {"min_sqnr": 30.0, "min_agreement": 0.99}
ENDS = {"input_quant_dtype": "uint8", "output_quant_dtype": "float32", "input_output_quant_dtype": "uint8"}
#: What is asked of files with integers, and by kind whether it takes it: None, it says nothing of it.
DEMANDED: dict[str, tuple[dict[str, Any], dict[str, bool | None]]] = {
    "goal": (
        GOALS,
        {
            "float32": None,
            "saved_model": None,
            "dynamic_range_quant": False,
            "weight_only_int8": False,
            "weight_only_int4": False,
            "integer_quant": True,
            "full_integer_quant": True,
            "integer_quant_with_int16_act": True,
            "full_integer_quant_with_int16_act": True,
        },
    ),
    "ends": (
        ENDS,
        {
            "float32": None,
            "integer_quant": None,
            "integer_quant_with_int16_act": None,
            "weight_only_int8": None,
            "full_integer_quant": True,
            "full_integer_quant_with_int16_act": False,
        },
    ),
}


@pytest.mark.parametrize("fields, kinds", DEMANDED.values(), ids=DEMANDED)
def test_what_is_asked_of_integers_needs_a_kind_that_takes_it(
    fields: dict[str, Any], kinds: dict[str, bool | None]
) -> None:
    for (keyword, value), outputs in product(fields.items(), [*combinations(kinds, 1), *combinations(kinds, 2)]):
        takes = [kinds[kind] for kind in outputs]
        given = {"outputs": list(outputs), keyword: value}
        if True not in takes:
            with pytest.raises(ConversionError, match=rf"{keyword}.* and none is asked for -> add one.*full_integer"):
                resolve(given)
            continue
        said = [word for word in resolve(given).warnings if keyword in word]
        left = ", ".join(kind for kind in outputs if kinds[kind] is False)
        assert [f"does not apply to {left}, " in word for word in said] == [True] * bool(left)


@pytest.mark.parametrize("fields", [{"min_sqnr": 30.0}, {"min_agreement": 0.9}, {"output_dtype": "uint8"}], ids=str)
def test_an_object_of_options_needs_such_a_kind_too(fields: dict[str, Any]) -> None:
    with pytest.raises(ConversionError, match="and none is asked for"):
        Options(outputs=("dynamic_range_quant",), **fields)
    assert Options(added={"full_integer_quant": True}, **fields)
    with pytest.raises(ConversionError, match="did you mean full_integer_quant"):
        Options(outputs=("full_integer_qant",), **fields)


def test_keywords_that_say_nothing_contradict_nothing() -> None:
    silent: dict[str, Any] = {
        "html": None,
        "shape_hints": [],
        "check_onnx_tf_outputs_elementwise_close_full": False,
        "test_data": "",
    }
    assert resolve({"check": "none", **silent, "output_h5": False}) == Options(check="none")


def test_all_that_is_wrong_is_said_at_once(path: Path) -> None:
    with pytest.raises(ConversionError) as error:
        quiet(path, check="none", html="page.html", input_tflite_file_path="m.tflite", batch_size="two")
    assert len(error.value.problems) == 3


def test_what_is_given_by_position_is_said_in_words(path: Path) -> None:
    with pytest.raises(TypeError, match="input_onnx_file_path and output_folder_path, and all others by name; 3 were"):
        convert(path, "out", True)  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_data_from_a_pipe(path: Path, tmp_path: Path, kind: str) -> None:
    """As the shell's <(...) gives it: numpy would go back in it."""
    array, pipe = np.ones((2, 3, 12, 10), np.float32), tmp_path / "pipe"
    np.save(tmp_path / "data.npy", array)
    np.savez(tmp_path / "data.npz", image=array)
    os.mkfifo(pipe)
    with subprocess.Popen(f"cat data.{kind} > pipe", shell=True, cwd=tmp_path):
        assert quiet(path, test_data_nhwc_path=str(pipe)).exit_code == 0
    rows = [["image", str(pipe)]] if kind == "npy" else None
    with subprocess.Popen(f"cat data.{kind} > pipe", shell=True, cwd=tmp_path):
        given = {"calibration": str(pipe)} if rows is None else {"custom_input_op_name_np_data_path": rows}
        assert quiet(path, outputs=("integer_quant",), check="none", **given).exit_code == 0


def test_help_lists_every_keyword() -> None:
    keywords = inspect.signature(convert).parameters
    assert {"batch_size", "test_data", "no_check", "onnx_graph", "options"} <= set(keywords)
    assert all(f":param {name}: " in (convert.__doc__ or "") for name in keywords if name != "keywords")
