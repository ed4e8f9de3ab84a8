"""Running a tool's command line inside the test process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Result:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``cli("sod4onnx", "-if", path, ..., stdin=b"")``: exit code, standard output, standard error."""

    def run(tool: str, *words: Any, stdin: bytes = b"") -> Result:
        main = import_module(f"onnx2tf_lite.tools.{tool}").main
        streams = {n: io.TextIOWrapper(io.BytesIO(), write_through=True) for n in ("stdout", "stderr")}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            try:
                code = main([str(w) for w in words])
            except SystemExit as stop:
                code = stop.code
        out, err = (streams[n].buffer.getvalue() for n in ("stdout", "stderr"))  # type: ignore[attr-defined]
        return Result(code, out, err.decode())

    return run


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
