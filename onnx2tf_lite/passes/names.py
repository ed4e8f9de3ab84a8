"""Every node and every tensor gets a name, once."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from .edit import graphs
from .manager import Pass, PassResult


class Names(Pass):
    """Name unnamed nodes <OpType>_<n>, and make duplicate names unique."""

    name = "names"

    def call(self, graph: gs.Graph) -> PassResult:
        every = list(graphs(graph))
        nodes = [n for g in every for n in g.nodes]
        given = {n.name for n in nodes}
        seen: set[str] = set()
        counters: dict[str, int] = {}
        named = renamed = 0
        for node in nodes:
            if node.name and node.name not in seen:
                seen.add(node.name)
                continue
            named, renamed = named + (not node.name), renamed + bool(node.name)
            base = node.name or node.op
            while True:
                number = counters[base] = counters.get(base, -1) + 1
                if f"{base}_{number}" not in given:
                    break
            node.name = f"{base}_{number}"
            given.add(node.name)
            seen.add(node.name)
        tensors = self._tensors(every)
        counted = ((named, "node named"), (renamed, "duplicate renamed"), (tensors, "tensor renamed"))
        return PassResult(graph, bool(named or renamed or tensors), [f"{n} {what}" for n, what in counted if n])

    def _tensors(self, every: list[gs.Graph]) -> int:
        """Inputs and outputs of the model keep their names whatever happens."""
        fixed = {id(t): t for t in [*every[0].inputs, *every[0].outputs]}
        seen = {t.name for t in fixed.values()}
        others: dict[int, gs.Tensor] = {}
        for g in every:
            for tensor in [*g.inputs, *g.outputs, *(t for n in g.nodes for t in [*n.inputs, *n.outputs])]:
                if id(tensor) not in fixed and (tensor.name or isinstance(tensor, gs.Constant)):
                    others[id(tensor)] = tensor
        count = 0
        for tensor in others.values():
            fresh, k = tensor.name, 0
            while not fresh or fresh in seen:
                k += 1
                fresh = f"{tensor.name or 'tensor'}_{k}"
            count += fresh != tensor.name
            tensor.name = fresh
            seen.add(fresh)
        return count
