"""`onnx2tf_lite.convert`: what it writes, what it returns, and that nothing is left behind where it fails."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

import onnx2tf_lite
from onnx2tf_lite import ConversionError, compile, convert, validation
from onnx2tf_lite.delivery import PREFIX
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.options import Options, resolve
from onnx2tf_lite.validation import tensorflow_file
from tests.validation.models import cnn, model

FLAT = ("float32", "float16")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "net.onnx"
    onnx.save(cnn(), found)
    return found


def quiet(source: Any, out: Path | str = "unused", **options: Any) -> onnx2tf_lite.ConversionResult:
    """A conversion without output; nothing is written unless there is a folder."""
    given = {"onnx_graph": source} if isinstance(source, onnx.ModelProto) else {"input_onnx_file_path": source}
    options = {"outputs": ("float32",), "disable_model_save": out == "unused", "non_verbose": True} | options
    return convert(**given, output_folder_path=out, **options)


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def signature(path: Path) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Shapes of the inputs and outputs of a file, by name."""
    runner = Interpreter(str(path)).get_signature_runner()
    details = runner.get_input_details(), runner.get_output_details()
    return tuple({n: d["shape_signature"].tolist() for n, d in part.items()} for part in details)  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------ files


def test_exactly_these_files_and_the_rest_untouched(path: Path, tmp_path: Path) -> None:
    out, digest = tmp_path / "deep" / "out", hashlib.sha256(path.read_bytes()).hexdigest()
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "net_float32.tflite").write_text("an older one")
    result = quiet(path, out, outputs=FLAT)
    assert listing(out) == ["net_float16.tflite", "net_float32.tflite", "net_report.json", "notes.txt"]
    assert listing(tmp_path) == ["deep", "net.onnx"] and listing(tmp_path / "deep") == ["out"]
    assert (out / "notes.txt").read_text() == "mine"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert result.files == {k: out / f"net_{k}.tflite" for k in FLAT} and result.exit_code == 0
    assert signature(result.files["float32"]) == ({"image": [-1, 12, 10, 3]}, {"scores": [-1, 5]})


def test_default_set_with_the_saved_model(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the second time over the first
        result = convert(path, out, non_verbose=True)
        assert {"saved_model.pb", "variables", "net_float32.tflite", "net_float16.tflite"} <= set(listing(out))
        assert listing(tmp_path) == ["net.onnx", "out"]
    assert result.files["saved_model"] == out and result.check is not None
    assert [f.kind for f in result.check.files] == ["saved_model", "float32", "float16"] and result.check.ok


def test_report(path: Path, tmp_path: Path) -> None:
    quiet(path, tmp_path / "out", check="layers")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text())
    (image,) = report["inputs"]
    assert image == {"name": "image", "dtype": "float32", "onnx_shape": ["N", 3, 12, 10], "shape": ["N", 12, 10, 3],
                     "perm": [0, 2, 3, 1]}  # fmt: skip
    stages = [name for name, _ in compile.STAGES + compile.BRANCHES["integer"]]
    assert set(report["stages"]) == {"load", "tune", *stages, "float32", "check"}
    assert report["check"]["ok"] and report["check"]["files"][0]["layers"]
    assert report["files"] == {"net_float32.tflite": (tmp_path / "out" / "net_float32.tflite").stat().st_size}


def test_model_without_a_path(tmp_path: Path) -> None:
    quiet(cnn(), tmp_path / "out")
    assert listing(tmp_path / "out") == ["model_float32.tflite", "model_report.json"]


def test_dry_run_writes_nothing(path: Path, tmp_path: Path) -> None:
    result = quiet(path, tmp_path / "out", disable_model_save=True)
    assert listing(tmp_path) == ["net.onnx"]
    assert result.files == {} and result.check is not None and result.check.ok


UNKNOWN = "g (float[1,4] x) => (float[1,4] y) { a = Foo(x)\n b = Relu(a)\n c = Bar(x)\n y = Add(b, c) }"


def test_all_unsupported_nodes_at_once_and_no_file(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 17, "mine": 1]>\n'
                                    + UNKNOWN.replace("Foo", "mine.Foo").replace("Bar", "mine.Bar"))  # fmt: skip
    with pytest.raises(ConversionError) as error:
        quiet(proto, tmp_path / "new" / "out")
    text = str(error.value)
    assert "mine.Foo" in text and "mine.Bar" in text and "Relu" not in text
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "content", [None, b"", b"version https://git-lfs", b"\x08\x07"], ids=["missing", "empty", "text", "torn"]
)
def test_not_a_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    before = listing(tmp_path)
    with pytest.raises(ConversionError, match=r"bad\.onnx"):
        quiet(tmp_path / "bad.onnx", tmp_path / "out")
    assert listing(tmp_path) == before


def test_output_folder_is_a_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is a file"):
        quiet(path, path)
    assert listing(tmp_path) == ["net.onnx"]


def test_nothing_is_left_after_an_interruption(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validation.beside, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(path, tmp_path / "out")
    assert listing(tmp_path) == ["net.onnx"]


# ------------------------------------------------------------------------------------------------ TensorFlow

BLOCKED = """
import sys

import onnx2tf_lite.conversion
assert "onnx.reference" not in sys.modules, "20 ms that a conversion seldom needs"

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "keras", "torch"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
from onnx2tf_lite import convert
result = convert(sys.argv[1], sys.argv[2], outputs=("float32", "float16"), non_verbose=True)
assert result.exit_code == 0 and set(result.files) == {"float32", "float16"}
result = convert(sys.argv[1], sys.argv[2], check="none", non_verbose=True)
assert result.exit_code == 0 and set(result.files) == {"saved_model", "float32", "float16"}
assert "tensorflow" not in sys.modules
"""


def test_writing_needs_no_tensorflow(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED, path, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_tensorflow_the_saved_model_is_written_and_not_checked(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorflow_file, "find_spec", lambda name: None)
    result = convert(path, tmp_path / "out", verbosity="warn")
    assert (tmp_path / "out" / "saved_model.pb").exists() and result.exit_code == 2 and result.check
    (line,) = capsys.readouterr().err.splitlines()
    assert "saved_model: not checked: TensorFlow is not installed (pip install" in line
    assert [f.ok for f in result.check.files] == [False, True, True] and not result.check.wrong
    assert quiet(path, tmp_path / "unchecked", check="none").exit_code == 0


# ------------------------------------------------------------------------------------------------ options


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


def test_names_are_kept_as_onnx_has_them(tmp_path: Path) -> None:
    proto = cnn()
    for node in proto.graph.node:
        node.input[:] = ["/in:0" if n == "image" else n for n in node.input]
        node.output[:] = ["größe/scores:0" if n == "scores" else n for n in node.output]
    proto.graph.input[0].name, proto.graph.output[0].name = "/in:0", "größe/scores:0"
    result = quiet(proto, tmp_path / "out")
    assert [list(part) for part in signature(result.files["float32"])] == [["/in:0"], ["größe/scores:0"]]
    assert result.exit_code == 0


def test_names_that_a_signature_cannot_have_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = '"" (float[2] "s.x", float[2] s_x, float[2] plain) => (float[2] "40") { "40" = Sum("s.x", s_x, plain) }'
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    names = {"s.x": "s_x_1", "s_x": "s_x", "plain": "plain", "40": "tensor_40"}
    result = quiet(source, outputs=("saved_model",), non_verbose=False)
    assert result.exit_code == 0 and result.report["signature"] == names
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "signature" in line]
    assert told.endswith(": s.x is s_x_1, 40 is tensor_40")
    assert quiet(source, outputs=("float32",), non_verbose=False).report["signature"] == {}
    assert "signature" not in capsys.readouterr().out


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


def test_an_input_that_is_an_output_is_no_layer() -> None:
    text = "g (float[2] x, float[2] z) => (float[2] x, float[2] y) { y = Relu(z) }"
    source = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    (file,) = quiet(source).check.files  # type: ignore[union-attr]
    assert "1 of 1 layers" in file.verdict and "not reached" not in file.verdict


def test_help_lists_every_keyword() -> None:
    keywords = inspect.signature(convert).parameters
    assert {"batch_size", "test_data", "no_check", "onnx_graph", "options"} <= set(keywords)
    assert all(f":param {name}: " in (convert.__doc__ or "") for name in keywords if name != "keywords")


@pytest.mark.parametrize("place", ["net.onnx/out", "link", "link/out"])
def test_a_folder_that_cannot_be_is_said_before_the_work(
    path: Path, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (path.parent / "link").symlink_to("nowhere")
    with pytest.raises(ConversionError, match=r"is a file|is a link to nothing"):
        convert(path, path.parent / place)
    assert capfd.readouterr().out == ""
    assert listing(path.parent) == ["link", "net.onnx"]


def test_rests_of_a_killed_conversion_go(path: Path, tmp_path: Path) -> None:
    for name in ("dead", "held", "new"):
        (tmp_path / f"{PREFIX}{name}").mkdir()
        os.utime(tmp_path / f"{PREFIX}{name}", (0, 0) if name != "new" else None)
    held = os.open(tmp_path / f"{PREFIX}held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    quiet(path, tmp_path / "out")
    os.close(held)
    assert listing(tmp_path) == [f"{PREFIX}held", f"{PREFIX}new", "net.onnx", "out"]


def test_an_older_page_stays_where_a_new_one_cannot_be_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("the older one")
    monkeypatch.setattr(validation.page, "require", lambda: None)
    monkeypatch.setattr(validation.page, "render", lambda report: "a new one")
    quiet(path, html=page)
    assert page.read_text() == "a new one"

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConversionError, match="No space left"):
        quiet(path, html=page)
    assert page.read_text() == "a new one" and listing(tmp_path) == ["net.onnx", "page.html"]


# ------------------------------------------------------------------------------------------------ a wrong file


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every .tflite gets one wrong weight in its second convolution."""
    write = tflite.write
    weights = next(onnx.numpy_helper.to_array(t) for t in cnn().graph.initializer if t.name == "w2").transpose(
        0, 2, 3, 1
    )
    bent = weights.copy()
    bent[3, 1, 1, 2] += 1

    def wrong(graph: Any, path: Path, **options: Any) -> None:
        write(graph, path, **options)
        path.write_bytes(path.read_bytes().replace(weights.tobytes(), bent.tobytes()))

    monkeypatch.setattr(tflite, "write", wrong)


@pytest.mark.usefixtures("sabotage")
def test_a_wrong_file_stays_and_is_reported(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = quiet(path, tmp_path / "out")
    assert result.exit_code == 1 and result.files["float32"].is_file()
    assert "DIFFERS" in (line := capsys.readouterr().err) and "node_c2" in line, "also when quiet"
    assert json.loads((tmp_path / "out" / "net_report.json").read_text())["check"]["ok"] is False
    assert quiet(path, check="none").exit_code == 0, "nobody looked"
    loose = quiet(path, check_onnx_tf_outputs_elementwise_close_rtol=1e3)
    assert loose.check is not None and loose.exit_code == 0 and "LOOSENED" in loose.check.files[0].verdict


def test_both_runtimes_of_the_interpreter_are_used(path: Path) -> None:
    check = quiet(path).check
    assert check is not None and check.files[0].runtimes == ("XNNPACK", "builtin kernels")
