"""What the converter knows of every ONNX operator: the answer to ``onnx2tf --list-ops``."""

from __future__ import annotations

from typing import Any

from onnx import defs

from ..model.upgrade import RULES
from ..passes.dynamic_products import OWN_DOMAIN
from ..record import record
from .registry import every, find

HANDLER, OLD, DEFINITION, NONE = "handler", "rewritten to its newer form", "by ONNX's own definition of it", "refused"
TRAINING = "ai.onnx.preview.training"


@record
class Entry:
    """``name`` is ``domain.operator`` outside the default domain; ``versions`` are those of ONNX's schemas (none for an
    operator that ONNX does not define, such as ONNX Runtime's own)."""

    name: str
    versions: tuple[int, ...]
    support: str


def catalogue() -> list[Entry]:
    """Every operator of ONNX (training aside) and every other one of models that has a handler, by name."""
    versions: dict[tuple[str, str], list[int]] = {key: [] for key in every() if key[0] != OWN_DOMAIN}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain != TRAINING:
            versions.setdefault((schema.domain, schema.name), []).append(schema.since_version)
    entries = [
        Entry(f"{domain}.{name}".lstrip("."), tuple(sorted(set(found))), _support(domain, name))
        for (domain, name), found in versions.items()
    ]
    return sorted(entries, key=lambda e: (e.name.rpartition(".")[0], e.name))


def _support(domain: str, name: str) -> str:
    if find(domain, name):
        return HANDLER
    if not domain and name in RULES:
        return OLD
    schema: Any = defs.get_schema(name, domain=domain) if defs.has(name, domain=domain) else None
    return DEFINITION if schema and (schema.has_function or schema.has_context_dependent_function) else NONE
