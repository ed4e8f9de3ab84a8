"""Running and timing models: the original's lines, inputs, providers, comparison; values are ONNX Runtime's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx2tf_lite import convert
from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools._latency import Timing
from onnx2tf_lite.tools.sit4onnx import inference, main

from . import models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tuning"
LN = [str(EXAMPLES / f"LayerNormalization2D_{k}.onnx") for k in (11, 17)]
X, Y = "LayerNormalization2D_input", "LayerNormalization2D_output"

#: The original's log of the article's first command, without figures.
ORIGINAL = [
    f"file: {LN[0]}",
    "providers: ['CPUExecutionProvider']",
    f"input_name.#: {X} shape: [#, #, #, #] dtype: float#",
    "test_loop_count: #",
    "total elapsed time:  # ms",
    "avg elapsed time per pred:  # ms",
    f"output_name.#: {Y} shape: [#, #, #, #] dtype: float#",
]


def figures(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", text)


def test_lines_of_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-if", LN[0], "-oep", "cpu"]) == 0
    said = [line.removeprefix("INFO: ") for line in capsys.readouterr().out.splitlines()]
    for line, wanted in zip(said, ORIGINAL, strict=False):
        assert figures(line) == (figures(wanted) if wanted.startswith("file") else wanted.replace("2D", "#D"))
    assert said[len(ORIGINAL)].startswith("elapsed time per pred: p10 ")
    assert said[-1] == "Finish!"


COMMANDS = [f"-if {{{k}}} -oep {p}" for k in (0, 1) for p in ("cpu", "tensorrt", "cuda")]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_article(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider that is not there is named, and the CPU runs."""
    assert main(line.format(*LN).split()) == 0
    printed = capsys.readouterr().out
    wanted = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(line.rpartition(" ")[2])
    import onnxruntime as ort

    missing = wanted is not None and wanted not in ort.get_available_providers()
    assert (f"{wanted} (" in printed) == missing
    assert main([*line.format(*LN).split(), "--require-provider"]) == int(missing)


def test_inputs_are_ones() -> None:
    """As in the original: all ones; LayerNormalization of a constant is its bias."""
    (y,) = inference(LN[1], onnx_execution_provider="cpu", non_verbose=True)
    np.testing.assert_allclose(y, 0.2, atol=1e-6)


def test_seeded_inputs_give_what_the_runtime_gives(tmp_path: Path) -> None:
    (y,) = inference(LN[0], onnx_execution_provider="cpu", seed=5, non_verbose=True)
    x = np.random.default_rng(5).standard_normal((20, 5, 10, 10)).astype(np.float32)
    np.testing.assert_array_equal(y, models.run(Path(LN[0]), {X: x})[Y])
    (again,) = inference(LN[0], onnx_execution_provider="cpu", seed=5, non_verbose=True)
    np.testing.assert_array_equal(y, again)


def test_seeded_ids_stay_in_their_table(tmp_path: Path) -> None:
    graph = onnx.parser.parse_graph("g (int64[50] ids, float[3, 4] t) => (float[50, 4] y) { y = Gather(t, ids) }")
    path = tmp_path / "ids.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (y,) = inference(str(path), onnx_execution_provider="cpu", seed=0, non_verbose=True)
    assert len(np.unique(y[:, 0])) == 3


def test_timing() -> None:
    """Numpy's percentiles, and Tukey's fence: 100 is beyond 4 + 1.5 * 2."""
    timing = Timing((1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.total, timing.average, timing.percentile(50)) == (110, 22, 3)
    assert timing.percentile(90) == np.percentile(timing.runs, 90)
    assert timing.outliers == 1


@pytest.mark.parametrize("loops", [0, 3])
def test_loop_count(loops: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-if", LN[1], "-oep", "cpu", "-tlc", str(loops)]) == 0
    assert f"test_loop_count: {loops or 10}\n" in capsys.readouterr().out


# --- the user's inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npy", "named", "npz", "float64"])
def test_inputs_from_files(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.build("branch")
    given = models.feeds(model, seed=1)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    words = []
    for k, (name, array) in enumerate(given.items()):
        np.save(tmp_path / f"{k}.npy", array.astype(np.float64) if form == "float64" else array)
        words += ["-ifp", f"{name}={tmp_path / f'{k}.npy'}" if form == "named" else str(tmp_path / f"{k}.npy")]
    if form == "npz":
        np.savez(tmp_path / "all.npz", **given)
        words = ["-ifp", str(tmp_path / "all.npz")]
    kept = [w for w in words if w != "-ifp"]
    results = inference(str(path), onnx_execution_provider="cpu", input_numpy_file_paths_for_testing=kept)
    for result, expected in zip(results, models.run(model, given).values(), strict=True):
        np.testing.assert_array_equal(result, expected)
    assert ("is converted to float32" in capsys.readouterr().out) == (form == "float64")
    arrays = inference(str(path), onnx_execution_provider="cpu", numpy_ndarrays_for_testing=list(given.values()),
                       non_verbose=True)  # fmt: skip
    np.testing.assert_array_equal(arrays[0], results[0])


def test_outputs_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = onnx.parser.parse_graph('g (float[2] x) => (float[2] "a/b:c") { "a/b:c" = Neg(x) }')
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")
    assert main(["-if", "m.onnx", "-oep", "cpu", "-ofp", "-n"]) == 0
    np.testing.assert_array_equal(np.load("result_a_b_c.npy"), [-1, -1])


def test_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-if", LN[0], "-oep", "cpu", "-pro"]) == 0
    (path,) = tmp_path.glob("*.json")
    assert path.name in capsys.readouterr().out


# --- kinds of models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["booln", "scalarin", "seqm", "topk", "ifm", "loopm", "clip", "resizedyn"])
def test_kinds_of_models(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = models.write(tmp_path, name)
    results = inference(str(path), onnx_execution_provider="cpu", test_loop_count=1)
    ones = {i.name: np.ones([d.dim_value or 1 for d in i.type.tensor_type.shape.dim],
                            helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type))
            for i in models.build(name).graph.input}  # fmt: skip
    for result, expected in zip(results, models.run(path, ones).values(), strict=True):
        for a, b in zip(*([v] if isinstance(v, np.ndarray) else v for v in (result, expected)), strict=True):
            np.testing.assert_array_equal(a, b)
    if name == "seqm":
        assert "output_name.1-1: " in capsys.readouterr().out


def test_bfloat16(tmp_path: Path) -> None:
    """ONNX Runtime does not exchange these as arrays."""
    ends = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, [2, 3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    (y,) = inference(str(tmp_path / "m.onnx"), onnx_execution_provider="cpu", non_verbose=True)
    assert (y.dtype.name, y.shape) == ("bfloat16", (2, 3))
    assert (y.astype(np.float32) == 1).all()


@pytest.mark.parametrize("path", models.real("mnist_8", "vittrack", "dtln_stage2", "go1_joystick_policy"))
def test_real_models(path: Path) -> None:
    given = models.real_feeds(path)
    results = inference(str(path), onnx_execution_provider="cpu", test_loop_count=1, non_verbose=True,
                        numpy_ndarrays_for_testing=list(given.values()))  # fmt: skip
    for result, expected in zip(results, models.run(path, given).values(), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_open_dimensions(tmp_path: Path) -> None:
    graph = onnx.parser.parse_graph("g (float[N, H, 2] x) => (float[N, H, 2] y) { y = Neg(x) }")
    path = str(tmp_path / "m.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (y,) = inference(path, fixed_shapes=[[3, 4, 2]], onnx_execution_provider="cpu", non_verbose=True)
    assert y.shape == (3, 4, 2)
    with pytest.raises(ToolError, match=r"'x' has open dimensions \[N, H, 2\]: give its size with -fs"):
        inference(path, batch_size=3, onnx_execution_provider="cpu", non_verbose=True)


# --- several models --------------------------------------------------------------------------------------------------


def test_comparison_of_the_article(capsys: pytest.CaptureFixture[str]) -> None:
    """Opset 11 against 17: the ratio of the medians, and a difference of less than a millionth."""
    assert main(["-if", *LN, "-oep", "cpu", "--compare", "--seed", "0", "-tlc", "50"]) == 0
    printed = capsys.readouterr().out
    ratio = re.search(r"ratio of the medians: ([\d.]+) \(\S+_17.onnx / \S+_11.onnx\)", printed)
    assert ratio and 0 < float(ratio[1]) < 5
    difference = re.search(rf"output {Y}: largest difference (\S+) ", printed)
    assert difference and 0 < float(difference[1]) < 1e-6


def test_tflite_beside_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its input is stored channels-last: the same image all the same."""
    source = EXAMPLES / "conv_bn_relu_bn.onnx"
    files = convert(
        source, tmp_path, outputs=("float32",), channels_last_names=["x"], check="none", non_verbose=True
    ).files
    path = str(files["float32"])
    results: list[Any] = inference([str(source), path], onnx_execution_provider="cpu", seed=1, compare=True)
    printed = capsys.readouterr().out
    assert "providers: ['LiteRT (XNNPACK)']" in printed
    assert "input_name.1: x shape: [1, 16, 16, 3] dtype: float32" in printed
    stored = results[1][0]
    reference = results[0][0]
    turned = stored if stored.shape == reference.shape else stored.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(turned, reference, rtol=1e-4, atol=1e-5)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-if", *LN, "--compare", "--json"]) == 0
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert first["milliseconds"]["runs"] == 10
    assert list(second["differences"]) == [Y]
    assert "TensorrtExecutionProvider" in captured.err


# --- errors ----------------------------------------------------------------------------------------------------------

ERRORS: list[tuple[list[str], str]] = [
    (["-if", "nowhere.onnx"], "no such file"),
    (["-if", LN[0], "-tlc", "-1"], "cannot be negative"),
    (["-if", LN[0], "-fs", "1", "2"], "is no shape of input"),
    (["-if", LN[0], "-fs", "20", "5", "10", "10", "-fs", "1"], "2 shapes; the model has 1 inputs"),
    (["-if", LN[0], "-ifp", "nowhere.npy"], "cannot be read"),
    (["-if", LN[0], "-ifp", "z=nowhere.npy"], "cannot be read"),
    (["-if", LN[0], "--compare"], "at least two"),
    (["-if", str(Path(__file__))], "ONNX Runtime"),
]


@pytest.mark.parametrize(("words", "says"), ERRORS, ids=[s for _, s in ERRORS[:5]] + ["named", "one", "no-model"])
def test_errors_exit_with_one(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The original exits with 0."""
    assert main([*words, "-oep", "cpu"]) == 1
    assert says in capsys.readouterr().err


def test_wrong_arrays(tmp_path: Path) -> None:
    for array, says in (
        (np.ones((2, 2), np.float32), r"of shape \[2, 2\]"),
        (np.ones((20, 5, 10, 10), complex), "complex"),
    ):
        with pytest.raises(ToolError, match=says) as caught:
            inference(LN[0], onnx_execution_provider="cpu", numpy_ndarrays_for_testing=[array], non_verbose=True)
        assert caught.value.tool == "sit4onnx"
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(ToolError, match="no input 'z'"):
        inference(LN[0], onnx_execution_provider="cpu", input_numpy_file_paths_for_testing=[f"z={tmp_path / 'a.npy'}"])
