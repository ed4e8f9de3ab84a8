"""``python -m onnx2tf_lite`` is the command ``onnx2tf``."""

from .cli import program

program()
