"""The HTML report: looked at in a real browser, where one is installed (chromium), without any network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("plotly", reason="the report's charts are drawn by plotly (onnx2tf_lite[report])")

from onnx2tf_lite.validation.figures.judge import compare, tolerance
from onnx2tf_lite.validation.figures.measure import Histogram
from onnx2tf_lite.validation.files.written import Move
from onnx2tf_lite.validation.page import render
from onnx2tf_lite.validation.reports.report import CARRIES, INTRODUCES, FileReport, Report, Row
from tests.browser import window

LAYERS, CULPRIT = 24, 15


def row(index: int, error: float, role: str = "") -> Row:
    rng = np.random.default_rng(index)
    reference = rng.normal(size=(1, 8, 4, 4)).astype(np.float32)
    got = reference + np.float32(error) * rng.normal(size=reference.shape).astype(np.float32)
    limit = tolerance("float32", False)
    alone = compare(got if role == INTRODUCES else reference, reference, limit) if role else None
    return Row(f"/net/conv_{index}", "Conv" if index % 2 else "Relu", f"t<{index}>", reference.shape, (1, 4, 4, 8),
               (0, 2, 3, 1), "float32", compare(got, reference, limit), "XNNPACK", index, f"t<{index}>", "float32",
               isolated=alone, role=role, histogram=Histogram.of(got, reference) if role else None)  # fmt: skip


@pytest.fixture(scope="module")
def report() -> Report:
    rows = [row(i, 1e-6) for i in range(CULPRIT)] + [row(CULPRIT, 0.3, INTRODUCES)]
    rows += [row(i, 0.1, CARRIES) for i in range(CULPRIT + 1, LAYERS)]
    rows[3] = replace(rows[3], difference=compare(np.ones(2), np.ones(2), tolerance("float32", False)))  # exact: 0
    limit = tolerance("float32", False)
    file = FileReport("float32", "net_float32.tflite", str(limit), limit.why, ("XNNPACK",), [rows[-1]], rows,
                      operators={"CONV_2D": 12, "RELU": 12}, size=4096,
                      transposes=[Move("t<4>", (0, 3, 1, 2), 512, "an <output> in ONNX order")])  # fmt: skip
    return Report("ONNX Runtime", [{"x": (1, 8, 4, 4)}], ["a note"], [file], model="net.onnx",
                  settings={"command": "onnx2tf-check -i net.onnx", "seed": 0}, seconds={"reference": 0.1})  # fmt: skip


def test_page_is_one_file_without_links_and_the_same_every_time(report: Report) -> None:
    page = render(report)
    assert page == render(report)
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(src|href)=["'](?!#)|url\(|@import""", outside)
    assert "t<4>" not in outside and "t&lt;4&gt;" in outside


def test_page_says_what_the_report_says(report: Report) -> None:
    page = render(report)
    for text in (report.files[0].blame, "an &lt;output&gt; in ONNX order", "onnx2tf-check -i net.onnx", "a note"):
        assert text in page


@pytest.fixture
def page(browser, report: Report, tmp_path: Path):
    """The report in a window."""
    file = tmp_path / "report.html"
    file.write_text(render(report), encoding="utf-8")
    with window(browser, file, "#along0 .scatterlayer .point") as shown:
        yield shown


def column(page, number: int) -> list[str]:
    return page.eval_on_selector_all(
        f"table.layers tbody tr:not([hidden]) td:nth-child({number})", "c => c.map(x => x.textContent)"
    )


def header(page, name: str) -> int:
    return [h.strip() for h in page.locator("table.layers th").all_text_contents()].index(name) + 1


@pytest.mark.parametrize("name", ["layer", "max|diff|", "SQNR", "node"])
def test_a_click_on_a_header_sorts_and_a_second_one_turns_it_round(page, report: Report, name: str) -> None:
    number, rows = header(page, name), report.files[0].layers
    keys = {
        "layer": lambda r: r.index,
        "max|diff|": lambda r: r.difference.max_abs,
        "SQNR": lambda r: r.difference.sqnr,
    }
    in_order = sorted(rows, key=keys.get(name, lambda r: r.node))
    click = page.locator("table.layers th").nth(number - 1).click
    for turned in (False, True):
        click()
        shown = [int(i) for i in column(page, header(page, "layer"))]
        assert shown == [r.index for r in (in_order[::-1] if turned else in_order)]


def test_text_and_verdict_filter_together(page) -> None:
    page.fill("input[type=search]", "relu")
    assert set(column(page, header(page, "op"))) == {"Relu"} and len(column(page, 1)) == LAYERS // 2
    page.select_option("select", "carries")
    left = [int(i) for i in column(page, header(page, "layer"))]
    assert left == [i for i in range(CULPRIT + 1, LAYERS) if i % 2 == 0]
    assert page.locator(".count").first.text_content() == f"{len(left)} of {LAYERS}"
    page.select_option("select", "introduces")
    page.fill("input[type=search]", "")
    assert column(page, header(page, "layer")) == [str(CULPRIT)]


def test_charts_are_not_empty(page, tmp_path: Path) -> None:
    """Colours of the points, counted in a screenshot of every chart: introduced and carried error look different."""
    Image = pytest.importorskip("PIL.Image", reason="screenshots are looked at with Pillow")
    charts = page.locator(".js-plotly-plot")
    assert charts.count() == 1 + 6 + 3  # along the graph, six histograms, operators, sizes, seconds
    page.wait_for_timeout(300)  # the last chart's transition
    for i in range(charts.count()):
        charts.nth(i).screenshot(path=tmp_path / f"{i}.png")
        pixels = np.asarray(Image.open(tmp_path / f"{i}.png").convert("RGB")).reshape(-1, 3).astype(int)
        coloured = pixels[np.ptp(pixels, axis=1) > 60]
        assert len(coloured) > 100, f"chart {i} shows nothing"
        if i == 0:
            for colour in ((0xC0, 0x29, 0x1F), (0xD9, 0x8A, 0x0B)):
                assert (np.abs(pixels - colour).max(1) < 24).sum() > 20


def test_a_point_leads_to_its_row(page) -> None:
    tensor = f"t<{CULPRIT}>"
    page.evaluate("t => document.getElementById('along0').emit('plotly_click', {points: [{customdata: [t]}]})", tensor)
    assert page.locator("tr.chosen").get_attribute("data-tensor") == tensor
