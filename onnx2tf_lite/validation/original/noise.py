"""A model in which every node rounds anew: how far its results go shows what it makes of rounding errors.

Inputs and weights that are moved say less.  Where a model takes two numbers from each other that are equal, they move
alike, and what each of them was rounded by, on its own way, is all that is left: the distance of a point from itself is
the root of a rounding error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from onnx import ModelProto, NodeProto, helper

from ...model.walk import scopes
from .precision import singles

#: Operator -> where operands that say sizes begin.
SIZES = {"Resize": 1, "Upsample": 1, "Range": 0, "ConstantOfShape": 0}
WITHOUT = {"Constant", "ConstantOfShape", "Identity", "QuantizeLinear"}  # what rounds nothing, or says how it does


def stir(model: ModelProto, most: Mapping[str, float], other: float) -> None:
    """Change the message: each element of the float32 tensors that the nodes of the graph make is multiplied by another
    number, in every run by others; it differs from 1 by what ``most`` says of the tensor, or by what is said of all
    ``other`` ones."""
    wanted = {n: most.get(n, other) for n in singles(model) - sizes(model)}
    stirred = [m for node in model.graph.node for m in _stirred(node, wanted)]
    del model.graph.node[:]
    model.graph.node.extend(stirred)


def sizes(model: ModelProto) -> set[str]:
    """The tensors that sizes of others depend on, in bodies and functions too: no rounding may move these."""
    every = (node for scope in scopes(model) for node in scope.graph.node)
    return {n for node in every if node.op_type in SIZES for n in node.input[SIZES[node.op_type] :]}


def _stirred(node: NodeProto, most: Mapping[str, float]) -> Iterator[NodeProto]:
    names = [n for n in node.output if n in most and node.op_type not in WITHOUT]
    still, factors = ({n: f"{n}/{word}" for n in names} for word in ("still", "factors"))
    node.output[:] = [still.get(n, n) for n in node.output]
    yield node
    for n in names:
        seed, ends = float(zlib.crc32(n.encode()) % 1000), (1 - most[n], 1 + most[n])
        yield helper.make_node(
            "RandomUniformLike", [still[n]], [factors[n]], None, seed=seed, low=ends[0], high=ends[1]
        )
        yield helper.make_node("Mul", [still[n], factors[n]], [n])
