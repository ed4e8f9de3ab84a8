"""tf_keras, imported on first use."""

from __future__ import annotations

from typing import Any

from ...errors import ConversionError, Problem
from ..saved_model.runtime import tensorflow


def keras() -> Any:
    """The ``tf_keras`` module; ConversionError where it is not installed."""
    tensorflow()
    try:
        import tf_keras
    except ModuleNotFoundError as error:
        if error.name != "tf_keras":
            raise
        problem = Problem("Keras", "tf-keras is not installed", "pip install 'onnx2tf_lite[keras]'")
        raise ConversionError(problem) from error
    return tf_keras
