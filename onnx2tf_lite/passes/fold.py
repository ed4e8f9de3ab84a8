"""Constant folding that never makes a model grow by more than its budget.

What counts is the net growth: bytes of the constants that appear minus bytes of those that nobody reads any more. So a
weight may be transposed whatever its size, while a Tile that would blow 2 KB up to 2 GB stays an operator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike

from ..model.edit import (
    GraphEdit,
    Tensor,
    arg,
    bodies,
    graphs,
    ints,
    nbytes,
    needs,
    producer,
    set_inputs,
    set_outputs,
    shape,
    static,
    title,
    value,
)
from ..model.surgeon import to_proto
from .manager import Pass, PassOptions, PassResult, counted
from .shapes import infer

#: No intermediate result of folding may take more than this (or than what it is made of).
WORKSPACE = 64 << 20
#: Never folded: random numbers, and what says how a weight is quantised.
_RANDOM = {f"Random{law}{like}" for law in ("Normal", "Uniform") for like in ("", "Like")}
_SCALES = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
KEEP = frozenset({"Bernoulli", "Dropout", "Multinomial"} | _RANDOM | _SCALES)
#: Results that are no tensors.
_SEQUENCES = {f"Sequence{verb}" for verb in ("Construct", "Empty", "Erase", "Insert", "Map")}
LISTS = frozenset({"Optional", "OptionalGetElement", "SplitToSequence"} | _SEQUENCES)
#: Results of unknown size that no small bound holds for.
GROW = frozenset(
    ["Tile", "Expand", "ConstantOfShape", "Range", "Resize", "Pad", "OneHot", "EyeLike", "Loop", "Scan", "If"]
)


class Fold(Pass):
    """Evaluate what is constant, within the growth budget; static shapes become constants; decided Ifs their branch."""

    name = "fold"

    def __init__(self, options: PassOptions | None = None):
        super().__init__(options)
        self.left = self.options.fold_budget  # for the life of the pass: a fixpoint group cannot spend it twice

    def call(self, graph: gs.Graph) -> PassResult:
        """Compute what depends on constants alone."""
        spared: list[str] = []
        counts = {
            "static shape(s)": sum(map(self._shapes, graphs(graph))),
            "decided If(s)": sum(map(self._branches, graphs(graph))),  # as they come: a decided If has no bodies left
            "constant node(s)": 0,
        }
        for step in itertools.count():
            found = [self._constants(g, graph, spared) for g in graphs(graph)]
            done = sum(count for count, _ in found)
            counts["constant node(s)"] += done
            if not any(unsized for _, unsized in found) or (step and not done):
                break
            infer(graph)  # what became constant may tell the size of what follows
        result = counted(graph, counts, "folded ")
        result.notes += dict.fromkeys(spared)
        return result

    def _shapes(self, graph: gs.Graph) -> int:
        """Shape and Size, and Gather and Slice of a Shape, if known; shapes that Reshape asks for."""
        edit = GraphEdit(graph)
        for node in self.mine(graph):
            if node.op in _DIMENSIONS and (answer := _numbers(_DIMENSIONS[node.op](node))) is not None:
                edit.freeze(node, answer)
            elif node.op in _TARGETS and isinstance(arg(node, slot := _TARGETS[node.op]), gs.Variable):
                target = _target(node)
                if target is not None:
                    fixed = edit.i64(target, f"{node.outputs[0].name}/shape")
                    set_inputs(node, [*node.inputs[:slot], fixed, *node.inputs[slot + 1 :]])
                    edit.changes += 1
        return edit.commit()

    def _branches(self, graph: gs.Graph) -> int:
        """An If with a constant condition is the branch it takes."""
        decided = [n for n in self.mine(graph) if n.op == "If" and isinstance(n.inputs[0], gs.Constant)]
        for node in decided:
            _inline(graph, node, node.attrs["then_branch" if np.all(node.inputs[0].values) else "else_branch"])
        return len(decided)

    def _constants(self, graph: gs.Graph, root: gs.Graph, notes: list[str]) -> tuple[int, bool]:
        """Fold what fits; also says whether something waits for a size."""
        candidates, unsized = self._candidates(graph, notes)
        outputs = {id(t) for g in graphs(root) for t in g.outputs}
        chosen: list[gs.Node] = []
        parts = [(_growth(part, outputs), part) for part in _connected(candidates)]
        for growth, part in sorted(parts, key=lambda p: p[0]):
            fits, cost, dropped = _fit(part, growth, outputs, self.left)
            notes += map(_left, dropped[:1])
            self.left -= cost
            chosen += fits
        order = {id(n): i for i, n in enumerate(graph.nodes)}
        return _evaluate(graph, sorted(chosen, key=lambda n: order[id(n)]), notes), unsized

    def _candidates(self, graph: gs.Graph, notes: list[str]) -> tuple[list[gs.Node], bool]:
        found: list[gs.Node] = []
        made: set[int] = set()
        unsized = False
        for node in self.mine(graph):
            reads, results = needs(node), [t for t in node.outputs if t.name]
            if not _decided(node, reads, made):
                continue
            sizes = [_size(node, t) for t in results]
            room = max([WORKSPACE, *(nbytes(t) or 0 for t in reads)])
            if None in sizes:
                unsized = True
            elif max([s or 0 for s in sizes], default=0) > room:
                notes.append(_left(node))
            elif all(t.type == "tensor_type" for t in results):
                found.append(node)
                made.update(id(t) for t in results)
        return found, unsized


def _decided(node: gs.Node, reads: list[Tensor], made: set[int]) -> bool:
    """Is the result decided by what is constant, or ``made`` of constants?"""
    inner = [n for body in bodies(node) for g in graphs(body) for n in g.nodes]
    if not reads or node.op in LISTS or any(n.op in KEEP or n.domain for n in (node, *inner)):
        return False
    return all(id(t) in made or (isinstance(t, gs.Constant) and _plain(t)) for t in reads)


# -- what it costs ----------------------------------------------------------------------------------------------------
def _size(node: gs.Node, tensor: Tensor) -> int | None:
    """Bytes of a result, or a bound on them."""
    known = nbytes(tensor)
    if known is not None or node.op in GROW:
        return known
    counts = [static(t) for t in node.inputs if t.name]
    bound = 64 * math.prod(max(math.prod(c), 1) for c in counts if c is not None)
    return bound if None not in counts and bound <= 1 << 16 else None


def _weight(node: gs.Node) -> int:
    return sum(_size(node, t) or 0 for t in node.outputs)


def _left(node: gs.Node) -> str:
    return f"left {node.op} '{title(node)}' ({_weight(node):,} bytes): more than the budget"


def _plain(tensor: gs.Constant) -> bool:
    dtype = np.dtype(tensor.dtype)
    return bool(dtype.isbuiltin == 1 and dtype.kind != "O")


def _connected(nodes: list[gs.Node]) -> list[list[gs.Node]]:
    """Candidates that feed each other, together."""
    part: dict[int, list[gs.Node]] = {}
    for node in nodes:
        makers = [producer(t) for t in needs(node)]
        first, *others = {id(p): p for m in makers if (p := part.get(id(m)))}.values() or [[]]
        first += [n for other in others for n in other] + [node]
        part.update((id(n), first) for n in ([node] if not others else first))
    return list({id(p): p for p in part.values()}.values())


def _growth(nodes: list[gs.Node], outputs: set[int]) -> int:
    """Bytes that appear minus bytes that nobody reads any more, if these nodes are folded."""
    inside = {id(n) for n in nodes}

    def outlives(tensor: Tensor) -> bool:
        return id(tensor) in outputs or any(id(user) not in inside for user in tensor.outputs)

    born = sum(_size(n, t) or 0 for n in nodes for t in n.outputs if outlives(t))
    held = {id(t): t for n in nodes for t in n.inputs if isinstance(t, gs.Constant)}
    return born - sum(int(t._values.nbytes) for t in held.values() if not outlives(t))


def _fit(nodes: list[gs.Node], growth: int, outputs: set[int], budget: int) -> tuple[list[gs.Node], int, list[gs.Node]]:
    """Take the greediest last node away until the rest is within the budget: the rest, its growth, and what went."""
    dropped: list[gs.Node] = []
    while nodes and growth > budget:
        inside = {id(n) for n in nodes}
        ends = [n for n in nodes if not any(id(u) in inside for t in n.outputs for u in t.outputs)]
        dropped.append(max(ends, key=_weight))
        nodes = [n for n in nodes if n is not dropped[-1]]
        growth = _growth(nodes, outputs)
    return nodes, growth, dropped


# -- evaluation -------------------------------------------------------------------------------------------------------
def _evaluate(graph: gs.Graph, nodes: list[gs.Node], notes: list[str]) -> int:
    """Put results in the place of nodes: all in one onnxruntime session, or one by one with onnx's own evaluator."""
    edit, reason = GraphEdit(graph), ""
    try:
        if nodes:
            _replace(edit, nodes, _onnxruntime)
    except Exception as e:  # whatever a kernel says: the other evaluator is asked, and its failures are reported
        reason = " ".join(str(e).split())[:120] or type(e).__name__
    for node in nodes if reason else ():
        if all(isinstance(t, gs.Constant) for t in needs(node)):
            try:
                _replace(edit, [node], _reference)
            except Exception as e:
                also = " ".join(str(e).split())[:120]
                notes.append(f"left {node.op} '{title(node)}': {reason}; onnx.reference: {also}")
    count = sum(map(edit.dead, nodes))
    edit.commit()
    return count


def _replace(
    edit: GraphEdit, nodes: list[gs.Node], backend: Callable[[bytes, dict[str, np.ndarray]], list[np.ndarray]]
) -> None:
    results = [t for n in nodes for t in n.outputs if t.name]
    part = gs.Graph(nodes, [], results, opset=edit.graph.opset, import_domains=edit.graph.import_domains)
    proto = to_proto(part, big="as_inputs", infos=False)
    held = {t.name: t for n in nodes for t in needs(n)}
    feeds = {i.name: np.require(held[i.name].values, requirements=["C", "A"]) for i in proto.graph.input}
    arrays = backend(proto.SerializeToString(), feeds)
    for node in nodes:
        edit.delete(node)
    for tensor, array in zip(results, arrays, strict=True):
        tensor.to_constant(np.asarray(array))


def _onnxruntime(model: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return list(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds))


def _reference(model: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, feeds))


# -- shapes -----------------------------------------------------------------------------------------------------------
def _dims(node: gs.Node | None) -> np.ndarray | None:
    """What a Shape node (Shape-15: from start to end) answers, as far as it is known."""
    dims = shape(node.inputs[0]) if node is not None and node.op == "Shape" else None
    if node is None or dims is None:
        return None
    return np.array(dims, object)[node.attrs.get("start", 0) : node.attrs.get("end")]


def _gather(node: gs.Node) -> np.ndarray | None:
    dims, index = _dims(producer(node.inputs[0])), value(node.inputs[1])
    if dims is None or index is None or not ((index >= -len(dims)) & (index < len(dims))).all():
        return None
    return np.asarray(dims[index])


def _slice(node: gs.Node) -> np.ndarray | None:
    dims = _dims(producer(node.inputs[0]))
    start, end, step = ints(arg(node, 1)), ints(arg(node, 2)), [1] if arg(node, 4) is None else ints(arg(node, 4))
    if dims is None or not start or not end or not step or step[0] < 0:
        return None
    return dims[start[0] : end[0] : step[0]]


def _numbers(dims: ArrayLike | None) -> np.ndarray | None:
    known = dims is not None and all(isinstance(d, int | np.integer) for d in np.asarray(dims, object).flat)
    return np.array(dims, np.int64) if known else None


_DIMENSIONS: dict[str, Callable[[gs.Node], ArrayLike | None]] = {
    "Shape": _dims,
    "Size": lambda n: None if (dims := static(n.inputs[0])) is None else math.prod(dims),
    "Gather": _gather,
    "Slice": _slice,
}
#: Where a shape is computed that the result is already known to have: the input.
_TARGETS = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}


def _target(node: gs.Node) -> list[int] | None:
    """The constant shape to ask for: all sizes known, or (Reshape) all but one and none of them 0."""
    dims, source = shape(node.outputs[0]), shape(node.inputs[0]) or ()
    partial = {"Resize": ("axes", "keep_aspect_ratio_policy"), "Reshape": ("allowzero",)}.get(node.op, ())
    if dims is None or any(node.attrs.get(a) for a in partial) or (node.op == "Reshape" and 0 in dims):
        return None  # sizes are not the shape of the result; a 0 in a Reshape's target copies
    if (known := static(node.outputs[0])) is not None:
        return list(known)
    if node.op != "Reshape":
        return None
    same = [isinstance(d, str) and i < len(source) and source[i] == d for i, d in enumerate(dims)]
    target = [0 if copied else d if isinstance(d, int) else -1 for d, copied in zip(dims, same, strict=True)]
    return target if target.count(-1) <= 1 else None


def _inline(graph: gs.Graph, node: gs.Node, taken: gs.Graph) -> None:
    """Put a body without inputs in the place of its node (names are unique over all bodies, see load)."""
    edit, results = GraphEdit(graph), list(node.outputs)
    node.attrs = {key: body for key, body in node.attrs.items() if body is not taken}
    edit.delete(node)
    edit.place(taken.nodes, node)
    made, named = {id(t) for n in taken.nodes for t in n.outputs}, dict[int, Tensor]()
    for y, source in zip(results, list(taken.outputs), strict=True):
        if id(source) in made and id(source) not in named:  # the branch makes it: under the name of the If's output
            named[id(source)] = y
            edit.redirect(source, y)
            maker = source.inputs[0]
            set_outputs(maker, [y if t is source else t for t in maker.outputs])
        else:
            edit.add("Identity", [named.get(id(source), source)], node, result=y)
    edit.commit()
