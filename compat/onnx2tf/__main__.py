"""``python -m onnx2tf``: the command ``onnx2tf``, with what its callers rely on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from onnx2tf_lite.start import onnx2tf


def main(words: Sequence[str] | None = None) -> int:
    """As :func:`onnx2tf_lite.cli.main`, with the defaults of ``onnx2tf_lite_compat`` unless the words say otherwise."""
    from onnx2tf_lite import cli

    return cli.installed(words)


if __name__ == "__main__":
    sys.exit(onnx2tf())
