"""The written files against ONNX Runtime, on the same inputs.

``inputs``    arrays that suit a model           ``reference``  the original model in ONNX Runtime
``targets``   the files in their runtimes        ``program``    where the tensors of the model are in a file
``flatfile``  .tflite: other outputs, parts      ``child``      work in a process that may die
``compare``   tolerances and differences         ``isolate``    which layers introduce error
``samples``   the reference's side of a check    ``filecheck``  a file's side of it
``check``     the whole of it                    ``report``     what it found (``page``: in HTML)
"""

from . import page
from .check import check
from .compare import Tolerance, tolerance
from .program import Program
from .reference import Reference
from .report import FileReport, Move, Report, Row
from .samples import CheckOptions

__all__ = [
    "CheckOptions", "FileReport", "Move", "Program", "Reference", "Report", "Row", "Tolerance", "check", "page",
    "tolerance",
]  # fmt: skip
