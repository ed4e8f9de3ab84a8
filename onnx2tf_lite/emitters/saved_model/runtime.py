"""TensorFlow, imported on first use and kept quiet."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ...errors import ConversionError, Problem


def tensorflow() -> ModuleType:
    """The ``tensorflow`` module; ConversionError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        with muted():
            import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        problem = Problem("SavedModel", "TensorFlow is not installed", "pip install 'onnx2tf_lite[tensorflow]'")
        raise ConversionError(problem) from error
    module: ModuleType = tf
    return module


@contextmanager
def muted() -> Iterator[None]:
    """Nothing on file descriptor 2: TensorFlow's C++ start-up reports ignore every log level."""
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


@contextmanager
def errors_only() -> Iterator[None]:
    """Python loggers of TensorFlow at ERROR inside, as the user had them afterwards."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
