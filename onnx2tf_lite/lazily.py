"""Packages whose parts are loaded when they are first asked for: a conversion pays for what its model needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def parts(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of ``package``: names out of the modules that ``homes`` says, modules by their own."""

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f".{homes[name]}", package)
        found: object = module if homes[name] == name else getattr(module, name)
        setattr(sys.modules[package], name, found)
        return found

    return get
