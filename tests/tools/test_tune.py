"""onnx-tune: the verbs, recipes, completion; and the known import names."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from onnx2tf_lite.commands.completion import SHELLS
from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools._verbs import TOOLS, VERBS
from onnx2tf_lite.tools.recipe import run, schema
from onnx2tf_lite.tools.tune import completion

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]
ROOT = Path(__file__).parents[2]


def test_help_lists_every_verb_and_tool(cli: Cli) -> None:
    text = cli("tune").text
    assert all(re.search(rf"^  {verb} .*\({row.tool}\)$", text, re.MULTILINE) for verb, row in VERBS.items())
    assert cli("tune", "-h").text == text


@pytest.mark.parametrize("word", ["delete-outputs", "sod4onnx"])
def test_verb_and_known_name_do_the_same(word: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "loopm")
    assert cli("tune", word, "-if", source, "-on", "all", "-of", tmp_path / "a.onnx").code == 0
    assert cli("sod4onnx", "-if", source, "-on", "all", "-of", tmp_path / "b.onnx").code == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_unknown_verb(cli: Cli) -> None:
    result = cli("tune", "delet")
    assert result.code == 2 and "there is no 'delet'; nearest: delete" in result.err


def _recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


STEPS = """\
- extract: {input_op_names: [r0], output_op_names: [a0]}
- rename:
    old_new: [[r0, image], [a0, sum]]
- add: {add_op_type: Neg, add_op_name: neg, append: sum}
"""


def test_recipe_equals_the_commands(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("tune", "run", _recipe(tmp_path, STEPS), source, "-o", tmp_path / "r.onnx")
    assert result.code == 0, result.err
    one = cli("sne4onnx", "-if", source, "-ion", "r0", "-oon", "a0", "-of", "-")
    two = cli("sor4onnx", "-if", "-", "-on", "r0", "image", "-on", "a0", "sum", "-of", "-", stdin=one.out)
    three = cli("sna4onnx", "-if", "-", "-aot", "Neg", "-aon", "neg", "--append", "sum", "-of", "-", stdin=two.out)
    assert three.out == (tmp_path / "r.onnx").read_bytes()


def test_dry_run_says_what_each_step_does_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    recipe = _recipe(tmp_path, STEPS)
    before = listing(tmp_path)
    result = cli("tune", "run", recipe, source, "--dry-run")
    assert result.code == 0 and listing(tmp_path) == before
    assert "step 2, line 2: rename old_new=" in result.text and "r0 -> image" in result.text


def test_named_models_and_parts(tmp_path: Path) -> None:
    models.write(tmp_path, "mb")
    text = """\
models: {second: mb.onnx}
steps:
  - delete: {remove_node_names: [n1]}
  - combine: {models: [model, second], srcop_destop: [[out, in]], op_prefixes_after_merging: [a, b]}
"""
    made = run(_recipe(tmp_path, text), onnx_graph=models.build("ma"), non_verbose=True)
    x = models.feeds(models.build("ma"))["in"]
    models.assert_same(models.run(made, {"in": x}), {"out": np.exp(np.abs(np.maximum(x, 0)))})
    text = "- part: {code: Z005, as: half}\n- rename: {on: half, old_new: [[resize, r]], search_mode: partial_match}\n"
    made = run(_recipe(tmp_path, text), non_verbose=True)
    assert [n.op_type for n in made.graph.node] == ["Resize"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- delete:\n    remove_node_name: [a]\n", ":2: delete has no parameter 'remove_node_name'; nearest: "),
        ("- delete:\n    remove_node_names: relu0\n", ":2: delete: remove_node_names is a list, not 'relu0'"),
        ("- add: {add_op_type: 3}\n", ":1: add: add_op_type is a text, not 3"),
        ("- delet: {}\n", ":1: there is no step 'delet'; nearest: 'delete'"),
        ("\n- extract: {input_op_names: [x]}\n", ":2: extract needs 'output_op_names'"),
        ("- delete: {remove_node_names: [relu0]}\n- delete: {remove_node_names: [relu0]}\n",
         ":2: snd4onnx: -rn: no node 'relu0'"),
        ("- delete: [a]\n", ":1: the parameters of 'delete' are a mapping"),
        ("- {delete: {}, add: {}}\n", ":1: a step is one verb"),
        ("- delete: {remove_node_names: [a]\n", "not YAML"),
        ("- delete: {a: \x01}\n", "not YAML: unacceptable character #x0001"),
        ("- delete: {a: !!python/name:os.system x}\n", ":1: could not determine a constructor"),
        ("- delete: {a: 2026-99-99}\n", ":1: month must be in 1..12"),
        ("- delete: {? [a] : 1}\n", ":1: a key is one word"),
        ("steps: []\n? [a]\n: 1\n", ":2: a key is one word"),
        ("- ? {a: b}\n  : 1\n", ":1: a key is one word"),
        ("steps: []\n", "a recipe is a list of steps"),
        ("stepps: []\n", ":1: a recipe has no 'stepps'; nearest: 'steps'"),
        ("- delete: {on: other, remove_node_names: [a]}\n", ":1: delete: there is no model called 'other'"),
        ("- part: {code: Z999}\n", "no part 'Z999'"),
        ("- part: {code: Z005, colour: 3}\n", "no option of Z005 'colour'"),
    ],
    ids=lambda v: None if v.startswith(("-", "\n", "s")) else v.replace("\n", " ")[:40],
)  # fmt: skip
def test_errors_say_the_line(text: str, why: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    recipe = _recipe(tmp_path, text)
    before = listing(tmp_path)
    result = cli("tune", "run", recipe, source, "-o", tmp_path / "o.onnx")
    assert result.code == 1 and why in result.err and listing(tmp_path) == before


def test_recipe_raises_for_python_callers(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as error:
        run(
            _recipe(tmp_path, "- delete: {remove_node_names: [nope]}\n"),
            onnx_graph=models.build("cnn"),
            non_verbose=True,
        )
    assert error.value.name == "nope" and error.value.tool == "run" and error.value.candidates


def test_schema_has_every_step_and_accepts_the_recipe(cli: Cli) -> None:
    made = json.loads(cli("tune", "run", "--schema").text)
    assert made == schema()
    steps = {next(iter(s["properties"])): s for s in made["anyOf"][0]["items"]["anyOf"]}
    assert set(steps) == {v for v, row in VERBS.items() if row.edits} | {"part"}
    for step in yaml.safe_load(STEPS):
        [(verb, values)] = step.items()
        body = steps[verb]["properties"][verb]
        assert set(body["required"]) <= set(values) <= set(body["properties"])


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_flag(shell: str) -> None:
    text = completion(shell)
    for row in VERBS.values():
        for line in row.module().main.rows:
            for flag in line.flags:
                if flag.startswith("--"):
                    assert (flag if shell != "fish" else f"-l {flag[2:]} ") in text, (row.tool, flag)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(tmp_path: Path) -> None:
    (tmp_path / "c.sh").write_text(completion("bash"))
    ask = 'source {0}; COMP_WORDS=({1}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); {2}; echo "${{COMPREPLY[*]}}"'
    for words, expected in (
        ("onnx-tune del", "delete delete-outputs"),
        ("onnx-tune delete --br", "--bridge"),
        ("sod4onnx --pr", "--prune-inputs"),
        ("onnx-tune sod4onnx --pr", "--prune-inputs"),
        ("sor4onnx -sm p", "partial_match prefix_match"),
        ("onnx-tune parts at", "attach"),
    ):
        function = f"_shtab_{words.split()[0].replace('-', '_')}"
        command = ["bash", "-c", ask.format(tmp_path / "c.sh", words, function)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == expected.split()


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_known_import_name(tool: str) -> None:
    """compat/<tool>.py re-exports the function of the tool, and is packaged."""
    [line] = ast.parse((ROOT / "compat" / f"{tool}.py").read_text()).body[-1:]
    assert isinstance(line, ast.ImportFrom) and line.module == f"onnx2tf_lite.tools.{tool}"
    assert VERBS[TOOLS[tool]].name in {a.name for n in ast.walk(ast.parse((ROOT / "compat" / f"{tool}.py").read_text()))
                                       if isinstance(n, ast.ImportFrom) for a in n.names}  # fmt: skip
    assert f'    "{tool}",' in (ROOT / "compat" / "pyproject.toml").read_text()


def test_chain_in_a_pipe_keeps_side_files_of_this_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fits into one message goes through a pipe by reference, as long as it lies below the current folder."""
    source = models.big(tmp_path)
    monkeypatch.chdir(tmp_path)
    piped = cli("sor4onnx", "-if", source, "-on", "g0", "first", "-of", "-")
    assert piped.code == 0 and len(piped.out) < 10_000, piped.err
    result = cli("sod4onnx", "-if", "-", "-on", "y", "-of", "o.onnx", "--keep", stdin=piped.out)
    assert result.code == 0, result.err
    assert models.run(tmp_path / "o.onnx", {"ids": np.array([0], np.int64)})["y"][0, 0] == 3.0
    assert any(n.output[0] == "first" for n in onnx.load(tmp_path / "o.onnx", load_external_data=False).graph.node)


def test_a_recipe_that_is_missing_names_those_of_the_package() -> None:
    with pytest.raises(ToolError) as error:
        run("nms_from_operator", onnx_graph=models.build("cnn"), non_verbose=True)
    assert error.value.candidates[0] == "nms_from_operators"
