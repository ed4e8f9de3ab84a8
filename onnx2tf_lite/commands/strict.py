"""Strict JSON of whatever a report holds: numbers that it does not have become text."""

from __future__ import annotations

import json
import math


def to_json(report: object) -> str:
    """Indented text; numpy's numbers are numbers, infinities and NaN are words, other objects are what they print."""
    return json.dumps(_plain(report), indent=1)


def _plain(item: object) -> object:
    if isinstance(item, dict):
        return {str(k): _plain(v) for k, v in item.items()}
    if isinstance(item, list | tuple | set | frozenset):
        return [_plain(v) for v in item]
    if hasattr(item, "item") and hasattr(item, "dtype") and not getattr(item, "shape", None):
        item = item.item()  # of numpy, which is not imported for it
    plain = item is None or isinstance(item, str | int) or (isinstance(item, float) and math.isfinite(item))
    return item if plain else str(item)
