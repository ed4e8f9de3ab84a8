"""Real numbers as integers and back, as an activation that this package registers with Keras.

TensorFlow's own fake quantisation rounds half up and has no operator for a given scale, so it differs from ONNX by a
step where a value lies half-way.  Gradients pass through the rounding, so that a quantised model can be trained on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...ir.graph import Op
from ..runtime import keras, tensorflow
from .steps import KerasLayer, Step, operand


def fake_quantised(op: Op) -> Step | None:
    """A DEQUANTIZE of a QUANTIZE to the same integers."""
    maker, quant = operand(op).made_by("QUANTIZE"), op.attrs["quant"]
    if maker is None or quant.axis is not None or not quant.same(maker.attrs["quant"]):
        return None
    info = np.iinfo(quant.dtype)
    numbers = (quant.scale[0], quant.zero_point[0], info.min, info.max)
    rounded = activation()(*map(float, numbers))
    return KerasLayer("Activation", [operand(maker)], {"activation": rounded})


@cache
def activation() -> type:
    """The class, registered with Keras under ``onnx2tf_lite>FakeQuantize``."""
    tf, k = tensorflow(), keras()

    @k.utils.register_keras_serializable(package="onnx2tf_lite", name="FakeQuantize")
    class FakeQuantize:
        """x [...] (float32) as round(x / scale) + zero_point, half to even, within [low, high], and back."""

        def __init__(self, scale: float, zero_point: float, low: float, high: float):
            self.config = {"scale": scale, "zero_point": zero_point, "low": low, "high": high}

        def __call__(self, x: object) -> object:
            return tf.custom_gradient(self._rounded)(x)

        def _rounded(self, x: Any) -> tuple[object, object]:
            scale, zero_point, low, high = self.config.values()
            wide = tf.round(x / scale) + zero_point
            stored = tf.clip_by_value(wide, low, high)
            return (stored - zero_point) * scale, lambda slope: tf.where(wide == stored, slope, 0.0)

        def get_config(self) -> dict[str, float]:
            return self.config

        @classmethod
        def from_config(cls, config: dict[str, float]) -> FakeQuantize:
            return cls(**config)

    k.utils.get_custom_objects()[FakeQuantize.__name__] = FakeQuantize  # as which an .h5 file names it
    return FakeQuantize
