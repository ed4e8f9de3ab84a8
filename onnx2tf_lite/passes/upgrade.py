"""Old operator forms become the newest one, so that everything after this knows one opset."""

from __future__ import annotations

from collections import Counter

import onnx_graphsurgeon as gs

from ..model.edit import Edit, graphs
from ..model.upgrade import KEPT, NEED_SHAPES, TARGET, due
from .manager import Pass, PassResult, plural
from .shapes import infer


class Upgrade(Pass):
    """Rewrite every old operator form to that of opset 23 and later."""

    name = "upgrade"

    def call(self, graph: gs.Graph) -> PassResult:
        opset, stamp = graph.opset, max(graph.opset, TARGET)
        found = [(g, n) for g in graphs(graph) for n in g.nodes if not n.domain and due(n, opset)]
        if any(t.shape is None for _, n in found if n.op in NEED_SHAPES for t in n.inputs if t.name):
            infer(graph)
        changed: Counter[str] = Counter()
        names = Edit(graph).names if found else set()
        edits = {id(g): Edit(g, names) for g, _ in found}
        for g, node in found:
            op = node.op
            changed[op] += KEPT not in [rule(edits[id(g)], node, opset) for rule in due(node, opset)]
        for edit in edits.values():
            edit.commit()
        for g in graphs(graph):
            g.opset, g.ir_version = stamp, max(g.ir_version or 0, 10)
        ops = ", ".join(f"{op} x{n}" for op, n in sorted(changed.items()) if n)
        notes = [f"opset {opset} to {stamp}: {plural(changed.total(), 'operator(s)')} ({ops})"] if ops else []
        return PassResult(graph, bool(ops) or stamp != opset, notes)
