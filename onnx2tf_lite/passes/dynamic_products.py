"""Products of dynamically quantised tensors as products of the real numbers that these stand for.

onnxruntime.quantization writes ``Mul(Cast(ConvInteger(q, w, zero, wz)), Mul(scale, ws))`` with q, scale and zero of a
DynamicQuantizeLinear.  In ONNX's own operators it is ``Conv(DequantizeLinear(q, scale, zero), DequantizeLinear(w, ws,
wz))``, whose first operand is ``DynamicQuant(x)`` here: what 8 bits of its range leave of x, which TFLite's kernels for
int8 weights beside float operands compute themselves.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import Tensor

from ..model.edit import GraphEdit, arg, producer, static
from .match import Fusion, Match

OWN_DOMAIN = "onnx2tf_lite"  # of operators that no model has
REAL = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
TEXT = f"Mul(Cast(product := {'|'.join(REAL)}(q, const(w), ...)), Mul(scale, const(unit)))"


def _quantiser(match: Match) -> gs.Node | None:
    """The DynamicQuantizeLinear whose three results the product reads."""
    made = match.q.inputs[0] if match.q.inputs else None
    if made is None or made.op != "DynamicQuantizeLinear":
        return None
    zero = arg(match.op("product"), 2)
    read = [match.q, match.scale, zero]
    return made if all(a is b for a, b in zip(read, made.outputs, strict=True)) else None


def against(match: Match) -> str | None:
    """Why a product is not one of that kind."""
    middle, unit = arg(match.op("product"), 3), static(match.unit)
    if _quantiser(match) is None:
        return "its operand, zero point and scale are not those of one DynamicQuantizeLinear"
    if middle is not None and producer(middle) is not None:
        return "the zero point of its weights is only known at run time"
    if unit is None or (match.op("product").op == "ConvInteger" and any(d != 1 for d in unit)):
        return "its weights have more than one scale"
    return None


def rewrite(edit: GraphEdit, match: Match) -> None:
    """The product on real numbers, in the place of the last operator."""
    product, made = match.op("product"), _quantiser(match)
    assert made is not None
    x = made.inputs[0]
    seen = edit.add("DynamicQuant", [x], match.root, like=x)
    seen.inputs[0].domain = OWN_DOMAIN
    weights: list[Tensor] = [match.w, match.unit]
    if (middle := arg(product, 3)) is not None:
        weights.append(middle)
    real = edit.add("DequantizeLinear", weights, match.root, axis=len(static(match.w) or (0,)) - 1)
    edit.become(match.root, REAL[product.op], [seen, real], **product.attrs)


FUSION = Fusion("dynamicproducts", "products of dynamically quantised tensors", (TEXT,), rewrite, against)
