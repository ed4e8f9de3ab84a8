"""The .tflite emitter: LiteRT's own schema classes and flatbuffers, without TensorFlow.

``tables``  the graph as schema objects        ``writer``  the file: tables first, weights streamed behind them
"""

from .writer import write

__all__ = ["write"]
