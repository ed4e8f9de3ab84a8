"""A kind of output is one row: a new one is written, named, checked and offered by the command line at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import onnx
import pytest

from onnx2tf_lite import ConversionError, compile, convert, emitters
from onnx2tf_lite.aliases import ALIASES
from onnx2tf_lite.emitters import EMITTERS, QUANTISED, Emitter
from onnx2tf_lite.emitters.tflite import write
from onnx2tf_lite.quantization import CalibrationData, Quantiser
from tests.validation.models import cnn, model


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Emitter:
    """A trivial kind: the float32 file under another name."""
    row = Emitter(
        "twin",
        "integer",
        lambda program, path, options: write(program, path) or [],
        "_twin.tflite",
        "float32",
        "a twin",
    )
    monkeypatch.setitem(EMITTERS, row.name, row)
    return row


def test_a_row_is_all_that_a_kind_needs(twin: Emitter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=["twin"])
    assert result.files == {"twin": tmp_path / "model_twin.tflite"} and result.exit_code == 0
    (file,) = result.check.files
    assert (file.kind, file.path, file.runtimes) == ("twin", "model_twin.tflite", ("XNNPACK", "builtin kernels"))
    assert file.tolerance.startswith("0.0001 *")
    assert list(result.report["files"]) == ["model_twin.tflite"]
    assert "wrote a twin in" in capsys.readouterr().out


def test_the_check_takes_its_tolerance_from_the_row(twin: Emitter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EMITTERS, twin.name, replace(twin, checked_as="float16"))
    result = convert(onnx_graph=cnn(), outputs=["twin"], disable_model_save=True, non_verbose=True)
    assert result.check.files[0].tolerance.startswith("0.01 *")


def test_a_kind_without_its_package_is_an_error(twin: Emitter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EMITTERS, twin.name, replace(twin, package="no_such_package"))
    with pytest.raises(ConversionError, match=r"a twin needs no_such_package: pip install 'onnx2tf_lite\[no_such_"):
        convert(onnx_graph=cnn(), outputs=["twin"], non_verbose=True)


QDQ = """
    g (float[N,3,8,8] x) => (float[N,192] y) {
      s = Constant<value = float {0.1}>() z = Constant<value = int8 {0}>() t = Constant<value = int64[2] {0, -1}>()
      q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
      r = Reshape(d, t) e = QuantizeLinear(r, s, z) y = DequantizeLinear(e, s, z) }"""


@pytest.mark.parametrize("source", [cnn(), model(QDQ)], ids=["float", "quantised"])
def test_no_kind_depends_on_which_came_first(source: onnx.ModelProto, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    found: dict[str, set[bytes]] = {}
    plain = [name for name in EMITTERS if name not in QUANTISED]
    pairs = [*permutations(plain, 2), *((name, "float32") for name in QUANTISED)]
    wishes = [*pairs, *((name,) for name in EMITTERS), tuple(EMITTERS)]
    for i, wish in enumerate(wishes):
        asked = {"outputs": wish, "check": "none", "non_verbose": True, "random_calibration": True}
        made = convert(onnx_graph=source, output_folder_path=tmp_path / str(i), **asked)
        assert list(made.files) == [name for name in EMITTERS if name in wish]
        for kind, path in made.files.items():
            file = path if path.is_file() else path / "saved_model.pb"
            found.setdefault(kind, set()).add(file.read_bytes())
    assert {kind: len(files) for kind, files in found.items()} == dict.fromkeys(EMITTERS, 1)


def test_branches_share_constants_and_nothing_else() -> None:
    from tests.harness import prepare

    graph = compile.run(prepare(cnn()), compile.STAGES)
    settings = compile.Settings(quantiser=Quantiser(CalibrationData(random=True)))
    programs = dict(compile.branches(graph, list(compile.BRANCHES), settings))
    parts = [{id(op) for op in program.ops} for program in programs.values()]
    values = [{id(v.data) for op in p.ops for v in op.uses() if v.data is not None} for p in programs.values()]
    assert parts[0].isdisjoint(parts[1]) and list(programs.values())[-1] is graph
    large = {id(v.data) for op in graph.ops for v in op.uses() if v.data is not None and v.data.nbytes > 64}
    assert large and large <= values[0] & values[1]


def test_every_branch_of_a_row_exists() -> None:
    assert ",".join(EMITTERS) in ALIASES["outputs"].option.help, "the help is made of the rows"
    assert {row.branch for row in EMITTERS.values()} == set(compile.BRANCHES)
    assert emitters.default() == ["saved_model", "float32", "float16"]
