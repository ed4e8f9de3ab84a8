"""`onnx2tf-check --target DEVICE FILE`: verdicts, exit codes, JSON, the page."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from onnx2tf_lite import check_cli, convert
from tests.targets import needs, single
from tests.validation.models import model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of one operator."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    cases = {"conv": ("CONV_2D-1", "q8"), "float": ("CONV_2D-1", "f32"), "gelu": ("GELU-erf", "q8")}
    for name, (case, form) in (cases | {"split": ("SPLIT-4d", "q8")}).items():
        path = folder / f"{name}.tflite"
        path.write_bytes(single.content(case, form))
        made[name] = str(path)
    return made


@needs("tflm")
def test_what_runs_is_0(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_cli.main(["--target", "micro", files["conv"]]) == 0
    said = capsys.readouterr().out
    assert "runs: 1 of 1 operators run (proved by TFLM" in said and "bytes of arena" in said and "byte for byte" in said


@needs("tflm")
def test_what_does_not_run_is_1_and_says_what_to_change(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_cli.main(["--target", "micro", files["gelu"], files["conv"]]) == 1
    said = capsys.readouterr().out
    assert "not possible" in said and "TFLM has no such operator" in said and "--target micro writes it" in said


@pytest.mark.parametrize(("device", "code"), [("ethos-u55", 1), ("micro", 0), ("cpu", 0)])
def test_an_accelerator_that_does_nothing_is_1(files: dict[str, str], device: str, code: int) -> None:
    assert check_cli.main(["--target", device, files["float"]]) == code


@pytest.mark.parametrize("device", ["gpu", "edgetpu"])
@pytest.mark.parametrize("name", ["conv", "split"])  # of SPLIT the axis is the first operand, and a number
def test_without_a_tool_it_says_by_table_only(
    files: dict[str, str], name: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_cli.main(["--target", device, files[name]]) == 0
    assert "(by table only)" in capsys.readouterr().out


def test_a_tool_that_is_not_installed_is_said(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ethosu.vela.vela", None)
    assert check_cli.main(["--target", "ethos-u55", files["conv"]]) == 0
    assert "pip install 'onnx2tf_lite[ethos-u]'" in capsys.readouterr().out


@needs("vela")
@needs("vela")
def test_what_vela_refuses_of_open_sizes_says_to_fix_them(tmp_path: Path) -> None:
    shuffle = "g (float[N,4,6,8] x) => (float[N,1,12,16] y) { a = Relu(x) y = DepthToSpace<blocksize=2>(a) }"
    asked = {
        "onnx_graph": model(shuffle),
        "outputs": ["full_integer_quant"],
        "random_calibration": True,
        "check": "none",
    }
    found = [
        convert(output_folder_path=tmp_path, target="ethos-u55", non_verbose=True, **asked, **fixed)
        for fixed in ({}, {"batch_size": 1})
    ]
    assert [result.exit_code for result in found] == [1, 0]
    refused = [v for v in found[0].fits[0].verdicts if v.status == "not possible"]
    assert refused and all("-b 1" in v.remedy for v in refused)


def test_json_has_every_operator(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_cli.main(["--target", "ethos-u55", files["conv"], "--json", "-"]) == 0
    (fit,) = json.loads(capsys.readouterr().out)["fits"]
    assert fit["share"] == 100 and fit["proved"].startswith("Vela") and fit["verdicts"][0]["operator"] == "CONV_2D"


@needs("tflm")
@pytest.mark.skipif(importlib.util.find_spec("plotly") is None, reason="the page is drawn by plotly")
def test_the_page_has_every_operator(files: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert check_cli.main(["--target", "micro", files["gelu"], "--html", str(page)]) == 1
    text = page.read_text()
    assert "TensorFlow Lite for Microcontrollers" in text and "GELU" in text and "TFLM has no such operator" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "micro"], "there is no file"),
        (["-t", "x.tflite"], "there is nothing to ask"),
        (["-i", "m.onnx", "-t", "x.tflite", "y.tflite", "--rows", "none", "z"], "z is not an option"),
        (["--target", "micro", __file__], "--target asks about .tflite files"),
    ],
)
def test_a_wrong_command_line_is_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_cli.main(words) == 2
    assert said in capsys.readouterr().err
