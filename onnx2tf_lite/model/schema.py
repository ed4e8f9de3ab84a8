"""What ONNX says about an operator, opset by opset."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import ToolError, nearest
from .lazy import onnx

if TYPE_CHECKING:
    from onnx.defs import OpSchema


@cache
def operators(domain: str = "") -> dict[str, list[int]]:
    """Operator -> the opsets in which its definition changed, for a domain that ONNX defines."""
    found: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == domain:
            found.setdefault(schema.name, []).append(schema.since_version)
    return {name: sorted(found[name]) for name in sorted(found)}


def schema(op: str, opset: int, domain: str = "") -> OpSchema | None:
    """The definition of an operator in an opset; None for a domain that ONNX does not define.

    Raises ToolError for an operator that the domain does not have, or not in that opset.
    """
    domain = "" if domain == "ai.onnx" else domain
    known = operators(domain)
    if not known:
        return None
    if op not in known:
        raise ToolError(f"there is no operator {op!r}", op, nearest(op, known))
    newest = onnx.defs.onnx_opset_version() if not domain else opset
    if opset < 1 or opset > newest:
        raise ToolError(f"there is no opset {opset}: the newest is {newest}", str(opset))
    try:
        return onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError as error:
        since = ", ".join(map(str, known[op]))
        raise ToolError(f"opset {opset} has no operator {op!r} (defined in {since})", op) from error
