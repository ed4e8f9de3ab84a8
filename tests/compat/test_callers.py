"""What programs that call onnx2tf say, collected from public ones, and what each relies on afterwards."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import conversion
from onnx2tf_lite.onnx2tf_options import MEAN, STD
from tests.harness import run_tflite

from .conftest import COMPAT
from .models import detector, scorer, segmenter, speech

IMAGES = (1, 3, 32, 32)
#: What quantised kinds of a caller's options are called.
DYNAMIC, FULL = "m_dynamic_range_quant.tflite", "m_full_integer_quant.tflite"
FLOAT = ("saved_model.pb", "m_float32.tflite", "m_float16.tflite")
INTEGER = (*FLOAT, DYNAMIC, FULL, "m_integer_quant.tflite", "m_integer_quant_with_int16_act.tflite")
NORM = "[[[[0.485,0.456,0.406]]]]", "[[[[0.229,0.224,0.225]]]]"


def calibration(shape: tuple[int, ...] = (4, 32, 32, 3), path: str = "calib.npy") -> str:
    """Samples in the order of the file, from 0 to 1."""
    np.save(path, np.random.default_rng(0).random(shape, np.float32))
    return path


def ends(file: str) -> dict[str, tuple[list[int], str]]:
    """Stored shape and dtype of each input and output of a .tflite in ``out``, by signature name."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(f"out/{file}").get_signature_runner()
    details = runner.get_input_details() | runner.get_output_details()
    return {name: (d["shape"].tolist(), np.dtype(d["dtype"]).name) for name, d in details.items()}


def span(file: str, name: str) -> tuple[float, float]:
    """The real numbers that the int8 input of a file stands for."""
    from ai_edge_litert.interpreter import Interpreter

    scale, zero = Interpreter(file).get_signature_runner().get_input_details()[name]["quantization"]
    return (-128 - zero) * scale, (127 - zero) * scale


@dataclass
class Case:
    """The words or keywords, the model, the files that are looked for, shapes (and dtypes) of edges of one of them."""

    said: Any
    model: Callable[[], onnx.ModelProto] = detector
    files: tuple[str, ...] = FLOAT
    edges: Mapping[str, Any] | None = None
    of: str = "m_float32.tflite"


DETECTED = {"images": [1, 32, 32, 3], "output0": [1, 6, 16]}

LINES = {
    "batch, quiet": Case("-i m.onnx -o out -b 1 --non_verbose", lambda: detector(batch="N"), edges=DETECTED),
    "signatures": Case("-i m.onnx -o out -osd -n", edges=DETECTED),
    "errors only": Case("-i m.onnx -o out -v error", edges=DETECTED),
    "without onnxsim": Case("-i m.onnx -o out -nuo --non_verbose"),
    "a retry": Case("-i m.onnx -o out --not_use_onnxsim --disable_strict_mode"),
    "every layer": Case("-i m.onnx -o out -cotof -n"),
    "integers": Case(
        ["-i", "m.onnx", "-o", "out", "-oiqt", "-cind", "images", "calib.npy", *NORM],
        files=INTEGER, edges={"images": ([1, 32, 32, 3], "int8")}, of=FULL),
    "fixed shape, per tensor": Case(
        "-i m.onnx -o out -ois images:1,3,640,640 -oiqt -qt per-tensor",
        lambda: detector(size="side"), files=INTEGER, edges={"images": [1, 640, 640, 3], "output0": [1, 6, 6400]}),
    "speech": Case(
        ["-i", "m.onnx", "-o", "out", "--batch_size", "1", "--overwrite_input_shape", "input:1,1760"], speech,
        edges={"input": [1, 1760], "score": [1, 1]}),
    "a token model": Case(
        "-i m.onnx -o out -b 1 -kat data", scorer, edges={"data": [1, 4, 5], "scores": [1, 4, 4]}),
    "names and dynamic range": Case("-i m.onnx -o out -coion -odrqt -n", files=(*FLOAT, DYNAMIC)),
    "forms": Case(
        "-i m.onnx -o out -ebu -dgc -eru -ofgd -rtpo Erf GeLU -nodaftc 5 -nodafsc 4 -eatfp16 -snms v5 -coton denorm "
        "-vh images:0.5 -ens 2 -ert 1e-4 -eat 1e-4"),
    "kept channels-first": Case("-i m.onnx -o out -k images -prf fix.json", edges={"images": [1, 3, 32, 32]}),
}  # fmt: skip


#: Of the lines and keywords those that are run each time; the others are slow tests.
QUICK = {"batch, quiet", "integers", "a token model", "forms", "detector", "tokens turned round", "segmentation",
         "onnx2tf's own defaults"}  # fmt: skip


def cases(table: Mapping[str, Case]) -> list[Any]:
    return [pytest.param(c, id=n, marks=[] if n in QUICK else pytest.mark.slow) for n, c in table.items()]


def check_files(case: Case) -> None:
    assert [name for name in case.files if not Path("out", name).is_file()] == []
    for name, wanted in (case.edges or {}).items():
        found = ends(case.of)[name]
        assert (found if isinstance(wanted, tuple) else found[0]) == wanted


@pytest.mark.parametrize("case", cases(LINES))
def test_command_line(case: Case) -> None:
    from onnx2tf.__main__ import main  # type: ignore[import-not-found, unused-ignore]

    onnx.save(case.model(), "m.onnx")
    before = Path("m.onnx").read_bytes()
    calibration()
    assert main(case.said if isinstance(case.said, list) else case.said.split()) == 0
    check_files(case)
    assert Path("m.onnx").read_bytes() == before


@pytest.mark.parametrize("given", [("m.onnx", "out"), ("m.onnx", None, "out"), (Path("m.onnx"), Path("out"))], ids=str)
def test_arguments_without_names(given: tuple[Any, ...]) -> None:
    """In the order of onnx2tf, whose second one is a model; a path there is the folder."""
    import onnx2tf  # type: ignore[import-not-found, unused-ignore]

    onnx.save(segmenter(), "m.onnx")
    model = onnx2tf.convert(*given, non_verbose=True, outputs=["float32"], check="none")
    assert Path("out/m_float32.tflite").is_file()
    assert model.onnx_output_layouts == {"mask": True}


def test_as_a_module() -> None:
    """``python -m onnx2tf`` in a process of its own, found as an installed package would be."""
    onnx.save(detector(), "m.onnx")
    line = [sys.executable, "-m", "onnx2tf", "-i", "m.onnx", "-o", "out", "-b", "1", "--non_verbose", "-n"]
    paths = os.pathsep.join([str(COMPAT), str(COMPAT.parent)])
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert (done.returncode, done.stdout) == (0, "")
    check_files(Case("", edges=DETECTED))


PATHS = {"input_onnx_file_path": "m.onnx", "output_folder_path": "out"}
QUIET = {"not_use_onnxsim": True, "verbosity": "error"}

KEYWORDS = {
    "plain": Case({}, edges=DETECTED),
    "quiet": Case({"non_verbose": True}),
    "paths": Case({"input_onnx_file_path": Path("m.onnx"), "output_folder_path": Path("out")}, edges=DETECTED),
    "verbosity as a flag": Case({"verbosity": True}),
    "detector": Case(
        QUIET | {"output_integer_quantized_tflite": False, "custom_input_op_name_np_data_path": None,
                 "enable_batchmatmul_unfold": True, "output_signaturedefs": True, "disable_group_convolution": False},
        edges=DETECTED),
    "detector with integers": Case(
        QUIET | {"output_integer_quantized_tflite": True, "output_signaturedefs": True,
                 "custom_input_op_name_np_data_path": [["images", "calib.npy", [[[[0, 0, 0]]]], [[[[255, 255, 255]]]]]],
                 "enable_batchmatmul_unfold": True, "disable_group_convolution": False},
        files=INTEGER, edges={"images": ([1, 32, 32, 3], "int8"), "output0": ([1, 6, 16], "int8")}, of=FULL),
    "detector for a delegate": Case(QUIET | {"optimization_for_gpu_delegate": True, "disable_group_convolution": True}),
    "uint8 outside": Case(
        {"output_integer_quantized_tflite": True, "input_quant_dtype": "uint8", "output_quant_dtype": "float32",
         "custom_input_op_name_np_data_path": [["images", "calib.npy", *NORM]], "quant_type": "per-tensor"},
        files=INTEGER, edges={"images": ([1, 32, 32, 3], "uint8"), "output0": ([1, 6, 16], "float32")}, of=FULL),
    "dynamic range": Case({"output_dynamic_range_quantized_tflite": True}, files=(*FLOAT, DYNAMIC)),
    "kept input": Case(
        {"onnx_graph": "m.onnx", "keep_shape_absolutely_input_names": ["data"], "batch_size": 1}, scorer,
        files=("saved_model.pb", "m_float32.tflite"), edges={"data": [1, 4, 5]}),
    "tokens turned round": Case({"batch_size": 1}, scorer, edges={"data": [1, 5, 4], "scores": [1, 4, 4]}),
    "second generation": Case(
        {"flatbuffer_direct_output_saved_model": True, "copy_onnx_input_output_names_to_tflite": True,
         "tflite_backend": "flatbuffer_direct"}, edges=DETECTED),
    "fixed shape": Case(
        {"overwrite_input_shape": ["images:1,3,64,64"]}, lambda: detector(size="side"),
        edges={"images": [1, 64, 64, 3], "output0": [1, 6, 64]}),
    "kept channels-first": Case({"keep_ncw_or_nchw_or_ncdhw_input_names": ["images"]}, edges={"images": [*IMAGES]}),
    "channels-last already": Case({"keep_nwc_or_nhwc_or_ndhwc_input_names": ["images"]}),
    "segmentation": Case({"batch_size": 1}, segmenter, edges={"input": [1, 16, 16, 3], "mask": [1, 16, 16, 2]}),
    "speech": Case({"overwrite_input_shape": ["input:1,1760"], "batch_size": 1}, speech, edges={"input": [1, 1760]}),
    "cut": Case({"output_names_to_interrupt_model_conversion": ["map"]}, edges={"map": [1, 4, 4, 6]}),
    "checked": Case({"check_onnx_tf_outputs_elementwise_close_full": True,
                     "check_onnx_tf_outputs_elementwise_close_rtol": 0.0,
                     "check_onnx_tf_outputs_elementwise_close_atol": 1e-4}),
    "forms": Case({"replace_to_pseudo_operators": ["Erf"], "enable_rnn_unroll": True, "mvn_epsilon": 1e-8,
                   "number_of_dimensions_after_flextranspose_compression": 4, "switch_nms_version": "v5",
                   "enable_accumulation_type_float16": True, "value_hints": ["*:0.5"], "eval_num_samples": 3}),
    "onnx2tf's own defaults": Case(
        {"quant_type": "per-channel", "quant_norm_mean": MEAN, "quant_norm_std": STD, "input_quant_dtype": "int8",
         "fused_argmax_scale_ratio": 0.5, "mvn_epsilon": 1e-10, "auto_split_max_size_mb": 1024, "verbosity": "debug",
         "onnxruntime_output_memmap": True, "native_pytorch_generation_timeout_sec": 0, "output_folder_path": "out",
         "check_onnx_tf_outputs_sample_data_normalization": "norm", "switch_nms_version": "v4"}, edges=DETECTED),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(KEYWORDS))
def test_keywords(case: Case) -> None:
    import onnx2tf

    onnx.save(case.model(), "m.onnx")
    calibration()
    keywords = PATHS | case.said
    if "onnx_graph" in keywords:
        keywords["onnx_graph"] = onnx.load("m.onnx")
    onnx2tf.convert(**keywords)
    check_files(case)


def test_boxes_are_where_callers_index_them() -> None:
    """``y[:, [0, 2]]`` are rows of boxes, and images go in channels-last."""
    from onnx2tf import convert

    from tests.harness import reference

    onnx.save(detector(), "m.onnx")
    convert(**PATHS, non_verbose=True)
    x = np.random.default_rng(0).random(IMAGES, np.float32)
    wanted = reference(detector(), {"images": x})["output0"]
    for found in run_tflite("out/m_float32.tflite", {"images": x.transpose(0, 2, 3, 1)}).values():
        np.testing.assert_allclose(found["output0"][:, [0, 2]], wanted[:, [0, 2]], rtol=1e-4, atol=1e-6)


def test_what_is_read_before_the_call() -> None:
    """The version, and the module that one exporter patches where it finds a line in it."""
    import onnx2tf

    topk = importlib.import_module("onnx2tf.ops.TopK")
    assert "k_tensor = int(k_tensor)" not in Path(inspect.getfile(topk)).read_text()
    numbers = onnx2tf.__version__.partition("+")[0].split(".")
    assert (1, 26, 3) <= tuple(map(int, numbers)) < (1, 29)


@pytest.mark.parametrize(
    ("ok", "error", "said"), [(False, "", "b: differs"), (True, "could not be checked", "could not be checked")]
)
def test_a_file_that_differs_or_was_not_compared_is_a_warning(
    ok: bool, error: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx2tf

    files = [SimpleNamespace(ok=True, verdict="a: matches"), SimpleNamespace(ok=ok, verdict="b: differs")]
    check = SimpleNamespace(files=files, error=error)
    made = SimpleNamespace(check=check, report={"model": "m.onnx"}, tf_keras_model=np.ones(3))
    monkeypatch.setattr(conversion, "convert", lambda *given, **keywords: made)
    with pytest.warns(RuntimeWarning, match=said) as warned:
        model = onnx2tf.convert(**PATHS)
    assert len(warned) == 1
    assert model.shape == (3,) and isinstance(model, np.ndarray)  # what the Keras model has, once it is asked for


def test_the_keras_model_is_frozen_as_exporters_do() -> None:
    """``inputs[0].shape``, a function around the model, its graph as a .pb, and what it computes."""
    pytest.importorskip("tf_keras", reason="Keras models need tf-keras")
    import onnx2tf
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from tests.harness import reference

    onnx.save(detector(), "m.onnx")
    model = onnx2tf.convert(**PATHS, not_use_onnxsim=True, verbosity="error")
    assert tuple(model.inputs[0].shape) == (1, 32, 32, 3)
    around = tf.function(lambda x: model(x))
    concrete = around.get_concrete_function(tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype))
    frozen = convert_variables_to_constants_v2(concrete)
    tf.io.write_graph(frozen.graph, ".", "m.pb", as_text=False)
    assert Path("m.pb").stat().st_size > 1000
    x = np.random.default_rng(0).random(IMAGES, np.float32)
    found = np.asarray(frozen(tf.constant(x.transpose(0, 2, 3, 1)))[0])
    np.testing.assert_allclose(found, reference(detector(), {"images": x})["output0"], rtol=1e-4, atol=1e-6)


def test_integers_without_data_are_calibrated_on_made_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    """As onnx2tf 1.x has pictures of its own: told in a line that stays in the report."""
    from onnx2tf.__main__ import main

    onnx.save(segmenter(), "m.onnx")
    kinds = ["--outputs", "full_integer_quant", "-b", "1"]
    assert main(["-i", "m.onnx", "-o", "out", "-n", *kinds]) == 0
    report = json.loads(Path("out/m_report.json").read_text())
    (said,) = [w for w in report["warnings"] if "made pictures" in w]
    assert "-cind" in said and report["quantisation"]["made"] and report["quantisation"]["samples"] > 8
    low, high = span("out/" + FULL, "input")
    assert -2.2 < low < -1.5 and 2 < high < 2.7  # what [0, 1] becomes by onnx2tf's own -qnm and -qns
    assert main(["-i", "m.onnx", "-o", "plain", "-n", *kinds, "-qnm", "0", "-qns", "1"]) == 0
    low, high = span("plain/" + FULL, "input")
    assert -0.01 <= low <= 0 and 0.9 < high < 1.1


def test_what_is_no_picture_is_not_calibrated_on_some(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx2tf.__main__ import main

    onnx.save(scorer(), "m.onnx")
    assert main(["-i", "m.onnx", "-o", "out", "-b", "1", "-oiqt"]) == 1
    assert "there is no data to take ranges from" in (said := capsys.readouterr().err) and "-cind NAME FILE.npy" in said
    assert not Path("out").exists()


def test_the_installed_command_says_which_rule_holds() -> None:
    """Compat owns no command of its own: the product's has the same defaults where compat is there, and tells."""
    onnx.save(detector(), "m.onnx")
    words = [sys.executable, "-m", "onnx2tf_lite"]
    line = ["-i", "m.onnx", "-o", "out", "--outputs", "float32", "--no-check"]
    for paths, there in ([COMPAT.parent], False), ([COMPAT.parent, COMPAT], True):
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        said = [
            subprocess.run([*words, *more], capture_output=True, text=True, env=env).stdout for more in (["-V"], line)
        ]
        assert [("channels-last" in text) for text in said] == [there, there], said


def test_nothing_heavy_is_imported_with_the_name() -> None:
    code = "import sys, onnx2tf; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(COMPAT), str(COMPAT.parent)])},
    )  # fmt: skip
    assert not {"numpy", "onnx", "tensorflow", "onnx2tf_lite"} & set(done.stdout.split())
