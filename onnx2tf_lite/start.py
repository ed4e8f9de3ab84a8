"""Where the commands begin: an interrupt is one line while Python still imports, too.

Each command is an attribute of this module, ``onnx-tune`` as ``onnx_tune``; what it is made of is imported when it is
called.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing takes milliseconds to load
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Main = Callable[[Sequence[str] | None], int]

#: command -> its module and the function in it; all others are tools, each ``main`` of the module of its name.
HOMES = {
    "onnx2tf": ("cli", "program"),
    "onnx2tf-check": ("check_cli", "main"),
    "onnx2tf-fleet": ("fleet_cli", "main"),
    "onnx-tune": ("tools.tune", "main"),
}

#: The threads that numpy's OpenBLAS begins as it is imported spin until they are asked for: 50 to 95 ms of every other
#: processor, which the check and the runtimes want.  2 ** 4 cycles instead; products use the threads all the same.
SLEEP = ("OPENBLAS_THREAD_TIMEOUT", "4")


def __getattr__(attribute: str) -> Callable[..., int]:
    name = attribute.replace("_", "-")
    if name not in HOMES and not name.isalnum():
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")

    def start(argv: Sequence[str] | None = None) -> int:
        os.environ.setdefault(*SLEEP)
        try:
            return _function(name)(argv)
        except KeyboardInterrupt:
            sys.stderr.write(f"{name}: interrupted\n")
            return 130

    return start


def _function(name: str) -> Main:
    from importlib import import_module

    module, function = HOMES.get(name, (f"tools.{name}", "main"))
    found: Main = getattr(import_module(f".{module}", __package__), function)
    return found
