"""Counts, and lists of what was counted, that are added up field by field."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

C = TypeVar("C", bound="Counts")


@dataclass
class Counts:
    """The fields of a subclass are what is counted."""

    def __add__(self: C, other: C) -> C:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
