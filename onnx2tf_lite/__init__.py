"""ONNX to TensorFlow Lite and SavedModel.

    import onnx2tf_lite

    result = onnx2tf_lite.convert("model.onnx", "saved_model")
    result.files["float32"], result.check.ok

Everything is loaded on first use, so that importing the package and `onnx2tf --help` cost nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes milliseconds to load, in which an interrupt would be a trace
if TYPE_CHECKING:
    from typing import Any

    from .conversion import ConversionResult, convert
    from .errors import ConversionError, Problem

__all__ = ["ConversionError", "ConversionResult", "Problem", "convert"]

_HOME = {"ConversionError": "errors", "Problem": "errors", "ConversionResult": "conversion", "convert": "conversion"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        from importlib import metadata  # takes longer to load than most of what is asked for

        return metadata.version("onnx2tf_lite")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
