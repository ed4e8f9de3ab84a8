"""Sizes, shapes and numbers as words of a command line; each raises WordError, which argparse reports."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


class WordError(argparse.ArgumentTypeError, ValueError):
    """A word that is not of the form it should have."""


def size(text: str) -> int:
    """Bytes: ``1048576``, ``1MB``, ``2GiB`` (powers of 1024, in either spelling).  Raises WordError."""
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text, re.IGNORECASE)
    if not found:
        raise WordError(f"{text!r} is not a size such as 1048576 or 1MB")
    return int(found[1]) << _UNITS[found[2].upper()]


def positive(text: str) -> int:
    """A whole number of at least 1.  Raises WordError."""
    if not text.isdigit() or int(text) < 1:
        raise WordError(f"{text!r} is not a positive whole number")
    return int(text)


def limit(text: str) -> float:
    """A finite number of at least 0.  Raises WordError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise WordError(f"{text!r} is not a number of at least 0")
    return value


def share(text: str) -> float:
    """A part of a whole: more than 0, at most 1.  Raises WordError."""
    value = limit(text)
    if not 0 < value <= 1:
        raise WordError(f"{text!r} is not a share, more than 0 and at most 1")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """``0.485,0.456,0.406``.  Raises WordError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise WordError(f"{text!r} is not of the form 0.5,0.5,0.5") from error


def names(text: str) -> list[str]:
    """``a,b,c``."""
    return [part for part in text.split(",") if part]


def dim(text: str) -> int | str:
    """A dimension: a number, or a name (a negative number is one too)."""
    return int(text) if text.isdigit() else text


def shapes(words: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """``x:1,3,224,224`` by name, which may have colons of its own; ``s:`` is a scalar, -1 leaves a dimension free.

    Raises WordError, for two shapes of a name too.
    """
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, _, text = word.rpartition(":")
        extents = [part for part in text.split(",") if part.strip()]
        if not name or not all(re.fullmatch(r"\s*-?\d+\s*", part) for part in extents):
            raise WordError(f"{word!r} is not of the form name:1,3,224,224")
        shape = tuple(map(int, extents))
        if found.setdefault(name, shape) != shape:
            raise WordError(f"{name!r} has two shapes: {word!r} is the second")
    return found


def fills(words: Iterable[str]) -> dict[str, float]:
    """``x:0.5`` by name, which may have colons of its own; ``*:1`` for all others.  Raises WordError."""
    found: dict[str, float] = {}
    for word in words:
        name, _, text = word.rpartition(":")
        try:
            found[name] = float(text)
        except ValueError:
            name = ""
        if not name:
            raise WordError(f"{word!r} is not of the form name:0.5")
    return found


def assignments(words: Iterable[str]) -> dict[str, int | str]:
    """``N=1 H=height``: name -> number or name.  Raises WordError."""
    found: dict[str, int | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise WordError(f"{word!r} is not NAME=VALUE")
        found[name] = dim(value)
    return found
