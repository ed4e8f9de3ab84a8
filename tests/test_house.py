"""Each measure of tests.house on a package that is clean, and on the same with one violation planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import house

KINDS = frozenset({"ADD", "SUB", "MUL"})
HANDLERS = '@op("Abs")\ndef abs_(x):\n    y = x\n    return y\n\n\n@op("Neg")\ndef neg(x):\n    return -x\n'
LONGER = HANDLERS.replace("    y = x\n", "    y = x\n" * 4)
CLEAN = {
    "__init__.py": "",
    "errors.py": '"""Errors."""\n\n\nclass Refused(Exception):\n    """No."""\n',
    "ir/__init__.py": "",
    "ir/kinds/__init__.py": 'ALL = ("ADD", "SUB", "MUL")\n',
    "ir/op.py": '"""See notes.md.  An operator."""\n\nfrom ..errors import Refused\n\n# comment\n\n\n'
    'def take(x: int) -> int:\n    """x, or Refused."""\n    if x < 0:\n        raise Refused\n    return x\n',
    "op_handlers/__init__.py": "",
    "op_handlers/maths.py": HANDLERS,
}
CONTRACT = """
[tool.importlinter]
root_package = "{0}"
[[tool.importlinter.contracts]]
name = "errors stay below"
type = "forbidden"
source_modules = ["{0}.errors"]
forbidden_modules = ["{0}.ir"]
"""
LONG = "def f():\n    '''.'''\n" + "    x = 1\n" * 60
BRANCHES = "def f(x):\n    '''.'''\n" + "    if x: pass\n" * 20
MEASURES = {m.name: m for m in house.MEASURES}


@pytest.fixture
def plant(tmp_path: Path, request: pytest.FixtureRequest):
    """Make the clean package with some files replaced or added; each call of a test under a name of its own."""
    count = 0

    def make(files: dict[str, str]) -> house.Tree:
        nonlocal count
        count += 1
        package = f"planted_{abs(hash(request.node.name))}_{count}"
        root = tmp_path / package
        for name, text in (CLEAN | files).items():
            path = root / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "notes.md").write_text("notes\n")
        (root / "pyproject.toml").write_text(CONTRACT.format(package))
        return house.Tree(root, package, KINDS)

    return make


RAISING = """
def f():
    raise ValueError(1)
def g():
    try:
        raise ValueError(1)
    except ValueError:
        pass
class A:
    def h(self):
        if self:
            raise KeyError(2)
def i():
    'ValueError always.'
    raise ValueError(3)
"""
PLANTED = [
    ("lines", {"new.py": "x = 1\n\n\ny = 2\n"}, 4),
    ("code", {"new.py": '"""Text.\n\n"""\n\n# comment\nx = (\n    1,\n)\n\n\ndef f():\n    """Text."""\n'}, 4),
    ("lines-new", {"targets/new.py": "x = 1\n\n\ny = 2\n"}, 4),
    ("code-new", {"targets/new.py": "x = 1\n\n\ny = 2\n"}, 2),
    ("files", {"new.py": "x = 1\n" * 451}, 1),
    ("functions", {"new.py": LONG}, 1),
    ("grade-d", {"new.py": BRANCHES}, 1),
    ("grade-ef", {"new.py": BRANCHES + "    if x: pass\n" * 10}, 1),
    ("fmt-skip", {"new.py": "x = [1,2]  # fmt: skip\n# fmt: off\n"}, 2),
    ("handlers", {"op_handlers/maths.py": LONGER}, 1),
    ("handlers-p90", {"op_handlers/maths.py": LONGER}, 3),
    ("any", {"new.py": "from typing import Any\n\nx: Any = 1\ny: dict[str, Any] = {}\n"}, 2),
    ("docstrings", {"new.py": "def f(): pass\nclass A:\n    def g(self): pass\n    def _h(self): pass\n"}, 2),
    ("raises", {"new.py": RAISING}, 2),
    ("documents", {"new.py": "# see layout.md and kernel-facts section 3, not notes.md\n"}, 2),
    ("tables", {"new.py": 'A = {"ADD": 1, "SUB": (2, "MUL")}\nB = "ADD SUB".split()\nC = ("ADD", "x")\n'}, 2),
    ("tables", {"new.py": 'A = "ADD|SUB"\nB = "ADD=add SUB=sub"\nC = "ADD|SUB(x)", "ADD less"\n'}, 2),
    ("tables", {"new.py": 'A = {"ADD": 1, "SUB": 2, "up": 3}\nB = {"up": "ADD", "down": "SUB"}\n'}, 1),
    ("entries", {"new.py": 'A = {"ADD": 1, "SUB": (2, "MUL")}\nB = "ADD SUB".split()\nC = ("ADD", "x")\n'}, 5),
    ("names", {"new.py": 'a = op.kind.name in X, kind is KINDS["ADD"], op.name == "ADD", mode == "ADD"\n'}, 3),
    ("names", {"new.py": 'match op.kind.name:\n    case "ADD":\n        pass\n'}, 1),
    ("patterns", {"new.py": 'a = op.is_a("ADD") or x.made_by("SUB"), made_by(x)\n'}, 2),
    ("classes", {"new.py": "class Refused: pass\nclass _Own: pass\n", "other.py": "class _Own: pass\n"}, 1),
    ("circles", {"errors.py": "def f():\n    from .ir import op\n"}, 1),
    ("module-circles", {"ir/a.py": "from . import b\n", "ir/b.py": "from .a import x\n"}, 1),
    ("arrows", {"errors.py": "from .ir import op\n"}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "files", "more"), PLANTED, ids=[name for name, _, _ in PLANTED])
def test_planted_violation_is_counted(name: str, files: dict[str, str], more: int, plant) -> None:
    measure = MEASURES[name]
    added = {path: "" for path in files if path not in CLEAN}
    before, after = measure.of(plant(added)), measure.of(plant(files))
    assert after.value - before.value == more
    assert before.value == 0 or name in {"lines", "code", "handlers", "handlers-p90"}
    assert len(after.places) >= min(more, 1)


def test_strict_errors(plant) -> None:
    """mypy alone, as it is slow: clean but for the handlers, which have no types."""
    untyped = {"op_handlers/maths.py": ""}
    assert MEASURES["strict"].of(plant(untyped)).value == 0
    figure = MEASURES["strict"].of(plant(untyped | {"new.py": "def f(x):\n    return x\n"}))
    assert figure.value == 1 and "new.py:1" in figure.places[0]


def test_excused_arrow_is_counted(plant) -> None:
    tree = plant({"errors.py": "from .ir import op\n"})
    contract = tree.root / "pyproject.toml"
    excuse = f'ignore_imports = [\n    "{tree.package}.errors -> {tree.package}.ir.op",\n]\n'
    contract.write_text(contract.read_text() + excuse)
    assert MEASURES["arrows"].of(tree).places == (f"excused: {tree.package}.errors -> {tree.package}.ir.op",)


def test_a_tool_that_fails_is_no_figure(plant) -> None:
    tree = plant({})
    (tree.root / "pyproject.toml").write_text("[tool.importlinter]\n")
    with pytest.raises(RuntimeError, match="import-linter failed"):
        MEASURES["arrows"].of(tree)


def test_every_measure_has_a_planted_violation() -> None:
    assert {name for name, _, _ in PLANTED} | {"strict"} == set(MEASURES)


def test_exit_code_and_json(plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(house, "product", lambda: plant({}))
    assert house.main(["files", "names"]) == 0
    monkeypatch.setattr(house, "product", lambda: plant({"new.py": "x = 1\n" * 451}))
    capsys.readouterr()
    assert house.main(["files", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["files"] == {"value": 1, "bar": 0, "places": ["new.py:1 451 lines"]}
    assert house.main(["files"]) == 1
    printed = capsys.readouterr().out
    assert "MISSED" in printed and "new.py:1 451 lines" in printed
    with pytest.raises(SystemExit) as wrong:
        house.main(["nonsense"])
    assert wrong.value.code == 2
