"""tf_keras, imported on first use."""

from __future__ import annotations

from types import ModuleType

from ...errors import ConversionError, Problem
from ..saved_model.runtime import tensorflow


def keras() -> ModuleType:
    """The ``tf_keras`` module; ConversionError where it is not installed."""
    tensorflow()
    try:
        import tf_keras
    except ModuleNotFoundError as error:
        if error.name != "tf_keras":
            raise
        problem = Problem("Keras", "tf-keras is not installed", "pip install 'onnx2tf_lite[keras]'")
        raise ConversionError(problem) from error
    module: ModuleType = tf_keras
    return module
