"""Float programs with integer kernels inside: which numbers become integers, with which scales.

``recipes``    the kinds of quantised program     ``samples``   the user's data, one sample after the other
``calibrate``  the numbers that tensors hold      ``scales``    ranges -> scales and zero points
``prepare``    forms that integer kernels have    ``annotate``  QUANTIZE, DEQUANTIZE around every tensor
``plan``       what is to be integers, and how    ``runner``    a program in the interpreter
``rounding``   of weights, by what it does         ``weights``   beside float activations
``trials``     quantised versions, measured        ``mixed``     which operations keep more bits
``ranges``     which numbers a scale reaches       ``flat``      and which no reader tells apart
``outside``    integer inputs and outputs          ``stage``     all of it, as a stage of the compiler
``speed``      beside the float32 file            ``coarse``    results below the steps of their kernels
``masks``      of attention, cut off               ``positions``  which elements are read, in floats
``loops``      float inside, and what to do

Quantising a float model here is making a quantised one of it: every tensor that an integer kernel reads or writes gets
a QUANTIZE and a DEQUANTIZE with calibrated scales, as in ONNX's own QDQ models, and the stage that serves those
(``fusion.qdq``) forms the kernels.  So there is one place that knows integer kernels, for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazily import parts
from .recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from . import pictures, speed
    from .mixed import Goal
    from .outside import refuse_floats, refuse_islands
    from .samples import CalibrationData
    from .stage import Quantiser

HOMES = {"CalibrationData": "samples", "Goal": "mixed", "Quantiser": "stage"}
HOMES |= dict.fromkeys(("refuse_floats", "refuse_islands"), "outside")
HOMES |= {name: name for name in ("pictures", "speed")}

__all__ = [
    "RECIPES",
    "CalibrationData",
    "Goal",
    "Quantiser",
    "Recipe",
    "pictures",
    "refuse_floats",
    "refuse_islands",
    "speed",
]

if not TYPE_CHECKING:
    __getattr__ = parts(__name__, HOMES)
