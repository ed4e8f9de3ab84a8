"""``python -m onnx2tf``: the command ``onnx2tf``, with the layout of inputs that its callers rely on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from onnx2tf_lite import cli


def main(words: Sequence[str] | None = None) -> int:
    """As :func:`onnx2tf_lite.cli.main`; every input of rank 3 to 5 is channels-last unless the words say otherwise."""
    return cli.main(words, io_layout="channels-last")


if __name__ == "__main__":
    sys.exit(main())
