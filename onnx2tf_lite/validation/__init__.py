"""The written files against ONNX Runtime, on the same inputs.

``inputs``    arrays that suit a model           ``reference``  the original model in ONNX Runtime
``facts``     ... by what the model does with    ``traces``     them, followed through the graph
``samples``   the reference's side of a check    ``written``    a file that is checked, its runtimes
``program``   where the model is in a file       ``flatfile``   .tflite: other outputs, parts
``opening``   what kind of file it is: a ``tflite_file`` or a ``tensorflow_file``
``run``       a file's side of it, in a child    ``judge``      whether that is too much: limits
``measure``   how two tensors differ: numbers
``phrase``    the same in words                  ``isolate``    layers of a file as a model of parts
``parts``     the same of the original model     ``operands``   what they are run on
``alone``     every layer on its own             ``trial``      its side in a child
``channels``  results that no operand moved      ``coverage``   what of a file was reached
``verdict``   all of it for one file             ``checking``   all of it
``bounds``    the memory and time for it        ``pointers``   what a runtime takes for itself
``precision`` 16-bit floats and bytes as they are meant, ``unquantised`` a model without its rounding
``restate``   what the runtime refuses, in other words, and ``tidy`` without what means nothing
``report``    what it found (``page``: in HTML)   ``refusal``    why nobody runs the model
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazily import parts

if TYPE_CHECKING:
    from . import beside, inputs, page, refusal
    from .checking import check
    from .judge import Tolerance, tolerance
    from .program import Program
    from .reference import Reference
    from .report import FileReport, Report, Row
    from .samples import CheckOptions

HOMES = {
    "check": "checking",
    "Tolerance": "judge",
    "tolerance": "judge",
    "Program": "program",
    "Reference": "reference",
    "CheckOptions": "samples",
}
HOMES |= dict.fromkeys(("FileReport", "Report", "Row"), "report")
HOMES |= {name: name for name in ("beside", "inputs", "page", "reference", "refusal")}

__all__ = [
    "CheckOptions",
    "FileReport",
    "Program",
    "Reference",
    "Report",
    "Row",
    "Tolerance",
    "beside",
    "check",
    "inputs",
    "page",
    "refusal",
    "tolerance",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = parts(__name__, HOMES)
