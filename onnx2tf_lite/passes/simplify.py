"""onnxsim, where our own folding leaves something to do: optional, on a weight-free copy, and never the last word."""

from __future__ import annotations

import math
from collections import Counter

import onnx
import onnx_graphsurgeon as gs

from ..model.edit import graphs, static, tensors
from ..model.simplify import simplified
from ..model.surgeon import Importer, to_proto
from ..model.tensors import nbytes
from .clean import Clean
from .fold import KEEP, Fold
from .manager import Pass, PassManager, PassOptions, PassResult, plural
from .shapes import Shapes

ROUNDS = 5
#: What is tried in turn when onnxsim fails on a valid model.
PARTS: dict[str, dict[str, bool]] = {
    "": {},
    " without folding": {"skip_constant_folding": True},
    " without shape inference": {"skip_shape_inference": True},
}


class Simplify(Pass):
    """Fold and clean until nothing changes, then onnxsim (auto: only if it may still find something), and again."""

    name = "simplify"

    def __init__(self, options: PassOptions | None = None):
        super().__init__(options)
        plain = PassOptions(fold_budget=self.options.fold_budget, keep_nodes=self.options.keep_nodes)
        self.own = PassManager([Fold(plain), Clean(plain), Shapes(plain)], steps=8, name="simplify")

    def call(self, graph: gs.Graph) -> PassResult:
        """Run onnxsim where the options ask for it; ValueError where they ask for something else."""
        mode = self.options.simplify
        if mode not in ("auto", "always", "never"):
            raise ValueError(f"simplify={mode!r}: auto, always or never")
        if mode == "never" or self.options.keep_nodes or not (mode == "always" or promising(graph)):
            return PassResult(graph, False)
        before = _operators(graph)
        modified, rounds, notes = self.own(graph).modified, 0, list[str]()
        while rounds < ROUNDS and (mode == "always" or promising(graph)):
            seen, rounds = _operators(graph), rounds + 1
            if not self._onnxsim(graph, notes):
                break
            self.own(graph)
            if _operators(graph) == seen:
                break
            modified = True
        removed = ", ".join(f"{op} x{n}" for op, n in sorted((before - _operators(graph)).items()))
        if rounds:
            notes.append(f"{plural(rounds, 'round(s)')} of onnxsim: removed {removed or 'nothing'}")
        return PassResult(graph, modified, notes)

    def _onnxsim(self, graph: gs.Graph, notes: list[str]) -> bool:
        """One run; the graph changes only if the result is a valid model with the same surface."""
        proto = to_proto(graph, big="as_inputs")
        surface = [[v.name for v in side] for side in (proto.graph.input, proto.graph.output)]
        threshold = f"{max(self.options.fold_budget >> 10, 1)}KB"
        before, large = _held(proto), too_large(graph, self.options.fold_budget)
        for part, switches in PARTS.items():
            if large and not switches.get("skip_constant_folding"):
                continue  # what our own folding left because of its size
            try:
                done = simplified(proto, perform_optimization=False, tensor_size_threshold=threshold, **switches)
                onnx.checker.check_model(done)
            except Exception as e:  # a library of 13 MB of C++: any error of its own must not be ours
                notes.append(f"onnxsim{part} failed: {' '.join(str(e).split())[:160]}")
                continue
            if [[v.name for v in side] for side in (done.graph.input, done.graph.output)] != surface:
                notes.append(f"onnxsim{part} changed the inputs or outputs: not used")
            elif _held(done) > before + self.options.fold_budget:
                notes.append(f"onnxsim{part} made constants larger than the budget: not used")
            else:
                _restore(graph, done)
                return True
        notes.append("the model is left as it was")
        return False


def _restore(graph: gs.Graph, done: onnx.ModelProto) -> None:
    """Take the new nodes, and the old constants by reference."""
    held = {t.name: t._values for g in graphs(graph) for t in tensors(g) if isinstance(t, gs.Constant)}
    own = {t.name for t in graph.inputs}
    fresh = Importer().model(done, graph.opset)
    for tensor in fresh.inputs:
        if tensor.name not in own:
            tensor.to_constant(held[tensor.name])
    graph.nodes, graph.outputs = fresh.nodes, fresh.outputs
    graph.inputs = [t for t in fresh.inputs if t.name in own]


def _held(model: onnx.ModelProto) -> int:
    """Bytes of the constants."""
    return sum(nbytes(t) for t in model.graph.initializer)


def too_large(graph: gs.Graph, budget: int) -> bool:
    """Is there a result of constants alone that has more bytes than the budget, or an unknown number of them?"""
    for node in (n for g in graphs(graph) for n in g.nodes if n.inputs and n.op not in KEEP):
        if all(isinstance(t, gs.Constant) for t in node.inputs if t.name):
            sizes = [static(t) for t in node.outputs if t.name]
            if any(s is None or math.prod(s) * 8 > budget for s in sizes):
                return True
    return False


def promising(graph: gs.Graph) -> bool:
    """May onnxsim still remove something: small foldable leftovers, or shape arithmetic in a model of fixed shapes?"""
    fixed = all(static(t) is not None for t in graph.inputs)
    for node in (n for g in graphs(graph) for n in g.nodes if not n.domain):
        if fixed and node.op in ("Shape", "Size", "NonZero"):
            return True
        reads = [t for t in node.inputs if t.name]
        unsized = any(static(t) is None for t in node.outputs if t.name)
        if reads and unsized and node.op not in KEEP and all(isinstance(t, gs.Constant) for t in reads):
            return True
    return False


def _operators(graph: gs.Graph) -> Counter[str]:
    return Counter(n.op for g in graphs(graph) for n in g.nodes)
