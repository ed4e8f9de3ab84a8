"""Linear layers that are added, or follow one another, are one linear layer (the algebra is in :mod:`.linear`).

What is equal, in real arithmetic: A x + g (B x) = (A + g B) x for factors g of channels, A (B x) = (A B) x, and
A [x, c] = A_x x + A_c c.  The new weights are computed in float64 and rounded to float32 once, so results differ by the
rounding of float32 alone; the old ones rounded after every branch.  Networks that are trained with parallel branches
(RepVGG, MobileOne, YOLO) become what they are deployed as.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import GraphEdit, Tensor, graphs, producer, same_shape, shape
from ..record import record
from . import layers
from .layers import LAYERS, WINDOWED, Arrangement
from .linear import LinearMap, added, composable, composed, composed_size, composing, sum_size
from .manager import Pass, PassResult, counted
from .shapes import infer

#: What one look at every element of a tensor costs, in multiplications of a convolution (benchmarks/kernels.py).
VISIT = 20
#: Multiplications that one product of weights may take: about a second.  Sums cost next to nothing.
WORK = 1e10
#: Nodes that add, with the signs of their operands.
SUMS = {"Add": (1, 1), "Sub": (1, -1)}


class Reparameterise(Pass):
    """Merge linear layers: branches over one tensor that are added, and chains, where one layer costs no more."""

    name = "reparameterise"

    def call(self, graph: gs.Graph) -> PassResult:
        """Until nothing changes: a sum may leave a chain, and a chain a sum."""
        counts = dict.fromkeys(_WAYS, 0)
        for g in graphs(graph):
            before = -1
            while before != (before := sum(counts.values())):
                edit, mine = GraphEdit(g), self.mine(g)
                ours = {id(n) for n in mine}
                for what, change in _WAYS.items():
                    counts[what] += sum(change(edit, node, ours) for node in reversed(mine) if not edit.dead(node))
                edit.commit()
        if any(counts.values()):
            infer(graph)  # the new sums have shapes; unknown extents are named as without the old ones
        return counted(graph, counts)


@record
class Term:
    """A summand: ``sign`` times what ``nodes``, the last one first, make of ``source``."""

    tensor: Tensor
    sign: int
    source: Tensor
    nodes: tuple[gs.Node, ...]

    @property
    def windowed(self) -> bool:
        """Is there more than arithmetic per channel?"""
        return bool(self.nodes) and self.nodes[-1].op in WINDOWED


@record
class Branch:
    """A summand that is a linear map of its source, and what it costs per element of the result."""

    term: Term
    map: LinearMap
    cost: float


def _alone(edit: GraphEdit, tensor: Tensor, ours: set[int], operators: frozenset[str]) -> gs.Node | None:
    """The node of one of these operators that makes ``tensor`` for a single reader, if it is ours to change."""
    node = producer(tensor)
    if node is None or node.op not in operators or id(node) not in ours or edit.dead(node):
        return None
    return node if len(tensor.outputs) == 1 and id(tensor) not in edit.outputs else None


def _reach(edit: GraphEdit, tensor: Tensor, ours: set[int]) -> tuple[Tensor, tuple[gs.Node, ...]]:
    """What ``tensor`` is made of by arithmetic per channel and, in front of it, at most one layer; and these nodes, the
    last one first."""
    nodes: list[gs.Node] = []
    while not (nodes and nodes[-1].op in WINDOWED):
        node = _alone(edit, tensor, ours, LAYERS)
        x, c = (None, None) if node is None else layers.operands(node)
        if node is None or x is None or (c is None and node.op not in WINDOWED):
            break
        nodes.append(node)
        tensor = x
    return tensor, tuple(nodes)


def _form(tensor: Tensor, last: bool) -> Arrangement | None:
    rank = len(shape(tensor) or ())
    return Arrangement(rank, last) if rank >= 2 else None


# -- sums -------------------------------------------------------------------------------------------------------------
def _sums(edit: GraphEdit, root: gs.Node, ours: set[int]) -> bool:
    """A sum of which some terms are maps of one tensor."""
    y = root.outputs[0]
    if root.op not in SUMS or shape(y) is None:
        return False
    inner: list[gs.Node] = []
    terms = list(_terms(edit, root, 1, ours, inner))
    for last in (False, True):
        form = _form(y, last)
        bins = _bins(terms, form) if form else []
        if form and bins:
            _rebuild(edit, root, form, terms, bins)
            for node in [*inner, *(n for one in bins for b in one for n in b.term.nodes)]:
                edit.delete(node)
            return True
    return False


def _terms(edit: GraphEdit, node: gs.Node, sign: int, ours: set[int], inner: list[gs.Node]) -> Iterator[Term]:
    """The summands below ``node``; ``inner`` takes the sums on the way."""
    for tensor, own in zip(node.inputs, SUMS[node.op], strict=True):
        below = _alone(edit, tensor, ours, frozenset(SUMS))
        if below is not None:
            inner.append(below)
            yield from _terms(edit, below, sign * own, ours, inner)
            continue
        yield Term(tensor, sign * own, *_reach(edit, tensor, ours))


def _bins(terms: list[Term], form: Arrangement) -> list[list[Branch]]:
    """Groups of branches, each worth being one layer."""
    by_source: dict[int, list[Term]] = {}
    for term in terms:
        if not isinstance(term.tensor, gs.Constant):
            by_source.setdefault(id(term.source), []).append(term)
    found: list[list[Branch]] = []
    for group in by_source.values():
        if len(group) > 1 and any(t.windowed for t in group):
            found += _worthwhile([b for b in (_branch(t, form) for t in group) if b is not None])
    return found


def _branch(term: Term, form: Arrangement) -> Branch | None:
    linear = layers.through(term.source, term.nodes, form)
    if linear is None:
        return None
    # a factor behind a layer costs nothing: if they stay two, it goes into the weights after this pass
    work = (VISIT if term.nodes else 0.0) + (linear.weights.size / linear.outputs if term.windowed else 0)
    return Branch(term, linear.scaled(term.sign), work)


def _worthwhile(branches: list[Branch]) -> list[list[Branch]]:
    """Branches put together as long as that costs no more, the largest first."""
    bins: list[list[Branch]] = []
    for branch in sorted(branches, key=lambda b: -b.cost):
        for one in bins:
            together = [b.map for b in (*one, branch)]
            alike = branch.map.frame == one[0].map.frame
            # every term beyond the first is another visit, to add it
            if alike and _cost(together) <= _cost([b.map for b in one], one[0].cost) + branch.cost + VISIT:
                one.append(branch)
                break
        else:
            if branch.term.windowed:
                bins.append([branch])
    return [one for one in bins if len(one) > 1 and layers.fits(added([b.map for b in one]))]


def _cost(maps: list[LinearMap], single: float = 0.0) -> float:
    return single if len(maps) == 1 else VISIT + sum_size(maps) / maps[0].outputs


def _rebuild(edit: GraphEdit, root: gs.Node, form: Arrangement, terms: list[Term], bins: list[list[Branch]]) -> None:
    """The sum of the new layers and of what is left; constants per channel go into a bias."""
    done = {id(b.term) for one in bins for b in one}
    maps = [added([b.map for b in one]) for one in bins]
    rest: list[Term] = []
    for term in terms:
        vector = form.vector(term.tensor, maps[0].outputs) if isinstance(term.tensor, gs.Constant) else None
        if vector is not None:
            maps[0] = maps[0].raised(term.sign * vector)
        elif id(term) not in done:
            rest.append(term)
    first = [one[0].term for one in bins]
    if len(maps) == 1 and not rest:
        layers.write(edit, root, first[0].source, maps[0], form)
        return
    made = [layers.insert(edit, root, t.source, m, form, t.tensor) for t, m in zip(first, maps, strict=True)]
    parts = [(t, "Add") for t in made] + [(t.tensor, "Add" if t.sign > 0 else "Sub") for t in rest]
    total = parts[0][0]
    for tensor, operator in parts[1:-1]:
        total = edit.add(operator, [total, tensor], root, like=total if same_shape(total, tensor) else None)
    last, operator = parts[-1]
    edit.become(root, operator, [total, last])


# -- chains -----------------------------------------------------------------------------------------------------------
def _chains(edit: GraphEdit, outer: gs.Node, ours: set[int]) -> bool:
    """A layer behind another one, with arithmetic per channel between them."""
    if outer.op not in WINDOWED - {"Concat"}:
        return False
    form, read = _form(outer.inputs[0], outer.op in ("MatMul", "Gemm")), layers.operands(outer)[0]
    x, nodes = (None, ()) if read is None else _reach(edit, read, ours)
    if form is None or x is None or not nodes or nodes[-1].op not in WINDOWED:
        return False
    total = _composed(outer, nodes, form)
    if total is None:
        return False
    slices = layers.slices(nodes[-1])
    for node in nodes:
        edit.delete(node)
    while unread := [n for n in slices if not edit.dead(n) and not n.outputs[0].outputs]:
        for node in unread:
            edit.delete(node)
    layers.write(edit, outer, x, total, form)
    return True


def _composed(outer: gs.Node, nodes: tuple[gs.Node, ...], form: Arrangement) -> LinearMap | None:
    """``outer`` behind ``nodes`` as one map, where that costs no more."""
    total = layers.read(outer, form)
    for node in nodes:
        linear = layers.read(node, form)
        if total is None or linear is None or not composable(total, linear):
            return None
        if composed_size(total, linear) > total.weights.size + linear.weights.size + VISIT * linear.outputs:
            return None
        if composing(total, linear) > WORK:
            return None
        total = composed(total, linear)
    return total if total is not None and layers.fits(total) else None


# -- constants --------------------------------------------------------------------------------------------------------
def _constants(edit: GraphEdit, node: gs.Node, ours: set[int]) -> bool:
    """A layer of a concatenation along the channels, some of whose operands are constants per channel."""
    if node.op not in WINDOWED - {"AveragePool", "Concat"}:
        return False
    joined = _alone(edit, node.inputs[0], ours, frozenset(("Concat",)))
    form = _form(node.inputs[0], node.op != "Conv")
    if joined is None or form is None or not any(isinstance(t, gs.Constant) for t in joined.inputs):
        return False
    if joined.attrs["axis"] % form.rank != form.axis:
        return False
    linear = layers.read(node, form)
    if linear is None or linear.groups > 1 or any(linear.pads()):
        return False
    return _without_constants(edit, node, joined, linear, form)


def _without_constants(edit: GraphEdit, node: gs.Node, joined: gs.Node, linear: LinearMap, form: Arrangement) -> bool:
    kept, columns, start, raised = [], [], 0, np.zeros(linear.outputs)
    for tensor in joined.inputs:
        count = layers.channels(tensor, form)
        if count is None:
            return False
        part = linear.weights[:, start : start + count]
        start += count
        vector = layers.uniform(tensor, form) if isinstance(tensor, gs.Constant) else None
        if vector is None:
            kept.append(tensor)
            columns.append(part)
        else:
            raised = raised + part.reshape(*part.shape[:2], -1).sum(2, dtype=np.float64) @ vector
    if len(kept) == len(joined.inputs) or not kept:
        return False
    x = kept[0]
    if len(kept) > 1:
        x = edit.add("Concat", kept, node, axis=form.axis)
    smaller = replace(linear, weights=np.concatenate(columns, 1)).raised(raised)
    edit.delete(joined)
    layers.write(edit, node, x, smaller, form)
    return True


_WAYS = {
    "constant operand(s) made a bias": _constants,
    "sum(s) of layers made one": _sums,
    "chain(s) of layers made one": _chains,
}
