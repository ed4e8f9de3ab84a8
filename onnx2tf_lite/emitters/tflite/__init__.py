"""The .tflite emitter, without TensorFlow and without generated code.

``tables``  the graph as rows of the ``schema``        ``flatbuffer``  the rows as bytes
``writer``  the file: tables first, weights streamed behind them        ``weights``  the constants as HDF5
"""

from .writer import write

__all__ = ["write"]
