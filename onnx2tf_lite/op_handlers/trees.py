"""Tree ensembles of ai.onnx.ml.  Axis names: N rows, F features, T trees, C targets or classes.

All trees are walked at once: a tensor [N, T] of node numbers starts at the roots, and each step replaces a node by the
child that its comparison chooses, by GATHER from tables over all nodes.  A leaf leads to itself, so as many steps as
the deepest tree has levels bring every row to its leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from ..record import record
from .classical import ML, POST_TRANSFORMS, label, numbers, rows, transformed, two_classes
from .registry import TensorAttribute, UnsupportedError, op

LEAF = "LEAF"
MODES: dict[str, Callable[[Value, Value], Value]] = {
    "BRANCH_LEQ": b.less_equal,
    "BRANCH_LT": b.less,
    "BRANCH_GTE": b.greater_equal,
    "BRANCH_GT": b.greater,
    "BRANCH_EQ": b.equal,
    "BRANCH_NEQ": b.not_equal,
}
MEMBER = len(MODES)  # in TreeEnsemble, where modes are numbers: is the feature in a set?
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
NEUTRAL = {"MIN": np.inf, "MAX": -np.inf}


Ints = Sequence[int]


@record
class TreeNode:
    """``mode`` compares x[feature] with ``split`` and leads to ``yes`` or ``no``; ``missing``: NaN goes to ``yes``."""

    mode: str
    feature: int = 0
    split: float = 0.0
    yes: int = 0
    no: int = 0
    missing: bool = False


@dataclass
class Forest:
    """The nodes of all trees; ``weights`` maps (node, target) to what a row adds that ends there."""

    nodes: list[TreeNode]
    roots: list[int]
    weights: dict[tuple[int, int], float]
    targets: int

    def depth(self) -> int:
        """Steps from a root to the deepest leaf."""
        level, steps = set(self.roots), 0
        while level := {n for i in level if self.nodes[i].mode != LEAF for n in (self.nodes[i].yes, self.nodes[i].no)}:
            steps += 1
            if steps > len(self.nodes):
                raise ValueError("the nodes of a tree form a cycle")
        return steps

    def scores(self, x: Value, aggregate: str) -> Value:
        """[N, C] of the rows of ``x`` [N, F]; a target that no tree votes for is 0."""
        place = b.broadcast_to(np.array([self.roots], np.int32), (x.shape[0], len(self.roots)))
        feature = self._table(lambda n: n.feature, np.int32)
        yes, no = self._table(lambda n: n.yes, np.int32), self._table(lambda n: n.no, np.int32)
        for _ in range(self.depth()):
            value = b.gather(x, b.gather(feature, place), 1, batch_dims=1)
            place = b.where(self._taken(value, place), b.gather(yes, place), b.gather(no, place))
        weights = np.full((len(self.nodes), self.targets), NEUTRAL.get(aggregate, 0), np.float32)
        for key, weight in self.weights.items():
            weights[key] = weight
        leaves = b.gather(weights, place)
        if aggregate not in NEUTRAL:
            total = b.reduce("SUM", leaves, (1,))
            return total / len(self.roots) if aggregate == "AVERAGE" else total
        best = b.reduce(f"REDUCE_{aggregate}", leaves, (1,))
        return b.where(b.equal(b.abs_(best), np.inf), np.float32(0), best)

    def _taken(self, value: Value, place: Value) -> Value:
        split = b.gather(self._table(lambda n: n.split, np.float32), place)
        first, *others = sorted({n.mode for n in self.nodes} - {LEAF})
        taken = MODES[first](value, split)
        for mode in others:
            here = b.gather(np.array([n.mode == mode for n in self.nodes]), place)
            taken = b.where(here, MODES[mode](value, split), taken)
        if any(n.missing for n in self.nodes):
            tracked = b.gather(self._table(lambda n: n.missing, bool), place)
            taken = b.logical_or(taken, b.logical_and(tracked, b.not_equal(value, value)))
        return taken

    def _table(self, of: Callable[[TreeNode], float], dtype: type) -> np.ndarray:
        return np.array([of(n) for n in self.nodes], dtype)


# ------------------------------------------------------------------------------------------------ ai.onnx.ml 5


@op("TreeEnsemble", domain=ML)
def tree_ensemble(x: Value, *, tree_roots: Ints, nodes_featureids: Ints, nodes_splits: TensorAttribute,
                  nodes_modes: TensorAttribute, nodes_truenodeids: Ints, nodes_falsenodeids: Ints,
                  nodes_trueleafs: Ints, nodes_falseleafs: Ints, leaf_targetids: Ints, leaf_weights: TensorAttribute,
                  n_targets: int = 1, aggregate_function: int = 1, post_transform: int = 0,
                  membership_values: TensorAttribute | None = None, nodes_hitrates: TensorAttribute | None = None,
                  nodes_missing_value_tracks_true: Ints | None = None) -> Value:  # fmt: skip
    """Inner nodes and leaves are numbered apart; here the leaves follow the inner nodes."""
    inner = len(nodes_featureids)
    modes = numbers(nodes_modes).tolist()
    names = ["BRANCH_EQ" if mode == MEMBER else [*MODES][mode] for mode in modes]
    yes = [i + inner * leaf for i, leaf in zip(nodes_truenodeids, nodes_trueleafs, strict=True)]
    no = [i + inner * leaf for i, leaf in zip(nodes_falsenodeids, nodes_falseleafs, strict=True)]
    missing = map(bool, nodes_missing_value_tracks_true or [0] * inner)
    columns = (names, nodes_featureids, numbers(nodes_splits).tolist(), yes, no, missing)
    nodes = [TreeNode(*row) for row in zip(*columns, strict=True)]
    nodes += [TreeNode(LEAF, yes=inner + i, no=inner + i) for i in range(len(leaf_targetids))]
    leaves = zip(leaf_targetids, numbers(leaf_weights).tolist(), strict=True)
    forest = Forest(nodes, list(tree_roots), {(inner + i, t): w for i, (t, w) in enumerate(leaves)}, n_targets)
    if membership_values is not None:
        _unfold(nodes, [i for i, mode in enumerate(modes) if mode == MEMBER], numbers(membership_values))
    return transformed(forest.scores(rows(x), AGGREGATES[aggregate_function]), [*POST_TRANSFORMS][post_transform])


def _unfold(nodes: list[TreeNode], members: Sequence[int], values: np.ndarray) -> None:
    """Membership in a set as a chain of equalities; the sets follow each other, each ended by NaN."""
    sets = np.split(values, np.flatnonzero(np.isnan(values)) + 1)
    for place, chosen in zip(members, sets, strict=False):
        node = nodes[place]
        for value in chosen[:-1].tolist():
            nodes[place] = replace(node, split=value, no=len(nodes))
            place = len(nodes)
            nodes.append(node)
        nodes[place] = replace(node, split=float("nan"))  # the end of the chain: equal to nothing


# ------------------------------------------------------------------------------------------------ ai.onnx.ml 1 to 4


def _forest(lists: dict[str, Any], role: str, targets: int) -> Forest:
    """From one entry per node and per weight, each named by its tree and its number there."""
    keys = list(zip(lists["nodes_treeids"], lists["nodes_nodeids"], strict=True))
    number = {key: i for i, key in enumerate(keys)}
    modes = lists["nodes_modes"]
    if unknown := sorted(set(modes) - {LEAF, *MODES}):
        raise UnsupportedError(f"node mode {', '.join(unknown)}", "use the modes of ai.onnx.ml 3")
    splits = numbers(lists.get("nodes_values_as_tensor") or lists["nodes_values"]).tolist()
    missing = lists.get("nodes_missing_value_tracks_true") or [0] * len(keys)
    features, *branches = (lists[f"nodes_{name}ids"] for name in ("feature", "truenode", "falsenode"))
    nodes = []
    rows = zip(keys, modes, features, splits, *branches, missing, strict=True)
    for i, ((tree, _), mode, feature, split, yes, no, nan) in enumerate(rows):
        leads = (i, i) if mode == LEAF else (number[tree, yes], number[tree, no])
        nodes.append(TreeNode(mode, 0 if mode == LEAF else feature, split, *leads, bool(nan)))
    below = {child for n in nodes if n.mode != LEAF for child in (n.yes, n.no)}
    weights: dict[tuple[int, int], float] = {}
    given = numbers(lists.get(f"{role}_weights_as_tensor") or lists[f"{role}_weights"]).tolist()
    names = (lists[f"{role}_treeids"], lists[f"{role}_nodeids"], lists[f"{role}_ids"])
    for tree, node, target, weight in zip(*names, given, strict=True):
        place = number[tree, node], target
        weights[place] = weights.get(place, 0.0) + weight
    return Forest(nodes, [i for i in range(len(nodes)) if i not in below], weights, targets)


def _base(lists: dict[str, Any]) -> np.ndarray | None:
    found = lists.get("base_values_as_tensor") or lists.get("base_values")
    return numbers(found).astype(np.float32) if found else None


@op("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(
    x: Value, *, n_targets: int = 1, aggregate_function: str = "SUM", post_transform: str = "NONE", **lists: Any
) -> Value:
    scores = _forest(lists, "target", n_targets).scores(rows(x), aggregate_function)
    base = _base(lists)
    return transformed(scores if base is None else scores + base, post_transform)


@op("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(
    x: Value,
    *,
    classlabels_int64s: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    post_transform: str = "NONE",
    **lists: Any,
) -> list[Value | None]:
    """Labels [N] and scores [N, C].

    Of two classes that share one list of scores the second wins above 0, or above 0.5 if no score is negative.
    """
    labels = classlabels_int64s or classlabels_strings
    used, base = set(lists["class_ids"]), _base(lists)
    if len(labels) == 2 and (used != {0} or (base is not None and len(base) > 1)):
        what = "two classes with scores of the second one or two base values, of which each runtime makes another label"
        raise UnsupportedError(what, "give the scores of the second class alone, with class_ids 0")
    forest = _forest(lists, "class", 1 if len(labels) == 2 else len(labels))
    scores = forest.scores(rows(x), "SUM")
    scores = scores if base is None else scores + base
    if len(labels) > 2:
        return [label(b.arg("ARG_MAX", scores, 1), classlabels_int64s), transformed(scores, post_transform)]
    positive = all(w >= 0 for w in forest.weights.values())
    opposite = 1.0 - scores if positive else b.neg(scores)
    return two_classes(scores, classlabels_int64s, post_transform, 0.5 if positive else 0.0, opposite)
