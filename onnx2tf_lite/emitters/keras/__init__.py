"""The Keras emitter: a functional tf_keras model of real layers (TensorFlow and Keras imported only in here, on use).

``model``   the program as a model             ``steps``      what an operation becomes
``layers``  operations as layers of Keras      ``calls``      as functions of TensorFlow
``operation``  as a layer that this package registers      ``files``  written and read
"""

from .files import load, register, write
from .model import build

__all__ = ["build", "load", "register", "write"]
