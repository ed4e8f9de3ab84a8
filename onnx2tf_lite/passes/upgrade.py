"""Old operator forms become the newest one, so that everything after this knows one opset."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import GraphEdit, arg, graphs, scalar, set_outputs
from ..model.opsets import TARGET
from ..model.upgrade import NEED_SHAPES, due, upgrade, used
from .manager import Pass, PassResult, plural
from .shapes import infer


class Upgrade(Pass):
    """Rewrite every old operator form to that of opset 23 and later."""

    name = "upgrade"

    def call(self, graph: gs.Graph) -> PassResult:
        """Rewrite every node of an older opset."""
        opset, stamp = graph.opset, max(graph.opset, TARGET)
        every = [(g, n) for g in graphs(graph) for n in g.nodes if not n.domain]
        changed = _rewrite(graph, [(g, n) for g, n in every if n.op == "Dropout" or due(n, opset, stamp)], stamp)
        for g in graphs(graph):
            g.opset, g.ir_version = stamp, max(g.ir_version or 0, 10)
        ops = ", ".join(f"{op} x{n}" for op, n in sorted(changed.items()) if n)
        notes = [f"opset {opset} to {stamp}: {plural(changed.total(), 'operator(s)')} ({ops})"] if ops else []
        return PassResult(graph, bool(ops) or stamp != opset, notes)


def _rewrite(graph: gs.Graph, found: list[tuple[gs.Graph, gs.Node]], stamp: int) -> Counter[str]:
    """Bring nodes, each beside the body it is in, to the newest form; how many of each operator."""
    opset, changed = graph.opset, Counter[str]()
    if any(t.shape is None for _, n in found if n.op in NEED_SHAPES for t in n.inputs if t.name):
        infer(graph)
    names = GraphEdit(graph).names if found else set()
    edits = {id(g): GraphEdit(g, names) for g, _ in found}
    for g, node in found:
        op = node.op
        upgrade(edits[id(g)], node, opset, stamp)
        changed[op] += op != "Dropout" or _inference(edits[id(g)], node, opset)
    for edit in edits.values():
        edit.commit()
    return changed


def _inference(e: GraphEdit, node: gs.Node, opset: int) -> bool:
    """Dropout is the identity at inference, its mask all true; training_mode (12) that is, or may be, true stays."""
    training = arg(node, 2)
    if training is not None and scalar(training) != 0:
        return False
    x = node.inputs[0]
    masks = [t for t in node.outputs[1:] if used(e, t)]
    set_outputs(node, node.outputs[:1])
    for mask in masks:
        one = gs.Constant("one", np.ones(1, bool if opset >= 10 else mask.dtype or x.dtype or np.float32))
        e.add("ConstantOfShape", [e.add("Shape", [x], node)], node, value=one, result=mask)
    e.become(node, "Identity", [x])
    return True
