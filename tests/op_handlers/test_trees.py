"""Tree ensembles of every kind, random trees, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model, new_runtime
from tests.op_handlers.ml_nodes import check_ml, ml_model

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
SPLITS = np.float32([-1, -0.5, 0, 0.5, 1])  # a few values, so that rows meet them
ROWS = np.random.default_rng(9).choice(SPLITS, (40, 4))
HOLES = np.where(np.random.default_rng(8).random((40, 4)) < 0.3, np.float32(np.nan), ROWS)


def forest(
    seed: int, trees: int, role: str, targets: int, modes: list[str] = MODES, low: float = -1.0
) -> dict[str, Any]:
    """Attributes of random trees of unequal depth; every leaf adds to some of the ``targets``."""
    rng = np.random.default_rng(seed)
    names = ["treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids"]
    nodes: dict[str, list[Any]] = {f"nodes_{n}": [] for n in names}
    nodes["nodes_missing_value_tracks_true"] = []
    weights: dict[str, list[Any]] = {f"{role}_{n}": [] for n in ("treeids", "nodeids", "ids", "weights")}

    def grow(tree: int, number: int, depth: int) -> int:
        """Append node ``number`` and what is below it; the next free number."""
        leaf = depth == 0 or (depth < 4 and rng.random() < 0.2)
        place = len(nodes["nodes_modes"])
        entry = [
            tree,
            number,
            "LEAF" if leaf else str(rng.choice(modes)),
            int(rng.integers(4)),
            float(rng.choice(SPLITS)),
            0,
            0,
        ]
        for name, item in zip(names, entry, strict=True):
            nodes[f"nodes_{name}"].append(item)
        nodes["nodes_missing_value_tracks_true"].append(int(rng.integers(2)))
        if leaf:
            for target in sorted(rng.choice(targets, rng.integers(1, targets + 1), replace=False).tolist()):
                for name, item in zip(weights, (tree, number, target, float(rng.uniform(low, 1))), strict=True):
                    weights[name].append(item)
            return number + 1
        nodes["nodes_truenodeids"][place] = number + 1
        nodes["nodes_falsenodeids"][place] = following = grow(tree, number + 1, depth - 1)
        return grow(tree, following, depth - 1)

    for tree in range(trees):
        grow(tree, 0, 5)
    return nodes | weights


@pytest.mark.parametrize("mode", MODES)
def test_every_comparison(mode: str) -> None:
    check_ml("TreeEnsembleRegressor", [ROWS], n_targets=1, version=3, **forest(0, 1, "target", 1, [mode]))


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
def test_regression(aggregate: str, targets: int) -> None:
    attrs = forest(targets, 7, "target", targets, ["BRANCH_LEQ"])
    check_ml("TreeEnsembleRegressor", [ROWS], n_targets=targets, aggregate_function=aggregate, version=3, **attrs)


def test_base_values_mixed_comparisons_and_missing_values() -> None:
    attrs = forest(3, 6, "target", 2)
    check_ml("TreeEnsembleRegressor", [HOLES], n_targets=2, base_values=[0.5, -2.0], version=3, **attrs)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_classes(transform: str) -> None:
    attrs = forest(4, 5, "class", 3, ["BRANCH_LT"])
    check_ml(
        "TreeEnsembleClassifier", [ROWS], 2, classlabels_int64s=[7, 3, 5], post_transform=transform, version=3, **attrs
    )


@new_runtime
@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("base", [{}, {"base_values": [0.2]}], ids=["plain", "base"])
@pytest.mark.parametrize("low", [-1.0, 0.0], ids=["scores", "probabilities"])
def test_two_classes(low: float, base: dict[str, Any], transform: str) -> None:
    attrs = forest(5, 2, "class", 1, ["BRANCH_LEQ"], low) | base
    check_ml(
        "TreeEnsembleClassifier", [ROWS], 2, classlabels_int64s=[7, 3], post_transform=transform, version=3, **attrs
    )


def test_a_tree_of_one_leaf() -> None:
    attrs = {f"nodes_{n}": [0] for n in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")}
    attrs |= {"nodes_modes": ["LEAF"], "nodes_values": [0.0], "target_treeids": [0], "target_nodeids": [0],
              "target_ids": [0], "target_weights": [2.5]}  # fmt: skip
    check_ml("TreeEnsembleRegressor", [ROWS], n_targets=1, version=3, **attrs)


def test_sets_and_comparisons_in_one_ensemble() -> None:
    """TreeEnsemble (ai.onnx.ml 5): x0 in {-1, 1}? else x1 <= 0? and x2 in {1}?"""
    nan = float("nan")
    attrs = {
        "n_targets": 2, "tree_roots": [0, 2], "nodes_featureids": [0, 1, 2], "nodes_splits": tensor([nan, 0, nan]),
        "nodes_modes": tensor([6, 0, 6], TensorProto.UINT8), "nodes_truenodeids": [0, 1, 3],
        "nodes_trueleafs": [1, 1, 1], "nodes_falsenodeids": [1, 2, 4], "nodes_falseleafs": [0, 1, 1],
        "membership_values": tensor([-1, 1, nan, 1, nan]), "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": tensor([1, 10, 100, 1000, 10000]),
    }  # fmt: skip
    check_ml("TreeEnsemble", [ROWS], version=5, **attrs)


def tensor(values: list[float], dtype: int = TensorProto.FLOAT) -> TensorProto:
    return helper.make_tensor("t", dtype, [len(values)], values)


def test_scores_that_runtimes_read_differently_are_refused() -> None:
    attrs = forest(6, 2, "class", 2, ["BRANCH_LEQ"])
    with pytest.raises(ConversionError, match="two classes"):
        compile_model(ml_model("TreeEnsembleClassifier", [ROWS], 2, 3, classlabels_int64s=[7, 3], **attrs))
