"""TensorFlow and tf-keras, imported on first use and kept quiet."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import cast

import numpy as np

from ..errors import ConversionError, Problem

#: A file that runs: from arrays to arrays, both by the names that its kind has for tensors.
Runner = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

#: What TensorFlow loads where it is installed and does without where it is not: the optimizers of Keras, for such
#: SavedModels as have one, and what the Keras inside TensorFlow itself reads files and sparse matrices with.
OPTIONAL: tuple[str, ...] = ("keras.src", "tf_keras.src", "h5py", "scipy")


def tensorflow() -> ModuleType:
    """The ``tensorflow`` module; ConversionError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with muted():
        return package("tensorflow", "TensorFlow")


def tensorflow_alone() -> ModuleType:
    """The same where nothing of Keras is needed, nor will be: a tenth of its memory less, and a sixth of the time."""
    with absent(OPTIONAL):
        return tensorflow()


def keras() -> ModuleType:
    """The ``tf_keras`` module; ConversionError where it is not installed."""
    tensorflow()
    return package("tf_keras", "tf-keras", "keras")


def package(name: str, title: str, extra: str = "") -> ModuleType:
    """A module that the extra of that name (or of its own) brings; ConversionError where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        remedy = f"pip install 'onnx2tf_lite[{extra or name}]'"
        raise ConversionError(Problem(title, "is not installed", remedy)) from error


@contextmanager
def absent(names: Collection[str]) -> Iterator[None]:
    """Inside, modules that are not loaded yet cannot be imported, as if they were not installed."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]


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
