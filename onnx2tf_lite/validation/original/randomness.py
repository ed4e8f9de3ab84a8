"""What a model draws at random, and what depends on that: no two runs make the same of it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ...model.edit import bodies, graphs

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
MEASURES = {"Shape", "Size"}  # operators that know nothing but the shape of what they read


def drawn(graph: gs.Graph) -> frozenset[str]:
    """The results of nodes that draw numbers, themselves or in a body."""
    return frozenset(t.name for n in graph.nodes if _draws(n) for t in n.outputs if t.name)


def depending(graph: gs.Graph, drawn: frozenset[str]) -> frozenset[str]:
    """What is ``drawn``, and all that is computed from it; ``graph`` is sorted."""
    found = set(drawn)
    for node in graph.nodes:
        inner = (t for body in bodies(node) for g in graphs(body) for n in g.nodes for t in n.inputs)
        if node.op not in MEASURES and any(t.name in found for t in (*node.inputs, *inner)):
            found |= {t.name for t in node.outputs if t.name}
    return frozenset(found)


def _draws(node: gs.Node) -> bool:
    if node.op == "Dropout" and len(node.inputs) > 2:  # training_mode, which may also be computed
        mode = node.inputs[2]
        return bool(mode.values.any()) if isinstance(mode, gs.Constant) else bool(mode.name)
    random = node.op in RANDOM and not node.domain
    return random or any(_draws(n) for body in bodies(node) for n in body.nodes)
