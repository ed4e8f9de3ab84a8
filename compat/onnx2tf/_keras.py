"""The Keras model of a conversion, made at its first use: most callers want the files alone."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx2tf_lite import ConversionResult


class KerasModel:
    """Stands for ``result.tf_keras_model``: attributes, calls and ``isinstance`` are those of the model itself."""

    def __init__(self, result: ConversionResult):
        self.conversion = result

    @cached_property
    def _model(self) -> Any:
        return self.conversion.tf_keras_model

    @property
    def onnx_output_layouts(self) -> dict[str, bool]:
        """Output -> is it channels-last, its axes others than in ONNX?  As onnx2tf 1.x has it."""
        return {output.name: output.moved for output in self.conversion.outputs}

    @property
    def __class__(self) -> Any:
        return type(self._model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._model(*args, **keywords)

    def __repr__(self) -> str:
        return f"<the Keras model of {self.conversion.report['model']}>"
