"""The written files against ONNX Runtime, on the same inputs.

``inputs``   arrays that suit a model     ``reference``  the original model in ONNX Runtime
``targets``  the files in their runtimes  ``compare``    tolerances and differences of tensors
``check``    the engine                   ``report``     what it found
"""

from .check import CheckOptions, Program, check
from .compare import Tolerance, tolerance
from .reference import Reference
from .report import FileReport, Report, Row

__all__ = ["CheckOptions", "FileReport", "Program", "Reference", "Report", "Row", "Tolerance", "check", "tolerance"]
