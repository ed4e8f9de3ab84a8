"""The shared pieces of the tools: files, names, graphs, literals, definitions, the command line."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from onnx2tf_lite.commands import log
from onnx2tf_lite.model import schema, types, write
from onnx2tf_lite.model.infer import problem
from onnx2tf_lite.model.names import find
from onnx2tf_lite.model.tensors import reference
from onnx2tf_lite.model.walk import reads, replace_uses, scopes, sort
from onnx2tf_lite.model.write import atomic
from onnx2tf_lite.tools import ToolError, _schema, _values, _verify, load, save
from onnx2tf_lite.tools.sam4onnx import modify
from onnx2tf_lite.tools.sod4onnx import outputs_delete

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]


def outside(path: Path) -> dict[str, str]:
    """Tensor -> side file."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return {t.name: reference(t)["location"] for t in tensors if external_data_helper.uses_external_data(t)}


def with_side_file(folder: Path, name: str = "m.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(models.build("cnn"), folder / name, save_as_external_data=True, location="side.bin", size_threshold=512)
    return folder / name


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"external_data": True}, {"w1": "o.onnx.data"}),
        (
            {"external_data": True, "size_threshold": 100},
            {"w0": "o.onnx.data", "w1": "o.onnx.data", "wg": "o.onnx.data"},
        ),
        ({"external_data": False}, {}),
    ],
    ids=["as-is", "external", "threshold", "single"],
)
def test_storage_of_an_inline_model(options: dict, expected: dict, tmp_path: Path) -> None:
    before = models.build("cnn")
    save(before, tmp_path / "o.onnx", **options)
    assert outside(tmp_path / "o.onnx") == expected
    given = models.feeds(before)
    models.assert_same(models.run(tmp_path / "o.onnx", given), models.run(before, given))
    assert not any(external_data_helper.uses_external_data(t) for t in before.graph.initializer)  # not changed


def test_too_large_gets_a_side_file_and_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write, "LIMIT", 2000)
    save(models.build("cnn"), tmp_path / "o.onnx", log=log.Log())
    assert outside(tmp_path / "o.onnx") == {"w1": "o.onnx.data"}
    assert "more than one file can hold" in capsys.readouterr().out
    with pytest.raises(ToolError, match="do not fit into one file"):
        save(models.build("cnn"), tmp_path / "p.onnx", external_data=False)
    assert listing(tmp_path) == ["o.onnx", "o.onnx.data"]


def test_side_file_is_shared_in_its_folder_and_copied_elsewhere(tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    model = load(source)
    save(model, tmp_path / "a" / "n.onnx")
    assert listing(tmp_path / "a") == ["m.onnx", "n.onnx", "side.bin"]
    save(model, tmp_path / "b" / "n.onnx")
    assert (tmp_path / "b" / "side.bin").read_bytes() == (tmp_path / "a" / "side.bin").read_bytes()
    given = models.feeds(models.build("cnn"))
    models.assert_same(models.run(tmp_path / "b" / "n.onnx", given), models.run(source, given))


def test_side_file_of_another_model_is_not_overwritten(tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "side.bin").write_bytes(b"of somebody else")
    save(load(source), tmp_path / "b" / "n.onnx")
    assert (tmp_path / "b" / "side.bin").read_bytes() == b"of somebody else"
    assert set(outside(tmp_path / "b" / "n.onnx").values()) == {"n.onnx.data"}
    given = models.feeds(models.build("cnn"))
    models.assert_same(models.run(tmp_path / "b" / "n.onnx", given), models.run(source, given))


def test_part_of_a_side_file_is_copied_as_needed(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    words = ["-ion", "x", "-oon", "c0", "-of", tmp_path / "b" / "p.onnx"]
    assert cli("sne4onnx", "-if", source, *words).code == 0
    assert listing(tmp_path / "b") == ["p.onnx", "p.onnx.data"]
    assert (tmp_path / "b" / "p.onnx.data").stat().st_size == 8 * 3 * 3 * 3 * 4


def test_no_op_copies_side_files_byte_for_byte(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    words = ["-on", "nope", "--missing-ok", "-of", tmp_path / "b" / "m.onnx"]
    assert cli("sod4onnx", "-if", source, *words).code == 0
    for name in ("m.onnx", "side.bin"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_op_keeps_bytes_that_protobuf_would_write_otherwise(cli: Cli, tmp_path: Path) -> None:
    """A graph before the IR version: valid, and not the order in which protobuf writes."""
    model = models.build("cnn")
    head = onnx.ModelProto(ir_version=model.ir_version).SerializeToString()
    model.ClearField("ir_version")
    data = model.SerializeToString() + head
    (tmp_path / "m.onnx").write_bytes(data)
    assert (
        cli("sod4onnx", "-if", tmp_path / "m.onnx", "-on", "nope", "--missing-ok", "-of", tmp_path / "o.onnx").code == 0
    )
    assert (tmp_path / "o.onnx").read_bytes() == data


def test_edit_in_place_with_a_side_file(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path)
    side, given = (tmp_path / "side.bin").read_bytes(), models.feeds(models.build("cnn"))
    expected = models.run(source, given)
    assert cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", source).code == 0
    models.assert_same(models.run(source, given), expected)
    assert (tmp_path / "side.bin").read_bytes() == side


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", ""])
def test_data_outside_the_folder_is_refused(location: str, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    source = with_side_file(folder)
    (tmp_path / "secret").write_bytes(bytes(10_000))
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    source.write_bytes(model.SerializeToString())
    for words in (["--single-file"], []):
        result = cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", tmp_path / "b" / "o.onnx", *words)
        assert result.code == 1 and "outside the model's folder" in result.err and not (tmp_path / "b").exists()


def test_a_folder_in_the_file_is_not_believed(cli: Cli, tmp_path: Path) -> None:
    """`basepath` is ours, in memory; in a file or a pipe it could name any folder."""
    source = with_side_file(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "side.bin").write_bytes(bytes(10_000))
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            tensor.external_data.add(key="basepath", value=str(tmp_path / "other"))
    source.write_bytes(model.SerializeToString())
    assert cli("sor4onnx", "-if", source, "-on", "r0", "z", "--single-file", "-of", tmp_path / "o.onnx").code == 0
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "o.onnx").graph.initializer}
    assert np.any(weights["w1"])


def test_missing_side_file(cli: Cli, tmp_path: Path) -> None:
    source = with_side_file(tmp_path / "a")
    (tmp_path / "a" / "side.bin").unlink()
    result = cli("sor4onnx", "-if", source, "-on", "r0", "z", "-of", tmp_path / "b" / "o.onnx")
    assert result.code == 1 and "'side.bin' is missing" in result.err and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no graph in it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (models.build("cnn").SerializeToString()[:-100], "cut off"),
    ],
    ids=["empty", "lfs", "cut"],
)
def test_no_model(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ToolError, match=why):
        load(tmp_path / "m.onnx")


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    (tmp_path / "o.txt").write_text("old")
    with (
        pytest.raises(ToolError, match=r"o\.txt: cannot be written: disk full"),
        atomic(tmp_path / "o.txt") as file,
    ):
        file.write(b"half")
        raise OSError("disk full")
    assert listing(tmp_path) == ["o.txt"] and (tmp_path / "o.txt").read_text() == "old"


def test_a_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    with atomic(tmp_path / "o.txt") as file:
        file.write(b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "o.txt").stat().st_mode) == 0o666 & ~mask


def test_what_is_no_file_is_written_into(tmp_path: Path) -> None:
    """A rename would put a file in the place of a device or a pipe."""
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    read: list[bytes] = []
    reader.start()
    with atomic(tmp_path / "pipe") as file:
        file.write(b"one")
    reader.join(10)
    assert read == [b"one"] and (tmp_path / "pipe").is_fifo() and listing(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such name here")
def test_the_name_of_standard_output_stays_what_it_is(tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    code = "import sys; from onnx2tf_lite.tools.sng4onnx import main; sys.exit(main(sys.argv[1:]))"
    was = os.lstat("/dev/stdout")
    with (tmp_path / "o.onnx").open("wb") as out:
        words = [sys.executable, "-c", code, "-if", str(source), "-of", "/dev/stdout", "-n"]
        subprocess.run(words, stdout=out, check=True)
    assert os.lstat("/dev/stdout").st_ino == was.st_ino and (tmp_path / "o.onnx").read_bytes() == source.read_bytes()


def test_onnx_by_its_name(cli: Cli, tmp_path: Path) -> None:
    """The domain may be spelled ai.onnx: rules hold for it, and what is not edited stays as it is spelled."""
    spelled = models.build("branch")
    spelled.opset_import[0].domain = "ai.onnx"
    for node in spelled.graph.node:
        node.domain = "ai.onnx"
    source, target = tmp_path / "m.onnx", tmp_path / "o.onnx"
    onnx.save(spelled, source)
    assert cli("sng4onnx", "-if", source, "-of", target).code == 0
    assert target.read_bytes() == source.read_bytes()
    assert cli("soc4onnx", "-if", source, "-of", target, "-os", "18").code == 0
    assert [(e.domain, e.version) for e in onnx.load(target).opset_import] == [("", 18)]
    assert cli("sna4onnx", "-if", source, "-of", target, "-aot", "Neg", "-aon", "n", "--after", "r").code == 0
    assert cli("sbi4onnx", "-if", source, "-of", target, "-ics", "N").code == 0
    models.run(target, {"x": np.zeros((5, 3), np.float32)})


# --- graphs and names ------------------------------------------------------------------------------------------------


def test_addresses_of_bodies_and_functions() -> None:
    assert sorted(s.path for s in scopes(models.build("ifm"))) == ["", "if0/else_branch", "if0/then_branch"]
    assert [s.path for s in scopes(models.build("func"))] == ["", "my.domain::NegSquare"]
    scope, name = find(models.build("func"), "tensor", "my.domain::NegSquare:sq", "-t")
    assert (scope.path, name) == ("my.domain::NegSquare", "sq")


def test_a_short_name_in_two_bodies_is_ambiguous() -> None:
    with pytest.raises(ToolError, match=r"node 'neg' is in several graphs: if0/.*:neg, if0/.*:neg; say which"):
        find(models.build("ifm"), "node", "neg", "-rn")


def test_nearest_names() -> None:
    with pytest.raises(ToolError) as error:
        find(models.build("cnn"), "node", "rleu0", "-rn")
    assert str(error.value).startswith("-rn: no node 'rleu0'; nearest: 'relu0', ")
    assert len(error.value.candidates) == 3


def test_sort_is_stable_and_names_a_cycle() -> None:
    model = models.build("branch")
    order = [n.name for n in model.graph.node]
    sort(model.graph)
    assert [n.name for n in model.graph.node] == order
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort(model.graph)
    onnx.checker.check_model(model)
    model.graph.node[0].input[0] = "y"
    with pytest.raises(ToolError, match=r"this makes a cycle: relu0 -> .* -> relu0"):
        sort(model.graph)


def test_uses_are_followed_into_bodies_but_not_past_a_name_of_their_own() -> None:
    model = models.build("loopm")
    assert replace_uses(model.graph, {"outer": "x"}) == 1
    assert "outer" not in reads(model.graph.node[1])
    with pytest.raises(ToolError, match="has a tensor of its own called 'next'"):
        replace_uses(models.build("loopm").graph, {"outer": "next"})


def test_a_contradiction_is_found_and_an_old_one_only_reported(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "badshape")
    assert "transpose0" in problem(models.build("badshape")) and "matmul0" in problem(models.build("badmm"))
    words = ["-if", tmp_path / "badshape.onnx", "-on", "x", "z", "-of", tmp_path / "o.onnx"]
    result = cli("sor4onnx", *words)
    assert result.code == 0 and "WARNING: the model was not valid before" in result.text


def test_no_check_is_said(cli: Cli, tmp_path: Path) -> None:
    models.write(tmp_path, "cnn")
    words = ["-if", tmp_path / "cnn.onnx", "-rn", "reshape0", "-of", tmp_path / "o.onnx"]
    assert cli("snd4onnx", *words).code == 1
    result = cli("snd4onnx", *words, "--no-check")
    assert result.code == 0 and "not checked (--no-check)" in result.text


def test_changed_outputs_are_found() -> None:
    before, after = models.build("sharedk"), models.build("sharedk")
    assert "1 output(s) as before" in _verify.same_outputs(before, after)
    after.graph.node[1].op_type = "Div"
    with pytest.raises(ToolError, match="output 'y' is not as before"):
        _verify.same_outputs(before, after)
    after.graph.node[1].input[1] = "gone"
    with pytest.raises(ToolError, match="the result does not run"):
        _verify.same_outputs(before, after)


def halved() -> onnx.ModelProto:
    """x -> MaxPool/2 -> Resize x2 -> + x."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["p", "", "s"], ["u"], "up", mode="nearest"),
        helper.make_node("Add", ["x", "u"], ["y"], "add"),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    ends = [models.info(n, models.F, [1, 1, "h", "w"]) for n in "xy"]
    return models.model(nodes, ends[:1], ends[1:], [scales], opset=13)


def test_the_result_runs_with_what_the_model_ran_with() -> None:
    """With other strides the sum fits at one lucky size, which is no size that it ran with before."""
    with pytest.raises(ToolError, match=r"does not run with x\[1, 1, \d+, \d+\].*--no-check"):
        modify(onnx_graph=halved(), op_name="pool", attributes={"strides": [1, 1]}, non_verbose=True)


def test_texts_are_inputs() -> None:
    nodes = [
        helper.make_node("Equal", ["x", "k"], ["y"], "eq"),
        helper.make_node("Cast", ["x"], ["z"], "cast", to=TensorProto.FLOAT),
    ]
    texts = numpy_helper.from_array(np.array(["a", "b"], object), "k")
    ends = [models.info("x", TensorProto.STRING, [2])]
    results = [models.info("y", TensorProto.BOOL, [2]), models.info("z", models.F, [2])]
    model = models.model(nodes, ends, results, [texts], opset=19)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    assert "2 output(s) as before" in _verify.same_outputs(model, other)
    other.graph.node[0].input[1] = "x"
    with pytest.raises(ToolError, match="output 'y' is not as before"):
        _verify.same_outputs(model, other)


def test_a_random_model_says_nothing() -> None:
    node = helper.make_node("RandomUniformLike", ["x"], ["y"], "random")
    model = models.model([node], [models.info("x", models.F, [4])], [models.info("y", models.F, [4])])
    other = onnx.ModelProto.FromString(model.SerializeToString())
    other.graph.node[0].op_type = "RandomNormalLike"
    with pytest.raises(_verify.NotRun, match="something else each time"):
        _verify.same_outputs(model, other)


def test_edit_without_a_model() -> None:
    with pytest.raises(ToolError, match="no model") as error:
        outputs_delete(output_op_names=["y"])
    assert error.value.tool == "sod4onnx"


# --- literals and definitions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1,3,'H','W']", [1, 3, "H", "W"]),
        ("[1,3,H,W]", [1, 3, "H", "W"]),
        ("[]", []),
        ("inf", np.inf),
        ("[-inf, 1e-5]", [-np.inf, 1e-5]),
        ("True", True),
        ("false", False),
        ("(1,2)", [1, 2]),
        ("linear", "linear"),
        ("half_pixel", "half_pixel"),
        ("a-b", "a-b"),
        ("1+2j", 1 + 2j),
    ],
)
def test_values(text: str, value: object) -> None:
    assert _values.literal(text) == value


def test_nan_and_files(tmp_path: Path) -> None:
    assert np.isnan(_values.literal("nan")) and np.isnan(_values.array("float32", "[nan]"))[0]
    np.save(tmp_path / "a.npy", np.arange(3))
    assert _values.array("float16", f"@{tmp_path}/a.npy").tolist() == [0, 1, 2]
    with pytest.raises(ToolError, match="cannot be read as"):
        _values.literal(f"@{tmp_path}/none.npy")


@pytest.mark.parametrize("text", ["[1", "__import__('os')", "[1,2]+[3]", "f(x)", "[1 2]"])
def test_no_literal(text: str) -> None:
    with pytest.raises(ToolError, match="cannot read"):
        _values.literal(text)


@pytest.mark.parametrize(
    ("word", "text"),
    [("int64", "[1.7]"), ("uint8", "[300]"), ("int8", "[-129]"), ("bool", "[2]"), ("int4", "[9]"), ("int32", "[nan]")],
)
def test_values_that_do_not_fit(word: str, text: str) -> None:
    with pytest.raises(ToolError, match=rf"does not fit {word}|is not a (whole number|bool)"):
        _values.array(word, text)


@pytest.mark.parametrize("word", ["float16", "bfloat16", "float64", "int4", "uint16", "bool", "float8e4m3fn"])
def test_dtypes(word: str) -> None:
    made = _values.tensor("t", word, "[1,0]")
    assert made.data_type == types.dtype(word) and types.dtype_word(made.data_type) == word
    assert numpy_helper.to_array(made).astype(float).tolist() == [1, 0]


def test_texts_are_tensors_too() -> None:
    made = _values.tensor("t", "str", "['a','ü']")
    assert made.data_type == TensorProto.STRING and list(made.string_data) == [b"a", "ü".encode()]
    with pytest.raises(ToolError, match="no dtype 'flaot32'; nearest: 'float32'"):
        types.dtype("flaot32")


@pytest.mark.parametrize(
    ("op", "name", "value", "expected"),
    [
        ("Gemm", "alpha", "1", 1.0),
        ("Conv", "pads", "[1,1,1,1]", [1, 1, 1, 1]),
        ("Conv", "pads", [1.0, 2.0], [1, 2]),
        ("Conv", "auto_pad", "SAME_UPPER", b"SAME_UPPER"),
        ("Resize", "mode", "linear", b"linear"),
        ("ReduceMean", "keepdims", True, 1),
        ("GlobalLpPool", "p", "2", 2),
    ],
)
def test_attributes_are_typed_by_the_definition(op: str, name: str, value: object, expected: object) -> None:
    made = _schema.attribute(op, name, value, 17)
    assert helper.get_attribute_value(made) == expected and type(helper.get_attribute_value(made)) is type(expected)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (
            lambda: _schema.attribute("Gemm", "alhpa", 1, 17),
            "has no attribute 'alhpa'; nearest: 'alpha'",
        ),
        (lambda: _schema.attribute("Gemm", "transA", 1.5, 17), "is a whole number, not 1.5"),
        (lambda: _schema.attribute("Gemm", "alpha", "x", 17), "is a number, not 'x'"),
        (
            lambda: schema.schema("LayerNormalization", 11),
            "opset 11 has no operator .* .defined in 17.",
        ),
        (lambda: schema.schema("Rleu", 11), "there is no operator 'Rleu'; nearest: 'Relu'"),
        (lambda: schema.schema("Relu", 999), "there is no opset 999"),
        (lambda: _schema.make_node("Cast", ["x"], ["y"], "", {}, 17), "Cast needs the attribute.s. to"),
        (lambda: _schema.make_node("Add", ["x"], ["y"], "", {}, 17), "takes 2 input.s., not 1"),
    ],
    ids=range(8),
)
def test_definitions_are_kept(call: object, why: str) -> None:
    with pytest.raises(ToolError) as error:
        call()  # type: ignore[operator]
    assert re.search(why, str(error.value))
