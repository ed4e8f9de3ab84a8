"""index.html: what it says of a run and of the one before, looked at in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from onnx2tf_lite.fleet.page import INDEX, SUMMARY, changes, render, summary, write
from onnx2tf_lite.fleet.storage import Results
from tests.browser import window


def record(name: str, status: str = "right", operators: int = 5, **more: Any) -> dict[str, Any]:
    last = name.rpartition("/")[2]
    sizes = {f"{last}_float32.tflite": 2048, f"{last}_report.json": 9}
    made = {"sizes": sizes, "operators": operators, "transposes": 0}
    made |= {"coverage": {"float32": 99.5}, "latency_ms": {"float32": 1.25}, "sqnr": {"int8": 31.25}}
    made |= {"targets": {"float32": {"cpu": 100.0, "gpu": 80.0, "micro": None, "edgetpu": 0.0}}}
    return {
        "name": name,
        "status": status,
        "why": [f"{last} is {status}"],
        **(made if status == "right" else {}),
        **more,
    }


RECORDS = {r["name"]: r for r in [record("a"), record("sub/b", operators=70), record("c", "differs"),
                                  record("d</script>", "refused"), record("e", "died")]}  # fmt: skip


@pytest.fixture
def run() -> dict[str, Any]:
    return summary(deepcopy(RECORDS), {"lost": "no worker"}, 0.0)


def test_what_is_lost_is_a_model_that_died(run: dict[str, Any]) -> None:
    assert run["models"]["lost"]["status"] == "died" and len(run["models"]) == 6


WORSE: dict[str, tuple[dict[str, Any], str]] = {
    "status": ({"status": "differs"}, "right before, differs now"),
    "size": ({"sizes": {"a_float32.tflite": 2049}}, "bytes of a_float32.tflite: 2048 before, 2049 now"),
    "operators": ({"operators": 6}, "operators: 5 before, 6 now"),
    "transposes": ({"transposes": 1}, "transposes: 0 before, 1 now"),
    "coverage": ({"coverage": {"float32": 99.0}}, "% reached of float32: 99.5 before, 99 now"),
    "sqnr": ({"sqnr": {"int8": 30.0}}, "dB of int8: 31.25 before, 30 now"),
    "target": (
        {"targets": {"float32": {"cpu": 100.0, "gpu": None, "micro": None}}},
        "% of operators on gpu, float32: 80 before, 0 now",
    ),
    "latency": ({"latency_ms": {"float32": 2.0}}, "ms of float32: 1.25 before, 2 now"),
}


@pytest.mark.parametrize("change", WORSE)
def test_what_got_worse_is_worse_one_way_and_better_the_other(run: dict[str, Any], change: str) -> None:
    values, said = WORSE[change]
    now = deepcopy(run)
    now["models"]["a"] |= values
    ((kind, name, what),) = changes(run, now)
    assert (kind, name) == ("worse", "a") and said in what
    ((kind, name, _),) = changes(now, run)
    assert (kind, name) == ("better", "a")


def test_a_little_slower_is_no_change(run: dict[str, Any]) -> None:
    now = deepcopy(run)
    now["models"]["a"]["latency_ms"]["float32"] = 1.4
    assert list(changes(run, now)) == []


def test_what_came_and_went_and_worse_first(run: dict[str, Any]) -> None:
    now = deepcopy(run)
    now["models"]["new"] = now["models"].pop("e") | {"name": "new"}
    now["models"]["c"]["status"] = "right"
    now["models"]["a"]["status"] = "died"
    assert [(kind, name) for kind, name, _ in changes(run, now)] == [
        ("worse", "a"), ("gone", "e"), ("new", "new"), ("better", "c"),
    ]  # fmt: skip


def test_the_run_before_is_the_one_that_was_written(run: dict[str, Any], tmp_path: Path) -> None:
    store = Results(str(tmp_path))
    write(store, run)
    assert "no run before" in (tmp_path / INDEX).read_text()
    write(store, run)
    assert "Nothing has changed" in (tmp_path / INDEX).read_text()
    assert json.loads((tmp_path / SUMMARY).read_text()) == run
    (tmp_path / SUMMARY).write_text("{cut o")
    write(store, run)
    assert "no run before" in (tmp_path / INDEX).read_text()


@pytest.fixture
def page(browser: Any, run: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    file = tmp_path / "index.html"
    now = deepcopy(run)
    now["models"]["sub/b"]["operators"] = 71
    file.write_text(render(now, run), encoding="utf-8")
    with window(browser, file, "#models tbody tr") as shown:
        yield shown


def column(page: Any, number: int) -> list[str]:
    return list(page.eval_on_selector_all(f"#models tbody td:nth-child({number})", "c => c.map(x => x.textContent)"))


def test_every_model_the_worst_first(page: Any) -> None:
    assert column(page, 1) == ["e", "lost", "d</script>", "c", "a", "sub/b"]
    assert page.locator(".counts").inner_text().split() == ["2", "right", "1", "differs", "1", "refused", "2", "died"]
    changed = page.locator(".changes").inner_text().split()
    assert changed == ["worse", "sub/b", "operators:", "70", "before,", "71", "now"]


def test_figures_have_a_column_for_each_kind_of_file(page: Any) -> None:
    titles = page.locator("#models th").all_inner_texts()
    cells = dict(zip(titles, page.locator("#models tr[id=a] td").all_inner_texts(), strict=True))
    figures = ("KiB float32", "ms float32", "reached %", "operators", "dB int8", "runs on, float32")
    assert [cells[name] for name in figures] == ["2", "1.25", "99.5", "5", "31.3", "cpu, gpu 80 %, edgetpu 0 %"]


def test_a_click_sorts_and_another_turns_it_round(page: Any) -> None:
    button = page.get_by_role("button", name="operators")
    button.click()
    assert column(page, 3)[:2] == ["5", "71"]
    button.click()
    assert [n for n in column(page, 3) if n] == ["71", "5"]
    assert page.locator("th[aria-sort]").inner_text().startswith("operators")


def test_a_long_verdict_makes_no_tall_row(browser: Any, run: dict[str, Any], tmp_path: Path) -> None:
    """Its column keeps its width beside many others, and three lines are shown."""
    run["models"]["a"] = record("a", why=["a_float32.tflite: matches, " + "and much more of it " * 50])
    kinds = ["float32", "float16", "integer_quant", "full_integer_quant", "dynamic_range_quant", "weight_only_int8"]
    run["models"]["a"] |= {"latency_ms": dict.fromkeys(kinds, 1.5), "sqnr": dict.fromkeys(kinds, 30.0)}
    (tmp_path / "index.html").write_text(render(run, {}), encoding="utf-8")
    with window(browser, tmp_path / "index.html", "#models tbody tr") as shown:
        box = shown.locator("#models tr[id=a]").bounding_box()
        assert box["height"] < 90 and shown.locator("#models tr[id=a] td.why").bounding_box()["width"] > 400


def test_filters_by_words_and_by_status(page: Any) -> None:
    page.fill("#text", "is SUB b".replace("SUB ", ""))
    assert column(page, 1) == ["sub/b"] and page.locator("#shown").inner_text() == "1 of 6"
    page.fill("#text", "")
    page.select_option("#status", "died")
    assert column(page, 1) == ["e", "lost"]


def test_models_lead_to_their_folder_or_their_page(browser: Any, run: dict[str, Any], tmp_path: Path) -> None:
    run["models"]["c"]["page"] = "check.html"
    (tmp_path / "index.html").write_text(render(run, {}), encoding="utf-8")
    with window(browser, tmp_path / "index.html", "#models tbody tr") as shown:
        links = shown.eval_on_selector_all("#models a", "a => a.map(x => x.getAttribute('href'))")
    assert {"c/check.html", "sub/b/", "d%3C/script%3E/"} <= set(links)


def test_a_hundred_thousand_models_are_not_drawn_at_once(browser: Any, run: dict[str, Any], tmp_path: Path) -> None:
    run["models"] = {f"m{i:05}": record(f"m{i:05}") for i in range(3000)}
    now = deepcopy(run)
    for model in now["models"].values():
        model["operators"] = 6
    (tmp_path / "index.html").write_text(render(now, run), encoding="utf-8")
    with window(browser, tmp_path / "index.html", "#models tbody tr") as shown:
        assert shown.locator("#models tbody tr").count() == 1000 == shown.locator(".changes tr").count()
        assert shown.locator("#shown").inner_text() == "3000 of 3000, the first 1000 of them shown"
        assert "and 2,000 more" in shown.locator("main").inner_text()
        shown.fill("#text", "m02999")
        assert column(shown, 1) == ["m02999"]
