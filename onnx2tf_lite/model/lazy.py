"""onnx and numpy, loaded when they are first used: a command line's help shall not wait for them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
else:

    class _Lazy(ModuleType):
        def __getattr__(self, name: str) -> Any:
            found = getattr(sys.modules.get(self.__name__) or import_module(self.__name__), name)
            setattr(self, name, found)  # it is asked for each node and tensor
            return found

    onnx, np = _Lazy("onnx"), _Lazy("numpy")

__all__ = ["np", "onnx"]
