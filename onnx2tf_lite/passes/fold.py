"""Constant folding that never makes a model grow by more than its budget.

What counts is the net growth: bytes of the constants that appear minus bytes of those that nobody reads any more. So a
weight may be transposed whatever its size, while a Tile that would blow 2 KB up to 2 GB stays an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import onnx_graphsurgeon as gs

from .edit import (
    Edit,
    Tensor,
    arg,
    bodies,
    captures,
    detach,
    graphs,
    ints,
    nbytes,
    producer,
    set_inputs,
    set_outputs,
    shape,
    standard,
    static,
)
from .manager import Pass, PassOptions, PassResult, plural
from .proto import elem_type, to_proto
from .shapes import infer

#: No intermediate result of folding may take more than this (or than what it is made of).
WORKSPACE = 64 << 20
#: Never folded: random numbers, and what says how a weight is quantised.
KEEP = frozenset(
    [
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
    ]
)
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
        shapes = branches = folded = 0
        spared: list[str] = []
        for g in graphs(graph):
            shapes += self._shapes(g)
            branches += self._branches(g)
        inferred = False
        while True:
            done, unsized = 0, False
            for g in graphs(graph):
                count, waiting = self._constants(g, spared)
                done, unsized = done + count, unsized or waiting
            folded += done
            if not unsized or (inferred and not done):
                break
            infer(graph)  # what became constant may tell the size of what follows
            inferred = True
        counted = ((shapes, "static shape"), (branches, "decided If"), (folded, "constant node"))
        notes = [f"folded {plural(n, what)}" for n, what in counted if n]
        return PassResult(graph, bool(shapes or branches or folded), notes + list(dict.fromkeys(spared)))

    def _kept(self, node: gs.Node) -> bool:
        return not standard(node) or node.name in self.options.keep_nodes

    def _shapes(self, graph: gs.Graph) -> int:
        """Shape and Size where they are known; Gather and Slice of a shape where the dimensions they read are."""
        edit = Edit(graph)
        for node in graph.nodes:
            answer = _DIMENSIONS[node.op](node) if node.op in _DIMENSIONS and not self._kept(node) else None
            if answer is not None:
                y = node.outputs[0]
                edit.delete(node)
                y.to_constant(answer)
        for node in graph.nodes:
            slot = _TARGETS.get(node.op)
            if slot is None or self._kept(node) or edit.dead(node) or arg(node, slot) is None:
                continue
            target = None if isinstance(node.inputs[slot], gs.Constant) else _target(node)
            if target is not None:
                fixed = edit.i64(target, f"{node.outputs[0].name}/shape")
                set_inputs(node, [*node.inputs[:slot], fixed, *node.inputs[slot + 1 :]])
                edit.changes += 1
        return edit.commit()

    def _branches(self, graph: gs.Graph) -> int:
        """An If with a constant condition is the branch it takes."""
        count = 0
        for node in [n for n in graph.nodes if n.op == "If" and not self._kept(n)]:
            if isinstance(node.inputs[0], gs.Constant):
                _inline(graph, node, node.attrs["then_branch" if np.all(node.inputs[0].values) else "else_branch"])
                count += 1
        return count

    def _constants(self, graph: gs.Graph, notes: list[str]) -> tuple[int, bool]:
        """Fold what fits; also says whether something waits for a size."""
        candidates, unsized = self._candidates(graph, notes)
        if not candidates:
            return 0, unsized
        outputs = {id(t) for g in graphs(graph) for t in g.outputs}
        chosen: list[gs.Node] = []
        for part in sorted((_Part(p, outputs) for p in _components(candidates)), key=lambda p: p.growth):
            dropped = part.fit(self.left)
            if dropped:
                notes.append(_left(dropped[0]))
            self.left -= part.growth
            chosen += part.nodes
        order = {id(n): i for i, n in enumerate(graph.nodes)}
        chosen.sort(key=lambda n: order[id(n)])
        results = evaluate(graph, chosen, notes)
        solved = [n for n in chosen if all(t.name in results for t in n.outputs if t.name)]
        inside = {id(n) for n in solved}
        made = [t for n in solved for t in n.outputs if t.name]
        read = [t for t in made if id(t) in outputs or any(id(u) not in inside for u in t.outputs)]
        edit = Edit(graph)
        for node in solved:
            edit.delete(node)
        for tensor in read:
            tensor.to_constant(results[tensor.name])
        edit.commit()
        return len(solved), unsized

    def _candidates(self, graph: gs.Graph, notes: list[str]) -> tuple[list[gs.Node], bool]:
        found: list[gs.Node] = []
        made: set[int] = set()
        unsized = False
        for node in graph.nodes:
            if self._kept(node) or node.op in KEEP or not len(node.inputs):
                continue
            reads = [*node.inputs, *(captures(node) if node.attrs else ())]
            if not all(not t.name or id(t) in made or (isinstance(t, gs.Constant) and _plain(t)) for t in reads):
                continue
            inner = [n for body in bodies(node) for g in graphs(body) for n in g.nodes]
            if any(self._kept(n) or n.op in KEEP for n in inner):
                continue
            sizes = [_size(node, t) for t in node.outputs if t.name]
            room = max([WORKSPACE, *(nbytes(t) or 0 for t in reads if t.name)])
            if any(s is None for s in sizes):
                unsized = True
            elif max((s for s in sizes if s is not None), default=0) > room:
                notes.append(_left(node))
            elif all(getattr(t, "type", "") == "tensor_type" for t in node.outputs):
                found.append(node)
                made.update(id(t) for t in node.outputs if t.name)
        return found, unsized


def _left(node: gs.Node) -> str:
    size = sum(_size(node, t) or 0 for t in node.outputs)
    return f"left {node.op} '{node.name or node.outputs[0].name}' ({size:,} bytes): more than the budget"


def _plain(tensor: gs.Constant) -> bool:
    dtype = np.dtype(tensor.dtype)
    return dtype.isbuiltin == 1 and dtype.kind != "O"


def _size(node: gs.Node, tensor: Tensor) -> int | None:
    """Bytes of a result, or a bound on them."""
    known = nbytes(tensor)
    if known is not None or node.op in GROW:
        return known
    counts = [static(t) for t in node.inputs if t.name]
    bound = 64 * math.prod(max(math.prod(c), 1) for c in counts if c is not None)
    return bound if None not in counts and bound <= 1 << 16 else None


def _components(nodes: list[gs.Node]) -> list[list[gs.Node]]:
    """Candidates that feed each other."""
    leader = {id(n): id(n) for n in nodes}

    def find(k: int) -> int:
        while leader[k] != k:
            leader[k] = leader[leader[k]]
            k = leader[k]
        return k

    for node in nodes:
        for tensor in [*node.inputs, *(captures(node) if node.attrs else ())]:
            maker = producer(tensor)
            if maker is not None and id(maker) in leader:
                leader[find(id(maker))] = find(id(node))
    parts: dict[int, list[gs.Node]] = {}
    for node in nodes:
        parts.setdefault(find(id(node)), []).append(node)
    return list(parts.values())


class _Part:
    """Connected candidates, and what folding them would cost."""

    def __init__(self, nodes: list[gs.Node], outputs: set[int]):
        self.nodes, self.outputs = nodes, outputs
        self.growth = self._growth()

    def _growth(self) -> int:
        inside = {id(n) for n in self.nodes}
        born = sum(
            _size(n, t) or 0
            for n in self.nodes
            for t in n.outputs
            if id(t) in self.outputs or any(id(u) not in inside for u in t.outputs)
        )
        reads = {id(t): t for n in self.nodes for t in n.inputs if isinstance(t, gs.Constant)}
        dead = [t for k, t in reads.items() if k not in self.outputs and all(id(u) in inside for u in t.outputs)]
        return born - sum(t._values.nbytes for t in dead)

    def fit(self, budget: int) -> list[gs.Node]:
        """Take the greediest last node away until the rest is within the budget; returns what was taken away."""
        dropped: list[gs.Node] = []
        while self.nodes and self.growth > budget:
            inside = {id(n) for n in self.nodes}
            ends = [n for n in self.nodes if not any(id(u) in inside for t in n.outputs for u in t.outputs)]
            worst = max(ends, key=lambda n: sum(_size(n, t) or 0 for t in n.outputs))
            self.nodes = [n for n in self.nodes if n is not worst]
            dropped.append(worst)
            self.growth = self._growth()
        return dropped


def evaluate(graph: gs.Graph, nodes: list[gs.Node], notes: list[str]) -> dict[str, np.ndarray]:
    """All results of constant nodes by name: in one onnxruntime session, or one by one with onnx's own evaluator."""
    if not nodes:
        return {}
    try:
        return _run(graph, nodes, {}, _onnxruntime)
    except Exception as e:  # whatever a kernel says: the other evaluator is asked, and its failures are reported
        reason = " ".join(str(e).split())[:120]
    known: dict[str, np.ndarray] = {}
    for node in nodes:
        if all(not t.name or isinstance(t, gs.Constant) or t.name in known for t in [*node.inputs, *captures(node)]):
            try:
                known |= _run(graph, [node], known, _reference)
            except Exception as e:
                notes.append(
                    f"left {node.op} '{node.name}': {reason}; onnx.reference: {' '.join(str(e).split())[:120]}"
                )
    return known


Backend = Callable[[bytes, dict[str, np.ndarray]], list]


def _run(
    graph: gs.Graph, nodes: list[gs.Node], known: dict[str, np.ndarray], backend: Backend
) -> dict[str, np.ndarray]:
    made = {id(t) for n in nodes for t in n.outputs}
    reads = [t for n in nodes for t in [*n.inputs, *captures(n)]]
    given = {t.name: t for t in reads if t.name in known and id(t) not in made}
    wanted = [t for n in nodes for t in n.outputs if t.name]
    part = gs.Graph(nodes, list(given.values()), wanted, opset=graph.opset, import_domains=graph.import_domains)
    proto = to_proto(part, big="as_inputs", infos=False)
    weights = {t.name: t for t in reads if isinstance(t, gs.Constant)}
    for info in proto.graph.input:
        if not info.type.tensor_type.elem_type:
            info.type.tensor_type.elem_type = elem_type(known[info.name].dtype)
    feeds = {i.name: known[i.name] if i.name in known else weights[i.name].values for i in proto.graph.input}
    arrays = {k: np.require(v, requirements=["C", "A"]) for k, v in feeds.items()}
    results = backend(proto.SerializeToString(), arrays)
    return {t.name: np.asarray(r) for t, r in zip(wanted, results, strict=True)}


def _onnxruntime(model: bytes, feeds: dict[str, np.ndarray]) -> list:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def _reference(model: bytes, feeds: dict[str, np.ndarray]) -> list:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, feeds))


# -- shapes ---------------------------------------------------------------------------------------------------------
def _dims(node: gs.Node | None) -> tuple | None:
    """What a Shape node (Shape-15: from start to end) answers, as far as it is known."""
    if node is None or node.op != "Shape":
        return None
    dims = shape(node.inputs[0])
    return None if dims is None else dims[slice(node.attrs.get("start", 0), node.attrs.get("end"))]


def _numbers(dims: Iterable | None, like: tuple[int, ...] | None = None) -> np.ndarray | None:
    found = None if dims is None else list(dims)
    if found is None or not all(isinstance(d, int | np.integer) for d in found):
        return None
    array = np.array(found, np.int64)
    return array if like is None else array.reshape(like)


def _size_of(node: gs.Node) -> np.ndarray | None:
    dims = static(node.inputs[0])
    return None if dims is None else np.array(math.prod(dims), np.int64)


def _gather(node: gs.Node) -> np.ndarray | None:
    dims, index = _dims(producer(node.inputs[0])), ints(node.inputs[1])
    if dims is None or index is None or any(not -len(dims) <= i < len(dims) for i in index):
        return None
    return _numbers([dims[i] for i in index], tuple(node.inputs[1].shape))


def _slice(node: gs.Node) -> np.ndarray | None:
    dims = _dims(producer(node.inputs[0]))
    bounds = [ints(t) for t in node.inputs[1:]]
    if dims is None or None in bounds or any(len(b or ()) != 1 for b in bounds):
        return None
    start, end, step = bounds[0], bounds[1], bounds[3] if arg(node, 4) is not None else [1]
    return _numbers(dims[slice((start or [0])[0], (end or [0])[0], (step or [1])[0])]) if (step or [1])[0] > 0 else None


_DIMENSIONS: dict[str, Callable[[gs.Node], np.ndarray | None]] = {
    "Shape": lambda n: _numbers(_dims(n)),
    "Size": _size_of,
    "Gather": _gather,
    "Slice": _slice,
}


#: Where a shape is computed that the result is already known to have: the input.
_TARGETS = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}


def _target(node: gs.Node) -> list[int] | None:
    """The constant shape to ask for: all sizes known, or (Reshape) all but one and none of them 0."""
    dims = shape(node.outputs[0])
    if dims is None:
        return None
    if node.op == "Resize" and ("axes" in node.attrs or "keep_aspect_ratio_policy" in node.attrs):
        return None  # sizes are not the shape of the result
    if node.op == "Reshape" and (0 in dims or node.attrs.get("allowzero", 0)):
        return None  # a 0 in the target copies
    if all(isinstance(d, int) for d in dims):
        return list(dims)
    if node.op != "Reshape":
        return None
    source = shape(node.inputs[0]) or ()
    copied = [isinstance(d, str) and d != "" and i < len(source) and source[i] == d for i, d in enumerate(dims)]
    target = [0 if same else d if isinstance(d, int) else -1 for d, same in zip(dims, copied, strict=True)]
    return target if target.count(-1) <= 1 else None


def _inline(graph: gs.Graph, node: gs.Node, taken: gs.Graph) -> None:
    """Put a body without inputs in the place of its node (names are unique over all bodies, see load)."""
    for body in bodies(node):
        for inner in body.nodes if body is not taken else ():
            detach(inner)
    node.attrs = {}
    results, sources = list(node.outputs), list(taken.outputs)
    edit = Edit(graph)
    at = next(i for i, n in enumerate(graph.nodes) if n is node)
    edit.delete(node)
    edit.commit()
    moved = list(taken.nodes)
    local = {id(t) for n in moved for t in n.outputs}
    for y, source in zip(results, sources, strict=True):
        if id(source) in local:  # the branch makes it: under the name of the If's output
            local.discard(id(source))
            edit.redirect(source, y)
            maker = source.inputs[0]
            set_outputs(maker, [y if t is source else t for t in maker.outputs])
            sources = [y if t is source else t for t in sources]
        else:
            moved.append(gs.Node("Identity", f"{node.name or y.name}/Identity", inputs=[source], outputs=[y]))
    graph.nodes[at:at] = moved
