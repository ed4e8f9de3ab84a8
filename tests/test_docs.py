"""The documentation: every command runs as written and prints what is written, and no page cites what does not exist.

A page of docs/extend/ is followed as a newcomer would: in a copy of the repository, its titled blocks are appended to
the files that they name, its commands run there.  ``python -m tests.test_docs`` writes the table in tuning.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import NumpyVersion
from onnx import TensorProto

from tests.targets import needs

ROOT = Path(__file__).resolve().parents[1]
TUNING = ROOT / "docs" / "tuning.md"
GENERATED = ROOT / "docs" / "operators.md"
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")} - {GENERATED})
NEWCOMER = ROOT / "docs" / "extend"
TOOLED = {"devices.md": ("tflm", "vela")}  # pages whose commands run the tools of devices
OLD_STUBS = NumpyVersion(np.__version__) < NumpyVersion("2.2.0")
COPIED = ("onnx2tf_lite", "tests", "docs", "pyproject.toml", "README.md", "CONTRIBUTING.md")
MODELS = ("examples/tuning/*.onnx", "examples/digits/*.onnx", "examples/digits/*.npz", "tests/models/real/*.onnx",
          "onnx2tf_lite/tools/parts/recipes/*")  # fmt: skip
TABLE = re.compile(r"(<!-- elemType: .*? -->\n).*?(<!-- end -->\n)", re.DOTALL)
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?( no-run)?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:onnx2tf_lite|tests|docs|examples|benchmarks|[a-z_]+/)[\w./-]*[./][\w./-]*)`")
Block = tuple[str, str, str]  # language, title, text


def scripts() -> dict[str, str]:
    """Command -> module:function."""
    section = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]\n")[2].partition("\n[")[0]
    return dict(re.findall(r'^(\S+) = "(.*)"$', section, re.MULTILINE))


def elem_types(columns: int = 4) -> str:
    """onnx's enum as a Markdown table."""
    names = {"FLOAT": "float32", "DOUBLE": "float64"}
    cells = [f"{number} | {names.get(name, name.lower())}" for name, number in TensorProto.DataType.items() if number]
    rows = -(-len(cells) // columns)
    cells += [" | "] * (rows * columns - len(cells))
    lines = ["| number | type " * columns + "|", "|---" * 2 * columns + "|"]
    lines += [f"| {' | '.join(cells[row::rows])} |" for row in range(rows)]
    return "\n".join(lines) + "\n"


def sections() -> Iterator[tuple[Path, str, list[Block]]]:
    """(page, heading, blocks that are run, written or compared); each part of the tour of tools is independent."""
    for page in PAGES:
        text = page.read_text()
        parts = re.split(r"^## ", text, flags=re.MULTILINE) if page == TUNING else [text]
        for part in parts:
            blocks = [(m[1], m[2] or "", m[4]) for m in BLOCK.finditer(part) if not m[3]]
            if any(language in ("sh", "python") for language, _, _ in blocks):
                yield page, part.partition("\n")[0].lstrip("# "), blocks


def parameters() -> list[object]:
    def of(page: Path, heading: str, blocks: list[Block]) -> object:
        marks = [needs(*TOOLED[page.name])] if page.name in TOOLED else []
        if any("mypy" in text for _, _, text in blocks):
            marks.append(pytest.mark.skipif(OLD_STUBS, reason="mypy reads the stubs of numpy 2.2 and later"))
        return pytest.param(page, blocks, id=f"{page.relative_to(ROOT).with_suffix('')}: {heading}", marks=marks)

    return [of(*section) for section in sections()]


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the entry points of pyproject.toml."""
    folder = tmp_path_factory.mktemp("bin")
    for name, target in scripts().items():
        module, function = target.split(":")
        code = f"import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
        (folder / name).write_text(f"#!{sys.executable}\n{code}")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with the example models and recipes, and ``model.onnx``, which is the digits."""
    for source in (path for pattern in MODELS for path in ROOT.glob(pattern)):
        shutil.copy(source, tmp_path)
    shutil.copy(ROOT / "examples" / "digits" / "digits.onnx", tmp_path / "model.onnx")
    return tmp_path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository to change."""
    skip = shutil.ignore_patterns("__pycache__", "*.onnx", "oracle.json")
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree(source, tmp_path / name, ignore=skip) if source.is_dir() else shutil.copy(source, tmp_path))
    return tmp_path


@pytest.mark.parametrize(("page", "blocks"), parameters())
def test_page(page: Path, blocks: list[Block], commands: Path, request: pytest.FixtureRequest) -> None:
    """The lines of a text block stand, in this order, in what the block before it printed."""
    newcomer = page.parent == NEWCOMER
    folder = request.getfixturevalue("checkout" if newcomer else "work")
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    home = folder if newcomer else ROOT
    shell = os.environ | {"PATH": path, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    printed = ""
    for language, title, text in blocks:
        if title:
            with (folder / title).open("a") as file:
                file.write(text)
        elif language == "text":
            at = 0
            for line in text.splitlines():
                found = printed.find(line + "\n", at)
                assert found >= 0, f"not printed: {line!r}\n{printed}"
                at = found + len(line)
        elif language in ("sh", "python"):
            command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
            done = subprocess.run(command, cwd=folder, env=shell, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout


def test_pages_have_commands() -> None:
    ran = [page for page, _, blocks in sections() for language, _, _ in blocks if language == "sh"]
    assert len(ran) > 30
    assert {p.name for p in NEWCOMER.glob("*.md")} <= {p.name for p in ran}


def test_every_tool_is_on_its_page() -> None:
    shown = "\n".join(t for page, _, blocks in sections() for lang, _, t in blocks if page == TUNING and lang == "sh")
    tools = [name for name in scripts() if not name.startswith("onnx2tf")]
    assert len(tools) == 25
    assert [name for name in tools if not re.search(rf"\b{name}\b", shown)] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md"], ids=lambda p: p.name)
def test_cited_files_exist(page: Path) -> None:
    """A path in backquotes lies in the repository, or below the package."""
    homes = (ROOT, ROOT / "onnx2tf_lite", page.parent)
    titles = {title for _, _, blocks in sections() for _, title, _ in blocks}
    absent = [p for p in PATH.findall(page.read_text()) if not any((home / p).exists() for home in homes)]
    assert [p for p in absent if p not in titles] == []


def test_table_of_types_is_that_of_onnx() -> None:
    """Of the newest onnx that writes this page: an older one knows fewer types."""
    table = TABLE.search(TUNING.read_text())
    assert table
    rows = re.findall(r"(\d+) \| (\w+)", table[0])
    known = dict(re.findall(r"(\d+) \| (\w+)", elem_types()))
    assert {number: name for number, name in rows if number in known} == known


if __name__ == "__main__":
    TUNING.write_text(TABLE.sub(lambda m: m[1] + elem_types() + m[2], TUNING.read_text()))
