"""Float programs with integer kernels inside: which numbers become integers, with which scales.

``recipes``    the kinds of quantised program     ``samples``   the user's data, one sample after the other
``calibrate``  the numbers that tensors hold      ``scales``    ranges -> scales and zero points
``prepare``    forms that integer kernels have    ``annotate``  QUANTIZE, DEQUANTIZE around every tensor
``runner``     a program in the interpreter       ``stage``     all of it, as a stage of the compiler

Quantising a float model here is making a quantised one of it: every tensor that an integer kernel reads or writes gets
a QUANTIZE and a DEQUANTIZE with calibrated scales, as in ONNX's own QDQ models, and the stage that serves those
(``fusion.qdq``) forms the kernels.  So there is one place that knows integer kernels, for both.
"""

from .recipes import RECIPES, Recipe
from .samples import CalibrationData
from .stage import Quantiser

__all__ = ["RECIPES", "CalibrationData", "Quantiser", "Recipe"]
