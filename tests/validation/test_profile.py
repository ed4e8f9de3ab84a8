"""The profile of a file: every operator is in it once, and the slow one comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import check_cli, convert
from onnx2tf_lite.validation.files.profile import profile
from tests.passes.conftest import model

TEXT = """(float[1,64,32,32] x, int64[4] i) => (float[1,64,4,32] y) {
    a = Conv <pads = [1,1,1,1]> (x, w)  r = Relu (a)  s = Tanh (r)  t = Add (s, x)  y = Gather <axis = 2> (t, i) }"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("profile")
    source = folder / "m.onnx"
    source.write_bytes(model(TEXT, w=np.ones((64, 64, 3, 3), np.float32)).SerializeToString())
    result = convert(source, folder, outputs=("float32",), check="none", non_verbose=True)
    return source, Path(result.files["float32"])


def test_every_operator_is_timed(files: tuple[Path, Path]) -> None:
    from onnx2tf_lite.validation.files.flatfile import FlatFile

    found = profile(files[1])
    assert {row.kind: row.count for row in found.rows} == FlatFile(files[1]).counts and not found.left_out
    assert found.rows[0].kind == "CONV_2D" and found.rows[0].slowest.shape == (1, 32, 32, 64)
    assert all(0 < row.slowest.seconds <= row.seconds for row in found.rows) and found.seconds > 0
    seconds = [row.seconds for row in found.rows]
    assert seconds == sorted(seconds, reverse=True)


def test_the_command_prints_it(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, target = files
    code = check_cli.run(str(source), [str(target)], rows="none", profile=True)
    out = capsys.readouterr().out
    assert code == 0 and "the file in one run" in out and out.index("CONV_2D") < out.index("TANH")


def test_beside_json_alone_it_is_refused(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_cli.run(str(files[0]), [str(files[1])], json="-", profile=True) == 2
    assert "--profile is a table" in capsys.readouterr().err
