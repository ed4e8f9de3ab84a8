"""Devices: tables, what is made for them, and their own tools."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from onnx2tf_lite.targets.proof import TOOLS


def needs(*tools: str) -> pytest.MarkDecorator:
    """Skips where one of the tools (names in ``proof.TOOLS``) is not installed: some Pythons have no wheels of them."""
    absent = [TOOLS[name] for name in tools if find_spec(TOOLS[name].module.partition(".")[0]) is None]
    said = ", ".join(f"{tool.package} is not installed (extra {tool.extra})" for tool in absent)
    return pytest.mark.skipif(bool(absent), reason=said)
