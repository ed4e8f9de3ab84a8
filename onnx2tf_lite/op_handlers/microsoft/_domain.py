"""Registration in ONNX Runtime's domain, and its axis order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from ...ir import build as b
from ...ir.graph import Value
from .. import registry

DOMAIN = "com.microsoft"
op = partial(registry.op, domain=DOMAIN)
table = partial(registry.table, DOMAIN)


def like(standard: registry.Handler) -> Callable[[registry.H], registry.H]:
    """A handler that passes its ``**attributes`` on takes those of ``standard``."""

    def declare(handler: registry.H) -> registry.H:
        own = [p for p in inspect.signature(handler).parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {p.name for p in own}
        others = inspect.signature(standard).parameters.values()
        passed = [p for p in others if p.kind is p.KEYWORD_ONLY and p.name not in names]
        handler.__signature__ = inspect.Signature([*own, *passed])  # type: ignore[attr-defined]
        return handler

    return declare


def channels_last(function: Callable[[Value], Value], x: Value, last: bool = True) -> Value:
    """``function`` of [N, C, *space] for an ``x`` of [N, *space, C]; with ``last`` false ``x`` is as it wants it."""
    return b.channels_last(function(b.channels_first(x))) if last else function(x)
