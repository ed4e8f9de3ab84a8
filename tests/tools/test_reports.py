"""What users of the tools have stumbled over, each once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx2tf_lite.commands import guarded
from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.onnx2json import convert as to_json
from onnx2tf_lite.tools.recipe import read
from onnx2tf_lite.tools.sam4onnx import modify
from onnx2tf_lite.tools.scs4onnx import shrinking
from onnx2tf_lite.tools.snc4onnx import combine
from onnx2tf_lite.tools.snd4onnx import remove
from onnx2tf_lite.tools.sod4onnx import outputs_delete
from onnx2tf_lite.tools.sog4onnx import generate

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]


def test_open_shapes_are_no_saving(cli: Cli, tmp_path: Path) -> None:
    """MACs that cannot be counted are not 0."""
    before, after = models.build("cnn"), models.build("cnn")
    after.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    for value in (*after.graph.output, *after.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    for name, model in (("a", before), ("b", after)):
        onnx.save(model, tmp_path / f"{name}.onnx")
    said = cli("ssc4onnx", "-if", tmp_path / "a.onnx", "--compare", tmp_path / "b.onnx").text
    (line,) = [x for x in said.splitlines() if "MACs" in x]
    assert "(without" in line and line.rstrip(" │").count("-") == 0


def test_a_model_from_a_pipe_is_run(cli: Cli) -> None:
    words = ["-if", "-", "-oep", "cpu", "--seed", "0"]
    assert cli("sit4onnx", *words, stdin=models.build("cnn").SerializeToString()).code == 0


def test_converted_models_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """Models of two opsets: the conversion of one was said to be unchecked."""
    combine([["out", "in"]], ["a", "b"], onnx_graphs=[models.build("ma"), models.build("mc")], disable_onnxsim=True)
    assert "not checked" not in capsys.readouterr().out


def test_one_model_is_not_combined() -> None:
    with pytest.raises(ToolError, match="at least two models"):
        combine([["y", "x"]], onnx_graphs=[models.build("ma")])


def test_a_node_that_reads_one_constant_leaves_no_choice() -> None:
    """Identity of a weight: the weight takes the place of its copy."""
    before = models.model(
        [models.node("Identity", ["w"], ["v"], "copy"), models.node("Mul", ["x", "v"], ["y"], "mul")],
        [models.info("x", models.F, [3])], [models.info("y", models.F, [3])],
        [numpy_helper.from_array(np.arange(3, dtype=np.float32), "w")],
    )  # fmt: skip
    after = remove(["copy"], onnx_graph=before, non_verbose=True)
    assert [list(n.input) for n in after.graph.node] == [["x", "w"]]


def test_extracted_constants_of_a_model_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    after, _ = shrinking(onnx_graph=models.build("sharedk"), mode="npy",
                      forced_extraction_constant_names=["k"], non_verbose=True)  # fmt: skip
    assert "exported_k.npy" in [v.name for v in after.graph.input]
    held = onnx.numpy_helper.to_array(models.build("sharedk").graph.initializer[0])
    assert np.array_equal(np.load("exported_k.npy"), held)  # nobody else has them now


def test_extracted_constants_become_inputs_in_the_order_of_their_readers(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "dup")
    assert cli("scs4onnx", source, tmp_path / "o.onnx", "-m", "npy", "-d").code == 0
    inputs = [v.name for v in onnx.load(tmp_path / "o.onnx").graph.input]
    assert inputs == ["x", "o_exported_w0.npy", "o_exported_s0.npy"]


def test_infinity_as_the_original_writes_it(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "clip")
    words = ["-if", source, "-of", tmp_path / "o.onnx", "-ic", "top", "float32", "['-Infinity']"]
    assert cli("sam4onnx", *words).code == 0
    (made,) = onnx.load(tmp_path / "o.onnx").graph.initializer
    assert numpy_helper.to_array(made).tolist() == [-np.inf]


def test_shapes_in_pairs() -> None:
    """As the original's function takes them."""
    after = modify(onnx_graph=models.build("cnn"), output_shapes=[("r0", [1, 8, 16, 16])], non_verbose=True)
    assert [v.name for v in after.graph.value_info] == ["r0"]


def test_a_scalar_is_fed_as_one(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "scalarin")
    assert "input_name.2: s shape: [] dtype: float32" in cli("sit4onnx", "-if", source, "-oep", "cpu").text


def test_elements_of_a_sequence_are_numbered_as_in_the_original(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "seqm")
    assert "output_name.1-3: seq-3 shape: [1, 3] dtype: float32" in cli("sit4onnx", "-if", source, "-oep", "cpu").text


def test_an_ir_version_that_does_not_exist() -> None:
    with pytest.raises(ToolError, match="no IR version 99"):
        generate("Neg", 13, "neg", 99, {"x": ["float32", [3]]}, {"y": ["float32", [3]]})


def test_outputs_to_delete_are_named() -> None:
    with pytest.raises(ToolError, match="which outputs"):
        outputs_delete(onnx_graph=models.build("cnn"))


def test_a_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx2tf_lite.tools.parts._command import main

    with pytest.raises(SystemExit) as stop:
        main(["show"])
    assert stop.value.code == 2 and "which part?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nms_from_operators", "nms_from_operators.yaml"])
def test_recipes_of_the_package_are_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(name)[1]


def test_weights_that_stay_elsewhere_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(models.build("cnn"), tmp_path / "m.onnx", save_as_external_data=True, location="s.bin", size_threshold=0)
    (tmp_path / "other").mkdir()
    to_json(str(tmp_path / "m.onnx"), output_json_path=str(tmp_path / "m.json"))
    assert "WARNING" not in capsys.readouterr().out
    to_json(str(tmp_path / "m.onnx"), output_json_path=str(tmp_path / "other" / "m.json"))
    assert "not beside the JSON" in capsys.readouterr().out


def test_steps_of_a_recipe_do_not_finish(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "cnn")
    (tmp_path / "r.yaml").write_text("- name: {}\n- erase-docs: {}\n")
    said = cli("recipe", tmp_path / "r.yaml", tmp_path / "cnn.onnx", "-o", tmp_path / "o.onnx")
    assert said.code == 0 and said.text.count("Finish!") == 1
    assert listing(tmp_path) == ["cnn.onnx", "o.onnx", "r.yaml"]


def _raise(error: Exception) -> None:
    raise error


def test_no_error_is_a_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert guarded("tool", lambda: _raise(IndexError("index 7"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("ERROR: tool: internal error: IndexError: index 7") and said.count("\n") == 1
    monkeypatch.setenv("ONNX2TF_LITE_DEBUG", "1")
    with pytest.raises(IndexError):
        guarded("tool", lambda: _raise(IndexError("index 7")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("words", [["to-json", "-oj", "-"], ["structure"]], ids=lambda w: w[0])
def test_a_full_disk_is_a_line(words: list[str], tmp_path: Path) -> None:
    import subprocess

    (source,) = models.write(tmp_path, "cnn")
    code = "import sys; from onnx2tf_lite.tools.tune import main; sys.exit(main(sys.argv[1:]))"
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", code, words[0], "-if", str(source), *words[1:]],
                             stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert run.returncode == 1 and "No space left" in run.stderr and len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["--fixed"], ["--fixed", "true"]], ids=["alone", "with a value"])
def test_a_switch_of_a_part_needs_no_value(words: list[str], tmp_path: Path) -> None:
    from onnx2tf_lite.tools.parts._command import main

    assert main(["write", "Z004", *words, "-of", str(tmp_path / "o.onnx"), "-n"]) == 0
    assert len(onnx.load(tmp_path / "o.onnx").graph.output) == 2  # the rows, and how many of them mean something


def test_options_of_a_part_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx2tf_lite.tools.parts import PARTS
    from onnx2tf_lite.tools.parts._command import _rows, main

    for part in PARTS.values():
        assert all(len(row.help.partition(" (default")[0]) > 8 for row in _rows(part, part.options)), part.code
    with pytest.raises(SystemExit):
        main(["write", "Z004", "--help"])
    assert "xyxy" in capsys.readouterr().out  # the choices of --format


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_choices_are_completed(shell: str) -> None:
    from onnx2tf_lite.tools.tune import completion

    script = completion(shell)
    assert all(word in script for word in ("partial_match", "openvino_gpu", "shrink", "encode"))
