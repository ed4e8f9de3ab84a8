"""What all tools have in common, as one table: a row per tool, a test per promise.

The tools that only report, or make a model of nothing, have the promises that apply to them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, external_data_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools._verbs import TOOLS, VERBS

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]


@dataclass
class Row:
    """Words of the command line after input and output: an edit of ``model``; of ``func``, ``ifm`` and ``textm``; one
    with the unknown name; one that changes nothing of ``noop_model``."""

    model: str
    edit: list[str]
    unknown: list[str] = field(default_factory=list)
    noop: list[str] | None = None
    noop_model: str = ""
    func: list[str] | None = None
    ifm: list[str] | None = None
    text: list[str] | None = None
    positional: bool = False

    def words(self, source: object, target: object, more: list[str]) -> list[str]:
        ports = [str(source), str(target)] if self.positional else ["-if", str(source), "-of", str(target)]
        return [*ports, *more]


NEW = ["-aot", "Neg", "-aon", "new"]
ROWS = {
    "sne4onnx": Row("cnn", ["-ion", "r0", "-oon", "a0"], ["-ion", "r0", "-oon", "nope"], ["-ion", "x", "-oon", "y"],
                    func=["-ion", "t", "-oon", "y"], ifm=["-ion", "c", "r", "-oon", "y"],
                    text=["-ion", "x", "-oon", "e"]),
    "snd4onnx": Row("cnn", ["-rn", "relu0"], ["-rn", "nope"], ["-rn", "nope", "--missing-ok"],
                    func=["-rn", "relu"], ifm=["-rn", "relu"],
                    text=["-rn", "not0"]),
    "sna4onnx": Row("cnn", [*NEW, "--after", "r0"], [*NEW, "--after", "nope"],
                    func=[*NEW, "--after", "t"], ifm=[*NEW, "--after", "r"],
                    text=["-aot", "Not", "-aon", "new", "--after", "e"]),
    "sor4onnx": Row("cnn", ["-on", "r0", "new"], ["-on", "nope", "new"], ["-on", "nope", "new", "--missing-ok"],
                    func=["-on", "t", "new"], ifm=["-on", "r", "new"],
                    text=["-on", "x", "words"]),
    "soa4onnx": Row("cnn", ["-on", "r0"], ["-on", "nope"], ["-on", "y"], func=["-on", "t"], ifm=["-on", "r"],
                    text=["-on", "e"]),
    "sod4onnx": Row("loopm", ["-on", "all"], ["-on", "nope"], ["-on", "nope", "--missing-ok"]),
    "svs4onnx": Row("branch", ["-fovn", "a", "-tivn", "e"], ["-fovn", "nope", "-tivn", "e"],
                    ["-fovn", "nope", "-tivn", "e", "--missing-ok"],
                    func=["-fovn", "x", "-tivn", "t"], ifm=["-fovn", "x", "-tivn", "r", "--all-uses"]),
    "scs4onnx": Row("dup", ["-d"], ["-fc", "nope"], ["-d"], "cnn", func=["-d"], ifm=["-d"], positional=True,
                    text=["-d"]),
    "sam4onnx": Row("cnn", ["-on", "gemm0", "-a", "alpha", "float32", "2"],
                    ["-on", "nope", "-a", "alpha", "float32", "2"],
                    text=["-on", "equal0", "-ic", "k", "str", "[c,d,e]"]),
    "soc4onnx": Row("cnn", ["-os", "18"], noop=["-os", "17"], func=["-os", "18"], ifm=["-os", "18"],
                    text=["-os", "21"]),
    "scc4onnx": Row("cnn", ["-ioo", "x", "[0,2,3,1]"], ["-ioo", "nope", "[0,2,3,1]"],
                    func=["-ioo", "x", "[1,0]"], ifm=["-ioo", "x", "[1,0]"],
                    text=["-ioo", "x", "[1,0]"]),
    "sbi4onnx": Row("ma", ["-ics", "N"],
                    text=["-ics", "N"]),
    "ssi4onnx": Row("cnn", [],
                    text=[]),
    "sio4onnx": Row("ma", ["-i", "in", "-is", "N", "3", "-o", "out", "-os", "N", "3"],
                    ["-i", "nope", "-is", "N", "3", "-o", "out", "-os", "N", "3"],
                    text=["-i", "x", "-is", "N", "3", "-o", "y", "-os", "N", "3"]),
    "sng4onnx": Row("cnn_unnamed", [], noop=[], noop_model="cnn", func=[], ifm=[],
                    text=[]),
    "sde4onnx": Row("cnn", [], noop=[], noop_model="branch", ifm=[],
                    text=[]),
}  # fmt: skip
#: Have no model to edit, or several: their own tests say the same of them.
OTHERS = {"snc4onnx", "spo4onnx", "sog4onnx", "sit4onnx", "onnx2json", "json2onnx", "sed4onnx", "ssc4onnx"}


def rows(what: str = "edit") -> list[object]:
    return [pytest.param(t, r, id=t) for t, r in ROWS.items() if getattr(r, what) is not None]


def test_every_tool_is_here() -> None:
    assert set(ROWS) | OTHERS == set(TOOLS) <= {row.tool for row in VERBS.values()}


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_is_installed_under_its_name(tool: str) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'{tool} = "onnx2tf_lite.start:{tool}"' in text.splitlines()


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_help_has_examples_whose_flags_exist(tool: str, cli: Cli) -> None:
    result = cli(tool, "-h")
    assert result.code == 0
    examples = result.text.partition("\nexamples:")[2]
    assert f"  {tool}" in examples
    command = import_module(f"onnx2tf_lite.tools.{tool}").main
    flags = {f for row in command.rows for f in row.flags}
    for line in examples.splitlines():
        words = line.partition("  #")[0].partition("|")[0].split()
        if words[:1] != [tool]:
            continue
        used = [w for w in words if w.startswith("-") and w.strip("-")[:1].isalpha()]
        assert set(used) <= flags, line


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_wrong_flag_is_exit_code_2(tool: str, cli: Cli) -> None:
    result = cli(tool, "--no-such-flag")
    assert (result.code, result.out) == (2, b"")
    assert "usage:" in result.err


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_help_does_not_import_onnx(tool: str) -> None:
    code = f"import sys; from onnx2tf_lite.tools.{tool} import main; main.parser(); sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("tool", "row"), rows())
def test_edit_is_valid_deterministic_and_leaves_the_input(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    before = source.read_bytes()
    outputs = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for target in outputs:
        result = cli(tool, *row.words(source, target, row.edit))
        assert result.code == 0, result.err
        assert "Finish!" in result.text
    onnx.checker.check_model(str(outputs[0]), full_check=True)
    assert outputs[0].read_bytes() == outputs[1].read_bytes() != before == source.read_bytes()


@pytest.mark.parametrize(("tool", "row"), [p for p in rows() if p.values[1].unknown])  # type: ignore[attr-defined]
def test_unknown_name_is_an_error_and_nothing_is_written(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    before = listing(tmp_path)
    result = cli(tool, *row.words(source, tmp_path / "out" / "o.onnx", row.unknown))
    assert (result.code, result.out) == (1, b"")
    assert result.err.startswith(f"ERROR: {tool}: -") and "'nope'" in result.err and "nearest: '" in result.err
    assert result.err.count("\n") == 1 and listing(tmp_path) == before


@pytest.mark.parametrize(("tool", "row"), rows())
def test_missing_file_is_an_error(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    result = cli(tool, *row.words(tmp_path / "none.onnx", tmp_path / "o.onnx", row.edit))
    assert result.code == 1 and "none.onnx: cannot be read" in result.err and listing(tmp_path) == []


@pytest.mark.parametrize(("tool", "row"), rows())
def test_pipe_gives_what_a_file_gives(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    target = tmp_path / "o.onnx"
    assert cli(tool, *row.words(source, target, row.edit)).code == 0
    piped = cli(tool, *row.words("-", "-", row.edit), stdin=source.read_bytes())
    assert (piped.code, piped.out) == (0, target.read_bytes())
    assert "INFO:" in piped.err


@pytest.mark.parametrize(("tool", "row"), rows())
def test_quiet_is_quiet_and_a_pipe_has_no_colours(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    words = row.words(source, tmp_path / "o.onnx", row.edit)
    assert cli(tool, *words, "-n").text == ""
    assert "\033" not in cli(tool, *words).text


@pytest.mark.parametrize(("tool", "row"), rows())
def test_dry_run_writes_nothing(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    before = listing(tmp_path)
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", row.edit), "--dry-run")
    assert result.code == 0 and listing(tmp_path) == before


@pytest.mark.parametrize(("tool", "row"), rows("noop"))
def test_no_op_gives_identical_bytes(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.noop_model or row.model)
    target = tmp_path / "o.onnx"
    result = cli(tool, *row.words(source, target, row.noop or []))
    assert result.code == 0, result.err
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("tool", "row"), rows())
def test_output_may_be_the_input(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    source, other = models.write(tmp_path, row.model)[0], tmp_path / "o.onnx"
    assert cli(tool, *row.words(source, other, row.edit)).code == 0
    assert cli(tool, *row.words(source, source, row.edit)).code == 0
    assert source.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(("tool", "row"), rows("func"))
def test_keeps_what_it_does_not_edit(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "func")
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", row.func or []))
    assert result.code == 0, result.err
    before, after = onnx.load(source), onnx.load(tmp_path / "o.onnx")
    for name in ("ir_version", "producer_name", "producer_version", "model_version", "doc_string"):
        assert getattr(after, name) == getattr(before, name), name
    assert list(after.metadata_props) == list(before.metadata_props)
    assert (after.graph.name, after.graph.doc_string) == (before.graph.name, before.graph.doc_string)
    assert {e.domain for e in after.opset_import} == {e.domain for e in before.opset_import}
    if tool != "soc4onnx":
        assert list(after.opset_import) == list(before.opset_import)
        assert [f.name for f in after.functions] == [f.name for f in before.functions]


@pytest.mark.parametrize(("tool", "row"), rows("ifm"))
def test_keeps_what_bodies_capture(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "ifm")
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", row.ifm or []))
    assert result.code == 0, result.err
    after = onnx.load(tmp_path / "o.onnx")
    onnx.checker.check_model(after, full_check=True)
    models.run(after, models.feeds(after))
    assert [t.name for t in after.graph.initializer] == ["k"]  # shared, not one copy in each branch


@pytest.mark.parametrize(("tool", "row"), rows("text"))
def test_text_is_checked_as_numbers_are(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    """Inputs of text: the result is run like any other (a warning would say that it was not)."""
    (source,) = models.write(tmp_path, "textm")
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", row.text or []))
    assert result.code == 0, result.err
    assert "WARNING" not in result.text + result.err
    onnx.checker.check_model(str(tmp_path / "o.onnx"), full_check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize(("tool", "row"), rows())
def test_a_full_disk_is_one_line(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, row.model)
    result = cli(tool, *row.words(source, "/dev/full", row.edit))
    assert result.code == 1
    assert (
        result.err.startswith(f"ERROR: {tool}: /dev/full: cannot be written: No space") and result.err.count("\n") == 1
    )
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(("tool", "row"), rows())
def test_what_nobody_foresaw_is_one_line(
    tool: str, row: Row, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*args: object, **keywords: object) -> None:
        raise IndexError("index 7 is out of bounds")

    (source,) = models.write(tmp_path, row.model)
    monkeypatch.setattr("onnx2tf_lite.tools._edit.check", fault)
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", row.edit))
    assert result.code == 1 and result.err.count("\n") == 1
    assert result.err.startswith(f"ERROR: {tool}: internal error: IndexError: index 7") and listing(tmp_path) == [
        source.name
    ]


@pytest.mark.parametrize(("tool", "row"), rows())
def test_a_refusal_says_how_to_insist(
    tool: str, row: Row, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check does not accept is not written, but with --no-check."""

    def refuse(*args: object, **keywords: object) -> None:
        raise ToolError("the result is not a valid model")

    (source,) = models.write(tmp_path, row.model)
    monkeypatch.setattr("onnx2tf_lite.tools._edit.check", refuse)
    words = row.words(source, tmp_path / "o.onnx", row.edit)
    result = cli(tool, *words)
    assert result.code == 1 and "--no-check" in result.err and listing(tmp_path) == [source.name]
    assert cli(tool, *words, "--no-check").code == 0 and (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize(("tool", "row"), [p for p in rows() if p.values[1].model == "cnn"])  # type: ignore[attr-defined]
def test_external_data_stays_external(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    source, target = tmp_path / "in" / "m.onnx", tmp_path / "out" / "o.onnx"
    source.parent.mkdir()
    onnx.save(models.build("cnn"), source, save_as_external_data=True, location="side.bin", size_threshold=512)
    side = (source.parent / "side.bin").read_bytes()
    result = cli(tool, *row.words(source, target, row.edit))
    assert result.code == 0, result.err
    stored = onnx.load(target, load_external_data=False)
    outside = [t.name for t in stored.graph.initializer if external_data_helper.uses_external_data(t)]
    assert outside and (source.parent / "side.bin").read_bytes() == side
    for tensor in stored.graph.initializer:
        assert not any(e.key == "basepath" for e in tensor.external_data)
    onnx.checker.check_model(str(target), full_check=True)
    (inline,) = models.write(tmp_path, "cnn")
    assert cli(tool, *row.words(inline, tmp_path / "o.onnx", row.edit)).code == 0
    given = models.feeds(onnx.load(tmp_path / "o.onnx"))
    models.assert_same(models.run(target, given), models.run(tmp_path / "o.onnx", given))


@pytest.mark.parametrize(("tool", "row"), rows())
def test_function_raises_and_does_not_change_its_argument(tool: str, row: Row) -> None:
    function = VERBS[TOOLS[tool]].function()
    model = models.build("cnn")
    before = model.SerializeToString(deterministic=True)
    calls = {
        "sne4onnx": lambda: function(["r0"], ["a0"], onnx_graph=model),
        "snd4onnx": lambda: function(["relu0"], onnx_graph=model),
        "sna4onnx": lambda: function(add_op_type="Neg", add_op_name="new", after="r0", onnx_graph=model),
        "sor4onnx": lambda: function(["r0", "new"], onnx_graph=model),
        "soa4onnx": lambda: function(onnx_graph=model, output_op_names=["r0"]),
        "sod4onnx": lambda: function(onnx_graph=model, output_op_names=["x"], missing_ok=True),
        "svs4onnx": lambda: function("c0", "r0", onnx_graph=model),
        "sam4onnx": lambda: function(onnx_graph=model, op_name="gemm0", attributes={"alpha": 2.0}),
        "soc4onnx": lambda: function(18, onnx_graph=model),
        "scc4onnx": lambda: function({"x": [0, 2, 3, 1]}, onnx_graph=model),
        "sio4onnx": lambda: function(
            onnx_graph=model, input_names=["x"], input_shapes=[["N", 3, 16, 16]], output_names=["y"],
            output_shapes=[["N", 4]], check=False,
        ),
    }  # fmt: skip
    try:
        made = calls.get(tool, lambda: function(onnx_graph=model))()
    except ToolError as error:  # a request that this model does not meet
        assert error.tool == tool
        made = model if tool in ("sbi4onnx", "sio4onnx") else None
    assert isinstance(made[0] if isinstance(made, tuple) else made, ModelProto)
    assert model.SerializeToString(deterministic=True) == before


def test_hash_seed_does_not_matter(tmp_path: Path) -> None:
    """Sets must not decide on an order: the same edits in processes with other hashes of texts."""
    models.write(tmp_path, "cnn", "branch", "ma", "mb")
    chosen = {t: r for t, r in ROWS.items() if r.model in ("cnn", "branch")}
    jobs = [(t, r.words(tmp_path / f"{r.model}.onnx", "OUT", r.edit)) for t, r in chosen.items()]
    joined = [f"{tmp_path}/ma.onnx", f"{tmp_path}/mb.onnx", "-sd", "out", "in", "-dos"]
    jobs.append(("snc4onnx", ["-if", *joined, "-of", "OUT"]))
    code = (
        "import sys, json, importlib\n"
        "for tool, words in json.loads(sys.argv[1]):\n"
        "    words = [w.replace('OUT', f'{sys.argv[2]}/{tool}.onnx') for w in words]\n"
        "    assert importlib.import_module(f'onnx2tf_lite.tools.{tool}').main([*words, '-n']) == 0, tool\n"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, json.dumps(jobs), str(tmp_path / seed)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PATH": ""})
    for tool, _ in jobs:
        assert (tmp_path / "1" / f"{tool}.onnx").read_bytes() == (tmp_path / "2" / f"{tool}.onnx").read_bytes(), tool


@pytest.mark.parametrize(("tool", "row"), [p for p in rows() if p.id not in ("sbi4onnx", "sio4onnx", "sne4onnx")])  # type: ignore[attr-defined]
def test_over_2_gb(tool: str, row: Row, cli: Cli, tmp_path: Path) -> None:
    """2.4 GB in side files: the result has them too."""
    words = {
        "snd4onnx": ["-rn", "gather0", "--bridge", "gather0=w0", "--dry-run", "--no-check"],
        "sna4onnx": [*NEW, "--after", "g0"],
        "sor4onnx": ["-on", "g0", "new"],
        "soa4onnx": ["-on", "g0"],
        "sod4onnx": ["-on", "nope", "--missing-ok"],
        "svs4onnx": ["-fovn", "g0", "-tivn", "g1"],
        "sam4onnx": ["-on", "gather0", "-a", "axis", "int64", "0"],
        "soc4onnx": ["-os", "18"],
        "scc4onnx": ["-ioo", "ids", "[0]"],
    }.get(tool, [])
    source = models.big(tmp_path)
    result = cli(tool, *row.words(source, tmp_path / "o.onnx", words))
    assert result.code == 0, result.err
    if "--dry-run" in words:
        return
    made = onnx.load(tmp_path / "o.onnx", load_external_data=False)
    large = [t for t in made.graph.initializer if t.dims[0] > 1000]
    assert large and all(t.data_location == TensorProto.EXTERNAL for t in large)
    assert (tmp_path / "o.onnx").stat().st_size < 10_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
def test_over_2_gb_in_little_memory(tmp_path: Path) -> None:
    """Edits of 2.4 GB, the comparison in ONNX Runtime among them, into another folder: under 300 MB in one process."""
    source = models.big(tmp_path)
    jobs = {
        "sor4onnx": ["-on", "g0", "new"],
        "sna4onnx": [*NEW, "--after", "g0"],
        "svs4onnx": ["-fovn", "g0", "-tivn", "g1"],
        "sne4onnx": ["-ion", "ids", "-oon", "g0"],
    }
    code = (
        "import sys, json, importlib\n"
        "for tool, words in json.loads(sys.argv[1]).items():\n"
        "    assert importlib.import_module(f'onnx2tf_lite.tools.{tool}').main([*words, '-n']) == 0, tool\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM:')))\n"
    )
    told = {t: ["-if", str(source), "-of", str(tmp_path / "out" / f"{t}.onnx"), *w] for t, w in jobs.items()}
    found = subprocess.run([sys.executable, "-c", code, json.dumps(told)], check=True, capture_output=True, text=True)
    assert int(found.stdout.split()[1]) < 300_000  # kB
