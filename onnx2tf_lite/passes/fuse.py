"""Fusions that exporters undo: one row is patterns, a check that fails with a reason, and a rewrite.

Sources: LayerNormalization-17, RMSNormalization-23, Gelu-20, HardSigmoid-6, HardSwish-14, Mish-18,
DepthToSpace-13, SpaceToDepth-1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import Tensor

from ..errors import ConversionError, Problem
from ..match import Pattern, find
from ..model.edit import Dims, GraphEdit, graphs, ints, scalar, shape, static, title
from ..model.opsets import TARGET
from ..record import record
from . import dynamic_products
from .manager import Pass, PassOptions, PassResult
from .match import Fusion, Match, OnnxView


class Fuse(Pass):
    """One fusion of the table."""

    def __init__(self, fusion: Fusion, options: PassOptions | None = None):
        super().__init__(options)
        self.fusion, self.name = fusion, fusion.name

    @property
    def summary(self) -> str:
        """What the list of passes says."""
        return f"Fuse what exporters write for {self.fusion.what}."

    def requires(self, graph: gs.Graph) -> None:
        """ConversionError for an older opset: most of the fused operators are younger than models they are found in."""
        if graph.opset < TARGET:
            what = f"the graph is of opset {graph.opset}, the fused operators are those of {TARGET}"
            raise ConversionError(Problem(f"pass '{self.name}'", what, "run the pass upgrade first"))

    def call(self, graph: gs.Graph) -> PassResult:
        """Rewrite every match of a pattern; the notes hold the reasons against the first ones that were not."""
        count = 0
        reasons: list[str] = []
        for g in graphs(graph):
            edit, ops = GraphEdit(g), {n.op for n in g.nodes}
            view = OnnxView(edit)
            for pattern, node in itertools.product(self.fusion.possible(ops), g.nodes):
                match = None if edit.dead(node) else find(pattern, node, view)
                if match is None:
                    continue
                kept = any(n.name in self.options.keep_nodes for n in match.nodes)
                why = "a node of it is to be kept" if kept else self.fusion.against(match)
                if why:
                    reasons.append(f"not at '{title(node)}': {why}")
                    continue
                self.fusion.rewrite(edit, match)
                for inner in match.nodes[1:]:  # the root is the fused operator now
                    edit.delete(inner)
                count += 1
            edit.commit()
        notes = [f"fused {count}"] if count else []
        return PassResult(graph, bool(count), notes + list(dict.fromkeys(reasons))[:2])


def explain(graph: gs.Graph, name: str) -> list[str]:
    """Why a fusion does not fire: per root the pattern that came nearest, or the check that failed."""
    fusion, lines = FUSIONS[name], []
    for g in graphs(graph):
        view = OnnxView(GraphEdit(g))
        for node in g.nodes:
            tries: list[tuple[set[int], Pattern]] = [(set(), p) for p in fusion.patterns]
            found = next((m for near, p in tries if (m := find(p, node, view, near))), None)
            who = f"{node.op} '{title(node)}'"
            if found is not None:
                lines.append(f"{who}: {fusion.against(found) or 'fits'}")
            elif len((nearest := max(tries, key=lambda t: len(t[0])))[0]) > 1:
                lines.append(f"{who}: {len(nearest[0])} operators agree with {nearest[1].text}")
    return lines


#: Elements of a constant up to which one is made by an extent that the model only claims.
MADE = 1 << 24


# -- normalisation ----------------------------------------------------------------------------------------------------
def _axes(node: gs.Node) -> list[int] | None:
    axes = ints(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = len(shape(node.inputs[0]) or ())
    return None if axes is None or not rank else sorted(a + rank if a < 0 else a for a in axes)


def _normalised(match: Match) -> str | None:
    """The means run over the last axes, alike; scale and bias have exactly the shape of these."""
    means = [n for n in match.nodes if n.op == "ReduceMean"]
    axes = [_axes(n) for n in means]
    dims = shape(match.x)
    if dims is None or axes[0] is None or any(a != axes[0] for a in axes):
        return "the axes of its means are unknown, or differ"
    if axes[0] != list(range(len(dims) - len(axes[0]), len(dims))):
        return f"the axes {axes[0]} are not the last ones of {len(dims)}"
    if any(not n.attrs.get("keepdims", 1) for n in means):
        return "a mean drops its axes"
    if (scalar(match.eps) or 0) <= 0:
        return "epsilon is not a positive number"
    tail = _tail(match)
    if any(not isinstance(d, int) for d in tail):
        return "the size of the normalised axes is unknown"
    if "scale" not in match.bound and math.prod(tail) > MADE:
        return f"a scale of {math.prod(tail):,} elements would have to be made"
    if any(_trailing(end, len(tail)) != tail for end in map(match.bound.get, ("scale", "bias")) if end is not None):
        return f"scale or bias does not have the shape {tail} of the normalised axes"
    return None


def _tail(match: Match) -> tuple[Any, ...]:
    axes = _axes(match.op("variance")) or []
    return (shape(match.x) or ())[-len(axes) :]


def _trailing(tensor: Tensor, rank: int) -> tuple[int, ...] | None:
    dims = static(tensor) or ()
    return tuple(dims[-rank:]) if len(dims) >= rank and math.prod(dims[:-rank]) == 1 else None


def _normalise(op: str) -> Callable[[GraphEdit, Match], None]:
    def rewrite(edit: GraphEdit, match: Match) -> None:
        tail, x, scale, bias = _tail(match), match.x, match.get("scale"), match.bound.get("bias")  # RMS has none
        factor = np.ones(tail, x.dtype or np.float32) if scale is None else scale.values.reshape(tail)
        inputs: list[Tensor] = [x, edit.const(factor, f"{title(match.root)}/scale")]
        if bias is not None:
            inputs.append(edit.const(bias.values.reshape(tail), f"{title(match.root)}/bias"))
        edit.become(match.root, op, inputs, axis=-len(tail), epsilon=scalar(match.eps))

    return rewrite


def _chains(centred: str, lets: str, affine: tuple[str, ...]) -> tuple[str, ...]:
    """All spellings of v / sqrt(mean(v^2) + eps), with the affine ends in front, longest first."""
    found = []
    for end in affine:
        for square in (f"Pow({centred}, 2)", f"Mul({centred}, {centred})"):
            spread = f"Sqrt(Add(variance := ReduceMean({square}, axes2), const(eps)))"
            for core in (
                f"Div({centred}, {spread})",
                f"Mul({centred}, Reciprocal({spread}))",
                f"Mul({centred}, Div(1, {spread}))",
            ):
                found.append(lets + end.replace("CORE", core))
    return tuple(found)


def _grouped(match: Match) -> str | None:
    """[N, C, ...] seen as [N, G, ...], normalised over all but N and G, seen as it was; scale and bias by channel."""
    x, seen, y = (shape(t) or () for t in (match.x, match.seen, match.root.outputs[0]))
    if len(x) < 3 or len(seen) < 3 or not (_as_many(x, y) and _as_many(_rows(x), _rows(seen))):
        return "its shapes are unknown, or others"
    channels, groups = x[1], seen[1]
    if not (isinstance(channels, int) and isinstance(groups, int)) or channels % groups:
        return f"{channels} channels are not {groups} groups"
    if any(static(match.bound[name]) != (groups,) for name in ("one", "zero")):
        return "its own scale and bias are unknown"
    wide = (channels, *(1 for _ in x[2:]))
    if any(_trailing(end, len(wide)) != wide for end in map(match.bound.get, ("scale", "bias")) if end is not None):
        return f"scale or bias does not have the shape {list(wide)}"
    return None


def _as_many(a: Dims, b: Dims) -> bool:
    """Are the shapes of two views of one tensor equal? As many elements leave one extent, a -1, no choice."""
    return len(a) == len(b) and 0 not in a and sum(d is None or d != e for d, e in zip(a, b, strict=True)) <= 1


def _rows(dims: Dims) -> Dims:
    """[N, ...] as [N, elements of each]."""
    sizes = [d for d in dims[1:] if isinstance(d, int)]
    return dims[0], math.prod(sizes) if len(sizes) == len(dims) - 1 else None


def _group_norm(edit: GraphEdit, match: Match) -> None:
    """(n * one + zero) * scale + bias, with one and zero per group, is n * scale' + bias' per channel."""
    channels, groups, name = match.x.shape[1], match.seen.shape[1], title(match.root)
    inner = match.op("n")
    one, zero = (np.repeat(match.bound[k].values.astype(np.float64), channels // groups) for k in ("one", "zero"))
    scale, bias = (match.bound.get(k) for k in ("scale", "bias"))
    factor = 1.0 if scale is None else scale.values.reshape(-1)
    summand = 0.0 if bias is None else bias.values.reshape(-1)
    dtype = match.x.dtype or np.float32
    ends = (
        edit.const(one * factor, f"{name}/scale", dtype),
        edit.const(zero * factor + summand, f"{name}/bias", dtype),
    )
    epsilon = inner.attrs.get("epsilon", 1e-5)
    match.root.outputs[0].shape = match.x.shape  # of an open batch, too, which a Reshape to [-1, ...] gave a new name
    edit.become(match.root, "GroupNormalization", [match.x, *ends], num_groups=groups, epsilon=epsilon)


# -- activations ------------------------------------------------------------------------------------------------------
def _sixth(match: Match) -> str | None:
    """If it is made of a HardSigmoid: that of slope 1/6 (its own default is 0.2)."""
    found = [n for n in match.nodes if n.op == "HardSigmoid"]
    alpha, beta = (found[0].attrs.get("alpha", 0.2), found[0].attrs.get("beta", 0.5)) if found else (1 / 6, 0.5)
    return None if abs(alpha - 1 / 6) < 1e-5 and beta == 0.5 else f"HardSigmoid has alpha={alpha:.4g}, beta={beta:.4g}"


def _linear(match: Match) -> str | None:
    numbers = [scalar(n) for n in map(match.get, ("slope", "offset")) if n is not None]
    return "slope or offset is not one number" if None in numbers else None


def _unary(op: str) -> Callable[[GraphEdit, Match], None]:
    return lambda edit, match: edit.become(match.root, op, [match.x])


def _hard_sigmoid(edit: GraphEdit, match: Match) -> None:
    slope, offset = scalar(match.get("slope")), scalar(match.get("offset"))
    alpha, beta = (1 / 6, 0.5) if slope is None else (slope, offset)
    edit.become(match.root, "HardSigmoid", [match.x], alpha=alpha, beta=beta)


def _gelu(edit: GraphEdit, match: Match) -> None:
    exact = any(n.op == "Erf" for n in match.nodes)
    edit.become(match.root, "Gelu", [match.x], approximate="none" if exact else "tanh")


_ERF = ("Erf(Div(x, 1.4142135))", "Erf(Mul(x, 0.70710678))")
_CUBE = ("Pow(x, 3)", "Mul(x, Mul(x, x))")
_TANH = tuple(f"Tanh(Mul(Add(x, Mul({c}, 0.044715)), 0.7978845))" for c in _CUBE)


def _halves(inner: str) -> tuple[str, ...]:
    """x * (1 + inner) / 2 in all groupings."""
    one = f"Add({inner}, 1)"
    return (
        f"Mul(Mul(x, {one}), 0.5)",
        f"Mul(Mul(x, 0.5), {one})",
        f"Mul(x, Mul({one}, 0.5))",
        f"Div(Mul(x, {one}), 2)",
        f"Mul(x, Add(Mul({inner}, 0.5), 0.5))",
    )


_GATES = ("Clip(Add(x, 3), 0, 6)", "Min(Relu(Add(x, 3)), 6)")
_SLOPES = tuple(
    form.format(f"Add({scaled}, 0.5)")
    for scaled in ("Mul(x, 0.16666667)", "Div(x, 6)")
    for form in ("Clip({}, 0, 1)", "Min(Relu({}), 1)")
)


def _sixths(gate: str) -> tuple[str, ...]:
    """x * gate / 6 in all groupings."""
    return (
        f"Div(Mul(x, {gate}), 6)",
        f"Mul(Mul(x, {gate}), 0.16666667)",
        f"Mul(x, Div({gate}, 6))",
        f"Mul(x, Mul({gate}, 0.16666667))",
        f"Mul(Div(x, 6), {gate})",
    )


# -- pixel shuffle ----------------------------------------------------------------------------------------------------
@record
class _Rearrangement:
    """An operator that moves blocks between channels and space, as the 6-D permutation that exporters write it as."""

    op: str
    attrs: dict[str, str]
    slot: int  # the axis of the six that is the block
    sizes: Callable[..., tuple[tuple[int, ...], tuple[int, ...]]]
    """From channels, height, width and block the shapes, without the batch, before the permutation and in the end."""


_SHUFFLES: dict[tuple[int, ...], _Rearrangement] = {
    (0, 1, 4, 2, 5, 3): _Rearrangement(
        "DepthToSpace", {"mode": "CRD"}, 2, lambda c, h, w, b: ((c // b // b, b, b, h, w), (c // b // b, h * b, w * b))
    ),
    (0, 3, 4, 1, 5, 2): _Rearrangement(
        "DepthToSpace", {"mode": "DCR"}, 2, lambda c, h, w, b: ((b, b, c // b // b, h, w), (c // b // b, h * b, w * b))
    ),
    (0, 3, 5, 1, 2, 4): _Rearrangement(
        "SpaceToDepth", {}, 3, lambda c, h, w, b: ((c, h // b, b, w // b, b), (c * b * b, h // b, w // b))
    ),
}


def _perm(match: Match) -> tuple[int, ...]:
    return tuple(match.op("turned").attrs.get("perm", ()))


def _shuffles(match: Match) -> str | None:
    """Reshape to 6-D, Transpose, Reshape to 4-D: by the permutation the operator, by the sizes the block."""
    if _perm(match) not in _SHUFFLES:
        return f"the permutation {list(_perm(match))} is no pixel shuffle"
    shapes = [shape(t) or () for t in (match.x, match.blocks, match.root.outputs[0])]
    x, blocks, y = shapes
    if [len(s) for s in shapes] != [4, 6, 4]:
        return "it does not go from 4-D over 6-D to 4-D"
    if not all(isinstance(d, int) for s in shapes for d in s[1:]):
        return "its sizes are unknown"
    found = _SHUFFLES[_perm(match)]
    same = found.sizes(*x[1:], blocks[found.slot]) == (blocks[1:], y[1:])
    return None if same else "its sizes are those of another rearrangement"


def _shuffle(edit: GraphEdit, match: Match) -> None:
    found = _SHUFFLES[_perm(match)]
    block = match.blocks.shape[found.slot]
    edit.become(match.root, found.op, [match.x], **found.attrs, blocksize=block)


# -- the table --------------------------------------------------------------------------------------------------------
_AFFINE = ("Add(Mul(CORE, const(scale)), const(bias))", "Mul(CORE, const(scale))", "CORE")
_HARD_SWISH = (
    *(p for gate in _GATES for p in _sixths(gate)),
    *(f"Mul(x, {slope})" for slope in (*_SLOPES, "HardSigmoid(x)")),
)
_HARD_SIGMOID = (
    "Clip(Add(Mul(x, const(slope)), const(offset)), 0, 1)",
    *(p for gate in _GATES for p in (f"Div({gate}, 6)", f"Mul({gate}, 0.16666667)")),
)
_LN, _RMSN = "LayerNormalization", "RMSNormalization"
_LAYER = _chains("d", "d = Sub(x, ReduceMean(x, axes)); ", _AFFINE)
_RMS = _chains("x", "", _AFFINE[1:])
_INSTANCE = "Reshape(n := InstanceNormalization(seen := Reshape(x, s1), const(one), const(zero)), s2)"
_GROUP = tuple(end.replace("CORE", _INSTANCE) for end in _AFFINE)
_GELU = tuple(p for inner in (*_ERF, *_TANH) for p in _halves(inner))
_MISH = ("Mul(x, Tanh(Softplus(x)))", "Mul(x, Tanh(Log(Add(Exp(x), 1))))")  # tanh of its infinity is 1, too
_SHUFFLE = "Reshape(turned := Transpose(blocks := Reshape(x, s1)), s2)"

FUSIONS = {
    fusion.name: fusion
    for fusion in (
        Fusion("hardswish", "HardSwish", _HARD_SWISH, _unary("HardSwish"), _sixth),
        Fusion("hardsigmoid", "HardSigmoid", _HARD_SIGMOID, _hard_sigmoid, _linear),
        Fusion("mish", "Mish", _MISH, _unary("Mish")),
        Fusion("gelu", "Gelu (erf and tanh)", _GELU, _gelu),
        Fusion("layernorm", _LN, _LAYER, _normalise(_LN), _normalised),
        Fusion("rmsnorm", _RMSN, _RMS, _normalise(_RMSN), _normalised),
        Fusion("groupnorm", "GroupNormalization", _GROUP, _group_norm, _grouped),
        dynamic_products.FUSION,
        Fusion("pixelshuffle", "DepthToSpace and SpaceToDepth", (_SHUFFLE,), _shuffle, _shuffles),
    )
}
