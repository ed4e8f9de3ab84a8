"""The commands from their first line on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.test_docs import scripts

#: Python is interrupted where it imports ``{late}``, which every command needs.
INTERRUPTED = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {late!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from {module} import {function}
sys.exit({function}())
"""


@pytest.mark.parametrize("late", ["onnx2tf_lite.errors", "argparse"])
@pytest.mark.parametrize("name", ["onnx2tf", "onnx2tf-check", "onnx2tf-fleet", "onnx-tune", "sio4onnx", "onnx2json"])
def test_an_interrupt_of_an_import_is_one_line(name: str, late: str) -> None:
    module, function = scripts()[name].split(":")
    code = INTERRUPTED.format(late=late, module=module, function=function)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"{name}: interrupted\n")


def test_every_command_begins_here() -> None:
    from onnx2tf_lite import start

    for name, target in scripts().items():
        module, function = target.split(":")
        assert module == "onnx2tf_lite.start" and function.replace("_", "-") == name
        assert callable(start._function(name))
    with pytest.raises(AttributeError, match="no attribute 'no_such'"):
        start.no_such  # noqa: B018


@pytest.mark.parametrize("said", [None, "20"])
def test_idle_threads_of_numpy_sleep(said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx2tf_lite import start

    name, ours = start.SLEEP
    monkeypatch.setenv(name, said or "")
    if said is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(start, "_function", lambda name: lambda argv: 0)
    start.onnx2tf([])
    assert os.environ[name] == (said or ours)
