"""The SavedModel emitter: a GraphDef of our own, wrapped and saved by TensorFlow (imported only in here, on first use).

``writer``   signature, variables, files        ``function``  IR graph -> FunctionDef
``ops``      TensorFlow's form of an operation  ``run``       load and call what was written
"""

from .run import load
from .writer import signature_keys, write

__all__ = ["load", "signature_keys", "write"]
