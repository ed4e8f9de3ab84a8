"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests import harness  # every stage is verified, whatever a test converts with
from tests.browser import browser

__all__ = ["browser", "harness"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts arrive, also where the tests run in the background of a shell, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
