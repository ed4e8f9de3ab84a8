"""``python -m onnx2tf_lite`` is the command ``onnx2tf``."""

import sys

from .start import onnx2tf

if __name__ == "__main__":
    sys.exit(onnx2tf())
