"""The SavedModel emitter.  Everything is written here, in TensorFlow's formats; TensorFlow itself only runs it.

``writer``      all of it                ``concrete``    functions for users      ``function``   IR graph -> FunctionDef
``session``     the graph around them    ``objects``     what the loaded object has      ``ops``        an operation
``checkpoint``  files of the variables   ``structures``  arguments and results           ``nodes``      a node
``protos``      the messages             ``operators``   signatures of raw operators     ``run``        load and call it
"""

from .run import load
from .writer import signature_keys, write

__all__ = ["load", "signature_keys", "write"]
