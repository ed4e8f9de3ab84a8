"""docs/tuning.md: every command runs as written, and prints what is written.

`python -m tests.tools.test_docs` writes the generated table into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tuning.md"
TABLE = re.compile(r"(<!-- elemType: .*? -->\n).*?(<!-- end -->\n)", re.DOTALL)
BLOCK = re.compile(r"^```(\w+)( no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


def sections() -> dict[str, list[tuple[str, str]]]:
    """Heading -> (language, text) of the blocks that are run or compared."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        blocks = [(m[1], m[3]) for m in BLOCK.finditer(part) if not m[2]]
        if blocks:
            found[part.partition("\n")[0]] = blocks
    return found


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment whose commands are the entry points of pyproject.toml, and a folder with the example models."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, target in scripts().items():
        module, function = target.split(":")
        code = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (bin_ / name).write_text(f"#!{sys.executable}\n{code}")
        (bin_ / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    for source in [*(ROOT / "examples" / "tuning").glob("*.onnx"),
                   *(ROOT / "onnx2tf_lite" / "tools" / "parts" / "recipes").glob("*.yaml")]:  # fmt: skip
        (tmp_path / "work" / source.name).write_bytes(source.read_bytes())
    path = os.pathsep.join([str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize("title", sections())
def test_commands(title: str, shell: dict[str, str], tmp_path: Path) -> None:
    """The lines of a text block stand, in this order, in what the block before it printed."""
    printed = ""
    for language, text in sections()[title]:
        if language == "text":
            at = 0
            for line in text.splitlines():
                found = printed.find(line + "\n", at)
                assert found >= 0, f"not printed: {line!r}\n{printed}"
                at = found + len(line)
            continue
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path / "work", env=shell, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed = done.stdout


def test_page_has_commands() -> None:
    assert len(sections()) >= 6
    assert sum(language == "sh" for blocks in sections().values() for language, _ in blocks) > 15


def test_every_tool_is_on_the_page() -> None:
    shown = "\n".join(text for blocks in sections().values() for language, text in blocks if language == "sh")
    tools = [name for name, target in scripts().items() if ".tools." in target]
    assert len(tools) == 24
    assert [name for name in tools if not re.search(rf"\b{name}\b", shown)] == []


def test_table_of_types_is_that_of_onnx() -> None:
    """Of the newest onnx that writes this page: an older one knows fewer types."""
    table = TABLE.search(PAGE.read_text())
    assert table
    rows = re.findall(r"(\d+) \| (\w+)", table[0])
    known = dict(re.findall(r"(\d+) \| (\w+)", elem_types()))
    assert {number: name for number, name in rows if number in known} == known


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda m: m[1] + elem_types() + m[2], PAGE.read_text()))
