"""Fusions that exporters undo: one row is patterns, a check that fails with a reason, and a rewrite.

Sources: LayerNormalization-17, RMSNormalization-23, Gelu-20, HardSigmoid-6, HardSwish-14, Mish-18, Softplus-1,
DepthToSpace-13, SpaceToDepth-1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from .edit import Edit, Tensor, graphs, ints, scalar, shape, standard, static
from .manager import Pass, PassOptions, PassResult
from .match import Fusion, Match, find, operators, outside_readers
from .upgrade import TARGET


class Fuse(Pass):
    """One fusion of the table."""

    def __init__(self, fusion: Fusion, options: PassOptions | None = None):
        super().__init__(options)
        self.fusion, self.name = fusion, fusion.name

    @property
    def summary(self) -> str:
        return f"Fuse what exporters write for {_TITLES[self.name]}."

    def requires(self, graph: gs.Graph) -> None:
        """Most of the fused operators are younger than the models they are found in."""
        if graph.opset < TARGET:
            what = f"the graph is of opset {graph.opset}, the fused operators are those of {TARGET}"
            raise ConversionError(Problem(f"pass '{self.name}'", what, "run the pass upgrade first"))

    def call(self, graph: gs.Graph) -> PassResult:
        count = 0
        reasons: list[str] = []
        roots = self.fusion.roots
        for g in graphs(graph):
            edit, ops = Edit(g), {n.op for n in g.nodes}
            for pattern in self.fusion.patterns:
                if not operators(pattern) <= ops:
                    continue
                for node in g.nodes:
                    if node.op not in roots or edit.dead(node):
                        continue
                    match = find(pattern, node)
                    if match is None:
                        continue
                    why = self._against(match, edit)
                    if why:
                        reasons.append(f"not at '{node.name or node.outputs[0].name}': {why}")
                        continue
                    self._rewrite(edit, match)
                    count += 1
            edit.commit()
        notes = [f"fused {count}"] if count else []
        return PassResult(graph, bool(count), notes + list(dict.fromkeys(reasons))[:2])

    def _against(self, match: Match, edit: Edit) -> str | None:
        if any(n.name in self.options.keep_nodes for n in match.nodes):
            return "a node of it is to be kept"
        return outside_readers(match, edit) or self.fusion.check(match)

    def _rewrite(self, edit: Edit, match: Match) -> None:
        """The root becomes the fused operator; the rest of the pattern goes."""
        self.fusion.rewrite(edit, match)
        for node in reversed(match.nodes):
            if node is not match.root and not any(len(t.outputs) for t in node.outputs):
                edit.delete(node)


def explain(graph: gs.Graph, name: str) -> list[str]:
    """Why a fusion does not fire: per root the pattern that came nearest, or the check that failed."""
    fusion, lines = FUSIONS[name], []
    for g in graphs(graph):
        edit = Edit(g)
        for node in g.nodes:
            tries: list[tuple[set[int], str]] = [(set(), p) for p in fusion.patterns if standard(node)]
            found = next((m for near, p in tries if (m := find(p, node, near))), None)
            who = f"{node.op} '{node.name or node.outputs[0].name}'"
            if found is not None:
                lines.append(f"{who}: {outside_readers(found, edit) or fusion.check(found) or 'fits'}")
            elif tries and len((nearest := max(tries, key=lambda t: len(t[0])))[0]) > 1:
                lines.append(f"{who}: {len(nearest[0])} operators agree with {nearest[1]}")
    return lines


# -- normalisation ----------------------------------------------------------------------------------------------------
def _axes(node: gs.Node) -> list[int] | None:
    axes = ints(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = len(shape(node.inputs[0]) or ())
    return None if axes is None or not rank else sorted(a + rank if a < 0 else a for a in axes)


def _normalised(match: Match) -> str | None:
    """The means run over the last axes, alike; scale and bias have exactly the shape of these."""
    means = [n for n in match.nodes if n.op == "ReduceMean"]
    axes = [_axes(n) for n in means]
    dims = shape(match["x"])
    if dims is None or axes[0] is None or any(a != axes[0] for a in axes):
        return "the axes of its means are unknown, or differ"
    if axes[0] != list(range(len(dims) - len(axes[0]), len(dims))):
        return f"the axes {axes[0]} are not the last ones of {len(dims)}"
    if any(not n.attrs.get("keepdims", 1) for n in means):
        return "a mean drops its axes"
    if (scalar(match["#eps"]) or 0) <= 0:
        return "epsilon is not a positive number"
    tail = _tail(match)
    if any(not isinstance(d, int) for d in tail):
        return "the size of the normalised axes is unknown"
    if any(name in match.bound and _trailing(match[name], len(tail)) != tail for name in ("#scale", "#bias")):
        return f"scale or bias does not have the shape {tail} of the normalised axes"
    return None


def _tail(match: Match) -> tuple:
    axes = _axes(match.node("ReduceMean")) or []
    return tuple((shape(match["x"]) or ())[-len(axes) :])


def _trailing(tensor: Tensor, rank: int) -> tuple[int, ...] | None:
    dims = static(tensor) or ()
    return tuple(dims[-rank:]) if len(dims) >= rank and math.prod(dims[:-rank]) == 1 else None


def _normalise(op: str) -> Any:
    def rewrite(edit: Edit, match: Match) -> None:
        tail, x = _tail(match), match["x"]
        base = match.root.name or match.root.outputs[0].name
        inputs: list[Tensor] = [x]
        for name in ("#scale", "#bias"):
            if name in match.bound:
                held = match[name]
                flat = held if tuple(held.shape) == tail else edit.const(held.values.reshape(tail), f"{held.name}/flat")
                inputs.append(flat)
            elif name == "#scale":
                inputs.append(edit.const(np.ones(tail, x.dtype or np.float32), f"{base}/ones"))
        edit.become(match.root, op, inputs, axis=-len(tail), epsilon=scalar(match["#eps"]))

    return rewrite


def _chains(centred: str, lets: str, affine: tuple[str, ...]) -> tuple[str, ...]:
    """All spellings of v / sqrt(mean(v^2) + eps), with the affine ends in front, longest first."""
    found = []
    for end in affine:
        for square in (f"Pow({centred}, 2)", f"Mul({centred}, {centred})"):
            spread = f"Sqrt(Add(ReduceMean({square}, axes2), #eps))"
            for core in (
                f"Div({centred}, {spread})",
                f"Mul({centred}, Reciprocal({spread}))",
                f"Mul({centred}, Div(1, {spread}))",
            ):
                found.append(lets + end.replace("CORE", core))
    return tuple(found)


# -- activations ------------------------------------------------------------------------------------------------------
def _fits(match: Match) -> None:
    return None


def _sixth(match: Match) -> str | None:
    """If it is made of a HardSigmoid: that of slope 1/6 (its own default is 0.2)."""
    found = [n for n in match.nodes if n.op == "HardSigmoid"]
    alpha, beta = (found[0].attrs.get("alpha", 0.2), found[0].attrs.get("beta", 0.5)) if found else (1 / 6, 0.5)
    return None if abs(alpha - 1 / 6) < 1e-5 and beta == 0.5 else f"HardSigmoid has alpha={alpha:.4g}, beta={beta:.4g}"


def _unary(op: str, **attrs: Any) -> Any:
    return lambda edit, match: edit.become(match.root, op, [match["x"]], **attrs)


def _linear(match: Match) -> str | None:
    numbers = [scalar(match[n]) for n in ("#a", "#b") if n in match.bound]
    return "slope or offset is not one number" if None in numbers else None


def _hard_sigmoid(edit: Edit, match: Match) -> None:
    edit.become(match.root, "HardSigmoid", [match["x"]], alpha=scalar(match["#a"]), beta=scalar(match["#b"]))


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


_SIX = "Clip(Add(x, 3), 0, 6)"


# -- pixel shuffle ----------------------------------------------------------------------------------------------------
def _shuffle(kinds: dict[tuple[int, ...], tuple[str, str, tuple[int, ...]]]) -> Any:
    """Reshape to 6-D, Transpose, Reshape to 4-D: by the permutation the operator, by the sizes the block."""

    def read(match: Match) -> tuple[str, str, int] | str:
        perm = tuple(match.node("Transpose").attrs.get("perm", ()))
        if perm not in kinds:
            return f"the permutation {list(perm)} is no pixel shuffle"
        op, mode, (channel, *blocks) = kinds[perm]
        mid = shape(match.node("Transpose").inputs[0])
        x, y = shape(match["x"]), shape(match.root.outputs[0])
        if mid is None or x is None or y is None or len(x) != 4 or len(mid) != 6 or len(y) != 4:
            return "it does not go from 4-D over 6-D to 4-D"
        if not all(isinstance(d, int) for d in (*mid[1:], *x[1:], *y[1:])):
            return "its sizes are unknown"
        b = mid[blocks[0]]
        c, h, w = x[1:]
        grown = (c // (b * b), h * b, w * b) if op == "DepthToSpace" else (c * b * b, h // b, w // b)
        split = math.prod(mid[1:]) == c * h * w and mid[blocks[1]] == b
        right = split and tuple(y[1:]) == grown and mid[channel] == (c // (b * b) if op == "DepthToSpace" else c)
        return (op, mode, b) if right else "its sizes are those of another rearrangement"

    def check(match: Match) -> str | None:
        found = read(match)
        return found if isinstance(found, str) else None

    def rewrite(edit: Edit, match: Match) -> None:
        found = read(match)
        assert not isinstance(found, str)  # the check has passed
        op, mode, b = found
        extra = {"mode": mode} if op == "DepthToSpace" else {}
        edit.become(match.root, op, [match["x"]], blocksize=b, **extra)

    return check, rewrite


# 6-D permutation -> operator, mode, where the 6-D shape holds (channels, block, block)
_CHECK_SHUFFLE, _REWRITE_SHUFFLE = _shuffle(
    {
        (0, 1, 4, 2, 5, 3): ("DepthToSpace", "CRD", (1, 2, 3)),
        (0, 3, 4, 1, 5, 2): ("DepthToSpace", "DCR", (3, 1, 2)),
        (0, 3, 5, 1, 2, 4): ("SpaceToDepth", "DCR", (1, 3, 5)),
    }
)

_AFFINE = ("Add(Mul(CORE, #scale), #bias)", "Mul(CORE, #scale)", "CORE")
_TITLES = {
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "softplus": "Softplus",
    "mish": "Mish",
    "gelu": "Gelu (erf and tanh)",
    "layernorm": "LayerNormalization",
    "rmsnorm": "RMSNormalization",
    "pixelshuffle": "DepthToSpace and SpaceToDepth",
}
FUSIONS: dict[str, Fusion] = {
    f.name: f
    for f in (
        Fusion(
            "hardswish",
            (
                f"Div(Mul(x, {_SIX}), 6)",
                f"Mul(Mul(x, {_SIX}), 0.16666667)",
                f"Mul(x, Div({_SIX}, 6))",
                f"Mul(x, Mul({_SIX}, 0.16666667))",
                f"Mul(Div(x, 6), {_SIX})",
                "Mul(x, HardSigmoid(x))",
            ),
            _sixth,
            _unary("HardSwish"),
        ),
        Fusion(
            "hardsigmoid",
            (
                "Clip(Add(Mul(x, #a), #b), 0, 1)",
                "Div(Clip(Add(x, 3), 0, 6), 6)",
                "Mul(Clip(Add(x, 3), 0, 6), 0.16666667)",
            ),
            _linear,
            lambda e, m: _hard_sigmoid(e, m) if "#a" in m.bound else _unary("HardSigmoid", alpha=1 / 6, beta=0.5)(e, m),
        ),
        Fusion("softplus", ("Log(Add(Exp(x), 1))",), _fits, _unary("Softplus")),
        Fusion("mish", ("Mul(x, Tanh(Softplus(x)))",), _fits, _unary("Mish")),
        Fusion(
            "gelu",
            tuple(p for inner in (*_ERF, *_TANH) for p in _halves(inner)),
            _fits,
            lambda e, m: _unary("Gelu", approximate="none" if any(n.op == "Erf" for n in m.nodes) else "tanh")(e, m),
        ),
        Fusion(
            "layernorm",
            _chains("d", "d := Sub(x, ReduceMean(x, axes)); ", _AFFINE),
            _normalised,
            _normalise("LayerNormalization"),
        ),
        Fusion("rmsnorm", _chains("x", "", _AFFINE[1:]), _normalised, _normalise("RMSNormalization")),
        Fusion("pixelshuffle", ("Reshape(Transpose(Reshape(x, s1)), s2)",), _CHECK_SHUFFLE, _REWRITE_SHUFFLE),
    )
}
