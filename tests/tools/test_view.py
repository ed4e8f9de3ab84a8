"""`onnx-tune view`: what the page holds, and that a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx2tf_lite import check_cli, convert
from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.view import view
from tests.browser import browser, window

from . import models
from .cli import Cli, cli, listing
from .models import F, info, node

__all__ = ["browser", "cli"]
READY = "body[data-ready=yes]"


def contents(path: Path) -> list[dict[str, Any]]:
    """The graphs that a page has."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])["graphs"]  # type: ignore[no-any-return]


def test_every_node_is_there_with_shapes_constants_and_cost(tmp_path: Path) -> None:
    model = models.build("cnn")
    (graph,) = contents(view(onnx_graph=model, output_html_file_path=str(tmp_path / "v.html"), non_verbose=True))
    ops = [n["op"] for n in graph["nodes"]]
    assert ops == ["input", *(n.op_type for n in model.graph.node if n.op_type != "Constant"), "output"]
    conv = next(n for n in graph["nodes"] if n["op"] == "Conv")
    weights = next(t for t in model.graph.initializer if t.name == conv["in"][1][0])
    assert conv["in"][1] == [
        weights.name,
        f"float32[{','.join(map(str, weights.dims))}]",
        f"{len(weights.raw_data):,} bytes",
    ]
    made = next(v for v in onnx.shape_inference.infer_shapes(model).graph.value_info if v.name == conv["out"][0][0])
    extents = [d.dim_value for d in made.type.tensor_type.shape.dim]
    assert conv["out"][0][1] == f"float32[{','.join(map(str, extents))}]"
    assert conv["macs"] == np.prod(extents) * np.prod(list(weights.dims)[1:])


def test_bodies_are_graphs_that_their_node_leads_to(tmp_path: Path) -> None:
    graphs = contents(
        view(onnx_graph=models.build("ifm"), output_html_file_path=str(tmp_path / "v.html"), non_verbose=True)
    )
    owner = next(n for n in graphs[0]["nodes"] if n["op"] == "If")
    assert set(owner["bodies"]) == {g["path"] for g in graphs[1:]}


def test_the_page_ends_no_script(tmp_path: Path) -> None:
    """A name that looks like HTML is data."""
    name = "</script><script>document.title='x'</script>"
    nodes = [node("Relu", ["x"], ["y"], name)]
    model = models.model(nodes, [info("x", F, [1])], [info("y", F, [1])])
    (graph,) = contents(view(onnx_graph=model, output_html_file_path=str(tmp_path / "v.html"), non_verbose=True))
    assert [n["name"] for n in graph["nodes"]] == ["x", name, "y"]


def test_a_report_colours_the_nodes(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(models.build("cnn"), source)
    convert(source, output_folder_path=tmp_path / "o", outputs=["float32"], check="none", non_verbose=True)
    report = tmp_path / "r.json"
    assert check_cli.main(["-i", str(source), "-t", str(tmp_path / "o/m_float32.tflite"), "--json", str(report)]) == 0
    (graph,) = contents(view(str(source), str(tmp_path / "v.html"), report=str(report), non_verbose=True))
    checked = [n for n in graph["nodes"] if "check" in n]
    assert checked and all(not n["check"]["what"] and 0 <= n["check"]["error"] < 1e-4 for n in checked)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"files": [{"outputs": [], "layers": [{"tensor": "x"}]}]}'])
def test_what_is_no_report_is_said_and_nothing_written(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ToolError, match=r"--report: .* is not what `onnx2tf-check --json` writes"):
        view(
            onnx_graph=models.build("cnn"),
            output_html_file_path=str(tmp_path / "v.html"),
            report=str(tmp_path / "r.json"),
        )
    assert listing(tmp_path) == ["r.json"]


def chain(count: int) -> onnx.ModelProto:
    """A residual chain of ``count`` nodes."""
    nodes, last = [], "x"
    for i in range(count // 2):
        nodes += [node("Relu", [last], [f"r{i}"], f"relu{i}"), node("Add", [last, f"r{i}"], [f"a{i}"], f"add{i}")]
        last = f"a{i}"
    return helper.make_model(helper.make_graph(nodes, "g", [info("x", F, [1, 4])], [info(last, F, [1, 4])]))


def test_a_browser_shows_ten_thousand_nodes(browser: Any, tmp_path: Path) -> None:
    """Found by name, chosen by a click, moved and zoomed; a frame takes less than half a second."""
    page_ = view(onnx_graph=chain(10_000), output_html_file_path=str(tmp_path / "v.html"), non_verbose=True)
    with window(browser, page_, READY) as page:
        page.fill("#find", "relu4321")
        page.wait_for_function("document.getElementById('hits').textContent === '1 found'")
        page.press("#find", "Enter")
        assert "relu4321" in page.inner_text("#about") and "float32[1,4]" in page.inner_text("#about")
        page.click("#fit")
        frame = page.evaluate("() => { const t = performance.now(); draw(); return performance.now() - t; }")
        assert frame < 500
        page.fill("#find", "")
        page.mouse.move(400, 400)
        page.mouse.wheel(0, -600)
        assert page.evaluate("view.scale") > 0.001


def test_a_browser_shows_bodies_and_the_way_back(browser: Any, tmp_path: Path) -> None:
    page_ = view(onnx_graph=models.build("ifm"), output_html_file_path=str(tmp_path / "v.html"), non_verbose=True)
    with window(browser, page_, READY) as page:
        page.fill("#find", "If")
        page.press("#find", "Enter")
        page.click("#about button:has-text('then_branch')")
        assert page.eval_on_selector("#graph", "e => e.selectedOptions[0].textContent").startswith("if0/then_branch")


def test_the_command_writes_the_page(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    assert cli("tune", "view", source, "-o", tmp_path / "v.html").code == 0
    assert listing(tmp_path) == ["cnn.onnx", "v.html"]


def test_weights_are_not_read(tmp_path: Path) -> None:
    """Large constants are told by their size alone: what is in a side file need not be there."""
    model = models.build("cnn")
    tensor = numpy_helper.from_array(np.zeros((64, 64), np.float32), "w_big")
    onnx.external_data_helper.set_external_data(tensor, "gone.bin", 0, 64 * 64 * 4)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)
    assert contents(view(onnx_graph=model, output_html_file_path=str(tmp_path / "v.html"), non_verbose=True))


@pytest.mark.parametrize(
    ("shapes", "what"), [({"nosuch": [1]}, "no graph input 'nosuch'"), ({"x": [9, 9]}, "x has 4 axes")]
)
def test_a_shape_that_does_not_fit_is_refused(shapes: dict[str, list[int]], what: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=what):
        view(onnx_graph=models.build("cnn"), output_html_file_path=str(tmp_path / "v.html"), shapes=shapes)


def test_standard_output_takes_the_page(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("tune", "view", source, "-o", "-")
    assert result.code == 0 and result.out.startswith(b"<!doctype html>")
