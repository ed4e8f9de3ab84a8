"""Fixtures that tests of several rooms share."""

from tests.browser import browser

__all__ = ["browser"]
