"""A real browser for pages, where one is installed (chromium); nothing that they ask of a network is allowed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright.  ``BROWSER_TESTS=required`` (CI) makes a missing one a failure."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = None if path else "no chromium on this machine (Debian: apt-get install chromium)"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed (onnx2tf_lite[test])"
    if missing:
        assert os.environ.get("BROWSER_TESTS") != "required", missing
        pytest.skip(missing)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def window(browser: Any, file: Path, ready: str) -> Iterator[Any]:
    """The file in a window, once ``ready`` is there; a request to anywhere or an error in a script fails the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    requests: list[str] = []
    errors: list[object] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(file.as_uri())
    page.wait_for_selector(ready)
    yield page
    page.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
