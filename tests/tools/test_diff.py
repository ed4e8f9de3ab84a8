"""`onnx-tune diff`: every kind of difference is found once, at its place, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx2tf_lite.tools.diff import Change, compare, diff
from tests.browser import browser, window

from . import models
from .cli import Cli, cli

__all__ = ["browser", "cli"]


def scaled(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def other_operator(model: ModelProto) -> None:
    next(n for n in model.graph.node if n.op_type == "Relu").op_type = "Abs"


def other_attribute(model: ModelProto) -> None:
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    conv.attribute.append(helper.make_attribute("auto_pad", "NOTSET"))


def renamed_tensor(model: ModelProto) -> None:
    """A name alone is no difference."""
    made = model.graph.node[0].output[0]
    for n in model.graph.node:
        for names in (n.input, n.output):
            for k, name in enumerate(names):
                names[k] = "renamed" if name == made else name


def longer(model: ModelProto) -> None:
    last = model.graph.node[-1]
    made = last.output[0]
    last.output[0] = "before_it"
    model.graph.node.append(helper.make_node("Abs", ["before_it"], [made], "added"))


def other_shape(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"


CHANGES: list[tuple[Callable[[ModelProto], None], list[tuple[str, str]]]] = [
    (lambda m: None, []),
    (scaled, [("constant", "changed"), ("node", "changed")]),
    (other_operator, [("node", "changed")]),
    (other_attribute, [("node", "changed")]),
    (renamed_tensor, []),
    (longer, [("node", "added")]),
    (other_shape, [("interface", "changed")]),
]


@pytest.mark.parametrize(("change", "kinds"), CHANGES, ids=lambda c: getattr(c, "__name__", None))
def test_each_kind_is_found_once(change: Callable[[ModelProto], None], kinds: list[tuple[str, str]]) -> None:
    before, after = models.build("cnn"), models.build("cnn")
    change(after)
    assert sorted((c.kind, c.what) for c in compare(before, after).changes) == kinds


def test_the_way_back_is_the_mirror() -> None:
    before, after = models.build("cnn"), models.build("cnn")
    longer(after)
    (there,), (back,) = compare(before, after).changes, compare(after, before).changes
    assert (there.what, back.what) == ("added", "removed") and there.where == back.where == "added"


def test_bodies_are_compared_too() -> None:
    before, after = models.build("ifm"), models.build("ifm")
    owner = next(n for n in after.graph.node if n.op_type == "If")
    then = next(a.g for a in owner.attribute if a.name == "then_branch")
    was = then.node[0].op_type
    then.node[0].op_type = "Sigmoid"
    (change,) = compare(before, after).changes
    assert change.kind == "node" and change.how == f"{was} -> Sigmoid"
    assert change.where.startswith("if0/then_branch:")


@pytest.mark.parametrize(("change", "code"), [(lambda m: None, 0), (scaled, 1)], ids=["equal", "scaled"])
def test_the_exit_code_is_that_of_diff(
    change: Callable[[ModelProto], None], code: int, cli: Cli, tmp_path: Path
) -> None:
    (before,) = models.write(tmp_path, "cnn")
    model = models.build("cnn")
    change(model)
    onnx.save(model, tmp_path / "after.onnx")
    result = cli("tune", "diff", before, tmp_path / "after.onnx", "--json", tmp_path / "d.json")
    assert result.code == code, result.text
    found = json.loads((tmp_path / "d.json").read_text())
    assert bool(found["changes"]) == bool(code)
    assert f"{1 - code} of 1 common outputs are equal" in found["run"]


def test_the_page_shows_changes_and_leads_to_them(browser: Any, tmp_path: Path) -> None:
    (before,) = models.write(tmp_path, "cnn")
    model = models.build("cnn")
    scaled(model)
    longer(model)
    onnx.save(model, tmp_path / "after.onnx")
    found = diff(str(before), str(tmp_path / "after.onnx"), html=str(tmp_path / "d.html"), non_verbose=True)
    conv = next(c for c in found.changes if c.kind == "node" and c.what == "changed")
    with window(browser, tmp_path / "d.html", "body[data-ready=yes]") as page:
        assert page.eval_on_selector("#colour", "e => e.value") == "by change"
        page.click(f"#about button:has-text('{conv.where}')")
        assert "changed" in page.inner_text("#about") and "Conv" in page.inner_text("#about h2")


def test_a_change_reads_like_a_line_of_diff() -> None:
    assert str(Change("node", "changed", "conv0", "axis 1 -> 2")) == "~ conv0: axis 1 -> 2"


def chain(op: str, count: int, prefix: str) -> ModelProto:
    names = ["x", *(f"{prefix}{i}" for i in range(count - 1)), "y"]
    nodes = [helper.make_node(op, [a], [b], f"{prefix}n{i}") for i, (a, b) in enumerate(pairwise(names))]
    graph = helper.make_graph(nodes, "g", [models.info("x", 1, [1])], [models.info("y", 1, [1])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_large_models_that_have_nothing_in_common_come_to_an_end() -> None:
    """3,000 nodes each: pairing all with all took minutes."""
    found = compare(chain("Relu", 3000, "a"), chain("Abs", 3000, "b"))
    assert Counter(c.what for c in found.changes if c.kind == "node") == {"added": 3000, "removed": 3000}


def test_renamed_chains_are_the_same() -> None:
    assert not compare(chain("Relu", 300, "a"), chain("Relu", 300, "b")).changes


def test_the_node_around_a_changed_body_is_marked() -> None:
    before, after = models.build("ifm"), models.build("ifm")
    owner = next(n for n in after.graph.node if n.op_type == "If")
    next(a.g for a in owner.attribute if a.name == "then_branch").node[0].op_type = "Sigmoid"
    assert compare(before, after).marks[1][owner.output[0]] == "changed"


def test_other_inputs_are_said(cli: Cli, tmp_path: Path) -> None:
    for name, model in (("a", chain("Relu", 2, "a")), ("b", models.build("cnn"))):
        onnx.save(model, tmp_path / f"{name}.onnx")
    result = cli("tune", "diff", tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert result.code == 1 and "not compared: the second model takes other inputs" in result.text


def test_standard_output_takes_the_json_alone(cli: Cli, tmp_path: Path) -> None:
    (path,) = models.write(tmp_path, "cnn")
    result = cli("tune", "diff", path, path, "--json", "-", "--no-run")
    assert result.code == 0 and json.loads(result.out) == {"changes": [], "run": ""}
