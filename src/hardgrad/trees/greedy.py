"""The greedy start: Newton boosting of small trees with vector leaves, as a `PerfectForest`. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import MAX_TERMS
from hardgrad.trees.grower import GrownTree, descend_codes, grow_tree
from hardgrad.trees.objectives import Objective
from hardgrad.trees.perfect import PerfectForest

MIN_HESSIAN = 0.01
LEAF_PENALTY = 1.0
LARGEST_STEP = 3.0


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on, in every view that training needs.

    Parameters
    ----------
    codes : uint8 [n, features].
    scores : float32 [n, features].
    Y : float64 [n, outputs] (see `objectives`).
    weight : float64 [n], mean 1.
    """

    codes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    Y: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.Y)

    def take(self, rows: NDArray[np.int64]) -> TrainingRows:
        """Return some of the rows, weights brought back to mean 1."""
        weight = self.weight[rows]
        return TrainingRows(self.codes[rows], self.scores[rows], self.Y[rows], weight / weight.mean())


@dataclass(frozen=True)
class BoostingPlan:
    """How greedy trees are grown.

    Parameters
    ----------
    rounds : number of trees.
    learning_rate : share of each Newton step that is taken.
    max_depth, max_leaves, min_rows : shape of a tree; `min_rows=None` is 20 below 1,000 rows and 10 from there.
    row_share, column_share : share of rows and features that each tree sees.
    patience : with validation rows, rounds without improvement before stopping.
    new_feature_share : part of its gain that a feature which no tree has used yet counts with; below 1 forests use fewer features.
    """

    rounds: int
    learning_rate: float
    max_depth: int = 4
    max_leaves: int | None = None
    min_rows: int | None = None
    row_share: float = 1.0
    column_share: float = 1.0
    patience: int | None = None
    new_feature_share: float = 1.0


def boost(
    rows: TrainingRows,
    codes: FeatureCodes,
    objective: Objective,
    plan: BoostingPlan,
    *,
    validation: TrainingRows | None = None,
    random_state: int = 0,
) -> PerfectForest:
    """Grow trees one after another on Newton targets and return them as perfect trees.

    With `validation` rows and a patience, the forest is cut at the round of least validation loss.
    """
    rng = np.random.default_rng(random_state)
    bias = objective.base_score(rows.Y, rows.weight)
    raw = np.repeat(bias[None, :], len(rows), axis=0)
    held = None if validation is None else np.repeat(bias[None, :], len(validation), axis=0)
    trees: list[GrownTree] = []
    leaves: list[NDArray[np.float64]] = []
    best_loss, best_round = np.inf, 0
    min_rows = plan.min_rows or _least_rows(len(rows))
    share = np.full(codes.n_features, plan.new_feature_share)
    for _ in range(plan.rounds):
        gradient, hessian = objective.gradient_hessian(raw, rows.Y)
        target, weight = newton_targets(objective, gradient, hessian, rows.weight)
        tree = grow_tree(
            rows.codes, target, weight, max_depth=plan.max_depth, max_leaves=plan.max_leaves, min_rows=min_rows,
            rows=_subset(rng, len(rows), plan.row_share), features=_subset(rng, codes.n_features, plan.column_share),
            share=share,
        )  # fmt: skip
        leaf = newton_leaves(tree.leaf_index, gradient, hessian, rows.weight, 2**plan.max_depth, objective)
        leaf *= plan.learning_rate
        raw += leaf[tree.leaf_index]
        trees.append(tree)
        leaves.append(leaf)
        if validation is not None and held is not None and plan.patience is not None:
            held += leaf[descend_codes(tree.feature, tree.code, validation.codes)]
            loss = objective.mean_loss(held, validation.Y, validation.weight)
            if loss < best_loss:
                best_loss, best_round = loss, len(trees)
            elif len(trees) - best_round >= plan.patience:
                break
    if plan.patience is not None and validation is not None:
        trees, leaves = trees[:best_round], leaves[:best_round]
    return perfect_from_codes(trees, leaves, bias, codes, plan.max_depth)


def _least_rows(n: int) -> int:
    """Rows that a leaf must have: 20 below 1,000 rows (a tenth of very few), 10 from there."""
    return 10 if n >= 1000 else min(20, max(1, n // 10))


def newton_targets(
    objective: Objective,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The recipe: Newton targets and weights for one score, the plain residual matrix for several."""
    if objective.kind == "logistic":
        curvature = np.maximum(hessian, MIN_HESSIAN)
        return -gradient / curvature, curvature[:, 0] * weight
    return -gradient, weight


def newton_leaves(
    index: NDArray[np.int32],
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_leaves: int,
    objective: Objective,
) -> NDArray[np.float64]:
    """Return the regularised Newton step of each leaf, [leaves, outputs].

    Scores of classes move by at most 3: where a class is rare, a full step from its base rate can overshoot by a dozen nats, and the
    trees that follow then only mend the damage.
    """
    G = np.stack([np.bincount(index, weight * g, n_leaves) for g in gradient.T], axis=1)
    H = np.stack([np.bincount(index, weight * h, n_leaves) for h in hessian.T], axis=1)
    step = -G / (H + LEAF_PENALTY)
    return step if objective.kind == "squared" else np.clip(step, -LARGEST_STEP, LARGEST_STEP)


def _subset(rng: np.random.Generator, n: int, share: float) -> NDArray[np.int64] | None:
    if share >= 1.0:
        return None
    return np.sort(rng.choice(n, size=max(1, round(share * n)), replace=False)).astype(np.int64)


def perfect_from_codes(
    trees: list[GrownTree],
    leaves: list[NDArray[np.float64]],
    bias: NDArray[np.float64],
    codes: FeatureCodes,
    max_depth: int,
) -> PerfectForest:
    """Restate trees on codes as perfect trees on scores: weight 1, threshold midway between two scores."""
    n_nodes, n_trees = 2**max_depth - 1, len(trees)
    feature = np.full((n_trees, n_nodes, MAX_TERMS), -1, dtype=np.int32)
    weight = np.zeros((n_trees, n_nodes, MAX_TERMS))
    offset = np.full((n_trees, n_nodes), -1.0)
    for t, tree in enumerate(trees):
        for i in np.flatnonzero(tree.feature >= 0):
            f = int(tree.feature[i])
            feature[t, i, 0], weight[t, i, 0] = f, 1.0
            offset[t, i] = -codes.boundaries(f)[tree.code[i]]
    shape = (n_trees, 2**max_depth, len(bias))
    leaf = np.stack(leaves).reshape(shape) if leaves else np.zeros(shape)
    return PerfectForest(feature, weight, offset, leaf, np.asarray(bias, dtype=np.float64))


def with_depth(forest: PerfectForest, depth: int) -> PerfectForest:
    """Return the same function in deeper perfect trees: new nodes are dead, a leaf moves to its leftmost descendant."""
    extra = depth - forest.depth
    if extra <= 0:
        return forest
    T, n_nodes = forest.n_trees, 2**depth - 1
    feature = np.full((T, n_nodes, MAX_TERMS), -1, dtype=np.int32)
    weight = np.zeros((T, n_nodes, MAX_TERMS))
    offset = np.full((T, n_nodes), -1.0)
    feature[:, : forest.n_nodes] = forest.feature
    weight[:, : forest.n_nodes] = forest.weight
    offset[:, : forest.n_nodes] = forest.offset
    leaf = np.repeat(forest.leaf, 2**extra, axis=1)
    return replace(forest, feature=feature, weight=weight, offset=offset, leaf=leaf)
